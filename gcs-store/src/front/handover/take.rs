//! The successor's side.

use std::{
    io,
    net::TcpStream as StdTcpStream,
    os::fd::OwnedFd,
    os::unix::net::UnixStream as StdUnixStream,
    path::{Path, PathBuf},
    rc::Rc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use gcs_sql::crash;
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::{
    Asks, HandoverError, Moving, Says, VERSIONS,
    channel::{Channel, Received},
    control::connect,
};
use crate::{
    front::{
        connection::Connection,
        outbox::Outbox,
        reading::Reading,
        shared::{Inherited, Shared},
        socket::Socket,
    },
    gcs::engine::EngineState,
};

/// Everything a predecessor has, which still may take it back.
pub(crate) struct Offer {
    /// None: the predecessor died after it had sent all.
    channel: Option<Channel>,
    path: PathBuf,
    listener: OwnedFd,
    connections: Vec<(Moving, Bytes, OwnedFd)>,
    /// When it was asked to stand still.
    asked: Instant,
}

/// Everything a predecessor had.
pub(crate) struct Inheritance {
    asked: Instant,
    connections: Vec<(Moving, Bytes, OwnedFd)>,
}

impl Offer {
    /// Asks who is behind the socket for all it has; none if nobody is there.
    /// The second part is for the engine, which is to be started now.
    ///
    /// # Errors
    /// [`HandoverError`]; then the predecessor serves on, or is dead.
    pub(crate) async fn ask(path: &Path) -> Result<Option<(Self, EngineState)>, HandoverError> {
        let broken = |source| HandoverError::Broken {
            path: path.to_owned(),
            source,
        };
        let Some(stream) = connect(path).await.map_err(broken)? else {
            return Ok(None);
        };
        let mut channel = Channel::new(stream);
        if !channel.is_trusted().map_err(broken)? {
            return Err(HandoverError::Foreign {
                path: path.to_owned(),
            });
        }
        let hello = Asks::Hello {
            versions: VERSIONS.to_vec(),
            pid: std::process::id(),
        };
        let asked = Instant::now();
        channel.send(&hello, &[], &[]).await.map_err(broken)?;
        let mut listener = None;
        let mut connections = Vec::new();
        loop {
            let Received {
                message,
                body,
                mut descriptors,
            } = channel.receive::<Says>().await.map_err(broken)?;
            match (message, descriptors.pop()) {
                (Says::Welcome { version, .. }, None) if VERSIONS.contains(&version) => {}
                (Says::Welcome { version, .. }, None) => {
                    return Err(HandoverError::Version { version });
                }
                (Says::Refused { reason }, _) => return Err(HandoverError::Refused { reason }),
                (Says::Listener, Some(descriptor)) => listener = Some(descriptor),
                (Says::Connection(moving), Some(descriptor)) => {
                    connections.push((moving, body, descriptor));
                }
                (Says::End { connections: count }, None) if count == connections.len() => break,
                _ => {
                    let what = "something else than its connections";
                    return Err(HandoverError::Nonsense { what });
                }
            }
        }
        let listener = listener.ok_or(HandoverError::Nonsense {
            what: "no listener",
        })?;
        let mut offer = Self {
            channel: Some(channel),
            path: path.to_owned(),
            listener,
            connections,
            asked,
        };
        let Some(Says::Retired { engine }) = offer.converse(&Asks::Taken).await? else {
            return Ok(Some((offer, EngineState::default())));
        };
        crash::point("handover-retired");
        let engine = serde_json::from_value(engine).map_err(|_| HandoverError::Nonsense {
            what: "a state of its engine that cannot be read",
        })?;
        Ok(Some((offer, engine)))
    }

    /// The listener. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// It is not one.
    pub(in crate::front) fn listener(&self) -> io::Result<TcpListener> {
        let listener = std::net::TcpListener::from(self.listener.try_clone()?);
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    /// How many connections there are.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Takes it: the engine has the database and answers.
    ///
    /// # Errors
    /// [`HandoverError`]: the predecessor changed its mind.
    pub(crate) async fn accept(mut self) -> Result<Inheritance, HandoverError> {
        crash::point("handover-ready");
        self.converse(&Asks::Ready).await?;
        Ok(Inheritance {
            asked: self.asked,
            connections: self.connections,
        })
    }

    /// Says something and hears the answer, which is never a refusal; none if
    /// the predecessor is dead, for then everything is ours.
    async fn converse(&mut self, asks: &Asks) -> Result<Option<Says>, HandoverError> {
        let Some(channel) = &mut self.channel else {
            return Ok(None);
        };
        let said = async {
            channel.send(asks, &[], &[]).await?;
            channel.receive::<Says>().await
        };
        match said.await.map(|received| received.message) {
            Ok(Says::Refused { reason }) => Err(HandoverError::Refused { reason }),
            Ok(says @ (Says::Retired { .. } | Says::Yours)) => Ok(Some(says)),
            Ok(_) => Err(HandoverError::Nonsense {
                what: "no answer to the question",
            }),
            Err(error)
                if [
                    io::ErrorKind::UnexpectedEof,
                    io::ErrorKind::BrokenPipe,
                    io::ErrorKind::ConnectionReset,
                ]
                .contains(&error.kind()) =>
            {
                tracing::warn!("the predecessor died while it handed over, its connections live");
                self.channel = None;
                Ok(None)
            }
            Err(source) => Err(HandoverError::Broken {
                path: self.path.clone(),
                source,
            }),
        }
    }
}

impl Inheritance {
    /// Serves the connections.
    pub(in crate::front) fn serve(self, shared: &Rc<Shared>) {
        let relayed = self.connections.iter().filter(|it| it.0.relayed).count();
        let connections = self.connections.len();
        for (moving, body, descriptor) in self.connections {
            match restore(moving, body, descriptor, shared) {
                Ok(connection) => shared.serve(connection),
                Err(error) => tracing::error!(%error, "a connection was lost"),
            }
        }
        let silent_ms = u64::try_from(self.asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(connections, relayed, silent_ms, "took over the connections");
        shared.inherited.set(Some(Inherited {
            connections,
            relayed,
            silent_ms,
        }));
    }
}

fn restore(
    moving: Moving,
    mut body: Bytes,
    descriptor: OwnedFd,
    shared: &Rc<Shared>,
) -> io::Result<Connection> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "less came than was announced");
    let unread = usize::try_from(moving.unread).map_err(|_| short())?;
    if unread > body.len() {
        return Err(short());
    }
    let unread = body.split_to(unread);
    let outbox = Outbox::restore(&moving.unsent, &mut body).ok_or_else(short)?;
    let socket = if moving.relayed {
        let stream = StdUnixStream::from(descriptor);
        stream.set_nonblocking(true)?;
        Socket::Relayed(UnixStream::from_std(stream)?)
    } else {
        let stream = StdTcpStream::from(descriptor);
        stream.set_nonblocking(true)?;
        Socket::Plain(TcpStream::from_std(stream)?)
    };
    let session = shared.engine.import(moving.session);
    let reading = Reading::new(shared, moving.identity, BytesMut::from(&unread[..]));
    let place = shared.place_regardless();
    Ok(Connection::restored(
        socket, session, reading, outbox, shared, place,
    ))
}
