//! Cuts a server's byte stream into replies.
//!
//! First the end of a reply is found, by counting the items still to come and
//! remembering how far it got; only then is it taken apart. So a page of a scan
//! that comes in a thousand pieces is still read in linear time, and no list is
//! allocated by what a header claims.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use crate::{ProtocolError, Reply, number};

/// How much one reply may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Bytes of one reply, headers included.
    pub bytes: usize,
    /// Arrays within arrays.
    pub depth: usize,
}

impl Default for ReplyLimits {
    /// 2 GiB and 16 levels.
    fn default() -> Self {
        Self {
            bytes: 2 << 30,
            depth: 16,
        }
    }
}

/// Reads replies from a buffer that grows at its end.
#[derive(Debug, Default)]
pub struct ReplyParser {
    limits: ReplyLimits,
    /// Bytes of the unfinished reply that are understood.
    position: usize,
    /// Bytes from the buffer's start in which a line end was looked for in vain.
    searched: usize,
    /// Per level of nesting: items still to come. Empty: at a reply's start.
    missing: Vec<u64>,
}

impl ReplyParser {
    /// A parser at the start of a reply.
    pub fn new(limits: ReplyLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes the next whole reply from the front of `buffer`; `None`: more bytes
    /// must come first. Between calls the buffer may only be appended to.
    ///
    /// # Errors
    /// The stream cannot be understood any further.
    pub fn parse(&mut self, buffer: &mut BytesMut) -> Result<Option<Reply>, ProtocolError> {
        Ok(self.frame(buffer)?.as_ref().map(decode))
    }

    /// As [`parse`](Self::parse), but the bytes of the reply as they came.
    ///
    /// # Errors
    /// The stream cannot be understood any further.
    pub fn frame(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, ProtocolError> {
        if self.missing.is_empty() {
            if buffer.is_empty() {
                return Ok(None);
            }
            self.missing.push(1);
        }
        while let Some(missing) = self.missing.last_mut() {
            if *missing == 0 {
                self.missing.pop();
                continue;
            }
            if !self.step(buffer)? {
                return Ok(None);
            }
        }
        self.searched = 0;
        Ok(Some(
            buffer.split_to(std::mem::take(&mut self.position)).freeze(),
        ))
    }

    /// Steps over one line, and the bulk it announces; `false`: not all there.
    fn step(&mut self, buffer: &[u8]) -> Result<bool, ProtocolError> {
        let from = self.searched.max(self.position);
        let Some(end) = memchr(b'\n', &buffer[from..]) else {
            self.searched = buffer.len();
            self.bounded(buffer.len())?;
            return Ok(false);
        };
        let end = from + end;
        let line = &buffer[self.position..end];
        let line = line.strip_suffix(b"\r").ok_or(ProtocolError::ReplyLine)?;
        let mut next = end + 1;
        let mut nested = 0;
        match line.split_first() {
            Some((b'+' | b'-', _)) => {}
            Some((b':', number)) => _ = read_number(number)?,
            Some((b'$', number)) => {
                if let Some(length) = read_length(number)? {
                    next = next.saturating_add(length).saturating_add(2);
                    self.bounded(next)?;
                    match buffer.get(next - 2..next) {
                        // The line is short: reading it again costs nothing.
                        None => return Ok(false),
                        Some(b"\r\n") => {}
                        Some(_) => return Err(ProtocolError::BulkEnd),
                    }
                }
            }
            Some((b'*', number)) => nested = read_length(number)?.unwrap_or(0) as u64,
            Some((other, _)) => return Err(ProtocolError::ReplyType(*other)),
            None => return Err(ProtocolError::ReplyLine),
        }
        self.bounded(next)?;
        self.position = next;
        self.searched = next;
        if let Some(missing) = self.missing.last_mut() {
            *missing -= 1;
        }
        if nested > 0 {
            if self.missing.len() > self.limits.depth {
                return Err(ProtocolError::ReplyDepth);
            }
            self.missing.push(nested);
        }
        Ok(true)
    }

    fn bounded(&self, bytes: usize) -> Result<(), ProtocolError> {
        if bytes > self.limits.bytes {
            Err(ProtocolError::ReplyLength)
        } else {
            Ok(())
        }
    }
}

fn read_number(text: &[u8]) -> Result<i64, ProtocolError> {
    number::parse(text).ok_or(ProtocolError::ReplyLine)
}

/// The length in a header; `None`: -1, no such thing.
fn read_length(text: &[u8]) -> Result<Option<usize>, ProtocolError> {
    match read_number(text)? {
        -1 => Ok(None),
        length => usize::try_from(length)
            .map(Some)
            .map_err(|_| ProtocolError::ReplyLine),
    }
}

/// Takes a whole reply apart. Only for frames that [`ReplyParser::frame`] cut.
fn decode(frame: &Bytes) -> Reply {
    let mut position = 0;
    decode_at(frame, &mut position)
}

fn decode_at(frame: &Bytes, position: &mut usize) -> Reply {
    let start = *position;
    let end = memchr(b'\r', &frame[start..]).map_or(frame.len(), |at| start + at);
    // A status may hold a CR; its line ends at the LF.
    let (mark, line) = (frame[start], &frame[start + 1..end]);
    *position = end + 2;
    let length = |text| read_length(text).expect("the frame's numbers were read before");
    match mark {
        b'+' => Reply::Status(text(frame, start + 1, position).into()),
        b'-' => Reply::Error(text(frame, start + 1, position).into()),
        b':' => Reply::Int(read_number(line).expect("the frame's numbers were read before")),
        b'$' => match length(line) {
            None => Reply::Null,
            Some(length) => {
                let bulk = frame.slice(*position..*position + length);
                *position += length + 2;
                Reply::Bulk(bulk)
            }
        },
        _ => match length(line) {
            None => Reply::NullArray,
            Some(count) => Reply::Array((0..count).map(|_| decode_at(frame, position)).collect()),
        },
    }
}

/// The rest of the line at `start`; steps behind it.
fn text(frame: &[u8], start: usize, position: &mut usize) -> String {
    let end = memchr(b'\n', &frame[start..]).map_or(frame.len(), |at| start + at);
    *position = end + 1;
    let line = &frame[start..end];
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}
