//! Replies on their way to a client.
//!
//! Small things are written behind each other into one buffer, so that many
//! replies leave by one system call. A large value stays a reference until its
//! turn comes and is then fetched and sent piece by piece: a reply of 512 MiB
//! needs the memory of one piece.
//!
//! What has not been sent can be given to another process, which goes on at the
//! very byte.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};
use resp::{
    write_array_header, write_bulk, write_bulk_header, write_error, write_int, write_null,
    write_status,
};
use serde::{Deserialize, Serialize};

use crate::gcs::command::{Reply, Stored};

/// A part of the stream to a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    /// As it will be on the wire.
    Encoded(BytesMut),
    /// As it will be on the wire, and not ours to append to.
    Fetched(Bytes),
    /// A large value from this byte on.
    Blob {
        hash: [u8; 32],
        /// Its next chunk.
        chunk: u64,
        /// Bytes that are still to be sent.
        left: u64,
    },
}

/// A piece as it is described to a successor; bytes travel beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Described {
    /// So many bytes.
    Bytes(u64),
    /// A large value from there on.
    Blob {
        hash: [u8; 32],
        chunk: u64,
        left: u64,
    },
}

/// The stream to a client, as far as it is known and not sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
}

impl Outbox {
    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |piece: &Piece| match piece {
            Piece::Encoded(bytes) => bytes.len(),
            Piece::Fetched(bytes) => bytes.len(),
            Piece::Blob { .. } => 0,
        };
        self.pieces.iter().map(bytes).sum()
    }

    /// The next piece.
    pub(crate) fn first(&self) -> Option<&Piece> {
        self.pieces.front()
    }

    /// So many bytes of the first piece were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        let empty = match self.pieces.front_mut() {
            Some(Piece::Encoded(bytes)) => {
                bytes.advance(count);
                bytes.is_empty()
            }
            Some(Piece::Fetched(bytes)) => {
                bytes.advance(count);
                bytes.is_empty()
            }
            Some(Piece::Blob { .. }) | None => false,
        };
        if empty {
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            // An idle connection keeps no buffers.
            self.pieces = VecDeque::new();
        }
    }

    /// The first piece is a large value and this is its next chunk; false if it
    /// cannot be.
    pub(crate) fn fetched(&mut self, bytes: Bytes) -> bool {
        let Some(Piece::Blob { chunk, left, .. }) = self.pieces.front_mut() else {
            return false;
        };
        let length = bytes.len() as u64;
        if length == 0 || length > *left {
            return false;
        }
        *chunk += 1;
        *left -= length;
        if *left == 0 {
            self.pieces.pop_front();
        }
        self.pieces.push_front(Piece::Fetched(bytes));
        true
    }

    /// Appends a reply of the front.
    pub(crate) fn say(&mut self, reply: &resp::Reply) {
        reply.encode(self.tail());
    }

    /// Appends a reply of the engine.
    pub(crate) fn answer(&mut self, reply: Reply) {
        match reply {
            Reply::Status(text) => write_status(self.tail(), text),
            Reply::Int(number) => write_int(self.tail(), number),
            Reply::Null => write_null(self.tail()),
            Reply::Error(text) => write_error(self.tail(), &text),
            Reply::Bulk(Stored::Inline(bytes)) => write_bulk(self.tail(), &bytes),
            Reply::Bulk(Stored::Blob { hash, size }) => {
                write_bulk_header(self.tail(), size);
                self.pieces.push_back(Piece::Blob {
                    hash,
                    chunk: 0,
                    left: size,
                });
                self.tail().extend_from_slice(b"\r\n");
            }
            Reply::Array(items) => {
                write_array_header(self.tail(), items.len());
                for item in items {
                    self.answer(item);
                }
            }
        }
    }

    fn tail(&mut self) -> &mut BytesMut {
        if !matches!(self.pieces.back(), Some(Piece::Encoded(_))) {
            self.pieces.push_back(Piece::Encoded(BytesMut::new()));
        }
        match self.pieces.back_mut() {
            Some(Piece::Encoded(bytes)) => bytes,
            _ => unreachable!("one was put there"),
        }
    }

    /// For a successor: what there is, and the bytes in the same order.
    pub(crate) fn describe(&self) -> (Vec<Described>, Vec<&[u8]>) {
        let mut bytes = Vec::new();
        let mut described = Vec::new();
        for piece in &self.pieces {
            let slice: &[u8] = match piece {
                Piece::Encoded(slice) => slice,
                Piece::Fetched(slice) => slice,
                Piece::Blob { hash, chunk, left } => {
                    described.push(Described::Blob {
                        hash: *hash,
                        chunk: *chunk,
                        left: *left,
                    });
                    continue;
                }
            };
            described.push(Described::Bytes(slice.len() as u64));
            bytes.push(slice);
        }
        (described, bytes)
    }

    /// What a predecessor described; nothing if the bytes are too few.
    pub(crate) fn restore(described: &[Described], bytes: &mut Bytes) -> Option<Self> {
        let mut pieces = VecDeque::with_capacity(described.len());
        for piece in described {
            pieces.push_back(match *piece {
                Described::Bytes(length) => {
                    let length = usize::try_from(length).ok()?;
                    if length > bytes.len() {
                        return None;
                    }
                    Piece::Fetched(bytes.split_to(length))
                }
                Described::Blob { hash, chunk, left } => Piece::Blob { hash, chunk, left },
            });
        }
        Some(Self { pieces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: Stored = Stored::Blob {
        hash: [7; 32],
        size: 5,
    };

    /// All that would be sent; the chunks of the value are `ab`, `cd` and `e`.
    fn drain(mut outbox: Outbox) -> Vec<u8> {
        let mut sent = Vec::new();
        while let Some(piece) = outbox.first() {
            match piece {
                Piece::Blob { chunk, .. } => {
                    let chunk = [b"ab".as_slice(), b"cd", b"e"][*chunk as usize];
                    assert!(outbox.fetched(Bytes::from_static(chunk)));
                }
                Piece::Encoded(bytes) => {
                    sent.push(bytes[0]);
                    outbox.sent(1);
                }
                Piece::Fetched(bytes) => {
                    sent.extend_from_slice(bytes);
                    outbox.sent(bytes.len());
                }
            }
        }
        sent
    }

    fn outbox() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.answer(Reply::Int(1));
        outbox.answer(Reply::Array(vec![
            Reply::Bulk(Stored::Inline(Bytes::from_static(b"f"))),
            Reply::Bulk(BLOB),
            Reply::Null,
        ]));
        outbox.say(&resp::Reply::PONG);
        outbox
    }

    const WIRE: &[u8] = b":1\r\n*3\r\n$1\r\nf\r\n$5\r\nabcde\r\n$-1\r\n+PONG\r\n";

    #[test]
    fn replies_leave_in_order_with_large_values_between() {
        assert_eq!(drain(outbox()), WIRE);
    }

    #[test]
    fn another_process_goes_on_at_the_very_byte() {
        for at in 0..WIRE.len() {
            let mut first = outbox();
            let mut sent = Vec::new();
            while sent.len() < at {
                match first.first().unwrap() {
                    Piece::Blob { chunk, .. } => {
                        let chunk = [b"ab".as_slice(), b"cd", b"e"][*chunk as usize];
                        assert!(first.fetched(Bytes::from_static(chunk)));
                    }
                    Piece::Encoded(bytes) => {
                        sent.push(bytes[0]);
                        first.sent(1);
                    }
                    Piece::Fetched(bytes) => {
                        sent.push(bytes[0]);
                        first.sent(1);
                    }
                }
            }
            let (described, bytes) = first.describe();
            let text = serde_json::to_string(&described).unwrap();
            let mut bytes = Bytes::from(bytes.concat());
            let described: Vec<Described> = serde_json::from_str(&text).unwrap();
            let second = Outbox::restore(&described, &mut bytes).unwrap();
            assert!(bytes.is_empty());
            sent.extend(drain(second));
            assert_eq!(sent, WIRE, "cut at {at}");
        }
    }

    #[test]
    fn a_chunk_that_cannot_be_is_not_sent() {
        let mut outbox = Outbox::default();
        outbox.answer(Reply::Bulk(BLOB));
        outbox.sent(4);
        assert!(!outbox.fetched(Bytes::new()));
        assert!(!outbox.fetched(Bytes::from_static(b"123456")));
    }
}
