//! An answer as server-sent events, one token at a time.
//!
//! The tokens are due at fixed times from the start, so that a slow reader
//! delays only itself and the pace stays true.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::{
    answer::{Head, Usage},
    ask::Pace,
    journal::Entry,
    speech::Speech,
};

/// All that one stream is made of.
pub(super) struct Script {
    pub(super) head: Head,
    pub(super) speech: Speech,
    pub(super) usage: Usage,
    pub(super) include_usage: bool,
    pub(super) pace: Pace,
}

impl Script {
    /// The events, each with when it is due and whether it holds a token.
    fn events(self) -> impl Iterator<Item = (Duration, bool, Bytes)> + Send {
        let Self {
            head,
            speech,
            usage,
            include_usage,
            pace,
        } = self;
        let finish_reason = speech.finish_reason();
        let due = move |nth: u32| {
            pace.delay + Duration::from_secs_f64(f64::from(nth) / pace.tokens_per_s)
        };
        let last = u32::try_from(speech.tokens.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let opening = head
            .opening()
            .map(|chunk| (pace.delay, false, event(&chunk)));
        let closing = (due(last), false, event(&head.closing(finish_reason)));
        let bill = include_usage.then(|| (due(last), false, event(&head.usage(usage))));
        let done = (due(last), false, Bytes::from_static(b"data: [DONE]\n\n"));
        let tokens = (0u32..)
            .zip(speech.tokens)
            .map(move |(nth, token)| (due(nth), true, event(&head.token(&token))));
        opening
            .into_iter()
            .chain(tokens)
            .chain([closing])
            .chain(bill)
            .chain([done])
    }

    /// The body. Dropped before its end, the entry counts as aborted.
    pub(super) fn play(self, entry: Entry) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        let began = Instant::now();
        stream::unfold(
            (self.events(), Some(entry)),
            move |(mut events, mut entry)| async move {
                let Some((due, is_token, bytes)) = events.next() else {
                    if let Some(entry) = entry.take() {
                        entry.finish();
                    }
                    return None;
                };
                sleep_until(began + due).await;
                if is_token && let Some(entry) = &mut entry {
                    entry.tokens += 1;
                }
                Some((Ok(bytes), (events, entry)))
            },
        )
    }
}

fn event(chunk: &Value) -> Bytes {
    format!("data: {chunk}\n\n").into()
}
