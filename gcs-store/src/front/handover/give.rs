//! The predecessor's side.

use std::{io, os::fd::AsFd as _, rc::Rc, time::Duration};

use gcs_sql::crash;
use tokio::{
    net::{TcpListener, UnixStream},
    time::timeout,
};

use super::{Asks, Keeper, Moving, Says, VERSIONS, channel::Channel, relay::relay};
use crate::{
    front::{
        connection::Connection,
        shared::{Phase, Shared},
        socket::Socket,
    },
    gcs::engine::EngineState,
};

/// For a visitor to say what it wants; meanwhile nobody is let in.
const FIRST_WORD: Duration = Duration::from_secs(1);
/// For one message of the conversation.
const A_WORD: Duration = Duration::from_secs(5);
/// To send or take all connections.
const MOVE: Duration = Duration::from_secs(60);
/// For the successor to take the database.
const TAKE: Duration = Duration::from_secs(30);

/// What came of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This process serves on.
    Ours,
    /// The connections are the successor's.
    Theirs,
}

/// Hears what a visitor wants, and does it.
pub(crate) async fn give(
    stream: UnixStream,
    listener: &TcpListener,
    shared: &Rc<Shared>,
    keeper: &dyn Keeper,
) -> Outcome {
    let mut channel = Channel::new(stream);
    match channel.is_trusted() {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!("a process of another user came to the handover socket");
            return Outcome::Ours;
        }
        Err(error) => {
            tracing::warn!(%error, "who is at the handover socket cannot be found out");
            return Outcome::Ours;
        }
    }
    let asked = match within(FIRST_WORD, channel.receive::<Asks>()).await {
        Ok(asked) => asked.message,
        Err(error) => {
            tracing::debug!(%error, "a visitor at the handover socket said nothing");
            return Outcome::Ours;
        }
    };
    let (versions, pid) = match asked {
        Asks::Hello { versions, pid } => (versions, pid),
        Asks::Status => {
            let report = Says::from(shared.report());
            let _sent = within(A_WORD, channel.send(&report, &[], &[])).await;
            return Outcome::Ours;
        }
        Asks::Taken | Asks::Ready => return Outcome::Ours,
    };
    let Some(version) = versions
        .into_iter()
        .filter(|it| VERSIONS.contains(it))
        .max()
    else {
        refuse(&mut channel, "the successor is too old or too new").await;
        return Outcome::Ours;
    };
    tracing::info!(successor.pid = pid, version, "a successor came");
    let welcome = Says::Welcome {
        version,
        pid: std::process::id(),
    };
    let mut giving = Giving {
        channel: &mut channel,
        listener,
        shared,
        keeper,
        retired: None,
    };
    let given = async {
        within(A_WORD, giving.channel.send(&welcome, &[], &[])).await?;
        giving.run().await
    };
    let given = given.await;
    let retired = giving.retired.take();
    match given {
        Ok(relays) => {
            for (client, successor) in relays {
                shared.tasks.spawn_local(relay(client, successor));
            }
            shared.metrics.handed_over();
            keeper.handed_over();
            tracing::info!(successor.pid = pid, "the connections are the successor's");
            Outcome::Theirs
        }
        Err(error) => {
            tracing::warn!(%error, "the connections were not handed over, this process serves on");
            refuse(&mut channel, &error.to_string()).await;
            if let Some(state) = retired {
                keeper.resume(state);
            }
            resume(shared);
            Outcome::Ours
        }
    }
}

async fn refuse(channel: &mut Channel, reason: &str) {
    let refused = Says::Refused {
        reason: reason.to_owned(),
    };
    let _sent = within(A_WORD, channel.send(&refused, &[], &[])).await;
}

/// Lets all connections go on.
fn resume(shared: &Rc<Shared>) {
    shared.set_phase(Phase::Serving);
    for connection in shared.still.take() {
        shared.serve(connection);
    }
}

async fn within<T>(time: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, what)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// TLS connections, and the socket of each to the successor.
type Relays = Vec<(Socket, UnixStream)>;

struct Giving<'a> {
    channel: &'a mut Channel,
    listener: &'a TcpListener,
    shared: &'a Rc<Shared>,
    keeper: &'a dyn Keeper,
    /// What the engine gave when it was ended.
    retired: Option<EngineState>,
}

