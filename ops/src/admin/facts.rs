//! What a process knows of itself and its surroundings.
//!
//! Every fact is read where its owner publishes it, at the moment somebody
//! asks; nothing is copied on the way.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use discovery_client::{Address, EndpointId, Link, Site, Snapshot};
use federation::peers;
use gcs_store::Standing;
use serde::Serialize;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    build::BUILD,
    config::Role,
    status::report::{Endpoint, Peer, Report, Sample, View},
};

/// Where each fact is read.
pub struct Facts {
    /// The site of this process.
    pub site: Site,
    /// Its name there.
    pub id: EndpointId,
    /// What it does.
    pub roles: Vec<Role>,
    /// When it started.
    pub started: Instant,
    /// Its gateway, if it is one, and the address others know it by.
    pub gateway: Option<(Address, gateway::Handle)>,
    /// Where its registry listens, if it is one.
    pub registry: Option<Address>,
    /// Its store, if it is one, and which database that has.
    pub store: Option<(String, gcs_store::Handle)>,
    /// The newest snapshot, unless this process looks at no registry.
    pub view: Option<watch::Receiver<Arc<Snapshot>>>,
    /// The link to the registry, if that is another process.
    pub link: Option<watch::Receiver<Link>>,
    /// The other sites, if this process follows them.
    pub peers: Option<peers::Handle>,
    /// Fires when the process begins to leave.
    pub draining: CancellationToken,
}

/// A store, as it says of itself at `/admin/v1/store`. Fields are only ever
/// added.
#[derive(Debug, Serialize)]
pub struct Kept {
    at: String,
    version: &'static str,
    pid: u32,
    uptime_s: u64,
    listen: SocketAddr,
    database: String,
    engine: gcs_store::Status,
    slow: Vec<gcs_store::Slow>,
    inherited: Option<gcs_store::Inherited>,
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("site", &self.site)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Facts {
    /// Why no request should be sent here; empty if all is well.
    pub fn reasons(&self) -> Vec<&'static str> {
        let store = self.store.as_ref();
        let starting = store.map(|(_, store)| store.standing() == Standing::Starting);
        reasons(
            self.draining.is_cancelled(),
            self.view
                .as_ref()
                .is_none_or(|view| view.borrow().at().is_some()),
            self.gateway.as_ref().map(|(_, gateway)| gateway.ready()),
            starting,
        )
    }

    /// The store of this process, if it is one.
    pub async fn store(&self) -> Option<Kept> {
        let (database, store) = self.store.as_ref()?;
        let mut engine = store.status();
        // The engine writes its status down each second; these are fresher.
        engine.standing = store.standing();
        let mut kept = (Vec::new(), None);
        if let Some(front) = store.report().await {
            engine.connections = front.connections;
            engine.waiting = front.waiting_commands;
            kept = (front.slow, front.inherited);
        }
        let (slow, inherited) = kept;
        Some(Kept {
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            version: BUILD.version,
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs(),
            listen: store.local_addr(),
            database: database.clone(),
            engine,
            slow,
            inherited,
        })
    }

    /// The newest snapshot; without a registry, the empty one.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let view = self.view.as_ref();
        view.map_or_else(Arc::default, |view| view.borrow().clone())
    }

    /// The links to the other sites.
    pub fn links(&self) -> impl Iterator<Item = (&Site, Link)> {
        self.peers.iter().flat_map(peers::Handle::links)
    }

    /// Everything, with the given numbers of the gateway.
    pub fn report(&self, traffic: Vec<Sample>) -> Report {
        let reasons = self.reasons();
        let snapshot = self.snapshot();
        Report {
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            version: BUILD.version.to_owned(),
            site: self.site.clone(),
            id: self.id.clone(),
            roles: self
                .roles
                .iter()
                .map(|role| role.name().to_owned())
                .collect(),
            uptime_s: self.started.elapsed().as_secs(),
            ready: reasons.is_empty(),
            reasons: reasons.into_iter().map(ToOwned::to_owned).collect(),
            gateway: self.gateway.as_ref().map(|(address, _)| address.clone()),
            registry: View {
                listen: self.registry.clone(),
                generation: snapshot.at().map(|at| at.generation),
                revision: snapshot.at().map(|at| at.revision),
                content: format!("{:016x}", snapshot.content_hash()),
                age_ms: match &self.link {
                    None => Some(0),
                    Some(link) => link
                        .borrow()
                        .last_heard
                        .map(|heard| millis(heard.elapsed())),
                },
            },
            endpoints: endpoints(&snapshot),
            peers: self.links().map(|(site, link)| peer(site, &link)).collect(),
            traffic,
        }
    }
}

fn reasons(
    draining: bool,
    known: bool,
    gateway: Option<bool>,
    starting: Option<bool>,
) -> Vec<&'static str> {
    let all = [
        (draining, "draining: this process is leaving"),
        (!known, "no registry has answered yet"),
        (
            known && gateway == Some(false),
            "no replica and no peer can be reached",
        ),
        (
            starting == Some(true),
            "the store does not know yet whether it is the active one",
        ),
    ];
    all.into_iter()
        .filter_map(|(holds, reason)| holds.then_some(reason))
        .collect()
}

fn peer(site: &Site, link: &Link) -> Peer {
    Peer {
        site: site.clone(),
        up: link.connected,
        age_ms: link.last_heard.map(|heard| millis(heard.elapsed())),
    }
}

fn endpoints(snapshot: &Snapshot) -> Vec<Endpoint> {
    let mut all: Vec<_> = snapshot
        .endpoints()
        .map(|endpoint| Endpoint {
            site: endpoint.key.site.clone(),
            id: endpoint.key.id.clone(),
            kind: endpoint.kind,
            address: endpoint.address.clone(),
            state: endpoint.state,
            applications: endpoint.applications.clone(),
            capacity: endpoint.capacity.map(Into::into),
        })
        .collect();
    all.sort_by(|one, other| {
        (&one.site, one.kind, &one.id).cmp(&(&other.site, other.kind, &other.id))
    });
    all
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_needs_a_registry_a_route_and_no_farewell() {
        assert_eq!(reasons(false, true, Some(true), None), Vec::<&str>::new());
        assert_eq!(reasons(false, true, None, None), Vec::<&str>::new());
        assert_eq!(
            reasons(false, false, Some(false), None),
            ["no registry has answered yet"]
        );
        assert_eq!(
            reasons(false, true, Some(false), None),
            ["no replica and no peer can be reached"]
        );
        assert_eq!(
            reasons(true, true, Some(true), None),
            ["draining: this process is leaving"]
        );
        let standby = Some(false);
        assert_eq!(reasons(false, true, None, standby), Vec::<&str>::new());
        assert_eq!(
            reasons(false, true, None, Some(true)),
            ["the store does not know yet whether it is the active one"]
        );
    }
}
