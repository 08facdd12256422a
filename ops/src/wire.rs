//! Puts the rooms together: the only file that picks an implementation.
//!
//! Built from floor 0 upwards, and every address is bound before anything runs,
//! so that a process either serves as configured or says why it cannot.
//!
//! ```text
//!   registry, here or remote <--- registrations: own gateway, static replicas
//!        |            ^
//!        |            '---------- peers of other sites
//!        v
//!    snapshots ------> gateway ------> admin
//!
//!   stop:  readiness off, own record Draining  ..spread..  gateway drains,
//!          records leave, the rest ends
//! ```
//!
//! Invariants:
//! 1. The first role to fail stops the rest, and the process ends with an error
//!    (`the_first_role_to_end_is_the_failure`).
//! 2. A stop is told to everybody before the first connection is refused
//!    (`a_site_serves_tells_of_itself_and_leaves_in_order`).
//! 3. Every wait of a stop has a deadline; the longest is the gateway's own
//!    `drain_grace`.

mod admin;
mod kept;
mod records;
mod roles;
mod store;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use discovery::{DurableRegistry, Indexer, MemoryRegistry, Service};
use discovery_client::{Address, Registry, RemoteRegistry, State, Subscriber};
use federation::peers::Peers;
use gateway::Gateway;
use opentelemetry::global::BoxedTracer;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::Facts,
    config::{Config, Role},
    memory,
};
use admin::AdminListener;
use records::Records;
use roles::Roles;
pub use store::Greet;
use store::{Keeper, STORE};

/// How much longer than its `drain_grace` the gateway may take to end.
const GATEWAY_END: Duration = Duration::from_secs(5);

/// How long the rest may take to end.
const REST_END: Duration = Duration::from_secs(3);

/// How long the store may take to end: its last statement.
const STORE_END: Duration = Duration::from_secs(10);

/// One process: every address is bound, nothing runs yet.
pub struct Process {
    config: Config,
    source: Source,
    gateway: Option<(Gateway, Address)>,
    store: Option<Keeper>,
    admin: AdminListener,
    facts: Arc<Facts>,
}

/// Where this process knows its site's endpoints from.
enum Source {
    /// The registry is a role of this process.
    Here {
        memory: MemoryRegistry,
        /// Writes the registry down, if it is to be kept.
        durable: Option<Box<DurableRegistry>>,
        registry: Arc<dyn Registry>,
        indexer: Indexer,
        service: Service,
        peers: Peers,
    },
    /// It is another process.
    Remote {
        registries: Vec<Arc<dyn Registry>>,
        subscriber: Subscriber,
    },
    /// Nowhere: no role of this process asks.
    Nowhere,
}

impl Process {
    /// Binds every address of `config`. Must be called inside the control
    /// runtime.
    ///
    /// # Errors
    /// The first address that cannot be had, by the name of its key.
    pub async fn bind(
        config: Config,
        tracer: Option<BoxedTracer>,
        greet: Greet,
    ) -> anyhow::Result<Self> {
        let source = Source::bind(&config).await?;
        let (view, link) = match &source {
            Source::Here { indexer, .. } => (Some(indexer.snapshots()), None),
            Source::Remote { subscriber, .. } => {
                (Some(subscriber.snapshots()), Some(subscriber.link()))
            }
            Source::Nowhere => (None, None),
        };
        let gateway = match &view {
            Some(view) if config.plays(Role::Gateway) => {
                let gateway = Gateway::bind(
                    config.gateway.clone(),
                    config.site.clone(),
                    view.clone(),
                    tracer,
                )
                .context("gateway.listen")?;
                let address = config
                    .advertise
                    .clone()
                    .unwrap_or_else(|| gateway.local_addr().into());
                Some((gateway, address))
            }
            _ => None,
        };
        let admin = AdminListener::bind(&config).await?;
        let store = if config.plays(Role::Store) {
            Some(Keeper::open(&config.store, greet).await?)
        } else {
            None
        };
        let (registry, peers) = match &source {
            Source::Here { service, peers, .. } => {
                (Some(service.local_addr().into()), Some(peers.handle()))
            }
            Source::Remote { .. } | Source::Nowhere => (None, None),
        };
        let facts = Arc::new(Facts {
            site: config.site.clone(),
            id: config.id.clone(),
            roles: config.roles.iter().copied().collect(),
            started: Instant::now(),
            gateway: gateway
                .as_ref()
                .map(|(gateway, address)| (address.clone(), gateway.handle())),
            registry,
            store: store.as_ref().map(Keeper::facts),
            view,
            link,
            peers,
            draining: CancellationToken::new(),
        });
        Ok(Self {
            config,
            source,
            gateway,
            store,
            admin,
            facts,
        })
    }