impl Giving<'_> {
    async fn run(&mut self) -> io::Result<Relays> {
        self.quiesce().await?;
        crash::point("handover-before-send");
        let ends = within(MOVE, self.send()).await?;
        crash::point("handover-after-send");
        self.expect(MOVE, |asks| matches!(asks, Asks::Taken))
            .await?;
        let state = self.keeper.retire().await.ok_or_else(|| {
            io::Error::new(io::ErrorKind::TimedOut, "the database does not answer")
        })?;
        let engine = serde_json::to_value(&state);
        self.retired = Some(state);
        let retired = Says::Retired { engine: engine? };
        within(A_WORD, self.channel.send(&retired, &[], &[])).await?;
        self.expect(TAKE, |asks| matches!(asks, Asks::Ready))
            .await?;
        crash::point("handover-taken");
        within(A_WORD, self.channel.send(&Says::Yours, &[], &[])).await?;
        let mut relays = Vec::new();
        for (connection, end) in self.shared.still.take().into_iter().zip(ends) {
            let socket = connection.into_socket();
            if let Some(end) = end {
                relays.push((socket, end));
            }
        }
        Ok(relays)
    }

    /// Waits until every connection stands still.
    async fn quiesce(&self) -> io::Result<()> {
        self.shared.set_phase(Phase::Quiescing);
        self.shared.tasks.close();
        let still = timeout(self.shared.limits.quiesce, self.shared.tasks.wait()).await;
        self.shared.tasks.reopen();
        still.map_err(|_| {
            let text = "commands wait for the database, or a value is on its way";
            io::Error::new(io::ErrorKind::TimedOut, text)
        })
    }

    /// Sends all; of each TLS connection, the end of its relay.
    async fn send(&mut self) -> io::Result<Vec<Option<UnixStream>>> {
        let listener = [self.listener.as_fd()];
        self.channel.send(&Says::Listener, &[], &listener).await?;
        // They stay here until the end: this process may have to go on.
        let mut still = self.shared.still.take();
        let mut ends = Vec::with_capacity(still.len());
        let mut sent = Ok(());
        for connection in &mut still {
            match self.send_one(connection).await {
                Ok(end) => ends.push(end),
                Err(error) => {
                    sent = Err(error);
                    break;
                }
            }
        }
        let connections = still.len();
        self.shared.still.replace(still);
        sent?;
        let end = Says::End { connections };
        self.channel.send(&end, &[], &[]).await?;
        Ok(ends)
    }

    async fn send_one(&mut self, connection: &mut Connection) -> io::Result<Option<UnixStream>> {
        let identity = connection.identity().clone();
        let socket = connection.socket.get_mut();
        // Of a TLS connection, an end of a new pair goes in its place.
        let pair = match &*socket {
            Socket::Tls(_) => Some(UnixStream::pair()?),
            Socket::Plain(_) | Socket::Relayed(_) => None,
        };
        let (descriptor, relayed) = match (&*socket, &pair) {
            (Socket::Plain(stream), _) => (stream.as_fd(), false),
            (Socket::Relayed(stream), _) => (stream.as_fd(), true),
            (Socket::Tls(_), Some((theirs, _))) => (theirs.as_fd(), true),
            (Socket::Tls(_), None) => unreachable!("it was made above"),
        };
        let (unsent, encoded) = connection.outbox.describe();
        let unread = &connection.reading.buffer[..];
        let moving = Moving {
            session: connection.session.export(),
            identity,
            relayed,
            unread: unread.len() as u64,
            unsent,
        };
        let mut body = vec![unread];
        body.extend(encoded);
        let says = Says::Connection(moving);
        self.channel.send(&says, &body, &[descriptor]).await?;
        Ok(pair.map(|(_, ours)| ours))
    }

    async fn expect(&mut self, time: Duration, is: impl Fn(&Asks) -> bool) -> io::Result<()> {
        let asks = within(time, self.channel.receive::<Asks>()).await?.message;
        if is(&asks) {
            Ok(())
        } else {
            let text = "the successor said something else than it should";
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}
