//! A registry to test, and a clock that moves only when told.

use std::{pin::pin, sync::Arc, time::Duration};

use discovery::{Config, DurableRegistry, MemoryRegistry, Service};
use discovery_client::{
    Address, Application, Endpoint, EndpointId, Event, Key, Kind, Life, Registry, RemoteRegistry,
    Site, State, Watch,
};
use futures_util::{FutureExt as _, StreamExt as _};
use gcs_sql::Settings;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// Keeps tokio's paused clock from running ahead by itself while sockets are
/// waited for: tokio does not while a blocking task is under way, so one is.
/// Use under `start_paused`.
pub(crate) struct Frozen {
    _blocked: std::sync::mpsc::Sender<()>,
}

impl Frozen {
    pub(crate) fn new() -> Self {
        let (blocked, until) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || until.recv().is_ok());
        Self { _blocked: blocked }
    }
}

/// Moves the clock in small steps and lets everybody act after each.
pub(crate) async fn advance(time: Duration) {
    const STEP: Duration = Duration::from_millis(50);
    let mut left = time;
    while !left.is_zero() {
        let step = left.min(STEP);
        left -= step;
        tokio::time::advance(step).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

/// Waits for what needs no time of the test's clock, ten real seconds at most.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let mut future = pin!(future);
    loop {
        if let Some(output) = future.as_mut().now_or_never() {
            return output;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "nothing happened within ten seconds"
        );
        tokio::task::yield_now().await;
    }
}

/// Waits until `condition` holds, ten real seconds at most.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    soon(std::future::poll_fn(|_| {
        if condition() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    }))
    .await;
}

/// The next event of `watch`, which must be due.
pub(crate) async fn next(watch: &mut Watch) -> Event {
    soon(watch.next()).await.expect("the watch goes on")
}

/// The next event that is a change.
pub(crate) async fn next_change(watch: &mut Watch) -> Event {
    loop {
        let event = next(watch).await;
        if !matches!(event, Event::Progress { .. }) {
            return event;
        }
    }
}

/// How a test reaches the registry.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// By a call.
    Memory,
    /// Over gRPC on loopback.
    Wire,
    /// By a call, and written down in SQLite.
    Durable,
}

/// A fresh registry, reached one way or the other.
pub(crate) struct Stage {
    pub(crate) registry: Arc<dyn Registry>,
    _served: Option<Served>,
    _kept: Option<(JoinSet<Result<(), discovery::Error>>, TempDir)>,
    _frozen: Frozen,
}

impl Stage {
    pub(crate) async fn new(way: Way, config: &Config) -> Self {
        let frozen = Frozen::new();
        let memory: Arc<dyn Registry> = Arc::new(MemoryRegistry::new(config));
        let (mut served, mut kept) = (None, None);
        let registry = match way {
            Way::Memory => memory,
            Way::Wire => served.insert(Served::new(config, memory).await).remote(),
            Way::Durable => {
                let folder = tempfile::tempdir().unwrap();
                let durable = durable(&sqlite(&folder), config).await;
                let registry = Arc::new(durable.registry());
                let mut tasks = JoinSet::new();
                tasks.spawn(durable.run(CancellationToken::new()));
                kept = Some((tasks, folder));
                registry
            }
        };
        Self {
            registry,
            _served: served,
            _kept: kept,
            _frozen: frozen,
        }
    }
}

/// A database in `folder`.
pub(crate) fn sqlite(folder: &TempDir) -> Settings {
    Settings::new(format!("sqlite://{}/registry.db", folder.path().display()))
}

/// The registry of `east` in that database.
pub(crate) async fn durable(settings: &Settings, config: &Config) -> DurableRegistry {
    let site = Site::new("east").unwrap();
    soon(DurableRegistry::open(settings, &site, "a test", config))
        .await
        .unwrap()
}

/// A registry on a port of its own.
pub(crate) struct Served {
    pub(crate) address: Address,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: JoinSet<Result<(), discovery::Error>>,
}

impl Served {
    pub(crate) async fn new(config: &Config, registry: Arc<dyn Registry>) -> Self {
        let free = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            ..config.clone()
        };
        Self::at(&free, registry).await
    }

    pub(crate) async fn at(config: &Config, registry: Arc<dyn Registry>) -> Self {
        let service = Service::bind(config, registry).await.unwrap();
        let (address, stop) = (service.local_addr().into(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(service.run(stop.clone()));
        Self {
            address,
            stop,
            tasks,
        }
    }

    pub(crate) fn remote(&self) -> Arc<dyn Registry> {
        Arc::new(RemoteRegistry::new("test", self.address.clone()).unwrap())
    }

    /// Stops and frees the port.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        soon(self.tasks.join_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

pub(crate) fn key(id: &str) -> Key {
    Key {
        site: Site::new("east").unwrap(),
        id: EndpointId::new(id).unwrap(),
    }
}

/// A replica in its `version`th state.
pub(crate) fn replica(id: &str, version: u64) -> Endpoint {
    Endpoint {
        key: key(id),
        kind: Kind::Replica,
        address: Address::new("127.0.0.1:9").unwrap(),
        applications: vec![
            Application::new("chat").unwrap(),
            Application::new(format!("v{version}")).unwrap(),
        ],
        state: State::Serving,
        capacity: None,
        life: Life {
            incarnation: 1,
            version,
        },
    }
}
