//! Why a call brought no answer.

use std::time::Duration;

use http::StatusCode;

use super::{Answer, Outcome};

/// Why one attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The connection was gone before the request was sent.
    #[error("not sent: the connection was gone")]
    Unsent,
    /// The connection or the stream was reset before the answer began.
    #[error("reset before the answer began")]
    Reset,
    /// Before the answer began, the gateway no longer answered pings.
    #[error("the gateway fell silent")]
    Silent,
    /// The answer began and broke off: the connection was reset, or pings were
    /// no longer answered.
    #[error("the answer broke off after {received} bytes")]
    BrokenOff {
        /// Bytes of the body that had arrived.
        received: u64,
    },
    /// The gateway itself gave a status that another one may do better.
    #[error("answered {0}")]
    Status(StatusCode),
    /// The answer or event was larger than the client takes.
    #[error("larger than the client takes")]
    TooLarge,
    /// The call's deadline passed.
    #[error("the deadline passed")]
    Deadline,
}

impl Cause {
    /// A short word for labels and ledgers.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unsent => "unsent",
            Self::Reset => "reset",
            Self::Silent => "silent",
            Self::BrokenOff { .. } => "broken_off",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Deadline => "deadline",
        }
    }
}

/// Why a call or a stream ended without its answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No gateway could be reached for as long as the client is patient.
    /// Nothing was sent since; safe to call again.
    #[error("none of {known} gateways could be reached within {waited:?}")]
    NoProxy {
        /// Gateways known.
        known: usize,
        /// How long the call waited.
        waited: Duration,
        /// What was tried before.
        outcome: Box<Outcome>,
    },
    /// Every attempt failed, or the budget forbade another. Whether the last
    /// one had an effect is unknown.
    #[error("{} attempts failed, the last one: {cause}", outcome.attempts.len())]
    Failed {
        /// Why the last attempt failed.
        cause: Cause,
        /// What was tried.
        outcome: Box<Outcome>,
    },
    /// The deadline passed first.
    #[error("no answer within {within:?}")]
    Deadline {
        /// The call's time-out.
        within: Duration,
        /// What was tried.
        outcome: Box<Outcome>,
    },
    /// A stream was wanted and a whole answer came, such as a refusal.
    #[error("a stream was wanted, status {} came", .0.status)]
    NotAStream(Box<Answer>),
    /// The stream's connection broke after its first event. What came before
    /// is sound; what follows is lost.
    #[error("the stream broke after {events} events: {cause}")]
    StreamBroken {
        /// How it broke.
        cause: Cause,
        /// Events handed out before.
        events: u64,
        /// The way it took.
        outcome: Box<Outcome>,
    },
    /// The gateway ended the stream with an error event.
    #[error("the stream ended with an error after {events} events: {message}")]
    InBand {
        /// `error.code`, such as `upstream_broken`.
        code: Option<String>,
        /// `error.message`.
        message: String,
        /// Events handed out before.
        events: u64,
        /// The way it took.
        outcome: Box<Outcome>,
    },
    /// The request cannot be sent at all. Do not repeat it.
    #[error("the request cannot be sent: {reason}")]
    Request {
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// The way the call took, as far as it came.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::NoProxy { outcome, .. }
            | Self::Failed { outcome, .. }
            | Self::Deadline { outcome, .. }
            | Self::StreamBroken { outcome, .. }
            | Self::InBand { outcome, .. } => Some(outcome),
            Self::NotAStream(answer) => Some(&answer.outcome),
            Self::Request { .. } => None,
        }
    }
}
