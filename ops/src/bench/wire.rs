//! As much of HTTP/1.1 as a benchmark needs, from the bytes read so far.
//!
//! The load generator and the backend share the two cores with the proxy that
//! is measured, so they are kept as cheap as can be: no header map, no
//! allocation a message. Only what frames a message is read.
//!
//! ```text
//!   bytes --> Head::request / Head::response --> Body::feed ... until done
//! ```
//!
//! Invariants:
//! 1. Input may be cut anywhere: what is not complete is asked for again.
//! 2. A message that is not framed (neither length nor chunks) is refused, for
//!    its end could not be verified.

/// Longest head accepted, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;

/// A message that breaks the rules read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed HTTP: {0}")]
pub struct Malformed(pub &'static str);

/// The head of a message, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// The first line: request line or status line.
    pub line: &'a str,
    /// Bytes of the head, the empty line counted.
    pub length: usize,
    /// How the body is framed.
    pub body: Body,
    /// Whether the sender will close the connection after this message.
    pub close: bool,
}

impl<'a> Head<'a> {
    /// Reads a request's head; `None` if it is not complete yet.
    ///
    /// # Errors
    /// [`Malformed`] if it never will be.
    pub fn request(input: &'a [u8]) -> Result<Option<Self>, Malformed> {
        Self::read(input, Some(Body::Length(0)))
    }

    /// Reads an answer's head; `None` if it is not complete yet.
    ///
    /// # Errors
    /// [`Malformed`] if it never will be, or if the body has no framing.
    pub fn response(input: &'a [u8]) -> Result<Option<Self>, Malformed> {
        Self::read(input, None)
    }

    /// The status of a status line.
    ///
    /// # Errors
    /// [`Malformed`] if the line is none.
    pub fn status(&self) -> Result<u16, Malformed> {
        let status = self
            .line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        status
            .and_then(|text| text.parse().ok())
            .ok_or(Malformed("no HTTP/1.1 status line"))
    }

    fn read(input: &'a [u8], unframed: Option<Body>) -> Result<Option<Self>, Malformed> {
        let Some(end) = input.windows(4).position(|at| at == b"\r\n\r\n") else {
            return if input.len() > HEAD_LIMIT {
                Err(Malformed("endless head"))
            } else {
                Ok(None)
            };
        };
        let text = str::from_utf8(&input[..end]).map_err(|_| Malformed("head is not text"))?;
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let (mut body, mut close) = (unframed, false);
        for header in lines {
            let (name, value) = header
                .split_once(':')
                .ok_or(Malformed("header without colon"))?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let length = value
                    .parse()
                    .map_err(|_| Malformed("length is not a number"))?;
                body = Some(Body::Length(length));
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") {
                    return Err(Malformed("encoding other than chunked"));
                }
                body = Some(Body::Chunks(Chunk::Size(0)));
            } else if name.eq_ignore_ascii_case("connection") {
                close = value.eq_ignore_ascii_case("close");
            }
        }
        let body = body.ok_or(Malformed("body without framing"))?;
        Ok(Some(Self {
            line,
            length: end + 4,
            body,
            close,
        }))
    }
}

/// The rest of a body that is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Length(usize),
    /// Chunks, and where in them.
    Chunks(Chunk),
}

/// Where in a chunked body the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// In a size of which so much is known.
    Size(usize),
    /// Behind a size, before the end of its line.
    Extension(usize),
    /// In data, with so many bytes to go.
    Data(usize),
    /// In the line end behind data.
    DataEnd,
    /// In a trailer line of which so many bytes were seen.
    Trailer(usize),
    /// Behind the end.
    Done,
}

