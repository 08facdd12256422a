//! Cuts a client's byte stream into requests.
//!
//! ```text
//!   read -> buffer [ request | request | req… ]
//!                     |          |        +-- stays; `parse` goes on where it was
//!                     +----------+----------- split off, arguments are slices
//! ```
//!
//! A request is taken out of the buffer only when it is there as a whole, so the
//! buffer always begins at a request's first byte: hand it to a fresh parser (in
//! another process, say) and that one goes on without loss.
//!
//! Invariants:
//! 1. No byte is looked at twice, however small the pieces it comes in: the cost
//!    of a stream is linear in its length.
//! 2. A length that is only announced allocates nothing; memory follows the
//!    bytes that came.
//! 3. The result does not depend on how the stream is cut.
//!
//! Arguments share one allocation with the other requests of the same read. Who
//! keeps an argument for long should copy it, or it holds on to all of them.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use crate::{ProtocolError, inline, number};

/// How much one request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Arguments of one request, the verb among them.
    pub arguments: usize,
    /// Bytes of one argument.
    pub bulk_bytes: usize,
    /// Bytes of one request with its headers.
    pub request_bytes: usize,
    /// Bytes of an inline request without its line end.
    pub inline_bytes: usize,
    /// Whether the connection has still to log in; decides the error's text.
    pub unauthenticated: bool,
}

impl Limits {
    /// Bounds for a connection that has not logged in: Redis' own, ten arguments
    /// of 16 KiB.
    pub const UNAUTHENTICATED: Self = Self {
        arguments: 10,
        bulk_bytes: 16 << 10,
        request_bytes: 256 << 10,
        inline_bytes: 64 << 10,
        unauthenticated: true,
    };
}

impl Default for Limits {
    /// Values up to 512 MiB, as in Redis; 65,536 arguments, sixty times the
    /// largest batch Ray sends.
    fn default() -> Self {
        Self {
            arguments: 1 << 16,
            bulk_bytes: 512 << 20,
            request_bytes: (512 << 20) + (16 << 20),
            inline_bytes: 64 << 10,
            unauthenticated: false,
        }
    }
}

/// One request: the verb and its arguments, at least the verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The verb, then its arguments.
    pub args: Vec<Bytes>,
    /// What the request took on the wire.
    pub wire_bytes: usize,
}

impl Request {
    /// The verb as it was sent; compare without regard to case.
    pub fn verb(&self) -> &Bytes {
        &self.args[0]
    }
}

/// Reads requests from a buffer that grows at its end. See the module's text.
#[derive(Debug, Default)]
pub struct Parser {
    limits: Limits,
    /// Bytes of the unfinished request that are understood.
    position: usize,
    /// Bytes from the buffer's start in which a line end was looked for in vain.
    searched: usize,
    /// Arguments of the unfinished array still to come; 0: none is begun.
    missing: usize,
    /// Length of the bulk whose header was read but whose end has not come.
    bulk: Option<usize>,
    /// Where the finished arguments stand.
    found: Vec<Range<usize>>,
    failed: Option<ProtocolError>,
}

/// Least room a read should find.
const READ_BYTES: usize = 16 << 10;

impl Parser {
    /// A parser at the start of a request.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Bounds every length that is read from now on, as after a login.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes the next whole request from the front of `buffer`; `None`: more
    /// bytes must come first. Between calls the buffer may only be appended to.
    ///
    /// # Errors
    /// The stream cannot be understood any further; so says every later call.
    pub fn parse(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.next(buffer).inspect_err(|error| {
            self.failed = Some(*error);
            self.found = Vec::new();
        })
    }

    /// Whether the parser stands within a request, some of which is in the buffer.
    pub fn is_within_request(&self) -> bool {
        self.position > 0 || self.searched > 0
    }

    /// Makes room for the next read: 16 KiB; for a large argument as much again as
    /// has come of it, but never more than it still lacks. So a buffer stays within
    /// twice what was sent plus 32 KiB.
    pub fn reserve(&self, buffer: &mut BytesMut) {
        let (least, wanted) = match self.bulk {
            Some(length) => {
                let end = self.position.saturating_add(length).saturating_add(2);
                let lacking = end.saturating_sub(buffer.len()).max(1);
                (
                    lacking.min(READ_BYTES),
                    lacking.min(buffer.len().max(READ_BYTES)),
                )
            }
            None => (READ_BYTES, READ_BYTES),
        };
        if buffer.capacity() - buffer.len() < least {
            buffer.reserve(wanted);
        }
    }

    fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        loop {
            if self.missing > 0 {
                return self.array(buffer);
            }
            match buffer.first() {
                None => return Ok(None),
                Some(b'*') => {
                    let Some(count) = self.header(buffer, ProtocolError::ArrayLength)? else {
                        return Ok(None);
                    };
                    if count <= 0 {
                        // Redis ignores an array of nothing.
                        self.drop_front(buffer);
                        continue;
                    }
                    self.missing = self.array_length(count)?;
                }
                Some(_) => match self.inline(buffer)? {
                    Some(request) if request.args.is_empty() => {}
                    other => return Ok(other),
                },
            }
        }
    }

    /// Reads on in an array of `missing` more bulks.
    fn array(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        while self.missing > 0 {
            let length = match self.bulk {
                Some(length) => length,
                None => {
                    match buffer.get(self.position) {
                        None => return Ok(None),
                        Some(b'$') => {}
                        Some(other) => return Err(ProtocolError::NotBulk(*other)),
                    }
                    let Some(length) = self.header(buffer, ProtocolError::BulkLength)? else {
                        return Ok(None);
                    };
                    *self.bulk.insert(self.bulk_length(length)?)
                }
            };
            let end = self.position + length;
            match buffer.get(end..) {
                Some([b'\r', b'\n', ..]) => {}
                None | Some([] | [b'\r']) => return Ok(None),
                Some(_) => return Err(ProtocolError::BulkEnd),
            }
            self.found.push(self.position..end);
            self.position = end + 2;
            self.bulk = None;
            self.missing -= 1;
        }
        let wire_bytes = self.position;
        let frame = self.take_front(buffer);
        let args = self
            .found
            .drain(..)
            .map(|range| frame.slice(range))
            .collect();
        if self.found.capacity() > 64 {
            self.found = Vec::new();
        }
        Ok(Some(Request { args, wire_bytes }))
    }

    /// Reads the number of the header line at `position` and steps behind it.
    fn header(
        &mut self,
        buffer: &[u8],
        error: ProtocolError,
    ) -> Result<Option<i64>, ProtocolError> {
        let line = &buffer[self.position + 1..];
        // A header that can be valid is short, so looking again costs nothing.
        let seen = &line[..line.len().min(number::LONGEST + 1)];
        let Some(end) = memchr(b'\r', seen) else {
            return if seen.len() > number::LONGEST {
                Err(error)
            } else {
                Ok(None)
            };
        };
        let value = number::parse(&line[..end]).ok_or(error)?;
        match line.get(end + 1) {
            None => return Ok(None),
            Some(b'\n') => {}
            Some(_) => return Err(error),
        }
        self.position += end + 3;
        Ok(Some(value))
    }

    fn array_length(&self, count: i64) -> Result<usize, ProtocolError> {
        match usize::try_from(count) {
            Ok(count) if count <= self.limits.arguments => Ok(count),
            Ok(count) if self.limits.unauthenticated && count <= i32::MAX as usize => {
                Err(ProtocolError::UnauthenticatedArrayLength)
            }
            _ => Err(ProtocolError::ArrayLength),
        }
    }

    fn bulk_length(&self, length: i64) -> Result<usize, ProtocolError> {
        let default = Limits::default().bulk_bytes;
        match usize::try_from(length) {
            Ok(length) if length <= self.limits.bulk_bytes => {
                if self.position + length > self.limits.request_bytes {
                    return Err(ProtocolError::RequestLength);
                }
                Ok(length)
            }
            Ok(length) if self.limits.unauthenticated && length <= default => {
                Err(ProtocolError::UnauthenticatedBulkLength)
            }
            _ => Err(ProtocolError::BulkLength),
        }
    }

    /// Reads a line of words; no words: an empty request.
    fn inline(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        let limit = self.limits.inline_bytes;
        let seen = &buffer[..buffer.len().min(limit + 1)];
        let Some(end) = memchr(b'\n', &seen[self.searched..]) else {
            self.searched = seen.len();
            return if seen.len() > limit {
                Err(ProtocolError::InlineLength)
            } else {
                Ok(None)
            };
        };
        let end = self.searched + end;
        self.position = end + 1;
        let wire_bytes = self.position;
        let line = self.take_front(buffer);
        let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
        Ok(Some(Request {
            args: inline::split(line)?,
            wire_bytes,
        }))
    }

    /// Splits what is understood off the buffer; the parser is then at a start.
    fn take_front(&mut self, buffer: &mut BytesMut) -> Bytes {
        self.searched = 0;
        buffer.split_to(std::mem::take(&mut self.position)).freeze()
    }

    fn drop_front(&mut self, buffer: &mut BytesMut) {
        self.searched = 0;
        bytes::Buf::advance(buffer, std::mem::take(&mut self.position));
    }
}
