//! What all connections of the front share.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use ray_tables::{NamespaceName, StorageKey};
use resp::Reply;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use super::{
    auth::{Guard, Identity},
    connection::Connection,
    queue::Budget,
    slow::{Slow, SlowLog, Sparing},
    socket::Socket,
};
use crate::{
    gcs::session::{Engine, Standing},
    metrics::Metrics,
};

/// What one read may bring.
const READ_BYTES: usize = 64 << 10;

/// Bounds of the front.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) waiting_per_connection: usize,
    pub(crate) waiting_memory: u64,
    pub(crate) slow: Duration,
    /// To answer what was asked and stand still for a successor.
    pub(crate) quiesce: Duration,
}

/// What connections are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Serve.
    Serving,
    /// Answer what was asked and stand still for a successor.
    Quiescing,
    /// Answer what was asked and end.
    Stopping,
}

/// The passwords of namespaces that have their own: argon2id hashes as PHC
/// strings. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Passwords(Rc<RefCell<HashMap<NamespaceName, Vec<String>>>>);

impl Passwords {
    /// Puts what the catalog says now in place of what it said before.
    pub(crate) fn replace(&self, all: HashMap<NamespaceName, Vec<String>>) {
        *self.0.borrow_mut() = all;
    }

    pub(crate) fn of(&self, namespace: &NamespaceName) -> Vec<String> {
        self.0.borrow().get(namespace).cloned().unwrap_or_default()
    }

    pub(crate) fn has(&self, namespace: &NamespaceName) -> bool {
        self.0
            .borrow()
            .get(namespace)
            .is_some_and(|it| !it.is_empty())
    }
}

/// What all connections share.
pub(crate) struct Shared {
    pub(super) engine: Engine,
    pub(super) guard: Guard,
    pub(super) passwords: Passwords,
    pub(super) metrics: Metrics,
    pub(super) limits: Limits,
    pub(super) budget: Rc<Budget>,
    /// Of those in the middle of a large value beyond the budget, one reads on.
    pub(super) turns: Semaphore,
    pub(super) read_buffer: RefCell<Box<[u8]>>,
    pub(super) slow: RefCell<SlowLog>,
    /// Spare the log.
    pub(super) unknown: RefCell<Sparing>,
    pub(super) logins: RefCell<Sparing>,
    pub(super) handshakes: RefCell<Sparing>,
    phase: watch::Sender<Phase>,
    /// Connections there are, those under way included.
    open: Cell<usize>,
    /// Connections that run now; none when they stand still.
    pub(super) tasks: TaskTracker,
    /// Those that stand still.
    pub(super) still: RefCell<Vec<Connection>>,
    /// What a predecessor left, if there was one.
    pub(super) inherited: Cell<Option<Inherited>>,
}

/// A connection's place among those there may be.
pub(crate) struct Place(Rc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.metrics.connection(false);
    }
}

/// The front as `tradewind store status` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of the process.
    pub pid: u32,
    /// Whether it answers for the database.
    #[serde(flatten)]
    pub standing: Standing,
    /// Connections open now.
    pub connections: usize,
    /// Memory for commands that wait.
    pub waiting_bytes: u64,
    /// Commands that wait for the engine.
    pub waiting_commands: usize,
    /// The last slow commands, the oldest first.
    pub slow: Vec<Slow>,
    /// What a predecessor left, if there was one.
    pub inherited: Option<Inherited>,
}

/// What a process that took over was given.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Inherited {
    /// Connections, relayed ones among them.
    pub connections: usize,
    /// TLS connections whose bytes the predecessor passes on.
    pub relayed: usize,
    /// Milliseconds from the moment the predecessor was asked to stand still
    /// until all connections were served here.
    pub silent_ms: u64,
}

impl Shared {
    pub(crate) fn new(
        engine: Engine,
        guard: Guard,
        passwords: Passwords,
        metrics: Metrics,
        limits: Limits,
    ) -> Rc<Self> {
        Rc::new(Self {
            engine,
            guard,
            passwords,
            budget: Rc::new(Budget::new(limits.waiting_memory, metrics.clone())),
            metrics,
            limits,
            turns: Semaphore::new(1),
            read_buffer: RefCell::new(vec![0; READ_BYTES].into()),
            slow: RefCell::default(),
            unknown: RefCell::default(),
            logins: RefCell::default(),
            handshakes: RefCell::default(),
            phase: watch::Sender::new(Phase::Serving),
            open: Cell::new(0),
            tasks: TaskTracker::new(),
            still: RefCell::default(),
            inherited: Cell::default(),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Waits for another phase.
    pub(super) async fn phase_is_not(&self, phase: Phase) {
        let mut phases = self.phase.subscribe();
        // The sender lives as long as `self`.
        let _changed = phases.wait_for(|now| *now != phase).await;
    }

    /// A place for one more connection, if there is one.
    pub(super) fn place(self: &Rc<Self>) -> Option<Place> {
        (self.open.get() < self.limits.connections).then(|| self.place_regardless())
    }

    /// A place for a connection that is there already.
    pub(super) fn place_regardless(self: &Rc<Self>) -> Place {
        self.open.set(self.open.get() + 1);
        self.metrics.connection(true);
        Place(self.clone())
    }

    /// Whether `identity` must log in before anything else.
    pub(super) fn requires_login(&self, identity: &Identity) -> bool {
        let standby = || matches!(self.engine.standing(), Standing::Standby { .. });
        self.guard.requires_login(identity, standby)
    }

    /// Whether `identity` may touch the table `key`.
    pub(super) fn admit(&self, identity: &Identity, key: &StorageKey) -> Result<(), Reply> {
        let own = self.passwords.has(&key.namespace);
        self.guard.admit(identity, &key.namespace, own)
    }

    /// Serves a connection that was just made.
    pub(super) fn serve_new(self: &Rc<Self>, socket: Socket, peer: SocketAddr, place: Place) {
        self.serve(Connection::new(socket, peer, self, place));
    }

    /// Serves a connection until it ends or stands still.
    pub(super) fn serve(self: &Rc<Self>, connection: Connection) {
        let shared = self.clone();
        self.tasks.spawn_local(async move {
            if let Some(still) = connection.run().await {
                shared.still.borrow_mut().push(still);
            }
        });
    }

    pub(super) fn report(&self) -> Report {
        Report {
            pid: std::process::id(),
            standing: self.engine.standing(),
            connections: self.open.get(),
            waiting_bytes: self.budget.used(),
            waiting_commands: self.engine.waiting(),
            slow: self.slow.borrow().all(),
            inherited: self.inherited.get(),
        }
    }
}
