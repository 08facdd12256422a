//! The registry's contract, the same for every backend and over the wire.
//!
//! ```text
//!   register, renew, update, revoke            watch(cursor)
//!   ------------------------------> registry ----------------> Reset, Put,
//!        a lease bounds each record  revision   ordered         Delete, Progress
//! ```
//!
//! Invariants:
//! 1. Revisions grow by the order in which changes were accepted, and a watch
//!    yields them in that order.
//! 2. A watch that cannot continue from its cursor begins with [`Event::Reset`]
//!    and a full list; nothing is skipped silently.
//! 3. A record leaves by `revoke` or when its lease lapses, and either is seen
//!    as [`Event::Delete`].
//! 4. An older [`Life`](crate::Life) never overwrites a newer one.

use std::{sync::Arc, time::Duration};

use futures_util::{future::BoxFuture, stream::BoxStream};
use serde::{Deserialize, Serialize};

use crate::{Endpoint, Key, Life};

/// Why the registry did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lease lapsed or was never granted. Register again.
    #[error("the lease has lapsed")]
    LeaseLapsed,
    /// A newer life of the same endpoint is registered. Do not retry: another
    /// process has taken the name.
    #[error("{key} is registered by a newer process (life {newest:?}, this one {offered:?})")]
    Superseded {
        /// The contested name.
        key: Key,
        /// What the registry holds.
        newest: Life,
        /// What was offered.
        offered: Life,
    },
    /// The record breaks a bound. Do not retry.
    #[error("the record was refused: {reason}")]
    Invalid {
        /// Which bound, in words.
        reason: String,
    },
    /// The registry holds as many records as it may. Retry later.
    #[error("the registry is full at {limit} records")]
    Full {
        /// The bound.
        limit: usize,
    },
    /// The registry could not be reached or did not answer in time. Safe to
    /// retry: every call is idempotent.
    #[error("the registry did not answer: {reason}")]
    Unavailable {
        /// What was seen, for the log.
        reason: String,
    },
}

/// A position in the history of one registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// Which history: changes when a registry starts with an empty one.
    pub generation: u64,
    /// How far into it.
    pub revision: u64,
}

/// The right to keep one record, until it lapses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

/// One step of a watch. After applying it the watcher is at `at`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Forget everything; this is all there is.
    Reset {
        /// The position of the list.
        at: Cursor,
        /// Every live record, in no particular order.
        endpoints: Vec<Arc<Endpoint>>,
    },
    /// A record is new or changed.
    Put {
        /// The position of the change.
        at: Cursor,
        /// The whole record.
        endpoint: Arc<Endpoint>,
    },
    /// A record is gone: revoked, or its lease lapsed.
    Delete {
        /// The position of the change.
        at: Cursor,
        /// Whose.
        key: Key,
    },
    /// Nothing changed up to `at`; the link is alive.
    Progress {
        /// The newest position.
        at: Cursor,
    },
}

impl Event {
    /// The watcher's position once the event is applied.
    #[must_use]
    pub fn at(&self) -> Cursor {
        match self {
            Self::Reset { at, .. }
            | Self::Put { at, .. }
            | Self::Delete { at, .. }
            | Self::Progress { at } => *at,
        }
    }
}

/// An ordered stream of events; it ends when the registry closes.
pub type Watch = BoxStream<'static, Event>;

/// Where endpoints are made known. Implemented by every backend and by the
/// client of the wire, so each can stand for any other.
pub trait Registry: Send + Sync + 'static {
    /// Writes `endpoint` under a new lease of `ttl`. A record of the same key
    /// and of the same or an older life is replaced and its lease voided.
    ///
    /// # Errors
    /// [`Error::Superseded`], [`Error::Invalid`], [`Error::Full`],
    /// [`Error::Unavailable`].
    fn register(&self, endpoint: Endpoint, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>>;

    /// Lets the lease run its whole time again.
    ///
    /// # Errors
    /// [`Error::LeaseLapsed`], [`Error::Unavailable`].
    fn renew(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>>;

    /// Replaces the record under `lease` and renews it. The key must be the
    /// same and the life newer. An equal record only renews.
    ///
    /// # Errors
    /// [`Error::LeaseLapsed`], [`Error::Superseded`], [`Error::Invalid`],
    /// [`Error::Unavailable`].
    fn update(&self, lease: LeaseId, endpoint: Endpoint) -> BoxFuture<'_, Result<(), Error>>;

    /// Ends the lease and removes its record now. Unknown leases are no error.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>>;

    /// All changes after `after`, in order; from a full list when `after` is
    /// absent, of another history or too old.
    fn watch(&self, after: Option<Cursor>) -> Watch;
}
