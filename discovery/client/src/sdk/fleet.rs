//! The gateways a client knows, and the tasks that keep it connected to them.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Config, connection, proxy::Proxy};
use crate::{Address, Kind, Site, Snapshot, State};

/// Most gateways one client connects to; further ones are left out.
pub(super) const MAX_PROXIES: usize = 256;

/// Tells waiting calls that something changed.
#[derive(Debug, Clone)]
pub(super) struct News(watch::Sender<()>);

impl News {
    pub(super) fn tell(&self) {
        self.0.send_replace(());
    }

    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// What is known of one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) site: Option<Site>,
    pub(super) draining: bool,
}

/// The gateways, shared between calls and the task that follows a snapshot.
#[derive(Debug)]
pub(super) struct Fleet {
    config: Arc<Config>,
    proxies: RwLock<Arc<[Arc<Proxy>]>>,
    stops: parking_lot::Mutex<BTreeMap<Address, CancellationToken>>,
    pub(super) news: News,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Fleet {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            proxies: RwLock::default(),
            stops: parking_lot::Mutex::default(),
            news: News(watch::Sender::new(())),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(super) fn proxies(&self) -> Arc<[Arc<Proxy>]> {
        Arc::clone(&self.proxies.read())
    }

    /// Follows `view` until the fleet stops or the view's owner is gone; the
    /// last good set stays.
    pub(super) fn follow(self: &Arc<Self>, mut view: watch::Receiver<Arc<Snapshot>>) {
        let fleet = Arc::clone(self);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let work = async {
                loop {
                    let targets = targets(&view.borrow_and_update());
                    if !targets.is_empty() {
                        fleet.set(targets);
                    }
                    if view.changed().await.is_err() {
                        break;
                    }
                }
            };
            stop.run_until_cancelled(work).await;
        });
    }

    /// Connects to what is new, lets go of what is gone. Calls in flight end
    /// on the connection they are on.
    pub(super) fn set(&self, targets: BTreeMap<Address, Target>) {
        let known = self.proxies();
        let mut stops = self.stops.lock();
        stops.retain(|address, stop| {
            let stays = targets.contains_key(address);
            if !stays {
                stop.cancel();
            }
            stays
        });
        let mut proxies = Vec::with_capacity(targets.len());
        for (address, target) in targets.into_iter().take(MAX_PROXIES) {
            let old = known
                .iter()
                .find(|proxy| proxy.address == address && proxy.site == target.site);
            let proxy = old.map_or_else(
                || {
                    let proxy = Arc::new(Proxy::new(
                        address.clone(),
                        target.site.clone(),
                        &self.config,
                    ));
                    let stop = self.stop.child_token();
                    for lane in 0..proxy.lanes.len() {
                        let (proxy, config) = (Arc::clone(&proxy), Arc::clone(&self.config));
                        let (news, tasks) = (self.news.clone(), self.tasks.clone());
                        self.tasks.spawn(connection::keep(
                            proxy,
                            lane,
                            config,
                            news,
                            tasks,
                            stop.clone(),
                        ));
                    }
                    if let Some(before) = stops.insert(address, stop) {
                        before.cancel();
                    }
                    proxy
                },
                Arc::clone,
            );
            proxy.draining.store(target.draining, Ordering::Relaxed);
            proxies.push(proxy);
        }
        *self.proxies.write() = proxies.into();
        drop(stops);
        self.news.tell();
    }

    /// Stops keeping connections. Streams in progress may go on to their end.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until every task has ended.
    pub(super) async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The gateways of a snapshot: those of its own site and, as peers, those of
/// the others.
fn targets(snapshot: &Snapshot) -> BTreeMap<Address, Target> {
    let all = snapshot
        .of_kind(Kind::Peer)
        .chain(snapshot.of_kind(Kind::Gateway));
    let target = |endpoint: &Arc<crate::Endpoint>| {
        let draining = endpoint.state == State::Draining;
        (
            endpoint.address.clone(),
            Target {
                site: Some(endpoint.key.site.clone()),
                draining,
            },
        )
    };
    all.map(target).collect()
}
