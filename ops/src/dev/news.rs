//! Follows the registries of all sites: tells who joins and who goes, and when
//! everything is there.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use discovery_client::{Endpoint, Key, Kind, Snapshot, State, Subscriber};
use http::{Method, StatusCode};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    http::ask,
    plan::{Plan, SitePlan, local},
    voice::Voice,
};

/// How often readiness is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// One site's registry as seen from here.
pub type View = watch::Receiver<Arc<Snapshot>>;

/// Follows every registry of the plan, in its order.
pub fn follow(
    plan: &Plan,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Vec<View>> {
    let mut views = Vec::with_capacity(plan.sites.len());
    for site in &plan.sites {
        let subscriber = Subscriber::new("tradewind-dev", &[local(site.registry)])
            .with_context(|| format!("cannot follow the registry of {}", site.name))?;
        views.push(subscriber.snapshots());
        let stop = stop.clone();
        tasks.spawn(async move {
            subscriber.run(stop).await;
        });
    }
    Ok(views)
}

/// Tells what changes at one site, until `stop` fires.
pub async fn tell(site: SitePlan, mut view: View, voice: Voice, stop: CancellationToken) {
    let mut known = BTreeMap::new();
    loop {
        let now: BTreeMap<Key, Arc<Endpoint>> = view
            .borrow_and_update()
            .endpoints()
            .map(|it| (it.key.clone(), Arc::clone(it)))
            .collect();
        for (key, endpoint) in &now {
            if let Some((event, details)) = change(known.get(key), endpoint) {
                voice.note(
                    site.name.as_str(),
                    &shown(key, endpoint, &site),
                    event,
                    &details,
                );
            }
        }
        for (key, endpoint) in known.iter().filter(|(key, _)| !now.contains_key(*key)) {
            let event = if endpoint.kind == Kind::Peer {
                "unseen"
            } else {
                "left"
            };
            voice.note(
                site.name.as_str(),
                &shown(key, endpoint, &site),
                event,
                endpoint.address.as_str(),
            );
        }
        known = now;
        match stop.run_until_cancelled(view.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
    }
}

/// A peer goes by its site, others by their own name.
fn shown(key: &Key, endpoint: &Endpoint, site: &SitePlan) -> String {
    if endpoint.kind == Kind::Peer || key.site != site.name {
        key.site.to_string()
    } else {
        key.id.to_string()
    }
}

fn change(before: Option<&Arc<Endpoint>>, now: &Endpoint) -> Option<(&'static str, String)> {
    let serves = |endpoint: &Endpoint| {
        endpoint
            .applications
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    match before {
        None if now.kind == Kind::Peer => {
            Some(("seen", format!("{} serves: {}", now.address, serves(now))))
        }
        None => Some(("joined", now.address.to_string())),
        Some(before) if before.state != now.state => {
            let event = if now.state == State::Draining {
                "draining"
            } else {
                "serving"
            };
            Some((event, now.address.to_string()))
        }
        Some(before) if before.applications != now.applications => Some(("serves", serves(now))),
        Some(before) if before.address != now.address => Some(("moved", now.address.to_string())),
        Some(_) => None,
    }
}

/// Waits until every gateway is ready and sees everything it should.
///
/// # Errors
/// What is missing, once `within` is over.
pub async fn ready(plan: Plan, views: Vec<View>, within: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let mut missing = None;
        for (site, view) in plan.sites.iter().zip(&views) {
            missing = lacks(&plan, site, &view.borrow());
            if missing.is_none() && !is_ready(site).await {
                missing = Some(format!("{} is not ready", site.name));
            }
            if missing.is_some() {
                break;
            }
        }
        match missing {
            None => return Ok(()),
            Some(missing) if Instant::now() >= deadline => {
                anyhow::bail!(
                    "not ready within {}: {missing}",
                    humantime::format_duration(within)
                )
            }
            Some(_) => sleep(LOOK).await,
        }
    }
}

async fn is_ready(site: &SitePlan) -> bool {
    let asked = ask(&local(site.admin), Method::GET, "/readyz", None).await;
    asked.is_ok_and(|(status, _)| status == StatusCode::OK)
}

/// What a site's registry does not know yet.
fn lacks(plan: &Plan, site: &SitePlan, view: &Snapshot) -> Option<String> {
    let own = |it: &&Arc<Endpoint>| it.key.site == site.name && it.state == State::Serving;
    let replicas = view.of_kind(Kind::Replica).filter(own).count();
    if replicas < site.replicas.len() {
        return Some(format!(
            "{} has {replicas} of {} replicas",
            site.name,
            site.replicas.len()
        ));
    }
    let sees = |other: &SitePlan| {
        view.of_kind(Kind::Peer)
            .any(|it| it.key.site == other.name && !it.applications.is_empty())
    };
    let mut others = plan
        .sites
        .iter()
        .filter(|other| other.name != site.name && !other.replicas.is_empty());
    others
        .find(|other| !sees(other))
        .map(|other| format!("{} does not see {}", site.name, other.name))
}
