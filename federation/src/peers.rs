//! Follows the peer sites and makes their gateways known here.
//!
//! For each gateway of a peer a record of [`Kind::Peer`] stands in the local
//! registry, with a digest of what that site serves, under a short lease. The
//! lease is renewed when the peer is heard and at no other time, so a cut link
//! ages out exactly as a dead replica does, and nothing here needs a clock.
//!
//! ```text
//!   peer's registry -- Subscribe --> Subscriber -- snapshot --> digest()
//!                                        |                         |
//!                                   "heard just now"               v
//!                                        '-----------> step: register, update,
//!                                                      renew, revoke
//!                                                              |
//!                                       local registry  <------'
//! ```
//!
//! A peer's registry that begins anew is followed to the letter: what it does
//! not know, its gateways cannot serve
//! (`a_peer_that_begins_anew_is_followed_to_the_letter`).
//!
//! Invariants:
//! 1. A record lapses at most `lease` after the peer's last word
//!    (`a_cut_link_ages_out_within_the_lease`).
//! 2. The digest names an application exactly if a replica of the peer's own
//!    site serves it and takes new work; what the peer knows of third sites is
//!    not passed on (`the_digest_is_of_the_peers_own_serving_replicas`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use discovery_client::{
    Application, Endpoint, EndpointId, Error as Refused, Kind, LeaseId, Life, Link,
    MAX_APPLICATIONS, Registry, Site, Snapshot, State, Subscriber,
};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{Config, Error};

/// The links to all peers. Made, asked for its handle, then run.
#[derive(Debug)]
pub struct Peers {
    links: Vec<PeerLink>,
}

/// How the peers stand. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    peers: Arc<[(Site, watch::Receiver<Link>)]>,
}

impl Handle {
    /// Each peer with the state of its link, in the order of the
    /// configuration.
    pub fn links(&self) -> impl Iterator<Item = (&Site, Link)> {
        self.peers
            .iter()
            .map(|(site, link)| (site, link.borrow().clone()))
    }
}

impl Peers {
    /// Will follow the peers of `config` and register them at `local`, the
    /// registry of the site `here`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Those of [`Config::validate`], and [`Error::Address`].
    pub fn new(config: &Config, here: &Site, local: &Arc<dyn Registry>) -> Result<Self, Error> {
        config.validate(here)?;
        let links = config.peers.iter().map(|peer| {
            let subscriber = Subscriber::new(here.as_str(), &peer.registry).map_err(|source| {
                Error::Address {
                    site: peer.site.clone(),
                    source,
                }
            })?;
            Ok(PeerLink::new(
                peer.site.clone(),
                subscriber,
                Arc::clone(local),
                config.lease,
            ))
        });
        Ok(Self {
            links: links.collect::<Result<_, _>>()?,
        })
    }

    /// The same over subscribers that are there already.
    #[must_use]
    pub fn over(
        peers: Vec<(Site, Subscriber)>,
        lease: Duration,
        local: &Arc<dyn Registry>,
    ) -> Self {
        let link = |(site, subscriber)| PeerLink::new(site, subscriber, Arc::clone(local), lease);
        Self {
            links: peers.into_iter().map(link).collect(),
        }
    }

    /// For those who show how the peers stand.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            peers: self
                .links
                .iter()
                .map(|link| (link.digester.peer.clone(), link.subscriber.link()))
                .collect(),
        }
    }

    /// Follows all peers until `stop` fires. The records are then left to
    /// their leases.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for link in self.links {
            tasks.spawn(link.run(stop.clone()));
        }
        tasks.join_all().await;
    }
}

/// One peer: what is heard of it, and what is written of it.
#[derive(Debug)]
struct PeerLink {
    subscriber: Subscriber,
    digester: Digester,
}

impl PeerLink {
    fn new(peer: Site, subscriber: Subscriber, local: Arc<dyn Registry>, lease: Duration) -> Self {
        let digester = Digester {
            peer,
            local,
            lease,
            life: Life::begin(),
            kept: BTreeMap::new(),
            renewed: None,
        };
        Self {
            subscriber: subscriber.with_grace(Duration::ZERO),
            digester,
        }
    }

    async fn run(self, stop: CancellationToken) {
        let Self {
            subscriber,
            mut digester,
        } = self;
        let (snapshots, mut link) = (subscriber.snapshots(), subscriber.link());
        let digesting = async {
            // The snapshot is published before the link says "heard".
            while link.changed().await.is_ok() {
                let heard = link.borrow_and_update().last_heard;
                let snapshot = Arc::clone(&snapshots.borrow());
                digester.hear(&snapshot, heard).await;
            }
        };
        tokio::join!(
            subscriber.run(stop.clone()),
            stop.run_until_cancelled(digesting)
        );
    }
}

