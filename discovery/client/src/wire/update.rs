//! The steps of a watch, in both directions.

use std::sync::Arc;

use prost::Message as _;

use super::{MAX_LIST, Malformed, generated as v1};
use crate::{Cursor, Event, Key};

/// A piece of a list is closed once it has this many bytes. With the largest
/// record on top it stays under [`super::MAX_MESSAGE`].
const PIECE: usize = 1 << 20;

/// The messages that carry `event`, in order: one, or several for a long list.
#[must_use]
pub fn updates(event: &Event) -> Vec<v1::Update> {
    use v1::update::Change;
    let change = match event {
        Event::Reset { at, endpoints } => {
            return pieces(*at, endpoints.iter().map(|endpoint| (&**endpoint).into()));
        }
        Event::Put { endpoint, .. } => Change::Put((&**endpoint).into()),
        Event::Delete { key, .. } => Change::Delete(key.into()),
        Event::Progress { .. } => Change::Progress(v1::Progress {}),
    };
    vec![update(event.at(), change)]
}

fn update(at: Cursor, change: v1::update::Change) -> v1::Update {
    v1::Update {
        at: Some(at.into()),
        change: Some(change),
    }
}

fn pieces(at: Cursor, endpoints: impl Iterator<Item = v1::Endpoint>) -> Vec<v1::Update> {
    let reset =
        |endpoints, more| update(at, v1::update::Change::Reset(v1::Reset { endpoints, more }));
    let (mut done, mut piece, mut size) = (Vec::new(), Vec::new(), 0);
    for endpoint in endpoints {
        if size > PIECE {
            done.push(reset(std::mem::take(&mut piece), true));
            size = 0;
        }
        size += endpoint.encoded_len();
        piece.push(endpoint);
    }
    done.push(reset(piece, false));
    done
}

/// Puts events together again from the messages of one stream.
#[derive(Debug, Default)]
pub struct Assembler {
    list: Vec<Arc<crate::Endpoint>>,
}

impl Assembler {
    /// Starts at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The event that `update` completes; nothing while a list goes on.
    ///
    /// A record that cannot be read counts as deleted, as somebody newer than
    /// this process wrote it.
    ///
    /// # Errors
    /// [`Malformed`] if the message has no position or no known change, or if
    /// the list grows too long. The stream is of no use afterwards.
    pub fn take(&mut self, update: v1::Update) -> Result<Option<Event>, Malformed> {
        use v1::update::Change;
        let at: Cursor = update.at.ok_or(Malformed::Missing { field: "at" })?.into();
        Ok(Some(
            match update
                .change
                .ok_or(Malformed::Missing { field: "change" })?
            {
                Change::Reset(v1::Reset { endpoints, more }) => {
                    if self.list.len() + endpoints.len() > MAX_LIST {
                        return Err(Malformed::TooLong);
                    }
                    self.list.extend(
                        endpoints
                            .into_iter()
                            .filter_map(|endpoint| readable(endpoint).ok()),
                    );
                    if more {
                        return Ok(None);
                    }
                    Event::Reset {
                        at,
                        endpoints: std::mem::take(&mut self.list),
                    }
                }
                Change::Put(endpoint) => match readable(endpoint) {
                    Ok(endpoint) => Event::Put { at, endpoint },
                    Err(Some(key)) => Event::Delete { at, key },
                    Err(None) => Event::Progress { at },
                },
                Change::Delete(key) => match key.try_into() {
                    Ok(key) => Event::Delete { at, key },
                    Err(_) => Event::Progress { at },
                },
                Change::Progress(v1::Progress {}) => Event::Progress { at },
            },
        ))
    }
}

/// The record, or at least whose it is.
fn readable(endpoint: v1::Endpoint) -> Result<Arc<crate::Endpoint>, Option<Key>> {
    let key = endpoint.key.clone();
    crate::Endpoint::try_from(endpoint).map(Arc::new).map_err(|malformed| {
        tracing::warn!(?key, error = %malformed, "a record that cannot be read is taken as absent");
        key.and_then(|key| key.try_into().ok())
    })
}
