//! Connections to targets, one pool a core, shared with nobody.
//!
//! Replicas are spoken to in HTTP/1.1, a connection a request at a time, the
//! last one used first. A peer site's gateway gets one HTTP/2 connection a core;
//! its PING frames notice a site that went silent within a second, which no
//! limit on a slow model's answer could.
//!
//! Invariants:
//! 1. A connection carries one request at a time (HTTP/1.1), and comes back
//!    only after its answer was read to the end.
//! 2. At most [`MAX_IDLE`] idle connections a target and core are kept, none
//!    longer than [`MAX_IDLE_TIME`].

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fmt,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use discovery_client::RunningTime;
use futures_util::{
    FutureExt,
    future::{LocalBoxFuture, Shared},
};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{
    cause::Cause,
    fleet::{Fleet, Target},
    h1::Line,
    upload::UploadBody,
};

/// Most idle connections kept for one target by one core.
pub(crate) const MAX_IDLE: usize = 1024;
/// How long an idle connection is kept.
pub(crate) const MAX_IDLE_TIME: Duration = Duration::from_secs(60);

/// A connection to a peer that takes longer is given up.
const DIAL_PEER: Duration = Duration::from_secs(2);

/// After so much silence a peer is asked for a sign of life, and given so long
/// for it: together under a second.
const PING_EVERY: Duration = Duration::from_millis(250);
const PING_TIMEOUT: Duration = Duration::from_millis(500);

pub(crate) type Peer = http2::SendRequest<UploadBody>;
type Connecting = Shared<LocalBoxFuture<'static, Result<Peer, Cause>>>;

/// Runs hyper's own futures on this core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnCore;

impl<F> hyper::rt::Executor<F> for OnCore
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

#[derive(Default)]
struct Lane {
    idle: Vec<(Line, Instant)>,
    peer: Option<Connecting>,
}

/// One core's connections.
#[derive(Default)]
pub(crate) struct Pool {
    lanes: RefCell<HashMap<u64, Lane, foldhash::fast::RandomState>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("lanes", &self.lanes.borrow().len())
            .finish()
    }
}

/// A connection that can take one request now.
pub(crate) enum Connection {
    /// To a replica.
    Replica(Line),
    /// To a peer gateway.
    Peer(Peer),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Peer(_)) {
            "Peer"
        } else {
            "Replica"
        })
    }
}

impl Pool {
    /// A connection to `target`: an idle one, or a new one if there is none or
    /// `fresh` is wanted.
    ///
    /// # Errors
    /// [`Cause::Refused`]; the caller bounds the time.
    pub(crate) async fn connect(
        self: &Rc<Self>,
        target: &Arc<Target>,
        fresh: bool,
    ) -> Result<Connection, Cause> {
        if target.is_peer() {
            return self.peer(target).await.map(Connection::Peer);
        }
        if !fresh && let Some(line) = self.idle(target.serial) {
            return Ok(Connection::Replica(line));
        }
        let socket = dial(target.endpoint.address.authority()).await?;
        Ok(Connection::Replica(Line::new(socket)))
    }

    /// Takes a replica's connection back after its answer was read to the end.
    pub(crate) fn put(&self, serial: u64, line: Line, now: Instant) {
        let mut lanes = self.lanes.borrow_mut();
        let idle = &mut lanes.entry(serial).or_default().idle;
        if idle.len() < MAX_IDLE {
            idle.push((line, now));
        }
    }

    /// Drops connections that were idle for too long or whose target is gone.
    pub(crate) fn prune(&self, fleet: &Fleet) {
        let now = Instant::now();
        let alive: HashSet<u64> = fleet.targets().map(|target| target.serial).collect();
        self.lanes.borrow_mut().retain(|serial, lane| {
            lane.idle
                .retain(|(line, since)| now - *since < MAX_IDLE_TIME && line.is_open());
            alive.contains(serial)
        });
    }

    fn idle(&self, serial: u64) -> Option<Line> {
        let mut lanes = self.lanes.borrow_mut();
        let idle = &mut lanes.get_mut(&serial)?.idle;
        while let Some((line, _)) = idle.pop() {
            if line.is_open() {
                return Some(line);
            }
        }
        None
    }

    /// The core's connection to a peer. Whoever comes while it is being made
    /// waits for the same one.
    async fn peer(&self, target: &Arc<Target>) -> Result<Peer, Cause> {
        let connecting = {
            let mut lanes = self.lanes.borrow_mut();
            let lane = lanes.entry(target.serial).or_default();
            let usable = |connecting: &&Connecting| match connecting.peek() {
                None => true,
                Some(Ok(peer)) => !peer.is_closed(),
                Some(Err(_)) => false,
            };
            match lane.peer.as_ref().filter(usable) {
                Some(connecting) => connecting.clone(),
                None => lane
                    .peer
                    .insert(dial_peer(Arc::clone(target)).boxed_local().shared())
                    .clone(),
            }
        };
        connecting.await
    }
}

async fn dial(authority: &str) -> Result<TcpStream, Cause> {
    let socket = TcpStream::connect(authority)
        .await
        .map_err(|_| Cause::Refused)?;
    socket.set_nodelay(true).map_err(|_| Cause::Refused)?;
    Ok(socket)
}

async fn dial_peer(target: Arc<Target>) -> Result<Peer, Cause> {
    // Everybody who wants this peer waits for the one connection.
    let dialing = dial(target.endpoint.address.authority());
    let socket = tokio::time::timeout(DIAL_PEER, dialing)
        .await
        .map_err(|_| Cause::Refused)??;
    let (sender, connection) = http2::Builder::new(OnCore)
        .timer(RunningTime)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .adaptive_window(true)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(|_| Cause::Refused)?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}
