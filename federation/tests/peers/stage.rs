//! A peer that says what the test says, and a local registry with leases.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use discovery_client::{
    Address, Application, Cursor, Endpoint, EndpointId, Error, Event, Key, Kind, LeaseId, Life,
    Registry, Site, State, Subscriber, Watch,
};
use federation::peers::{Handle, Peers};
use futures_util::{FutureExt as _, StreamExt, future::BoxFuture, stream};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// East follows west.
pub(crate) struct Scene {
    pub(crate) local: Arc<Local>,
    pub(crate) handle: Handle,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: JoinSet<()>,
    west: Arc<Fed>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let (local, west) = (Arc::new(Local::default()), Arc::new(Fed::default()));
        let source: Arc<dyn Registry> = west.clone();
        let subscriber = Subscriber::over(vec![(Address::new("127.0.0.1:1").unwrap(), source)]);
        let registry: Arc<dyn Registry> = local.clone();
        let peers = Peers::over(
            vec![(Site::new("west").unwrap(), subscriber)],
            LEASE,
            &registry,
        );
        let (handle, stop, mut tasks) = (peers.handle(), CancellationToken::new(), JoinSet::new());
        tasks.spawn(peers.run(stop.clone()));
        Self {
            local,
            handle,
            stop,
            tasks,
            west,
        }
    }

    /// West answers the next watch, beginning with `first`.
    pub(crate) fn feed(&self, first: Event) -> Feed {
        let (events, feed) = mpsc::channel(16);
        self.west.feeds.lock().unwrap().push_back(feed);
        let feed = Feed(events);
        feed.say(first);
        feed
    }

    /// Lets everybody act on what was said; takes a moment, as the first watch
    /// may have to be tried again.
    pub(crate) async fn settled(&self) {
        tokio::time::sleep(SECOND / 20).await;
    }

    /// The applications in the record of a peer's gateway, if it is there.
    pub(crate) fn serves(&self, site: &str, id: &str) -> Option<Vec<String>> {
        self.local
            .list()
            .iter()
            .find(|endpoint| endpoint.key == key(site, id))
            .map(names)
    }
}

pub(crate) struct Feed(mpsc::Sender<Event>);

impl Feed {
    pub(crate) fn say(&self, event: Event) {
        self.0.try_send(event).unwrap();
    }
}

/// A registry whose watches say what the test feeds them; without a feed a
/// watch ends at once, as if nobody listened there.
#[derive(Default)]
struct Fed {
    feeds: Mutex<VecDeque<mpsc::Receiver<Event>>>,
}

fn unused<T: Send>() -> BoxFuture<'static, Result<T, Error>> {
    async {
        Err(Error::Unavailable {
            reason: "not for this registry".to_owned(),
        })
    }
    .boxed()
}

impl Registry for Fed {
    fn register(&self, _: Endpoint, _: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        unused()
    }
    fn renew(&self, _: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        unused()
    }
    fn update(&self, _: LeaseId, _: Endpoint) -> BoxFuture<'_, Result<(), Error>> {
        unused()
    }
    fn revoke(&self, _: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        unused()
    }
    fn watch(&self, _: Option<Cursor>) -> Watch {
        match self.feeds.lock().unwrap().pop_front() {
            Some(feed) => {
                stream::unfold(feed, |mut feed| async { Some((feed.recv().await?, feed)) }).boxed()
            }
            None => stream::empty().boxed(),
        }
    }
}

/// Records under leases, nothing more.
#[derive(Default)]
pub(crate) struct Local {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    written: u64,
    records: BTreeMap<u64, (Endpoint, Duration, Instant)>,
}

impl Local {
    pub(crate) fn shared() -> Arc<dyn Registry> {
        Arc::new(Self::default())
    }

    /// What is registered now.
    pub(crate) fn list(&self) -> Vec<Endpoint> {
        let held = self.held.lock().unwrap();
        let alive = held
            .records
            .values()
            .filter(|(_, _, deadline)| *deadline > Instant::now());
        alive.map(|(endpoint, ..)| endpoint.clone()).collect()
    }

    /// How often a record was written, renewals apart.
    pub(crate) fn written(&self) -> u64 {
        self.held.lock().unwrap().written
    }

    /// Loses every record and lease.
    pub(crate) fn forget(&self) {
        self.held.lock().unwrap().records.clear();
    }

    fn extend(&self, lease: LeaseId, change: Option<Endpoint>) -> Result<(), Error> {
        let mut held = self.held.lock().unwrap();
        held.written += u64::from(change.is_some());
        let now = Instant::now();
        let live = held
            .records
            .get_mut(&lease.0)
            .filter(|(_, _, deadline)| *deadline > now);
        let (endpoint, ttl, deadline) = live.ok_or(Error::LeaseLapsed)?;
        if let Some(change) = change {
            assert!(change.life > endpoint.life, "each change has a newer life");
            *endpoint = change;
        }
        *deadline = now + *ttl;
        Ok(())
    }
}

impl Registry for Local {
    fn register(&self, endpoint: Endpoint, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        let mut held = self.held.lock().unwrap();
        held.written += 1;
        held.records.retain(|_, (old, ..)| old.key != endpoint.key);
        let lease = held.written;
        held.records
            .insert(lease, (endpoint, ttl, Instant::now() + ttl));
        async move { Ok(LeaseId(lease)) }.boxed()
    }
    fn renew(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        let result = self.extend(lease, None);
        async { result }.boxed()
    }
    fn update(&self, lease: LeaseId, endpoint: Endpoint) -> BoxFuture<'_, Result<(), Error>> {
        let result = self.extend(lease, Some(endpoint));
        async { result }.boxed()
    }
    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.held.lock().unwrap().records.remove(&lease.0);
        async { Ok(()) }.boxed()
    }
    fn watch(&self, _: Option<Cursor>) -> Watch {
        stream::pending().boxed()
    }
}

pub(crate) fn key(site: &str, id: &str) -> Key {
    Key {
        site: Site::new(site).unwrap(),
        id: EndpointId::new(id).unwrap(),
    }
}

pub(crate) fn at(revision: u64) -> Cursor {
    Cursor {
        generation: 1,
        revision,
    }
}

pub(crate) fn reset(revision: u64, endpoints: Vec<Endpoint>) -> Event {
    Event::Reset {
        at: at(revision),
        endpoints: endpoints.into_iter().map(Arc::new).collect(),
    }
}

pub(crate) fn put(revision: u64, endpoint: Endpoint) -> Event {
    Event::Put {
        at: at(revision),
        endpoint: Arc::new(endpoint),
    }
}

pub(crate) fn names(endpoint: &Endpoint) -> Vec<String> {
    endpoint
        .applications
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn endpoint(kind: Kind, site: &str, id: &str, applications: &[&str]) -> Endpoint {
    Endpoint {
        key: key(site, id),
        kind,
        address: Address::new(format!("{site}-{id}:80")).unwrap(),
        applications: applications
            .iter()
            .map(|name| Application::new(name).unwrap())
            .collect(),
        state: State::Serving,
        capacity: None,
        life: Life {
            incarnation: 1,
            version: 0,
        },
    }
}

pub(crate) fn gateway(site: &str, id: &str) -> Endpoint {
    endpoint(Kind::Gateway, site, id, &[])
}

pub(crate) fn replica(site: &str, id: &str, applications: &[&str]) -> Endpoint {
    endpoint(Kind::Replica, site, id, applications)
}

pub(crate) fn peer(site: &str, id: &str, applications: &[&str]) -> Endpoint {
    endpoint(Kind::Peer, site, id, applications)
}
