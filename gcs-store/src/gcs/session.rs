//! What connections hold of the engine.
//!
//! ```text
//!   connection --- submit ---> queue ---> engine (one task)
//!        ^                                  |
//!        '--- Pending: reply, or nothing ---'   a dropped reply: the store gave up
//! ```
//!
//! Everything here lives in one thread, so that a command costs no lock and no
//! wake of another core.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use gcs_sql::Database;
use ray_tables::NamespaceName;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot, watch};

use super::{
    blob,
    command::{Command, INLINE_MAX, Reply, Stored},
    heads::{Order, Scans},
    key::NamespaceId,
};

/// A reply on its way; an error means that the store gave up and the connection
/// is to be closed.
pub(crate) type Pending = oneshot::Receiver<Reply>;

/// Whether this process answers for the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "standing")]
pub enum Standing {
    /// It does not know yet; commands wait.
    Starting,
    /// It does.
    Active {
        /// The writer's epoch it holds.
        epoch: u64,
    },
    /// Another does.
    Standby {
        /// Where that one is reached, `host:port`.
        active: String,
    },
}

/// What connections hand over to the engine, and how they hear of it. Cheap to
/// clone; of one thread.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    shared: Rc<Shared>,
}

/// One client connection, known to the engine until it is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    shared: Rc<Shared>,
    link: Rc<Link>,
}

/// A connection's standing with the engine, for a successor process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SessionState {
    order: Order,
    peer: SocketAddr,
    scans: Scans,
    user: Option<String>,
    #[serde(default)]
    namespaces: Vec<NamespaceId>,
}

#[derive(Debug)]
pub(super) struct Shared {
    queue: RefCell<VecDeque<Job>>,
    pub(super) wake: Notify,
    sessions: RefCell<HashMap<Order, Rc<Link>>>,
    last: Cell<Order>,
    pub(super) standing: watch::Sender<Standing>,
    /// What a successor asks: fires once.
    pub(super) retire: Notify,
    database: Database,
}

/// The engine's side of a connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) order: Order,
    pub(super) peer: SocketAddr,
    pub(super) scans: Cell<Scans>,
    pub(super) user: RefCell<Option<String>>,
    /// The namespaces whose heads the engine counts it to.
    pub(super) namespaces: RefCell<Vec<NamespaceId>>,
    /// Whether the engine has ever heard of it.
    known: Cell<bool>,
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) link: Rc<Link>,
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Reply>,
}

#[derive(Debug)]
pub(super) enum Work {
    Command(Command),
    /// A head that declares its epoch.
    Declare {
        namespace: NamespaceName,
        epoch: u64,
    },
    Gone,
}

impl Engine {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            shared: Rc::new(Shared {
                queue: RefCell::default(),
                wake: Notify::new(),
                sessions: RefCell::default(),
                last: Cell::new(0),
                standing: watch::Sender::new(Standing::Starting),
                retire: Notify::new(),
                database,
            }),
        }
    }

    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Makes a new connection known.
    pub(crate) fn open(&self, peer: SocketAddr) -> Session {
        let order = self.shared.last.get() + 1;
        self.shared.last.set(order);
        self.adopt(SessionState {
            order,
            peer,
            scans: Scans::default(),
            user: None,
            namespaces: Vec::new(),
        })
    }

    /// Makes a predecessor's connection known again.
    pub(crate) fn import(&self, state: SessionState) -> Session {
        self.shared
            .last
            .set(self.shared.last.get().max(state.order));
        self.adopt(state)
    }

    fn adopt(&self, state: SessionState) -> Session {
        let link = Rc::new(Link {
            order: state.order,
            peer: state.peer,
            scans: Cell::new(state.scans),
            user: RefCell::new(state.user),
            known: Cell::new(!state.namespaces.is_empty()),
            namespaces: RefCell::new(state.namespaces),
            closed: watch::Sender::new(false),
        });
        let sessions = &self.shared.sessions;
        sessions.borrow_mut().insert(link.order, Rc::clone(&link));
        Session {
            shared: Rc::clone(&self.shared),
            link,
        }
    }

    /// Whether this process answers for the database, as far as it knows.
    pub(crate) fn standing(&self) -> Standing {
        self.shared.standing.borrow().clone()
    }

    /// The standing and its changes.
    pub(crate) fn standings(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    /// Who answers for the database, asked of the database now if it is not
    /// this process. Waits as long as the database is away.
    ///
    /// The answer never is this process under another's name: one that holds
    /// the epoch is `Active`, or `Starting` until it can answer.
    pub(crate) async fn fresh_standing(&self) -> Standing {
        let mut standings = self.standings();
        loop {
            let known = standings.borrow_and_update().clone();
            if !matches!(known, Standing::Standby { .. }) {
                return known;
            }
            match super::writer::active(&self.shared.database).await {
                // Before it takes the database, this process stops standing by.
                Ok(Some(active)) if matches!(self.standing(), Standing::Standby { .. }) => {
                    return Standing::Standby { active };
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the database does not say who is active"),
            }
            // Asked again when something changes, or after a moment.
            let moment = std::time::Duration::from_millis(200);
            let _changed = tokio::time::timeout(moment, standings.changed()).await;
        }
    }

    /// Waits until this process knows its standing.
    pub(crate) async fn settled(&self) -> Standing {
        let mut standings = self.standings();
        let settled = standings
            .wait_for(|standing| *standing != Standing::Starting)
            .await;
        // The sender lives as long as `self.shared`.
        settled.map_or(Standing::Starting, |standing| standing.clone())
    }

    /// How many commands wait for the engine.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting()
    }

    /// Ends the engine's term after what waits now, for a successor.
    pub(crate) fn retire(&self) {
        self.shared.retire.notify_one();
    }

    /// Takes back a [`retire`](Self::retire); `false` if the engine has begun to
    /// leave.
    pub(crate) fn stay(&self) -> bool {
        self.shared.retire.notified().now_or_never().is_some()
    }
}

