//! The gateway as others see it: bind, run, and a handle to look at it.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicU64},
    thread::available_parallelism,
    time::Instant,
};

use arc_swap::ArcSwap;
use discovery_client::{Site, Snapshot};
use federation::plan::Fitness;
use opentelemetry::global::BoxedTracer;
use prometheus_client::collector::Collector;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    access::Writer,
    config::Config,
    core::{self, Shared},
    fleet::{self, Clock, Fleet},
    listen,
    metrics::Metrics,
    span::Tracing,
    tally::Tallies,
    upload::ReplayMemory,
};

/// A gateway that listens and does not serve yet.
pub struct Gateway {
    address: SocketAddr,
    listeners: Vec<StdListener>,
    shared: Shared,
    view: watch::Receiver<Arc<Snapshot>>,
    log: Writer,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A look at a gateway from outside. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Shared,
    lost: crate::access::Lost,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Gateway {
    /// Checks `config` and listens. `view` is all it will know of replicas and
    /// peers; `here` is its own site; with a `tracer` every request makes spans.
    ///
    /// # Errors
    /// [`Error`] if the configuration cannot be or the address is taken.
    pub fn bind(
        config: Config,
        here: Site,
        view: watch::Receiver<Arc<Snapshot>>,
        tracer: Option<BoxedTracer>,
    ) -> Result<Self, Error> {
        config.validate()?;
        let cores = config
            .cores
            .or_else(|| available_parallelism().ok())
            .map_or(1, NonZeroUsize::get);
        let listeners = listen::bind(config.listen, cores)?;
        let address = listeners
            .first()
            .and_then(|listener| listener.local_addr().ok())
            .unwrap_or(config.listen);
        let log = Writer::open(&config.access_log)?;
        let first = Fleet::default().next(&view.borrow(), &here, &config);
        let shared = Shared {
            replay: ReplayMemory::new(
                usize::try_from(config.replay_memory.as_u64()).unwrap_or(usize::MAX),
            ),
            config: Arc::new(config),
            here,
            fleet: Arc::new(ArcSwap::from_pointee(first)),
            clock: Clock::begin(),
            tallies: Tallies::default(),
            in_flight: Arc::new(AtomicU64::new(0)),
            connections: Arc::new(AtomicU64::new(0)),
            tracing: tracer.map(Tracing::new),
        };
        Ok(Self {
            address,
            listeners,
            shared,
            view,
            log,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A look at it from outside.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.shared.clone(),
            lost: self.log.lost(),
        }
    }

    /// Serves until `stop` fires; then accepts nothing more and returns when
    /// what is under way is done, or cut after `drain_grace`.
    ///
    /// # Errors
    /// [`Error::Core`] if a thread of the data plane cannot start or dies.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let Self {
            listeners,
            shared,
            view,
            log,
            ..
        } = self;
        let most = (shared.config.connections.get() / listeners.len()).max(1);
        let ending = CancellationToken::new();
        let following = tokio::spawn(fleet::follow(
            Arc::clone(&shared.fleet),
            view,
            shared.here.clone(),
            Arc::clone(&shared.config),
            ending.clone(),
        ));
        let mut cores = JoinSet::new();
        for (nth, listener) in listeners.into_iter().enumerate() {
            let (shared, access, stop) = (shared.clone(), log.access(), stop.clone());
            let (report, outcome) = tokio::sync::oneshot::channel();
            std::thread::Builder::new()
                .name(format!("core-{nth}"))
                .spawn(move || report.send(core::run(shared, listener, access, most, stop)))
                .map_err(|error| Error::Core(error.to_string()))?;
            cores.spawn(outcome);
        }
        let mut result = Ok(());
        while let Some(ended) = cores.join_next().await {
            let failure = match ended {
                Ok(Ok(Ok(()))) => continue,
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) | Err(_) => "a core panicked".to_owned(),
            };
            tracing::error!(failure, "a core of the data plane ended; the gateway stops");
            stop.cancel();
            result = Err(Error::Core(failure));
        }
        ending.cancel();
        if let Err(error) = following.await {
            tracing::error!(%error, "following the registry ended badly");
        }
        // Joining a thread blocks; the log is short of nothing but its last lines.
        if let Err(error) = tokio::task::spawn_blocking(move || log.close()).await {
            tracing::error!(%error, "the access log was not closed");
        }
        result
    }
}

impl Handle {
    /// Whether at least one target can take a request.
    #[must_use]
    pub fn ready(&self) -> bool {
        let now_ms = self.shared.clock.ms(Instant::now());
        let fleet = self.shared.fleet.load();
        let usable = |offer: &federation::plan::Offer<fleet::Member>| {
            offer
                .local
                .iter()
                .chain(&offer.peers)
                .any(|member| member.fitness(now_ms) != Fitness::Closed)
        };
        fleet
            .applications()
            .filter_map(|name| fleet.offer(name.as_str()))
            .any(|(_, offer)| usable(offer))
    }

    /// Its metrics, for a Prometheus registry.
    #[must_use]
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(Metrics {
            tallies: self.shared.tallies.clone(),
            in_flight: Arc::clone(&self.shared.in_flight),
            connections: Arc::clone(&self.shared.connections),
            fleet: Arc::clone(&self.shared.fleet),
            clock: self.shared.clock,
            lost: self.lost.clone(),
            replay: self.shared.replay.clone(),
        })
    }
}
