//! The RESP front: connections in, commands to the engine, replies out.
//!
//! ```text
//!   listener --> connection (one task each) --> Engine
//!                  |- reading: translate, auth, bounds
//!                  '- writing: queue, outbox
//!   handover: a successor takes the listener and all connections
//! ```
//!
//! Everything here runs in one thread beside the engine, so what connections
//! share is behind cells and a command costs no lock.

pub(crate) mod auth;
mod command;
mod connection;
mod guesses;
pub(crate) mod handover;
mod keeper;
mod listener;
mod outbox;
mod queue;
mod reading;
mod shared;
mod slow;
mod socket;
pub(crate) mod tls;
mod translate;
pub(crate) mod verb;
mod writing;

use std::{io, net::SocketAddr, path::PathBuf, pin::pin, rc::Rc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket, UnixStream},
    select,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    auth::Guard,
    handover::{Control, Inheritance, Keeper, Offer, Outcome},
    shared::{Limits, Phase, Shared},
    tls::Certificates,
};
pub use self::{
    handover::HandoverError, shared::Inherited, shared::Report, slow::Slow, tls::TlsError,
};
pub(crate) use self::{keeper::EngineKeeper, shared::Passwords};
use crate::{Config, gcs::session::Engine, metrics::Metrics};

/// How long connections have to be answered when the process stops.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long they have to stand still for a successor.
const QUIESCE: Duration = Duration::from_secs(10);

/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 4096;

/// Why the front cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate or its key is of no use.
    #[error("cannot speak TLS")]
    Tls(#[from] TlsError),
    /// The file with the password is of no use.
    #[error("{path} cannot be read")]
    Password {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system has no random numbers.
    #[error("no random numbers")]
    Random(#[source] io::Error),
    /// Another store runs behind the handover socket.
    #[error("another store serves behind {path}: hand over from it, or stop it")]
    Occupied {
        /// Which.
        path: PathBuf,
    },
    /// The handover socket cannot be made.
    #[error("cannot make the socket {path}")]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How a front came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to stop.
    Stopped,
    /// A successor serves, and no connection is relayed to it any more.
    HandedOver,
}

/// Where clients come in; nobody is let in yet.
pub(crate) struct Door {
    listener: TcpListener,
    address: SocketAddr,
    certificates: Option<Rc<Certificates>>,
    guard: Guard,
    limits: Limits,
    socket: Option<PathBuf>,
}

impl Door {
    /// Reads what files the configuration names and listens, or takes the
    /// listener of a predecessor.
    ///
    /// # Errors
    /// [`FrontError`]
    pub(crate) async fn open(config: &Config, offer: Option<&Offer>) -> Result<Self, FrontError> {
        let certificates = match &config.tls {
            Some(tls) => Some(Rc::new(Certificates::open(tls.clone())?)),
            None => None,
        };
        let password = match &config.password_file {
            None => None,
            Some(path) => {
                let unreadable = |source| FrontError::Password {
                    path: path.clone(),
                    source,
                };
                Some(auth::read_password(path).map_err(unreadable)?)
            }
        };
        let guard = Guard::new(password.as_ref().map(|it| it.as_str()));
        let guard = guard.map_err(FrontError::Random)?;
        let refused = |source| FrontError::Listen {
            address: config.listen,
            source,
        };
        let listener = match offer {
            Some(offer) => offer.listener().map_err(refused)?,
            None => {
                if let Some(path) = &config.handover_socket
                    && UnixStream::connect(path).await.is_ok()
                {
                    return Err(FrontError::Occupied { path: path.clone() });
                }
                listen(config.listen).map_err(refused)?
            }
        };
        Ok(Self {
            address: listener.local_addr().map_err(refused)?,
            listener,
            certificates,
            guard,
            limits: Limits {
                connections: config.connections_max.get(),
                waiting_per_connection: config.waiting_per_connection.get(),
                waiting_memory: config.waiting_memory.as_u64(),
                slow: config.slow,
                quiesce: QUIESCE,
            },
            socket: config.handover_socket.clone(),
        })
    }

    /// Where it listens; tells the port that the system chose.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// Listens with a queue that holds the heads of many clusters at once.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Else a restart waits for the last connections of its predecessor.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves clients. Of one thread.
pub(crate) struct Front {
    listener: TcpListener,
    certificates: Option<Rc<Certificates>>,
    control: Option<Control>,
    shared: Rc<Shared>,
}

impl Front {
    /// Opens the door to `engine`, and goes on with a predecessor's
    /// connections. Must be called within a `LocalSet`.
    ///
    /// # Errors
    /// [`FrontError::Socket`]
    pub(crate) fn start(
        door: Door,
        engine: Engine,
        passwords: Passwords,
        metrics: Metrics,
        inheritance: Option<Inheritance>,
    ) -> Result<Self, FrontError> {
        let shared = Shared::new(engine, door.guard, passwords, metrics, door.limits);
        // Connections first: without the socket there is no next handover, but
        // without them there is a dead head.
        if let Some(inheritance) = inheritance {
            inheritance.serve(&shared);
        }
        let control = match door.socket {
            None => None,
            Some(path) => {
                Some(Control::open(&path).map_err(|source| FrontError::Socket { path, source })?)
            }
        };
        Ok(Self {
            listener: door.listener,
            certificates: door.certificates,
            control,
            shared,
        })
    }

    /// Tells how things stand, whenever it is asked.
    pub(crate) fn reporter(&self) -> impl Fn() -> Report + use<> {
        let shared = Rc::clone(&self.shared);
        move || shared.report()
    }

    /// Serves until `stop` fires or a successor has taken over. Of what is then
    /// still under way, nothing is waited for longer than 5 s, but relayed
    /// connections are, until they end.
    pub(crate) async fn run(self, keeper: &dyn Keeper, stop: CancellationToken) -> Ended {
        let Self {
            listener,
            certificates,
            control,
            shared,
        } = self;
        let mut renewing = pin!(async {
            match &certificates {
                None => std::future::pending().await,
                Some(certificates) => loop {
                    sleep(tls::LOOK).await;
                    certificates.look();
                },
            }
        });
        let ended = loop {
            let visitor = async {
                match &control {
                    None => std::future::pending().await,
                    Some(control) => control.accept().await,
                }
            };
            let visitor = select! {
                biased;
                () = stop.cancelled() => break Ended::Stopped,
                never = &mut renewing => match never {},
                visitor = visitor => visitor,
                never = listener::accept(&listener, certificates.as_ref(), &shared) => match never {},
            };
            match visitor {
                Ok(visitor) => {
                    let given = handover::give(visitor, &listener, &shared, keeper);
                    if given.await == Outcome::Theirs {
                        break Ended::HandedOver;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the handover socket fails");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        };
        // The listener is one of two.
        drop(listener);
        match control {
            Some(control) if ended == Ended::HandedOver => control.leave(),
            _ => drop(control),
        }
        shared.tasks.close();
        match ended {
            Ended::Stopped => {
                shared.set_phase(Phase::Stopping);
                if timeout(GOODBYE, shared.tasks.wait()).await.is_err() {
                    tracing::warn!("commands were still waiting when the store stopped");
                }
            }
            Ended::HandedOver => {
                select! {
                    () = stop.cancelled() => {}
                    () = shared.tasks.wait() => {}
                }
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests;