impl Session {
    /// Notes who logged in. With an epoch the engine judges it: `+OK`, or an
    /// error after which the connection is to be closed.
    pub(crate) fn login(
        &self,
        user: Option<&str>,
        declared: Option<(NamespaceName, u64)>,
    ) -> Pending {
        *self.link.user.borrow_mut() = user.map(str::to_owned);
        match declared {
            Some((namespace, epoch)) => self.push(Work::Declare { namespace, epoch }),
            None => {
                let (reply, pending) = oneshot::channel();
                let _heard = reply.send(Reply::Status("OK"));
                pending
            }
        }
    }

    /// Hands a command over. Commands of one connection run in the order in
    /// which they were submitted.
    pub(crate) fn submit(&self, command: Command) -> Pending {
        self.push(Work::Command(command))
    }

    fn push(&self, work: Work) -> Pending {
        let (reply, pending) = oneshot::channel();
        self.link.known.set(true);
        self.shared.push(Job {
            link: Rc::clone(&self.link),
            work,
            reply,
        });
        pending
    }

    /// Puts a large value where a command can refer to it; a small one stays as
    /// it is. Waits as long as the database is away.
    pub(crate) async fn stage(&self, value: Bytes) -> Stored {
        if value.len() <= INLINE_MAX {
            return Stored::Inline(value);
        }
        blob::store_until_done(&self.shared.database, &value).await
    }

    /// One piece of a large value, `nth` from 0. Waits as long as the database
    /// is away.
    ///
    /// # Errors
    /// If the database has not got it, which only damage explains.
    pub(crate) async fn chunk(&self, hash: &[u8; 32], nth: u64) -> Result<Bytes, blob::Lost> {
        blob::chunk_until_done(&self.shared.database, hash, nth).await
    }

    /// Resolves when the engine wants the connection closed: a newer head owns
    /// the namespace, or another process the database.
    pub(crate) async fn fenced(&self) {
        let mut closed = self.link.closed.subscribe();
        // The sender lives as long as `self.link`.
        let _closed = closed.wait_for(|closed| *closed).await;
    }

    /// Whether the engine wants the connection closed.
    pub(crate) fn is_fenced(&self) -> bool {
        *self.link.closed.borrow()
    }

    /// Where the client connects from.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.link.peer
    }

    /// What a successor needs to know of it.
    pub(crate) fn export(&self) -> SessionState {
        SessionState {
            order: self.link.order,
            peer: self.link.peer,
            scans: self.link.scans.get(),
            user: self.link.user.borrow().clone(),
            namespaces: self.link.namespaces.borrow().clone(),
        }
    }
}

impl Link {
    /// Notes that the engine counts it to a namespace's heads.
    pub(super) fn touches(&self, id: NamespaceId) {
        let mut namespaces = self.namespaces.borrow_mut();
        if !namespaces.contains(&id) {
            namespaces.push(id);
        }
    }

    /// Whether nobody waits for its replies any more.
    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.link.closed.send_replace(true);
        let known = self.link.known.get();
        let sessions = &self.shared.sessions;
        sessions.borrow_mut().remove(&self.link.order);
        if !known {
            return;
        }
        let (reply, _nobody) = oneshot::channel();
        self.shared.push(Job {
            link: Rc::clone(&self.link),
            work: Work::Gone,
            reply,
        });
    }
}

impl Shared {
    fn push(&self, job: Job) {
        self.queue.borrow_mut().push_back(job);
        self.wake.notify_one();
    }

    /// The oldest job that waits.
    pub(super) fn pop(&self) -> Option<Job> {
        self.queue.borrow_mut().pop_front()
    }

    /// Puts jobs back, in front of those that wait.
    pub(super) fn unpop(&self, jobs: impl DoubleEndedIterator<Item = Job>) {
        let mut queue = self.queue.borrow_mut();
        for job in jobs.rev() {
            queue.push_front(job);
        }
        self.wake.notify_one();
    }

    /// Whether nothing waits.
    pub(super) fn idle(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Asks that a connection be closed.
    pub(super) fn close(&self, order: Order) {
        if let Some(link) = self.sessions.borrow().get(&order) {
            link.closed.send_replace(true);
        }
    }

    /// Asks that all be closed, and drops what waits.
    pub(super) fn close_all(&self) {
        for link in self.sessions.borrow().values() {
            link.closed.send_replace(true);
        }
        self.queue
            .borrow_mut()
            .retain(|job| matches!(job.work, Work::Gone));
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// How many commands wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.borrow().len()
    }

    pub(super) fn connections(&self) -> usize {
        self.sessions.borrow().len()
    }
}
