//! Everybody this gateway can send to, as of the newest snapshot.
//!
//! One task builds a new [`Fleet`] from each snapshot and swaps it in whole;
//! requests read it without a lock. A [`Target`] outlives snapshots for as long
//! as its process does, and with it what was learned of it: load, circuit,
//! connections.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use discovery_client::{Application, Endpoint, Key, Kind, Site, Snapshot, State};
use federation::plan::{Fitness, Offer};
use http::HeaderValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    budget::Budget,
    config::Config,
    health::{Backoff, Breaker, Verdict},
    load::Load,
};

/// Most requests in flight at one peer gateway, which bounds itself.
const PEER_IN_FLIGHT: u32 = 8192;

/// One replica or peer gateway, and what is known of it.
#[derive(Debug)]
pub(crate) struct Target {
    /// Unique in this process; names its connections.
    pub serial: u64,
    /// As the registry told it first.
    pub endpoint: Arc<Endpoint>,
    /// `site/id`, for headers and labels.
    pub label: HeaderValue,
    /// `host:port`.
    pub authority: HeaderValue,
    /// Requests in flight and latency.
    pub load: Load,
    /// Whether it is asked.
    pub breaker: Breaker,
    /// Retries towards its site.
    pub budget: Arc<Budget>,
    /// Most requests in flight.
    pub limit: u32,
    /// Said 429: not asked again before, in milliseconds of [`Clock`].
    pub not_before_ms: AtomicU64,
}

impl Target {
    /// Whether it speaks for another site.
    #[must_use]
    pub(crate) fn is_peer(&self) -> bool {
        self.endpoint.kind == Kind::Peer
    }

    /// `site/id`.
    #[must_use]
    pub(crate) fn label(&self) -> &str {
        self.label.to_str().unwrap_or_default()
    }
}

/// A target in one snapshot's fleet: the same target may drain later.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Who.
    pub target: Arc<Target>,
    /// Takes nothing new.
    draining: bool,
}

impl Member {
    /// How it looks at `now_ms`.
    #[must_use]
    pub(crate) fn fitness(&self, now_ms: u64) -> Fitness {
        if self.draining {
            return Fitness::Closed;
        }
        match self.target.breaker.verdict(now_ms) {
            Verdict::Ejected => Fitness::Ejected,
            _ if now_ms < self.target.not_before_ms.load(Ordering::Relaxed) => Fitness::Full,
            _ if self.target.load.in_flight() >= self.target.limit => Fitness::Full,
            Verdict::Healthy | Verdict::Probe => Fitness::Ready,
        }
    }
}

/// Milliseconds since the gateway began; the clock of circuits and load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Begins now.
    #[must_use]
    pub(crate) fn begin() -> Self {
        // A second in the past, so that 0 can mean "never".
        Self(Instant::now() - std::time::Duration::from_secs(1))
    }

    /// The time of `at` on it.
    #[must_use]
    pub(crate) fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.0).as_millis()).unwrap_or(u64::MAX)
    }
}

/// Who offers what. Immutable.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// Counts the fleets built.
    pub generation: u64,
    offers: HashMap<Application, Offer<Member>, foldhash::fast::RandomState>,
    targets: HashMap<Key, Arc<Target>, foldhash::fast::RandomState>,
    budgets: HashMap<Site, Arc<Budget>>,
}

impl Fleet {
    /// Who offers `application`, and its name as the registry holds it.
    #[must_use]
    pub(crate) fn offer(&self, application: &str) -> Option<(&Application, &Offer<Member>)> {
        self.offers.get_key_value(application)
    }

    /// Every application somebody offers, in no order.
    pub(crate) fn applications(&self) -> impl Iterator<Item = &Application> {
        self.offers.keys()
    }