    /// Serves until `stop` fires, then drains and ends.
    ///
    /// # Errors
    /// The first role that failed, or that could not end in time.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            config,
            source,
            gateway,
            store,
            admin,
            facts,
        } = self;
        let said =
            |address: Option<&Address>| address.map_or_else(|| "-".to_owned(), ToString::to_string);
        tracing::info!(
            site = %config.site,
            gateway = said(gateway.as_ref().map(|(_, address)| address)),
            registry = said(facts.registry.as_ref()),
            store = store.as_ref().map_or_else(|| "-".to_owned(), |store| store.local_addr().to_string()),
            admin = admin.local_addr().map_or_else(|| "-".to_owned(), |address| address.to_string()),
            "serving"
        );

        let (draining, serving, keeping, rest) = (
            facts.draining.clone(),
            CancellationToken::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let mut roles = Roles::default();
        let registries = source.start(&mut roles, &rest);
        let mut records = Records::new(registries);
        for replica in &config.replicas {
            records.keep(&records::replica(&config, replica));
        }
        let mut own = Vec::new();
        if let Some((gateway, address)) = gateway {
            own = records.keep(&records::gateway(&config, address));
            let serving = serving.clone();
            roles.start(GATEWAY, async move { Ok(gateway.run(serving).await?) });
        }
        let succeeded = store.as_ref().map(Keeper::succeeded);
        if let Some(store) = store {
            store.start(&mut roles, admin.local_addr(), &keeping);
        }
        let ending = rest.clone();
        roles.start("memory", async move {
            memory::give_back(ending).await;
            Ok(())
        });
        let ending = rest.clone();
        roles.start("admin", async move {
            admin.run(facts, ending).await;
            Ok(())
        });

        let failed = tokio::select! {
            biased;
            () = store::success(succeeded) => {
                // The successor waits for the address of the admin listener.
                rest.cancel();
                tokio::select! {
                    () = roles.end(STORE) => {}
                    () = stop.cancelled() => {}
                }
                None
            }
            () = stop.cancelled() => None,
            failure = roles.first_end() => Some(failure),
        };
        draining.cancel();
        if failed.is_none() && !own.is_empty() {
            tracing::info!(spread = ?config.drain.spread, "leaving: telling the others");
            own.iter()
                .for_each(|record| record.set_state(State::Draining));
            sleep(config.drain.spread).await;
        }
        tracing::info!("draining");
        serving.cancel();
        let drained = roles
            .end_of(
                |role| role == GATEWAY,
                config.gateway.drain_grace + GATEWAY_END,
            )
            .await;
        records.leave().await;
        keeping.cancel();
        let kept = roles.end_of(|role| role == STORE, STORE_END).await;
        rest.cancel();
        let ended = roles.end_of(|_| true, REST_END).await;
        tracing::info!("stopped");
        match failed {
            Some(failure) => Err(failure),
            None => drained.and(kept).and(ended),
        }
    }
}

impl Source {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        if config.plays(Role::Registry) {
            let (memory, durable) = kept::registry(config).await?;
            let registry: Arc<dyn Registry> = Arc::new(memory.clone());
            let service = Service::bind(&config.registry, registry.clone())
                .await
                .context("registry.listen")?;
            let peers = Peers::new(&config.federation, &config.site, &registry)
                .context("federation.peers")?;
            let indexer = Indexer::new(registry.clone());
            return Ok(Self::Here {
                memory,
                durable: durable.map(Box::new),
                registry,
                indexer,
                service,
                peers,
            });
        }
        if !config.follows_a_registry() {
            return Ok(Self::Nowhere);
        }
        let name = format!("{}/{}", config.site, config.id);
        let mut registries = Vec::new();
        let mut sources = Vec::new();
        for address in &config.connect {
            let registry: Arc<dyn Registry> =
                Arc::new(RemoteRegistry::new(&*name, address.clone()).context("connect")?);
            sources.push((address.clone(), registry.clone()));
            registries.push(registry);
        }
        Ok(Self::Remote {
            registries,
            subscriber: Subscriber::over(sources),
        })
    }

    /// Starts what follows the registry and returns where to register.
    fn start(self, roles: &mut Roles, stop: &CancellationToken) -> Vec<Arc<dyn Registry>> {
        let stopped = || stop.clone();
        match self {
            Self::Here {
                memory,
                durable,
                registry,
                indexer,
                service,
                peers,
            } => {
                if let Some(durable) = durable {
                    let stop = stopped();
                    roles.start(
                        "registry records",
                        async move { Ok(durable.run(stop).await?) },
                    );
                }
                let (zero, one, two, three) = (stopped(), stopped(), stopped(), stopped());
                roles.start("registry clock", async move {
                    memory.beat(zero).await;
                    Ok(())
                });
                roles.start("registry index", async move {
                    indexer.run(one).await;
                    Ok(())
                });
                roles.start("registry", async move { Ok(service.run(two).await?) });
                if peers.handle().links().next().is_some() {
                    roles.start("peers", async move {
                        peers.run(three).await;
                        Ok(())
                    });
                }
                vec![registry]
            }
            Self::Remote {
                registries,
                subscriber,
            } => {
                let stop = stopped();
                roles.start("registry subscription", async move {
                    subscriber.run(stop).await;
                    Ok(())
                });
                registries
            }
            Self::Nowhere => Vec::new(),
        }
    }
}

/// The task that is waited for before the others are stopped.
const GATEWAY: &str = "gateway";
