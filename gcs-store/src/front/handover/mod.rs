//! Gives all connections to a successor process, and takes them from a
//! predecessor, so that a new version of the store costs no head its life.
//!
//! ```text
//!   successor                                   predecessor
//!   Hello {versions}        ------------------>
//!                           <------------------  Welcome {version}
//!                                                accepts no more, answers what
//!                                                was asked, stands still
//!                           <------------------  Listener, Connection..., End
//!   Taken                   ------------------>
//!                                                gives the database free
//!                           <------------------  Retired {engine's state}
//!   takes the database
//!   Ready                   ------------------>
//!                           <------------------  Yours
//!   serves                                       ends, or relays TLS
//! ```
//!
//! `Yours` decides: before it the predecessor can go on as if nothing had been,
//! and does so when the successor fails, is too slow or goes away; after it it
//! touches no connection again. If the predecessor dies after `End`, the
//! successor has everything and goes on. Who cannot stand still in time, as
//! when the database is away, answers `Refused` and serves on.
//!
//! The state of TLS cannot move to another process. The predecessor keeps those
//! connections and gives the successor one end of a socket pair for each, as if
//! it were the client, with the client's address; it copies bytes until the last
//! of them ends. A successor hands such an end over like any other.
//!
//! The socket is in the file system with mode 0600, and the other end must run
//! as the same user or as root.
//!
//! Invariants:
//! 1. At every moment one process reads a connection, or none does
//!    (`a_successor_that_fails_gives_everything_back`).
//! 2. No request is lost and none is run twice
//!    (`a_successor_takes_over_under_load`): what was read and not run travels
//!    as bytes, what was answered and not sent as well
//!    (`half_a_request_and_half_an_answer_move_as_they_are`).
//! 3. A handover waits for no client: neither for one that does not read nor
//!    for one that has gone
//!    (`who_said_goodbye_and_does_not_listen_holds_nobody_up`).

mod channel;
mod control;
mod give;
mod relay;
mod take;

use std::{io, path::PathBuf};

use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::{auth::Identity, outbox::Described, shared::Report};
use crate::gcs::{engine::EngineState, session::SessionState};

pub(crate) use control::Control;
pub use control::status;
pub(super) use give::{Outcome, give};
pub(crate) use take::{Inheritance, Offer};

/// Versions of the conversation that this process can hold: its own, and the
/// one before once there is one.
const VERSIONS: &[u32] = &[1];

/// What the engine's owner does for the front.
pub(crate) trait Keeper {
    /// Ends the engine's task and frees the database; what a successor must
    /// know. `None`: it could not end in time, and goes on.
    fn retire(&self) -> LocalBoxFuture<'_, Option<EngineState>>;

    /// Starts it again with what it gave.
    fn resume(&self, state: EngineState);

    /// Hears that a successor has everything.
    fn handed_over(&self) {}
}

/// Why connections could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The conversation broke.
    #[error("the predecessor behind {path} cannot be talked to")]
    Broken {
        /// Its socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The predecessor serves on; nothing has changed.
    #[error("the predecessor serves on: {reason}")]
    Refused {
        /// In its words.
        reason: String,
    },
    /// Too old or too new for each other.
    #[error("the predecessor speaks version {version} of the handover, this process {VERSIONS:?}")]
    Version {
        /// What it chose.
        version: u32,
    },
    /// Another user's process is behind the socket.
    #[error("the process behind {path} runs as another user")]
    Foreign {
        /// Its socket.
        path: PathBuf,
    },
    /// It sent what makes no sense.
    #[error("the predecessor sent {what}")]
    Nonsense {
        /// What was wrong.
        what: &'static str,
    },
}

/// What the successor, or a curious operator, says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asks {
    /// Wants to take over.
    Hello { versions: Vec<u32>, pid: u32 },
    /// Has all connections.
    Taken,
    /// Has the database.
    Ready,
    /// Wants to know how things stand.
    Status,
}

/// What the predecessor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Says {
    /// Is about to stand still.
    Welcome { version: u32, pid: u32 },
    /// Serves on.
    Refused { reason: String },
    /// With the listener's descriptor.
    Listener,
    /// With the connection's descriptor.
    Connection(Moving),
    /// That was all.
    End { connections: usize },
    /// The database is free.
    Retired { engine: serde_json::Value },
    /// The connections are the successor's.
    Yours,
    /// How things stand.
    Status(serde_json::Value),
}

/// A connection on its way. Its body is what came and is not understood, then
/// what is encoded and not sent.
#[derive(Debug, Serialize, Deserialize)]
struct Moving {
    session: SessionState,
    identity: Identity,
    relayed: bool,
    unread: u64,
    unsent: Vec<Described>,
}

impl From<Report> for Says {
    fn from(report: Report) -> Self {
        Self::Status(serde_json::to_value(report).unwrap_or_default())
    }
}