    /// Every target, in no order.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.targets.values()
    }

    /// The fleet of `snapshot`, in the eyes of site `here`, with the targets of
    /// `self` that live on.
    #[must_use]
    pub(crate) fn next(&self, snapshot: &Snapshot, here: &Site, config: &Config) -> Self {
        let mut next = Self {
            generation: self.generation + 1,
            budgets: self.budgets.clone(),
            ..Self::default()
        };
        for (application, endpoints) in snapshot.applications() {
            let mut offer = Offer::default();
            for endpoint in endpoints {
                let list = match (endpoint.kind, endpoint.key.site == *here) {
                    (Kind::Replica, true) => &mut offer.local,
                    (Kind::Peer, false) => &mut offer.peers,
                    _ => continue,
                };
                if let Some(target) = next.target(endpoint, self, config) {
                    list.push(Member {
                        target,
                        draining: endpoint.state == State::Draining,
                    });
                }
            }
            if !(offer.local.is_empty() && offer.peers.is_empty()) {
                next.offers.insert(application.clone(), offer);
            }
        }
        next
    }

    /// The target of `endpoint`: one already in this fleet, the one of `old` if
    /// it is the same process, or a new one.
    fn target(
        &mut self,
        endpoint: &Arc<Endpoint>,
        old: &Self,
        config: &Config,
    ) -> Option<Arc<Target>> {
        if let Some(target) = self.targets.get(&endpoint.key) {
            return Some(Arc::clone(target));
        }
        let same = |target: &&Arc<Target>| {
            target.endpoint.address == endpoint.address
                && target.endpoint.capacity == endpoint.capacity
                && target.endpoint.life.incarnation == endpoint.life.incarnation
        };
        let target = match old.targets.get(&endpoint.key).filter(same) {
            Some(target) => Arc::clone(target),
            None => Arc::new(self.new_target(endpoint, config)?),
        };
        self.targets
            .insert(endpoint.key.clone(), Arc::clone(&target));
        Some(target)
    }

    fn new_target(&mut self, endpoint: &Arc<Endpoint>, config: &Config) -> Option<Target> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let budget = self
            .budgets
            .entry(endpoint.key.site.clone())
            .or_insert_with(|| Arc::new(Budget::from(&config.retry)));
        let default = if endpoint.kind == Kind::Peer {
            PEER_IN_FLIGHT
        } else {
            config.in_flight.get()
        };
        Some(Target {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            label: HeaderValue::try_from(endpoint.key.to_string()).ok()?,
            authority: HeaderValue::try_from(endpoint.address.authority()).ok()?,
            load: Load::default(),
            breaker: Breaker::new(Backoff::from(&config.health)),
            budget: Arc::clone(budget),
            limit: endpoint.capacity.map_or(default, std::num::NonZeroU32::get),
            endpoint: Arc::clone(endpoint),
            not_before_ms: AtomicU64::new(0),
        })
    }
}

/// Keeps the fleet in step with the snapshots until `stop` fires or they end;
/// then the last fleet stays.
pub(crate) async fn follow(
    fleet: Arc<ArcSwap<Fleet>>,
    mut view: watch::Receiver<Arc<Snapshot>>,
    here: Site,
    config: Arc<Config>,
    stop: CancellationToken,
) {
    loop {
        let snapshot = view.borrow_and_update().clone();
        fleet.store(Arc::new(fleet.load().next(&snapshot, &here, &config)));
        match stop.run_until_cancelled(view.changed()).await {
            Some(Ok(())) => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use discovery_client::{Address, Cursor, EndpointId, Event, Index, Life};

    use super::*;

    fn endpoint(site: &str, id: &str, kind: Kind, incarnation: u64, state: State) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            key: Key {
                site: Site::new(site).unwrap(),
                id: EndpointId::new(id).unwrap(),
            },
            kind,
            address: Address::new("127.0.0.1:9").unwrap(),
            applications: vec![Application::new("chat").unwrap()],
            state,
            capacity: None,
            life: Life {
                incarnation,
                version: 0,
            },
        })
    }

    fn fleet(old: &Fleet, endpoints: Vec<Arc<Endpoint>>) -> Fleet {
        let mut index = Index::new();
        index.apply(Event::Reset {
            at: Cursor {
                generation: 1,
                revision: 1,
            },
            endpoints,
        });
        old.next(
            &index.snapshot(),
            &Site::new("east").unwrap(),
            &Config::default(),
        )
    }

    #[test]
    fn replicas_here_are_local_and_other_sites_gateways_are_peers() {
        let fleet = fleet(
            &Fleet::default(),
            vec![
                endpoint("east", "r1", Kind::Replica, 1, State::Serving),
                endpoint("east", "r2", Kind::Replica, 1, State::Draining),
                endpoint("west", "r1", Kind::Replica, 1, State::Serving),
                endpoint("west", "gw", Kind::Peer, 1, State::Serving),
                endpoint("east", "gw", Kind::Gateway, 1, State::Serving),
            ],
        );
        let (_, offer) = fleet.offer("chat").unwrap();
        let labels = |members: &[Member]| {
            members
                .iter()
                .map(|m| m.target.label().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(labels(&offer.local), ["east/r1", "east/r2"]);
        assert_eq!(labels(&offer.peers), ["west/gw"]);
        assert_eq!(offer.local[0].fitness(1000), Fitness::Ready);
        assert_eq!(offer.local[1].fitness(1000), Fitness::Closed);
    }

    #[test]
    fn what_was_learned_lives_as_long_as_the_process() {
        let first = fleet(
            &Fleet::default(),
            vec![endpoint("east", "r1", Kind::Replica, 1, State::Serving)],
        );
        first.offer("chat").unwrap().1.local[0]
            .target
            .breaker
            .strike(1000);
        let same = fleet(
            &first,
            vec![endpoint("east", "r1", Kind::Replica, 1, State::Draining)],
        );
        let again = fleet(
            &same,
            vec![endpoint("east", "r1", Kind::Replica, 1, State::Serving)],
        );
        assert_eq!(
            again.offer("chat").unwrap().1.local[0].fitness(1000),
            Fitness::Ejected
        );
        let restarted = fleet(
            &again,
            vec![endpoint("east", "r1", Kind::Replica, 2, State::Serving)],
        );
        assert_eq!(
            restarted.offer("chat").unwrap().1.local[0].fitness(1000),
            Fitness::Ready
        );
    }
}
