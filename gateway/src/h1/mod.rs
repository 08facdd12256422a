//! HTTP/1.1 towards replicas, without a task or a channel in between.
//!
//! The task that serves a client writes the request and reads the answer
//! itself: one wake-up, no copies, and when the client goes away the connection
//! is closed in the same moment. A general client library needs a task a
//! connection and two channels a request.
//!
//! ```text
//!   Line --exchange--> Exchange --head--> Answer --read to its end--> Line
//!          (request)             (response)         (back to the pool)
//! ```
//!
//! `head` and `framing` are pure; `line` does the I/O. What a replica sends is
//! bounded and checked before it is believed.
//!
//! Source: RFC 9112, HTTP/1.1.

mod framing;
mod head;
mod line;

pub(crate) use head::Target;
pub(crate) use line::{Answer, Line, Reading};

/// Why an exchange with a replica failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The connection ended before a byte of the answer.
    #[error("the connection was closed before an answer")]
    Closed,
    /// The connection ended within the answer.
    #[error("the answer was cut short")]
    Cut,
    /// What came is not HTTP/1.1, or exceeds a bound.
    #[error("the answer is not HTTP/1.1")]
    Garbage,
}
