//! A connection to a replica, and one request over it.
//!
//! Invariants:
//! 1. A line comes back only after both sides of the exchange ended in good
//!    order and nothing was left over.
//! 2. A replica that answers before it has read the whole request is heard.
//!
//! `an_early_answer_is_heard_and_its_connection_not_used_again` checks both.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::{io::AsyncWrite, net::TcpStream};
use tokio_util::io::poll_read_buf;

use super::{
    Fault,
    framing::{Decoded, Framing},
    head::{self, Head, Sending, Target},
};
use crate::upload::UploadBody;

/// How much is read at a time, in bytes, and what an idle line keeps.
const READ: usize = 8 * 1024;
const READ_MORE: usize = 32 * 1024;

/// A head and a piece that together have so many bytes are sent as one buffer.
const FLAT: usize = 4 * 1024;

/// A connection that carries one exchange at a time.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    read: BytesMut,
    write: BytesMut,
    used: bool,
}

impl Line {
    /// A line over a new connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            write: BytesMut::new(),
            used: false,
        }
    }

    /// Whether it carried an exchange before, so that the replica may have
    /// closed it since.
    pub(crate) fn was_used(&self) -> bool {
        self.used
    }

    /// Whether an idle line is still open, as far as the kernel has told. No
    /// system call unless there is news.
    pub(crate) fn is_open(&self) -> bool {
        let news = self
            .stream
            .poll_read_ready(&mut Context::from_waker(Waker::noop()));
        // An idle line has nothing to say: an end or a byte, either ends it.
        match news {
            Poll::Pending => true,
            Poll::Ready(_) => {
                matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
        }
    }

    /// Sends the request and reads the answer's head.
    ///
    /// # Errors
    /// [`Fault`]. An error of the request's own body is kept there.
    pub(crate) async fn exchange(
        mut self,
        target: Target<'_>,
        body: UploadBody,
    ) -> Result<Reading, Fault> {
        let sending = body
            .size_hint()
            .exact()
            .map_or(Sending::Chunked, Sending::Length);
        head::write(&mut self.write, target, sending);
        let body = (!body.is_end_stream()).then_some(body);
        let upload = Sender {
            body,
            chunked: sending == Sending::Chunked,
            piece: Bytes::new(),
            tail: b"",
            failed: false,
        };
        let mut exchange = Some(Exchange { line: self, upload });
        std::future::poll_fn(|cx| {
            let Some(running) = &mut exchange else {
                return Poll::Pending;
            };
            let head = ready!(running.poll_head(cx, target.method))?;
            let Head {
                status,
                headers,
                framing,
                keep_alive,
            } = head;
            let exchange = exchange.take();
            Poll::Ready(Ok(Reading {
                status,
                headers,
                answer: Answer {
                    exchange,
                    framing,
                    keep_alive,
                },
            }))
        })
        .await
    }

    /// Reads more, up to `room` bytes. No buffer is taken before there is
    /// something to put into it: many lines wait for long.
    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_read_ready(cx))?;
        self.read.reserve(room);
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read)
    }
}

/// An answer whose head was read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) answer: Answer,
}

/// A request under way.
#[derive(Debug)]
struct Exchange {
    line: Line,
    upload: Sender,
}

/// What is left to send.
#[derive(Debug)]
struct Sender {
    body: Option<UploadBody>,
    chunked: bool,
    piece: Bytes,
    tail: &'static [u8],
    failed: bool,
}

