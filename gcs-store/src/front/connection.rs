//! One client connection: requests in, answers out, in order.
//!
//! ```text
//!   socket --> reading --> Queue --> writing --> Outbox --> socket
//!                 |          ^
//!                 '- engine -'
//! ```
//!
//! Reading and writing are two halves of one task. The reader never waits for an
//! answer, and stops reading at the bounds: so many unanswered commands or
//! bytes on this connection, or so many bytes on all. Then TCP holds the client
//! back; nothing is refused, nothing is closed. Neither is a client that does
//! not read its answers (a head that is stopped for a while): no more is
//! written for it than [`WRITE_AHEAD`], and it is read until the bounds.
//!
//! Beyond the bound of all connections those without unanswered commands are
//! read on, so that a PING is answered; of those in the middle of a large value
//! one at a time.
//!
//! Invariants:
//! 1. Answers leave in the order of the questions
//!    (`five_thousand_commands_are_answered_in_order`,
//!    `large_values_keep_their_place_among_small_ones`).
//! 2. An idle connection holds no buffer (`an_idle_connection_costs_little`).
//! 3. Everything that matters is in [`Connection`] whenever either half waits,
//!    so a half can be dropped and begun again
//!    (`who_waits_for_the_database_hands_nothing_over`). Only the reader may be
//!    in the middle of a request, and is not dropped then.
//!
//! [`WRITE_AHEAD`]: super::writing::WRITE_AHEAD

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
};

use bytes::BytesMut;
use tokio::{io::AsyncWrite as _, select};

use super::{
    auth::Identity,
    outbox::Outbox,
    queue::Queue,
    reading::{Reader, Reading},
    shared::{Phase, Place, Shared},
    socket::Socket,
    writing::{Ending, Writer},
};
use crate::gcs::session::Session;

/// One client connection. See the module's text.
pub(crate) struct Connection {
    pub(super) socket: RefCell<Socket>,
    pub(super) session: Session,
    pub(super) reading: Reading,
    pub(super) queue: Queue,
    pub(super) outbox: Outbox,
    front: Rc<Shared>,
    _place: Place,
}

/// Why a connection ends, or one of its halves.
#[derive(Debug)]
pub(super) enum End {
    /// The client closed it.
    Closed,
    /// It said goodbye.
    Quit,
    /// The client does not speak RESP; it was told.
    Protocol,
    /// A newer head holds the namespace, or another process the database.
    Fenced,
    /// The engine gave a command up.
    GaveUp,
    /// The process stops.
    Stopping,
    /// It stands still for a successor.
    Quiesced,
    /// A large value is not in the database any more.
    Lost,
    /// The network broke.
    Broken(io::Error),
}

impl Connection {
    /// A connection that was just made.
    pub(super) fn new(socket: Socket, peer: SocketAddr, front: &Rc<Shared>, place: Place) -> Self {
        let session = front.engine.open(peer);
        let reading = Reading::new(front, front.guard.stranger(), BytesMut::new());
        Self::restored(socket, session, reading, Outbox::default(), front, place)
    }

    /// A connection that stood still.
    pub(super) fn restored(
        socket: Socket,
        session: Session,
        reading: Reading,
        outbox: Outbox,
        front: &Rc<Shared>,
        place: Place,
    ) -> Self {
        Self {
            socket: RefCell::new(socket),
            session,
            reading,
            queue: Queue::new(front.budget.clone(), front.limits.waiting_per_connection),
            outbox,
            front: front.clone(),
            _place: place,
        }
    }

    /// Whose it is.
    pub(super) fn identity(&self) -> &Identity {
        &self.reading.identity
    }

    /// Serves the client until the end, or until it stands still for a
    /// successor; then it is given back.
    pub(super) async fn run(mut self) -> Option<Self> {
        let end = loop {
            match self.serve().await {
                End::Quiesced if self.front.phase() == Phase::Quiescing => return Some(self),
                // That was called off.
                End::Quiesced => {}
                end => break end,
            }
        };
        let peer = self.session.peer();
        match &end {
            End::Fenced => {
                tracing::info!(client.address = %peer, "a fenced connection was closed");
            }
            End::Lost => {
                tracing::error!(client.address = %peer, "a large value is not in the database");
            }
            End::Broken(error) => {
                tracing::debug!(client.address = %peer, %error, "a connection broke");
            }
            end => tracing::debug!(client.address = %peer, ?end, "a connection ended"),
        }
        let mut socket = self.socket.into_inner();
        poll_fn(|cx| {
            // Says goodbye if that can be done at once; the client may be gone.
            let _said = Pin::new(&mut socket).poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
        None
    }

    /// Only its socket.
    pub(super) fn into_socket(self) -> Socket {
        self.socket.into_inner()
    }

    async fn serve(&mut self) -> End {
        let ending = Cell::new(None);
        let reader = Reader {
            front: &self.front,
            session: &self.session,
            socket: &self.socket,
            queue: &self.queue,
        };
        let mut writer = Writer {
            front: &self.front,
            session: &self.session,
            socket: &self.socket,
            queue: &self.queue,
            outbox: &mut self.outbox,
            ending: &ending,
        };
        let mut writing = pin!(writer.run());
        let end = {
            let reading = pin!(reader.run(&mut self.reading));
            select! {
                biased;
                end = reading => end,
                end = &mut writing => return end,
            }
        };
        // What was asked is answered before the end.
        let hurried = match end {
            End::Broken(_) => return end,
            End::Quiesced | End::Fenced | End::Stopping => true,
            // The client is done; nobody waits for it when all are to go.
            _ => self.front.phase() != Phase::Serving,
        };
        ending.set(Some(if hurried {
            Ending::Hurried
        } else {
            Ending::Orderly
        }));
        self.queue.nudge();
        let another_phase = async {
            match end {
                End::Quiesced => self.front.phase_is_not(Phase::Quiescing).await,
                _ if hurried => std::future::pending().await,
                _ => self.front.phase_is_not(Phase::Serving).await,
            }
        };
        let written = select! {
            biased;
            written = &mut writing => written,
            () = another_phase => {
                if matches!(end, End::Quiesced) {
                    // That was called off.
                    return end;
                }
                ending.set(Some(Ending::Hurried));
                writing.await
            }
        };
        match written {
            End::Closed => end,
            worse => worse,
        }
    }
}
