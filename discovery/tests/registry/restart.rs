//! Registries, registrars and subscribers together, over real sockets.

use std::sync::Arc;

use discovery::{Config, Indexer, MemoryRegistry};
use discovery_client::{Registrar, Registry, RemoteRegistry, Snapshot, Subscriber};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::stage::{Frozen, LEASE, SECOND, Served, advance, replica, until};

type Snapshots = watch::Receiver<Arc<Snapshot>>;

/// Everything that is not the registry itself.
struct Cast {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Cast {
    fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        }
    }

    fn indexer(&mut self, registry: Arc<dyn Registry>) -> Snapshots {
        let indexer = Indexer::new(registry);
        let snapshots = indexer.snapshots();
        self.tasks.spawn(indexer.run(self.stop.clone()));
        snapshots
    }

    fn subscriber(&mut self, served: &Served) -> Snapshots {
        let subscriber = Subscriber::new("test", std::slice::from_ref(&served.address)).unwrap();
        let snapshots = subscriber.snapshots();
        self.tasks.spawn(subscriber.run(self.stop.clone()));
        snapshots
    }

    fn registrar(&mut self, served: &Served, id: &str) {
        let remote = RemoteRegistry::new(id, served.address.clone()).unwrap();
        let (registrar, _) = Registrar::new(Arc::new(remote), replica(id, 0), LEASE);
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { registrar.run(stop).await.unwrap() });
    }
}

fn memory() -> Arc<MemoryRegistry> {
    Arc::new(MemoryRegistry::new(&Config::default()))
}

fn ids(snapshots: &Snapshots) -> Vec<String> {
    let mut ids: Vec<_> = snapshots
        .borrow()
        .endpoints()
        .map(|endpoint| endpoint.key.id.to_string())
        .collect();
    ids.sort();
    ids
}

#[tokio::test(start_paused = true)]
async fn ten_subscribers_converge_to_one_content() {
    let (_frozen, mut cast, memory) = (Frozen::new(), Cast::new(), memory());
    let served = Served::new(&Config::default(), memory.clone()).await;
    let truth = cast.indexer(memory);
    let subscribers: Vec<_> = (0..10).map(|_| cast.subscriber(&served)).collect();
    for n in 0..20 {
        cast.registrar(&served, &format!("r{n}"));
    }
    let agreed = |count| {
        let (truth, subscribers) = (&truth, &subscribers);
        move || {
            let truth = truth.borrow().clone();
            let same =
                |snapshots: &Snapshots| snapshots.borrow().content_hash() == truth.content_hash();
            truth.len() == count && subscribers.iter().all(same)
        }
    };
    until(agreed(20)).await;
    advance(LEASE * 3).await;
    until(agreed(20)).await;
    cast.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_restarted_registry_shows_nobody_a_smaller_site() {
    let (_frozen, mut cast) = (Frozen::new(), Cast::new());
    let served = Served::new(&Config::default(), memory()).await;
    let snapshots = cast.subscriber(&served);
    for id in ["a", "b"] {
        cast.registrar(&served, id);
    }
    // One that will not come back.
    let gone = RemoteRegistry::new("gone", served.address.clone()).unwrap();
    crate::stage::soon(gone.register(replica("c", 0), LEASE))
        .await
        .unwrap();
    until(|| ids(&snapshots) == ["a", "b", "c"]).await;
    let before = snapshots.borrow().at().unwrap();

    let socket = served.address.authority().parse().unwrap();
    served.stop().await;
    drop(gone);
    advance(SECOND).await;
    let anew = memory();
    let config = Config {
        listen: socket,
        ..Config::default()
    };
    let _served = Served::at(&config, anew.clone()).await;
    let truth = cast.indexer(anew);

    // Whatever is published from here on holds the two that live.
    let mut all = snapshots.clone();
    let (stop, mut watching) = (CancellationToken::new(), JoinSet::new());
    let ended = stop.clone();
    watching.spawn(async move {
        while let Some(Ok(())) = ended.run_until_cancelled(all.changed()).await {
            let shown = ids(&all);
            assert!(shown.len() >= 2, "a smaller site was shown: {shown:?}");
        }
    });

    advance(LEASE).await;
    until(|| ids(&truth) == ["a", "b"]).await;
    advance(Subscriber::GRACE).await;
    until(|| ids(&snapshots) == ["a", "b"]).await;
    assert_ne!(
        snapshots.borrow().at().unwrap().generation,
        before.generation
    );
    assert_eq!(
        snapshots.borrow().content_hash(),
        truth.borrow().content_hash()
    );
    stop.cancel();
    watching.join_all().await;
    cast.stop.cancel();
}
