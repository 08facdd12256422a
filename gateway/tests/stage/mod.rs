//! A gateway on a real socket, told by the test who there is.
//!
//! ```text
//!   Caller / RawCaller --> Stage (the gateway) --> Replica (scripted)
//! ```
//!
//! Every stage ends with [`Stage::end`], which proves that nothing was left
//! behind: no request in flight, no connection, no byte kept for a replay.

use std::{net::SocketAddr, num::NonZeroU32, num::NonZeroUsize, sync::Arc, time::Duration};

use discovery_client::{
    Address, Application, Cursor, Endpoint, EndpointId, Event, Index, Key, Kind, Life, Site,
    Snapshot, State,
};
use gateway::{
    Config, Gateway, Handle,
    config::{AccessLog, ApplicationConfig},
};
use opentelemetry::global::BoxedTracer;
use prometheus_client::{encoding::text, registry::Registry};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

pub(crate) mod caller;
pub(crate) mod raw;
pub(crate) mod replica;
pub(crate) mod words;

/// Nothing on a stage takes longer, however busy the machine is.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The output of `work`, which must come soon.
pub(crate) async fn soon<F: Future>(what: &str, work: F) -> F::Output {
    match timeout(SOON, work).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: nothing within {SOON:?}"),
    }
}

/// Waits until `holds`, which must be soon.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What stands on a stage before it begins.
pub(crate) struct Plan {
    site: Site,
    config: Config,
    endpoints: Vec<Arc<Endpoint>>,
    tracer: Option<BoxedTracer>,
}

impl Plan {
    /// One core in site `site`, with nobody to ask. `chat` and `other` are
    /// models, `/app` passes to the application `app`.
    pub(crate) fn at(site: &str) -> Self {
        let app = ApplicationConfig {
            name: Application::new("app").unwrap(),
            route: Some("/app".to_owned()),
            limits: Default::default(),
            repeatable: false,
        };
        Self {
            site: Site::new(site).unwrap(),
            config: Config {
                listen: ([127, 0, 0, 1], 0).into(),
                cores: NonZeroUsize::new(1),
                access_log: AccessLog::Off,
                drain_grace: Duration::from_secs(10),
                applications: vec![app],
                ..Config::default()
            },
            endpoints: Vec::new(),
            tracer: None,
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub(crate) fn traced(mut self, tracer: BoxedTracer) -> Self {
        self.tracer = Some(tracer);
        self
    }

    pub(crate) fn replica(self, replica: &replica::Replica) -> Self {
        self.target(replica.id, replica.address, None)
    }

    /// A replica of this site, with the most requests in flight it names.
    pub(crate) fn target(mut self, id: &str, address: SocketAddr, capacity: Option<u32>) -> Self {
        let site = self.site.clone();
        self.endpoints
            .push(endpoint(site, id, Kind::Replica, address, capacity));
        self
    }

    /// The gateway of another site.
    pub(crate) fn peer(mut self, site: &str, address: SocketAddr) -> Self {
        let site = Site::new(site).unwrap();
        self.endpoints
            .push(endpoint(site, "gw", Kind::Peer, address, None));
        self
    }

    pub(crate) fn start(self) -> Stage {
        let mut index = Index::new();
        let at = Cursor {
            generation: 1,
            revision: 1,
        };
        index.apply(Event::Reset {
            at,
            endpoints: self.endpoints,
        });
        let (view, news) = watch::channel(Arc::new(index.snapshot()));
        let gateway = Gateway::bind(self.config, self.site, news, self.tracer).unwrap();
        let (address, handle) = (gateway.local_addr(), gateway.handle());
        let stop = CancellationToken::new();
        let running = tokio::spawn(gateway.run(stop.clone()));
        let mut stage = Stage {
            address,
            stop,
            handle,
            running,
            _view: view,
            replay_free: 0.0,
        };
        stage.replay_free = stage.gauge("tw_http_replay_free_bytes");
        stage
    }
}

fn endpoint(
    site: Site,
    id: &str,
    kind: Kind,
    address: SocketAddr,
    capacity: Option<u32>,
) -> Arc<Endpoint> {
    let names = ["app", "chat", "other"];
    Arc::new(Endpoint {
        key: Key {
            site,
            id: EndpointId::new(id).unwrap(),
        },
        kind,
        address: Address::from(address),
        applications: names.map(|name| Application::new(name).unwrap()).into(),
        state: State::Serving,
        capacity: capacity.and_then(NonZeroU32::new),
        life: Life {
            incarnation: 1,
            version: 0,
        },
    })
}

/// A gateway that serves.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    /// Fires its stop.
    pub(crate) stop: CancellationToken,
    handle: Handle,
    running: JoinHandle<Result<(), gateway::Error>>,
    /// Dropped, it would be a registry that went away.
    _view: watch::Sender<Arc<Snapshot>>,
    replay_free: f64,
}

impl Stage {
    /// Every metric as text.
    pub(crate) fn metrics(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(self.handle.collector());
        let mut out = String::new();
        text::encode(&mut out, &registry).unwrap();
        out
    }

    /// The sum of a metric's series whose labels contain `labelled`.
    pub(crate) fn sum(&self, name: &str, labelled: &str) -> f64 {
        let metrics = self.metrics();
        let of = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let here = labels.is_empty() || labels.starts_with('{');
            (here && labels.contains(labelled)).then(|| value.parse::<f64>().unwrap())
        };
        metrics.lines().filter_map(of).sum()
    }

    pub(crate) fn gauge(&self, name: &str) -> f64 {
        self.sum(name, "")
    }

    /// Waits until nothing is under way and nothing is left behind.
    pub(crate) async fn settle(&self) {
        let began = Instant::now();
        loop {
            let left = [
                ("in flight", self.gauge("tw_http_in_flight")),
                ("at targets", self.gauge("tw_upstream_in_flight")),
                ("connections", self.gauge("tw_http_connections")),
                (
                    "replay bytes",
                    self.replay_free - self.gauge("tw_http_replay_free_bytes"),
                ),
            ];
            if left.iter().all(|(_, number)| *number == 0.0) {
                return;
            }
            assert!(began.elapsed() < SOON, "left behind: {left:?}");
            tokio::time::sleep(ms(2)).await;
        }
    }

    /// Waits until it has ended by itself after its stop.
    pub(crate) async fn ended(&mut self) {
        let ended = soon("the gateway's end", &mut self.running).await;
        ended.unwrap().unwrap();
    }

    /// Proves that nothing is left behind, and stops it.
    pub(crate) async fn end(mut self) {
        self.settle().await;
        self.stop.cancel();
        self.ended().await;
    }
}