impl Body {
    /// Whether all of it has been fed.
    pub fn done(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunks(Chunk::Done))
    }

    /// Takes what belongs to the body from the front of `input`, hands the
    /// data in it to `sink`, and returns how many bytes were taken.
    ///
    /// # Errors
    /// [`Malformed`] if the chunks are.
    pub fn feed(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < input.len() && !self.done() {
            let rest = &input[at..];
            match self {
                Self::Length(left) | Self::Chunks(Chunk::Data(left)) => {
                    let take = rest.len().min(*left);
                    sink(&rest[..take]);
                    *left -= take;
                    at += take;
                    if let Self::Chunks(chunk @ Chunk::Data(0)) = self {
                        *chunk = Chunk::DataEnd;
                    }
                }
                Self::Chunks(chunk) => {
                    *chunk = chunk.step(rest[0])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }
}

impl Chunk {
    /// Where the byte after `byte` stands; never called inside data.
    fn step(self, byte: u8) -> Result<Self, Malformed> {
        let after_size = |size| {
            if size == 0 {
                Self::Trailer(0)
            } else {
                Self::Data(size)
            }
        };
        Ok(match (self, byte) {
            (Self::Size(size), b'\n') | (Self::Extension(size), b'\n') => after_size(size),
            (Self::Size(size), b'\r' | b';') => Self::Extension(size),
            (Self::Size(size), digit) => {
                let digit = char::from(digit)
                    .to_digit(16)
                    .ok_or(Malformed("chunk size"))?;
                if size >= usize::MAX >> 8 {
                    return Err(Malformed("chunk too large"));
                }
                Self::Size(size << 4 | digit as usize)
            }
            (Self::DataEnd, b'\n') => Self::Size(0),
            (Self::DataEnd, b'\r') => Self::DataEnd,
            (Self::DataEnd, _) => return Err(Malformed("chunk longer than its size")),
            (Self::Trailer(0), b'\n') => Self::Done,
            (Self::Trailer(_), b'\n') => Self::Trailer(0),
            (Self::Trailer(seen), b'\r') => Self::Trailer(seen),
            (Self::Trailer(seen), _) => Self::Trailer(seen + 1),
            (unchanged, _) => unchanged,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut body: Body, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut data = Vec::new();
        for piece in pieces {
            let taken = body
                .feed(piece, |part| data.extend_from_slice(part))
                .unwrap();
            assert!(taken == piece.len() || body.done());
        }
        (data, body.done())
    }

    #[test]
    fn a_head_tells_status_framing_and_close() {
        let input = b"HTTP/1.1 200 OK\r\nContent-LENGTH: 12\r\nconnection: Close\r\n\r\nrest";
        let head = Head::response(input).unwrap().unwrap();
        assert_eq!(head.status(), Ok(200));
        assert_eq!(
            (head.length, head.body, head.close),
            (input.len() - 4, Body::Length(12), true)
        );
    }

    #[test]
    fn a_head_cut_anywhere_is_asked_for_again() {
        let input = b"POST /v1/x HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\n";
        for cut in 0..input.len() {
            assert_eq!(Head::request(&input[..cut]), Ok(None));
        }
        let head = Head::request(input).unwrap().unwrap();
        assert_eq!(
            (head.line, head.length),
            ("POST /v1/x HTTP/1.1", input.len())
        );
    }

    #[test]
    fn an_answer_without_framing_is_refused() {
        assert!(Head::response(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(Head::response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n").is_err());
        assert_eq!(
            Head::request(b"GET / HTTP/1.1\r\n\r\n")
                .unwrap()
                .unwrap()
                .body,
            Body::Length(0)
        );
        assert!(Head::request(&[b'a'; HEAD_LIMIT + 1]).is_err());
    }

    #[test]
    fn chunks_cut_anywhere_decode_the_same() {
        let input: &[u8] = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: a\r\n\r\n";
        for cut in 0..=input.len() {
            let (front, back) = input.split_at(cut);
            let body = Body::Chunks(Chunk::Size(0));
            assert_eq!(
                decode(body, &[front, back]),
                (b"hello world".to_vec(), true),
                "at {cut}"
            );
        }
    }

    #[test]
    fn a_body_takes_no_more_than_its_own() {
        let mut body = Body::Length(3);
        let taken = body
            .feed(b"abcHTTP", |data| assert_eq!(data, b"abc"))
            .unwrap();
        assert_eq!((taken, body.done()), (3, true));
        let mut body = Body::Chunks(Chunk::Size(0));
        assert_eq!(body.feed(b"0\r\n\r\nnext", |_| unreachable!()), Ok(5));
    }

    #[test]
    fn broken_chunks_are_refused() {
        for input in [&b"xyz\r\n"[..], b"2\r\nabc", b"ffffffffffffffffff\r\n"] {
            let mut body = Body::Chunks(Chunk::Size(0));
            assert!(body.feed(input, |_| {}).is_err());
        }
    }
}
