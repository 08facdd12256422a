//! What can be wrong with the bytes of a peer.
//!
//! The texts are those of Redis, so that a client's log reads the same; answer
//! with [`write_error`](crate::write_error) and `ERR ` before the text, then
//! close: after such an error the boundaries of later requests are unknown.

/// Why a stream of requests or replies cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The number after `*` is no number or more than the limits allow.
    #[error("Protocol error: invalid multibulk length")]
    ArrayLength,
    /// The number after `$` is no number, negative or more than the limits allow.
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// More than ten arguments before the connection has logged in.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedArrayLength,
    /// An argument over 16 KiB before the connection has logged in.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// An argument of an array does not begin with `$`.
    #[error("Protocol error: expected '$', got '{}'", printable(*.0))]
    NotBulk(u8),
    /// The bytes after a bulk are not CR LF. Redis skips them unread; here a
    /// client that miscounts its own bytes is told so, instead of having the
    /// rest of its stream misunderstood.
    #[error("Protocol error: bulk is not followed by CRLF")]
    BulkEnd,
    /// All arguments together are more than the limits allow.
    #[error("Protocol error: too big request")]
    RequestLength,
    /// An inline request without a line end within the limit.
    #[error("Protocol error: too big inline request")]
    InlineLength,
    /// An inline request with a quote that is not closed, or not followed by space.
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
    /// A reply begins with a byte that is none of `+-:$*`.
    #[error("Protocol error, got '{}' as reply type byte", printable(*.0))]
    ReplyType(u8),
    /// A line of a reply is no number where one must stand, or too long.
    #[error("Protocol error, bad line in reply")]
    ReplyLine,
    /// Arrays within arrays deeper than the limit.
    #[error("Protocol error, reply nested too deeply")]
    ReplyDepth,
    /// A reply is larger than the limits allow.
    #[error("Protocol error, reply too big")]
    ReplyLength,
}

/// `byte` as Redis' `%c` prints it where that is harmless, as an escape elsewhere.
fn printable(byte: u8) -> String {
    match byte {
        // Redis replaces line ends within an error line by spaces.
        b'\r' | b'\n' => " ".to_owned(),
        b'\'' | b'"' | b'\\' => char::from(byte).to_string(),
        other => other.escape_ascii().to_string(),
    }
}