impl Exchange {
    fn poll_head(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<Result<Head, Fault>> {
        // Whether or not everything can be sent: a replica may answer first.
        let _ = self.poll_send(cx)?;
        loop {
            if !self.line.read.is_empty()
                && let Some(head) = head::read(&mut self.line.read, method)?
            {
                return Poll::Ready(Ok(head));
            }
            match ready!(self.line.poll_read(cx, READ)) {
                Ok(0) | Err(_) if self.line.read.is_empty() => {
                    return Poll::Ready(Err(Fault::Closed));
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(Fault::Cut)),
                Ok(_) => {}
            }
        }
    }

    /// Sends what can be sent. An error of the connection is kept quiet: what
    /// the replica said before it is worth more.
    ///
    /// # Errors
    /// [`Fault::Cut`] if the request's own body cannot be read.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Self { line, upload } = self;
        loop {
            if upload.failed {
                return Poll::Ready(Ok(()));
            }
            // The first piece goes out with the head, in one system call.
            if upload.piece.is_empty()
                && upload.tail.is_empty()
                && let Some(body) = &mut upload.body
            {
                match Pin::new(body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        upload.put(frame.into_data().unwrap_or_default(), &mut line.write);
                    }
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Fault::Cut)),
                    Poll::Ready(None) => upload.end(&mut line.write),
                    Poll::Pending if line.write.is_empty() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            if line.write.is_empty() && upload.piece.is_empty() && upload.tail.is_empty() {
                if upload.body.is_none() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let stream = Pin::new(&mut line.stream);
            let written = if upload.piece.is_empty() && upload.tail.is_empty() {
                stream.poll_write(cx, &line.write)
            } else {
                let slices = [&line.write[..], &upload.piece, upload.tail].map(IoSlice::new);
                stream.poll_write_vectored(cx, &slices)
            };
            match ready!(written) {
                Ok(written) if written > 0 => upload.sent(written, &mut line.write),
                _ => upload.failed = true,
            }
        }
    }
}

impl Sender {
    fn put(&mut self, piece: Bytes, write: &mut BytesMut) {
        if piece.is_empty() {
            return;
        }
        if self.chunked {
            write.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            self.tail = b"\r\n";
        }
        let small = !write.is_empty() && write.len() + piece.len() <= FLAT;
        if small && self.tail.is_empty() {
            // One buffer is cheaper to send than two.
            write.extend_from_slice(&piece);
        } else {
            self.piece = piece;
        }
        if self.body.as_ref().is_some_and(Body::is_end_stream) {
            self.body = None;
            if self.chunked {
                self.tail = b"\r\n0\r\n\r\n";
            }
        }
    }

    fn end(&mut self, write: &mut BytesMut) {
        self.body = None;
        if self.chunked {
            write.extend_from_slice(b"0\r\n\r\n");
        }
    }

    /// Counts off `bytes` that were written.
    fn sent(&mut self, bytes: usize, write: &mut BytesMut) {
        let head = bytes.min(write.len());
        write.advance(head);
        let piece = (bytes - head).min(self.piece.len());
        self.piece.advance(piece);
        self.tail = &self.tail[bytes - head - piece..];
    }

    fn is_done(&self, line: &Line) -> bool {
        let nothing_left = line.write.is_empty() && self.piece.is_empty() && self.tail.is_empty();
        self.body.is_none() && nothing_left && !self.failed
    }
}

/// The body of an answer. Dropping it before its end closes the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    exchange: Option<Exchange>,
    framing: Framing,
    keep_alive: bool,
}

impl Answer {
    /// The line, if the exchange ended in good order on both sides.
    pub(crate) fn line(&mut self) -> Option<Line> {
        if self.framing != Framing::Over || !self.keep_alive {
            return None;
        }
        let Exchange { mut line, upload } = self.exchange.take()?;
        if !upload.is_done(&line) || !line.read.is_empty() {
            return None;
        }
        if line.read.capacity() > READ {
            line.read = BytesMut::new();
        }
        line.used = true;
        Some(line)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Self {
            exchange, framing, ..
        } = &mut *self;
        let Some(exchange) = exchange else {
            return Poll::Ready(None);
        };
        if !exchange.upload.is_done(&exchange.line) {
            let _ = exchange.poll_send(cx)?;
        }
        loop {
            match framing.decode(&mut exchange.line.read)? {
                Decoded::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Decoded::End => return Poll::Ready(None),
                Decoded::More => {}
            }
            let room = match framing {
                Framing::Length(left) if *left > READ as u64 => READ_MORE,
                _ => READ,
            };
            match ready!(exchange.line.poll_read(cx, room)) {
                Ok(0) if framing.ends_with_connection() => return Poll::Ready(None),
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(Fault::Cut))),
                Ok(_) => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.framing == Framing::Over
    }

    fn size_hint(&self) -> SizeHint {
        match &self.framing {
            Framing::Over => SizeHint::with_exact(0),
            Framing::Length(bytes) => SizeHint::with_exact(*bytes),
            _ => SizeHint::default(),
        }
    }
}
