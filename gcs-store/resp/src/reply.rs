//! What a server answers, and how it is written.
//!
//! Invariant: whatever text an error or a status carries, it stays one line on
//! the wire; a line end inside becomes a space, as in Redis. A reply can thus
//! never be read as two.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

/// One reply of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A short fixed text: `+OK`.
    Status(Cow<'static, str>),
    /// A refusal: `-ERR …`, with its code word in front.
    Error(Cow<'static, str>),
    /// A number.
    Int(i64),
    /// Bytes, perhaps none.
    Bulk(Bytes),
    /// No such thing: `$-1`.
    Null,
    /// No such array: `*-1`.
    NullArray,
    /// Replies within a reply.
    Array(Vec<Reply>),
}

impl Reply {
    /// `+OK`.
    pub const OK: Self = Self::Status(Cow::Borrowed("OK"));
    /// `+PONG`.
    pub const PONG: Self = Self::Status(Cow::Borrowed("PONG"));

    /// A bulk of a copy of `bytes`.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(Bytes::copy_from_slice(bytes.as_ref()))
    }

    /// Appends the reply to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Status(text) => write_status(out, text),
            Self::Error(text) => write_error(out, text),
            Self::Int(number) => write_int(out, *number),
            Self::Bulk(bytes) => write_bulk(out, bytes),
            Self::Null => write_null(out),
            Self::NullArray => out.put_slice(b"*-1\r\n"),
            Self::Array(items) => {
                write_array_header(out, items.len());
                for item in items {
                    item.encode(out);
                }
            }
        }
    }

    /// The text of an error reply.
    pub fn as_error(&self) -> Option<&str> {
        match self {
            Self::Error(text) => Some(text),
            _ => None,
        }
    }
}

/// Appends `+text`.
pub fn write_status(out: &mut BytesMut, text: &str) {
    write_line(out, b'+', text.as_bytes());
}

/// Appends `-text`. `text` begins with its code word, such as `ERR`.
pub fn write_error(out: &mut BytesMut, text: &str) {
    write_line(out, b'-', text.as_bytes());
}

/// Appends `:number`.
pub fn write_int(out: &mut BytesMut, number: i64) {
    write_header(out, b':', number);
}

/// Appends a bulk of `bytes`.
pub fn write_bulk(out: &mut BytesMut, bytes: &[u8]) {
    write_bulk_header(out, bytes.len() as u64);
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

/// Appends the `$length` line of a bulk whose bytes are written piece by piece.
///
/// The caller then writes exactly `length` bytes and CR LF.
pub fn write_bulk_header(out: &mut BytesMut, length: u64) {
    write_header(out, b'$', length);
}

/// Appends the `*length` line of an array whose items follow.
pub fn write_array_header(out: &mut BytesMut, length: usize) {
    write_header(out, b'*', length);
}

/// Appends the null bulk.
pub fn write_null(out: &mut BytesMut) {
    out.put_slice(b"$-1\r\n");
}

fn write_header(out: &mut BytesMut, mark: u8, number: impl itoa::Integer) {
    out.put_u8(mark);
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
    out.put_slice(b"\r\n");
}

fn write_line(out: &mut BytesMut, mark: u8, text: &[u8]) {
    out.put_u8(mark);
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        out.put_slice(&rest[..at]);
        out.put_u8(b' ');
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(reply: &Reply) -> Vec<u8> {
        let mut out = BytesMut::new();
        reply.encode(&mut out);
        out.to_vec()
    }

    #[test]
    fn replies_are_written_as_redis_writes_them() {
        let page = Reply::Array(vec![
            Reply::bulk("0"),
            Reply::Array(vec![Reply::bulk(""), Reply::bulk(b"\0\xff\r\n")]),
        ]);
        assert_eq!(
            encoded(&page),
            b"*2\r\n$1\r\n0\r\n*2\r\n$0\r\n\r\n$4\r\n\0\xff\r\n\r\n"
        );
        assert_eq!(encoded(&Reply::OK), b"+OK\r\n");
        assert_eq!(encoded(&Reply::Int(-7)), b":-7\r\n");
        assert_eq!(encoded(&Reply::Null), b"$-1\r\n");
        assert_eq!(encoded(&Reply::NullArray), b"*-1\r\n");
        assert_eq!(encoded(&Reply::Array(vec![])), b"*0\r\n");
    }

    #[test]
    fn an_error_stays_on_one_line_whatever_it_quotes() {
        let reply = Reply::Error("ERR unknown command 'a\r\n+OK\r\n'".into());
        assert_eq!(encoded(&reply), b"-ERR unknown command 'a  +OK  '\r\n");
    }
}