/// Writes what a peer serves into the local registry.
struct Digester {
    peer: Site,
    local: Arc<dyn Registry>,
    lease: Duration,
    life: Life,
    kept: BTreeMap<EndpointId, Kept>,
    /// The word of the peer on which the leases were last renewed.
    renewed: Option<(Instant, u64)>,
}

/// A record as it was last written.
#[derive(Debug)]
struct Kept {
    lease: LeaseId,
    endpoint: Endpoint,
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digester")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Digester {
    /// The peer said something at `heard`; `snapshot` is what is known of it
    /// since. Does nothing if that is not news, or so soon after the last
    /// renewal that nothing would be gained.
    async fn hear(&mut self, snapshot: &Snapshot, heard: Option<Instant>) {
        let (Some(heard), content) = (heard, snapshot.content_hash()) else {
            return;
        };
        if let Some((renewed, seen)) = self.renewed
            && seen == content
            && heard.duration_since(renewed) < self.lease / 10
        {
            return;
        }
        let mut wanted = digest(snapshot, &self.peer);
        self.renewed = Some((heard, content));
        let gone: Vec<_> = self
            .kept
            .keys()
            .filter(|id| !wanted.contains_key(*id))
            .cloned()
            .collect();
        for id in gone {
            self.remove(&id).await;
        }
        while let Some((id, endpoint)) = wanted.pop_first() {
            self.keep(id, endpoint).await;
        }
    }

    /// Afterwards `endpoint` stands in the local registry under a fresh lease,
    /// or will be tried again at the peer's next word.
    async fn keep(&mut self, id: EndpointId, mut endpoint: Endpoint) {
        let result = match self.kept.remove(&id) {
            Some(Kept {
                lease,
                endpoint: known,
            }) => {
                endpoint.life = known.life;
                let step = if endpoint == known {
                    self.local.renew(lease).await
                } else {
                    self.life = self.life.next();
                    endpoint.life = self.life;
                    self.local.update(lease, endpoint.clone()).await
                };
                match step {
                    Err(Refused::LeaseLapsed) => {
                        self.local.register(endpoint.clone(), self.lease).await
                    }
                    step => step.map(|()| lease),
                }
            }
            None => {
                self.life = self.life.next();
                endpoint.life = self.life;
                tracing::info!(peer = %self.peer, gateway = %id, address = %endpoint.address, "a peer came");
                self.local.register(endpoint.clone(), self.lease).await
            }
        };
        match result {
            Ok(lease) => {
                self.kept.insert(id, Kept { lease, endpoint });
            }
            Err(error) => {
                tracing::warn!(peer = %self.peer, gateway = %id, error = %error, "a peer could not be made known here");
            }
        }
    }

    async fn remove(&mut self, id: &EndpointId) {
        let Some(Kept { lease, .. }) = self.kept.remove(id) else {
            return;
        };
        tracing::info!(peer = %self.peer, gateway = %id, "a peer left");
        if let Err(error) = self.local.revoke(lease).await {
            tracing::warn!(peer = %self.peer, gateway = %id, error = %error, "its record is left to its lease");
        }
    }
}

/// The records that stand for `peer` here: one a gateway of its own site, each
/// with the applications that a replica of its own site serves, sorted, the
/// first [`MAX_APPLICATIONS`] of them. Pure. The life is left to the caller.
fn digest(snapshot: &Snapshot, peer: &Site) -> BTreeMap<EndpointId, Endpoint> {
    let own = |kind| {
        snapshot
            .of_kind(kind)
            .filter(|endpoint| endpoint.key.site == *peer)
    };
    let serving = own(Kind::Replica).filter(|replica| replica.state == State::Serving);
    let applications: BTreeSet<&Application> =
        serving.flat_map(|replica| &replica.applications).collect();
    let applications: Vec<Application> = applications
        .into_iter()
        .take(MAX_APPLICATIONS)
        .cloned()
        .collect();
    own(Kind::Gateway)
        .map(|gateway| {
            let endpoint = Endpoint {
                kind: Kind::Peer,
                applications: applications.clone(),
                ..Endpoint::clone(gateway)
            };
            (gateway.key.id.clone(), endpoint)
        })
        .collect()
}
