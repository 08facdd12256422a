//! The half of a connection that writes.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use ray_tables::StorageKey;
use tokio::io::AsyncWrite as _;

use super::{
    auth::Identity,
    connection::End,
    outbox::{Outbox, Piece},
    queue::{Answered, GaveUp, Queue, Waiting},
    shared::Shared,
    slow::Slow,
    socket::Socket,
};
use crate::gcs::{
    command::{Reply, Stored},
    session::Session,
};

/// Answers are encoded until so much waits for the socket.
pub(super) const WRITE_AHEAD: usize = 64 << 10;

/// How the writer is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// When everything is written.
    Orderly,
    /// When everything is answered and the socket takes no more at once.
    Hurried,
}

pub(super) struct Writer<'a> {
    pub(super) front: &'a Rc<Shared>,
    pub(super) session: &'a Session,
    pub(super) socket: &'a RefCell<Socket>,
    pub(super) queue: &'a Queue,
    pub(super) outbox: &'a mut Outbox,
    pub(super) ending: &'a Cell<Option<Ending>>,
}

/// What came of trying to send.
enum Sent {
    /// So many bytes went.
    Bytes(usize),
    /// None go now, and they are not waited for.
    Blocked,
}

impl Writer<'_> {
    /// Writes answers until there is an [`Ending`]; [`End::Closed`] says that
    /// it was reached.
    pub(super) async fn run(&mut self) -> End {
        loop {
            let hurried = self.hurried();
            while hurried || self.outbox.bytes() < WRITE_AHEAD {
                match self.queue.answered_now().await {
                    Some(taken) => {
                        if let Err(end) = self.encode(taken).await {
                            return end;
                        }
                    }
                    None => break,
                }
            }
            let stuck = match self.outbox.first() {
                None => match self.send(&[]).await {
                    Ok(_) => true,
                    Err(error) => return End::Broken(error),
                },
                Some(Piece::Blob { hash, chunk, .. }) => {
                    if self.hurried() {
                        true
                    } else {
                        let (hash, chunk) = (*hash, *chunk);
                        let fetched = Box::pin(self.session.chunk(&hash, chunk)).await;
                        if !fetched.is_ok_and(|bytes| self.outbox.fetched(bytes)) {
                            return End::Lost;
                        }
                        false
                    }
                }
                Some(Piece::Encoded(bytes)) => match self.send(bytes).await {
                    Ok(Sent::Bytes(count)) => {
                        self.outbox.sent(count);
                        false
                    }
                    Ok(Sent::Blocked) => true,
                    Err(error) => return End::Broken(error),
                },
                Some(Piece::Fetched(bytes)) => match self.send(bytes).await {
                    Ok(Sent::Bytes(count)) => {
                        self.outbox.sent(count);
                        false
                    }
                    Ok(Sent::Blocked) => true,
                    Err(error) => return End::Broken(error),
                },
            };
            if !stuck {
                continue;
            }
            match self.queue.answered().await {
                Some(taken) => {
                    if let Err(end) = self.encode(taken).await {
                        return end;
                    }
                }
                None if self.ending.get().is_some() => return End::Closed,
                None => self.queue.arrived().await,
            }
        }
    }

    fn hurried(&self) -> bool {
        self.ending.get() == Some(Ending::Hurried)
    }

    /// Sends some of `bytes`; of none, what TLS still holds.
    async fn send(&self, bytes: &[u8]) -> io::Result<Sent> {
        poll_fn(|cx| match self.poll_send(cx, bytes) {
            Poll::Pending if self.hurried() => Poll::Ready(Ok(Sent::Blocked)),
            sent => sent,
        })
        .await
    }

    fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<Sent>> {
        let mut socket = self.socket.borrow_mut();
        let socket = Pin::new(&mut *socket);
        if bytes.is_empty() {
            return socket.poll_flush(cx).map_ok(|()| Sent::Bytes(0));
        }
        socket.poll_write(cx, bytes).map(|sent| match sent {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => Ok(Sent::Bytes(count)),
            Err(error) => Err(error),
        })
    }

    async fn encode(
        &mut self,
        (waiting, answered): (Waiting, Result<Answered, GaveUp>),
    ) -> Result<(), End> {
        match answered {
            Ok(Answered::Front(reply)) => self.outbox.say(&reply),
            Ok(Answered::Engine(reply)) => {
                self.note(&waiting);
                self.outbox.answer(reply);
            }
            Ok(Answered::Keys(reply, identity)) => {
                self.note(&waiting);
                self.outbox.answer(self.shown(reply, &identity));
            }
            Err(GaveUp) => {
                // What was answered before still goes, if it can.
                self.ending.set(Some(Ending::Hurried));
                if let Some(Piece::Encoded(bytes)) = self.outbox.first() {
                    let _sent = self.send(bytes).await;
                }
                return Err(if self.session.is_fenced() {
                    End::Fenced
                } else {
                    End::GaveUp
                });
            }
        }
        Ok(())
    }

    /// Counts a command that the engine answered.
    fn note(&self, waiting: &Waiting) {
        let Some(verb) = waiting.verb else { return };
        let took = waiting.came.elapsed();
        self.front.metrics.answered(verb, took);
        if took < self.front.limits.slow {
            return;
        }
        self.front.metrics.slow_command();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.front.slow.borrow_mut().add(Slow {
            at_ms: now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX)),
            verb: verb.name(),
            key: waiting.key.as_ref().map(ToString::to_string),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            peer: self.session.peer().to_string(),
        });
    }

    /// A page of keys without those that are none of `identity`'s business.
    fn shown(&self, reply: Reply, identity: &Identity) -> Reply {
        let mine = |key: &Bytes| {
            StorageKey::parse(key).is_some_and(|key| self.front.admit(identity, &key).is_ok())
        };
        match reply {
            Reply::Array(mut page) => {
                if let Some(Reply::Array(keys)) = page.get_mut(1) {
                    keys.retain(|key| match key {
                        Reply::Bulk(Stored::Inline(key)) => mine(key),
                        _ => false,
                    });
                }
                Reply::Array(page)
            }
            other => other,
        }
    }
}
