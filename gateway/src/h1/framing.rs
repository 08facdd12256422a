//! Where a body ends: the decoder of the three framings of HTTP/1.1. Pure.
//!
//! Invariants:
//! 1. How the bytes are cut into pieces changes nothing (`cuts_change_nothing`).
//! 2. Not a byte beyond the body's end is taken (`what_follows_is_left`).
//! 3. A chunk's size line and the trailers are bounded
//!    (`malformed_chunks_are_refused`).

use bytes::{Buf, Bytes, BytesMut};

use super::Fault;

/// Longest line that gives a chunk's size, with extensions, in bytes.
const MAX_SIZE_LINE: usize = 4096;
/// Longest trailers, in bytes. They are read and dropped.
const MAX_TRAILERS: usize = 16 * 1024;

/// How a body's end is known, and how far it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// Everything until the connection ends.
    UntilClose,
    /// Read to the end.
    Over,
}

/// Where in a chunked body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Before a size line.
    Size,
    /// So many bytes of data to come.
    Data(u64),
    /// Before the line end that follows data.
    DataEnd,
    /// In the trailers, so many bytes of which were dropped.
    Trailers(usize),
}

/// The outcome of looking at what was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// Nothing yet.
    More,
    /// The body is over.
    End,
}

impl Framing {
    /// A body of chunks, at its start.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    /// A body of `bytes`.
    pub(super) fn length(bytes: u64) -> Self {
        if bytes == 0 {
            Self::Over
        } else {
            Self::Length(bytes)
        }
    }

    /// Takes the next piece of the body out of `read`.
    ///
    /// # Errors
    /// [`Fault::Garbage`] if the chunks are malformed.
    pub(super) fn decode(&mut self, read: &mut BytesMut) -> Result<Decoded, Fault> {
        match self {
            Self::Over => Ok(Decoded::End),
            _ if read.is_empty() => Ok(Decoded::More),
            Self::UntilClose => Ok(Decoded::Data(read.split().freeze())),
            Self::Length(left) => {
                let data = take(read, left);
                if *left == 0 {
                    *self = Self::Over;
                }
                Ok(Decoded::Data(data))
            }
            Self::Chunked(_) => self.decode_chunk(read),
        }
    }

    /// The connection ended. `true` if the body may end so.
    pub(super) fn ends_with_connection(&mut self) -> bool {
        let whole = matches!(self, Self::UntilClose | Self::Over);
        if whole {
            *self = Self::Over;
        }
        whole
    }

    fn decode_chunk(&mut self, read: &mut BytesMut) -> Result<Decoded, Fault> {
        loop {
            let Self::Chunked(chunk) = self else {
                return Ok(Decoded::End);
            };
            match chunk {
                Chunk::Size => match line(read, MAX_SIZE_LINE)? {
                    None => return Ok(Decoded::More),
                    Some(line) => {
                        *chunk = match size(&line)? {
                            0 => Chunk::Trailers(0),
                            bytes => Chunk::Data(bytes),
                        }
                    }
                },
                Chunk::Data(left) => {
                    if read.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let data = take(read, left);
                    if *left == 0 {
                        *chunk = Chunk::DataEnd;
                    }
                    return Ok(Decoded::Data(data));
                }
                Chunk::DataEnd => match line(read, 2)? {
                    None => return Ok(Decoded::More),
                    Some(line) if line.is_empty() => *chunk = Chunk::Size,
                    Some(_) => return Err(Fault::Garbage),
                },
                Chunk::Trailers(dropped) => match line(read, MAX_TRAILERS - *dropped)? {
                    None => return Ok(Decoded::More),
                    Some(line) if line.is_empty() => *self = Self::Over,
                    Some(line) => *dropped = (*dropped + line.len() + 2).min(MAX_TRAILERS),
                },
            }
        }
    }
}

/// Up to `left` bytes, which are counted off.
fn take(read: &mut BytesMut, left: &mut u64) -> Bytes {
    let bytes = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
    *left -= bytes as u64;
    read.split_to(bytes).freeze()
}

/// A line without its end, if it is there.
fn line(read: &mut BytesMut, most: usize) -> Result<Option<Bytes>, Fault> {
    let Some(end) = memchr::memchr(b'\n', read) else {
        return if read.len() >= most {
            Err(Fault::Garbage)
        } else {
            Ok(None)
        };
    };
    if end >= most {
        return Err(Fault::Garbage);
    }
    let mut line = read.split_to(end).freeze();
    read.advance(1);
    match line.last() {
        Some(b'\r') => line.truncate(line.len() - 1),
        // A bare line feed is not a line end here: leniency on one side of a
        // proxy is how messages are smuggled.
        _ => return Err(Fault::Garbage),
    }
    Ok(Some(line))
}

/// The size that a chunk's first line gives.
fn size(line: &[u8]) -> Result<u64, Fault> {
    let digits = line
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    let text = std::str::from_utf8(digits).map_err(|_| Fault::Garbage)?;
    if text.is_empty() || text.len() > 15 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Fault::Garbage);
    }
    u64::from_str_radix(text, 16).map_err(|_| Fault::Garbage)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `pieces`; the body and what is left over, or the fault.
    fn decode(mut framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, bool, Vec<u8>), Fault> {
        let (mut read, mut body) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            read.extend_from_slice(piece);
            while let Decoded::Data(data) = framing.decode(&mut read)? {
                body.extend_from_slice(&data);
            }
        }
        Ok((body, framing == Framing::Over, read.to_vec()))
    }

    #[test]
    fn what_follows_is_left() {
        let whole = |body: &str, rest: &str| Ok((body.into(), true, rest.into()));
        assert_eq!(
            decode(Framing::length(3), &[b"abcHTTP"]),
            whole("abc", "HTTP")
        );
        assert_eq!(decode(Framing::length(0), &[b"HTTP"]), whole("", "HTTP"));
        let chunks = b"3;x=y\r\nabc\r\nA \r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\nHTTP";
        assert_eq!(
            decode(Framing::chunked(), &[chunks]),
            whole("abc0123456789", "HTTP")
        );
    }

    #[test]
    fn a_body_may_end_with_the_connection_only_if_nothing_else_ends_it() {
        assert!(Framing::UntilClose.ends_with_connection());
        assert!(Framing::Over.ends_with_connection());
        assert!(!Framing::length(1).ends_with_connection());
        assert!(!Framing::chunked().ends_with_connection());
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let long = [b"1;", "x".repeat(MAX_SIZE_LINE).as_bytes()].concat();
        let cases: [&[u8]; 9] = [
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"1\nabc",
            b"10000000000000000\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            &long,
        ];
        for case in cases {
            let decoded = decode(Framing::chunked(), &[case]);
            assert_eq!(
                decoded,
                Err(Fault::Garbage),
                "{}",
                String::from_utf8_lossy(case)
            );
        }
        let trailers = [b"0\r\n", "a: b\r\n".repeat(4000).as_bytes()].concat();
        assert_eq!(
            decode(Framing::chunked(), &[&trailers]),
            Err(Fault::Garbage)
        );
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(0usize..300, 0..8),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\nnext");
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(wire.len())).chain([0, wire.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &wire[cut[0]..cut[1]]).collect();
            prop_assert_eq!(decode(Framing::chunked(), &pieces), Ok((chunks.concat(), true, b"next".to_vec())));
        }

        #[test]
        fn any_bytes_are_survived(wire in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(Framing::chunked(), &[&wire]);
        }
    }
}
