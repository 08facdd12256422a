//! One client connection that asks, reads and checks.
//!
//! Invariants:
//! 1. An answer counts only if its status is 200 and its body is, to the last
//!    byte, the one that must come.
//! 2. After an error the connection is opened anew: what may still be under way
//!    on the old one never meets the next request.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::super::{
    payload::{self, Event},
    wire::{Body, Head, Malformed},
};

/// Why an answer does not count.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The connection failed or ended early.
    #[error("connection: {0}")]
    Connection(#[from] io::Error),
    /// Not HTTP as it must be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Another status than 200.
    #[error("status {status}: {body}")]
    Status { status: u16, body: String },
    /// Another body than the one that must come.
    #[error("the answer's body is wrong: {0}")]
    Body(&'static str),
}

/// A connection, kept alive between requests.
pub(super) struct Connection {
    target: SocketAddr,
    /// `None` after the other side closed it or an answer failed.
    stream: Option<TcpStream>,
    input: Vec<u8>,
    /// Times it was opened after the first.
    pub(super) reconnects: u64,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(target: SocketAddr) -> io::Result<Self> {
        let stream = Some(connect(target).await?);
        Ok(Self {
            target,
            stream,
            input: Vec::with_capacity(4096),
            reconnects: 0,
        })
    }

    /// Sends `request` and reads the answer, whose body must be `expected`.
    pub(super) async fn ask(&mut self, request: &[u8], expected: &[u8]) -> Result<(), Failure> {
        let mut at = 0;
        let mut same = true;
        self.exchange(request, |data| {
            same &= expected.get(at..at + data.len()) == Some(data);
            at += data.len();
            Ok(())
        })
        .await?;
        if same && at == expected.len() {
            Ok(())
        } else {
            Err(Failure::Body("not the one sent"))
        }
    }

    /// Sends `request` and reads a stream of `events` events, each of which is
    /// handed to `seen` as soon as it is whole.
    pub(super) async fn listen(
        &mut self,
        request: &[u8],
        events: usize,
        mut seen: impl FnMut(Event),
    ) -> Result<(), Failure> {
        let mut pending = Vec::with_capacity(2 * Event::LENGTH);
        let mut count = 0;
        self.exchange(request, |data| {
            pending.extend_from_slice(data);
            while count < events && pending.len() >= Event::LENGTH {
                let event = Event::decode(&pending[..Event::LENGTH]);
                match event {
                    Some(event) if event.number as usize == count => seen(event),
                    _ => return Err("an event is wrong or out of turn"),
                }
                count += 1;
                pending.drain(..Event::LENGTH);
            }
            Ok(())
        })
        .await?;
        if count < events {
            return Err(Failure::Body("events are missing"));
        }
        if pending == payload::DONE {
            Ok(())
        } else {
            Err(Failure::Body("the end is wrong"))
        }
    }

    /// Sends `request`, hands the answer's data to `sink`, and leaves the
    /// connection ready for the next one.
    async fn exchange(
        &mut self,
        request: &[u8],
        mut sink: impl FnMut(&[u8]) -> Result<(), &'static str>,
    ) -> Result<(), Failure> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                self.reconnects += 1;
                self.input.clear();
                connect(self.target).await?
            }
        };
        stream.write_all(request).await?;
        let (status, mut body, close) = loop {
            if let Some(head) = Head::response(&self.input)? {
                let (status, length) = (head.status()?, head.length);
                let found = (status, head.body, head.close);
                self.input.drain(..length);
                break found;
            }
            more(&mut stream, &mut self.input).await?;
        };
        if status != 200 {
            let body = self.refusal(&mut stream, body).await;
            return Err(Failure::Status { status, body });
        }
        let mut wrong = None;
        loop {
            let used = body.feed(&self.input, |data| {
                if wrong.is_none() {
                    wrong = sink(data).err();
                }
            })?;
            self.input.drain(..used);
            if let Some(wrong) = wrong {
                return Err(Failure::Body(wrong));
            }
            if body.done() {
                break;
            }
            more(&mut stream, &mut self.input).await?;
        }
        if !self.input.is_empty() {
            return Err(Failure::Body("bytes behind the end"));
        }
        if !close {
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// The body of an answer other than 200, as far as it can be read.
    async fn refusal(&mut self, stream: &mut TcpStream, mut body: Body) -> String {
        let mut text = Vec::new();
        while let Ok(used) = body.feed(&self.input, |data| text.extend_from_slice(data)) {
            self.input.drain(..used);
            if body.done() || more(stream, &mut self.input).await.is_err() {
                break;
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

async fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads on; the end of the connection is an error.
async fn more(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<()> {
    input.reserve(4096);
    match stream.read_buf(input).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
