//! The suite in memory, and what only the in-process registry promises.

use std::num::NonZeroUsize;

use discovery::{Config, Indexer, MemoryRegistry};
use discovery_client::{Event, Registry};
use tokio_util::sync::CancellationToken;

use crate::{
    stage::{LEASE, Way, next, replica},
    suite::suite,
};

suite!(Way::Memory);

#[tokio::test(start_paused = true)]
async fn a_slow_watcher_is_given_the_whole_list() {
    let config = Config {
        history_max: NonZeroUsize::new(8).unwrap(),
        ..Config::default()
    };
    let registry = MemoryRegistry::new(&config);
    let (mut slow, mut quick) = (registry.watch(None), registry.watch(None));
    next(&mut slow).await;
    next(&mut quick).await;
    for version in 0..9 {
        registry
            .register(replica("a", version), LEASE)
            .await
            .unwrap();
        assert!(
            matches!(next(&mut quick).await, Event::Put { .. }),
            "nobody waits for the slow one"
        );
    }
    assert!(
        matches!(next(&mut slow).await, Event::Reset { endpoints, .. } if endpoints.len() == 1)
    );
}

#[tokio::test(start_paused = true)]
async fn two_registries_have_two_histories() {
    let position = async || {
        next(&mut MemoryRegistry::new(&Config::default()).watch(None))
            .await
            .at()
    };
    assert_ne!(position().await.generation, position().await.generation);
}

#[tokio::test(start_paused = true)]
async fn the_indexer_publishes_what_changes_and_what_lapses() {
    let registry = std::sync::Arc::new(MemoryRegistry::new(&Config::default()));
    let indexer = Indexer::new(registry.clone());
    let (mut snapshots, stop) = (indexer.snapshots(), CancellationToken::new());
    let task = tokio::spawn(indexer.run(stop.clone()));

    snapshots
        .wait_for(|snapshot| snapshot.at().is_some())
        .await
        .unwrap();
    registry.register(replica("a", 0), LEASE).await.unwrap();
    snapshots
        .wait_for(|snapshot| snapshot.serving("chat").len() == 1)
        .await
        .unwrap();
    let began = tokio::time::Instant::now();
    snapshots
        .wait_for(|snapshot| snapshot.is_empty())
        .await
        .unwrap();
    assert!(
        began.elapsed() <= LEASE,
        "a lapse is seen when it is due, not later: {:?}",
        began.elapsed()
    );

    stop.cancel();
    task.await.unwrap();
}
