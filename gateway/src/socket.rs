//! A client's connection, watched for how it behaves.
//!
//! Three things can be seen only here, below the HTTP codec: a client that takes
//! too long to send a request's head, one that does not take its answer, and a
//! head that gives its length twice (the codec obeys one and forgets the other,
//! RFC 9112, section 6.3).

use std::{
    cell::Cell,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::HeaderValue;
use memchr::{memchr, memchr_iter};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::sweep::{Alarm, Sweep};

/// What a client that is too slow with its head is told.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n\
content-length: 131\r\n\r\n{\"error\":{\"message\":\"the request's head did not arrive in time\",\
\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"head_timeout\"}}";

/// How long an HTTP/1.1 client may be idle between requests.
const IDLE_LIMIT: Duration = Duration::from_secs(75);

/// How long a client may take nothing of an answer that waits for it.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// How a connection's client behaves. Shared by the socket and the requests.
#[derive(Debug)]
pub(crate) struct Conduct {
    peer: IpAddr,
    /// The same as a header.
    forwarded_for: HeaderValue,
    /// Requests being answered.
    busy: Cell<u32>,
    /// Bytes were read since the last answer ended: a head is on its way.
    head_begun: Cell<bool>,
    two_lengths: Cell<bool>,
    /// An answer ended and the socket has not noticed yet.
    answered: Cell<bool>,
}

impl Conduct {
    pub(crate) fn new(peer: SocketAddr) -> Rc<Self> {
        let peer = peer.ip().to_canonical();
        Rc::new(Self {
            peer,
            forwarded_for: HeaderValue::try_from(peer.to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            busy: Cell::new(0),
            head_begun: Cell::new(false),
            two_lengths: Cell::new(false),
            answered: Cell::new(false),
        })
    }

    /// The client's address, for the replica.
    pub(crate) fn forwarded_for(&self) -> &HeaderValue {
        &self.forwarded_for
    }

    /// Whether the head just read gives its length twice.
    pub(crate) fn has_two_lengths(&self) -> bool {
        self.two_lengths.get()
    }

    /// A request is being answered until the guard is dropped.
    pub(crate) fn answering(self: &Rc<Self>) -> Answering {
        self.busy.set(self.busy.get() + 1);
        self.head_begun.set(false);
        Answering(Rc::clone(self))
    }
}

/// See [`Conduct::answering`]. Lives as long as the answer's body.
#[derive(Debug)]
pub(crate) struct Answering(Rc<Conduct>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
        self.0.answered.set(true);
    }
}

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Most bytes of a head that are looked at. The codec refuses one that is
/// longer than it may be.
const MAX_LOOK: usize = 64 * 1024;

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    /// So many bytes were read, all of them [`PREFACE`]'s.
    Unknown(usize),
    Http1,
    Http2,
}

/// The connection. See the module.
pub(crate) struct Socket {
    stream: TcpStream,
    conduct: Rc<Conduct>,
    /// Rings when a head, or the next request, is late.
    reading: Alarm,
    /// Rings when the client has taken nothing for too long.
    writing: Alarm,
    stalled: bool,
    /// Longest time a head may take once it has begun.
    head_limit: Duration,
    speech: Speech,
    /// A head that came in more than one piece, as far as it was read.
    head: Vec<u8>,
}

impl Socket {
    pub(crate) fn new(
        stream: TcpStream,
        conduct: Rc<Conduct>,
        sweep: &Rc<Sweep>,
        head_limit: Duration,
    ) -> Self {
        let reading = sweep.alarm();
        reading.set(Instant::now() + IDLE_LIMIT);
        Self {
            stream,
            conduct,
            reading,
            writing: sweep.alarm(),
            stalled: false,
            head_limit,
            speech: Speech::Unknown(0),
            head: Vec::new(),
        }
    }

    /// Looks at bytes that were read while a head was due.
    fn look(&mut self, bytes: &[u8]) {
        if self.speech == Speech::Http2 || self.conduct.busy.get() > 0 {
            return;
        }
        if !self.conduct.head_begun.replace(true) {
            self.reading.set(Instant::now() + self.head_limit);
            self.conduct.two_lengths.set(false);
            self.head.clear();
        }
        if let Speech::Unknown(known) = self.speech {
            self.speech = speech(known, bytes);
            match self.speech {
                Speech::Http2 => return self.reading.clear(),
                Speech::Unknown(_) => return,
                // What was taken for a preface was the head's beginning.
                Speech::Http1 => self.head.extend_from_slice(&PREFACE[..known]),
            }
        }
        if self.head.is_empty()
            && let Some(two) = gives_two_lengths(bytes)
        {
            self.conduct.two_lengths.set(two);
            return;
        }
        if self.head.len() + bytes.len() > MAX_LOOK {
            return;
        }
        self.head.extend_from_slice(bytes);
        // A head can end only where a line does.
        if memchr(b'\n', bytes).is_some()
            && let Some(two) = gives_two_lengths(&self.head)
        {
            self.conduct.two_lengths.set(two);
            self.head = Vec::new();
        }
    }

    /// Bounds how long a client may take nothing of what is written.
    fn taken<T>(&mut self, cx: &Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if std::mem::take(&mut self.stalled) {
                self.writing.clear();
            }
            return written;
        }
        if !std::mem::replace(&mut self.stalled, true) {
            self.writing.set(Instant::now() + STALL_LIMIT);
        }
        self.writing
            .poll_due(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What a client speaks that sent `known` bytes of the preface, then `bytes`.
fn speech(known: usize, bytes: &[u8]) -> Speech {
    let due = &PREFACE[known..];
    let both = due.len().min(bytes.len());
    match due[..both] == bytes[..both] {
        true if both == due.len() => Speech::Http2,
        true => Speech::Unknown(known + both),
        false => Speech::Http1,
    }
}

/// Whether the lines of the head that `bytes` begin with have both
/// `Content-Length` and `Transfer-Encoding`; `None` if it is not all there.
fn gives_two_lengths(bytes: &[u8]) -> Option<bool> {
    // Empty lines before a request are passed over, as the codec does.
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte))?;
    let head = &bytes[start..];
    let (mut length, mut encoding) = (false, false);
    for at in memchr_iter(b'\n', head) {
        let line = &head[at + 1..];
        let named = |name: &[u8]| {
            line.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        match line {
            [b'\n', ..] | [b'\r', b'\n', ..] => return Some(length && encoding),
            [b'c' | b'C', ..] => length = length || named(b"content-length:"),
            [b't' | b'T', ..] => encoding = encoding || named(b"transfer-encoding:"),
            _ => {}
        }
    }
    None
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match polled {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                let this = &mut *self;
                this.look(&buf.filled()[before..]);
                polled
            }
            Poll::Ready(_) => polled,
            Poll::Pending if self.speech != Speech::Http2 && self.conduct.busy.get() == 0 => {
                if self.conduct.answered.take() {
                    self.reading.set(Instant::now() + IDLE_LIMIT);
                }
                if self.reading.poll_due(cx).is_pending() {
                    return Poll::Pending;
                }
                // Too late. Tell a client that had begun, and read no more.
                if self.conduct.head_begun.get() && self.stream.try_write(TOO_SLOW).is_err() {
                    tracing::debug!(client = %self.conduct.peer, "a client that was too slow is gone already");
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.taken(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.taken(cx, written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_known_whole_and_only_at_the_start() {
        assert_eq!(speech(0, PREFACE), Speech::Http2);
        assert_eq!(speech(0, b"PRI * HTTP/2"), Speech::Unknown(12));
        assert_eq!(speech(12, &PREFACE[12..]), Speech::Http2);
        assert_eq!(speech(12, b".0\r\n\r\nGET"), Speech::Http1);
        assert_eq!(speech(0, b"POST / HTTP/1.1"), Speech::Http1);
    }

    #[test]
    fn two_lengths_are_seen_in_any_case_and_order() {
        let head = |a: &str, b: &str| {
            format!("POST / HTTP/1.1\r\nhost: x\r\n{a}\r\n{b}\r\n\r\nbody").into_bytes()
        };
        let two = [
            head("Content-Length: 3", "TRANSFER-encoding: chunked"),
            head("transfer-encoding: chunked", "content-length:3"),
            [
                &b"\r\n\n"[..],
                &head("content-length: 3", "transfer-encoding: x"),
            ]
            .concat(),
            b"POST / HTTP/1.1\ncontent-length: 3\ntransfer-encoding: x\n\n".to_vec(),
        ];
        for head in two {
            assert_eq!(gives_two_lengths(&head), Some(true));
        }
        let one = head("content-length: 3", "x-transfer-encoding: no");
        assert_eq!(gives_two_lengths(&one), Some(false));
        let body =
            b"POST / HTTP/1.1\r\ncontent-length: 30\r\n\r\n\r\ntransfer-encoding: in the body";
        assert_eq!(gives_two_lengths(body), Some(false));
        for cut in [0, 2, 20, 38] {
            assert_eq!(gives_two_lengths(&body[..cut]), None);
        }
    }

    #[test]
    fn the_late_answer_is_well_formed() {
        let text = std::str::from_utf8(TOO_SLOW).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
