//! Keeps a snapshot of a registry of the same process.
//!
//! One task owns the index; everybody else reads snapshots. Events that are
//! there at once are taken at once, so a wave of changes publishes a few
//! snapshots and not one each.

use std::sync::Arc;

use discovery_client::{Index, Registry, Snapshot};
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Most events taken before a snapshot is published.
const BATCH: usize = 1024;

/// The task between a registry and the readers of its snapshots.
pub struct Indexer {
    registry: Arc<dyn Registry>,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

impl std::fmt::Debug for Indexer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Indexer").finish_non_exhaustive()
    }
}

impl Indexer {
    /// Will follow `registry`.
    #[must_use]
    pub fn new(registry: Arc<dyn Registry>) -> Self {
        Self {
            registry,
            snapshots: watch::Sender::default(),
        }
    }

    /// The newest state. Without a position until the task runs.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Runs until `stop` fires or the registry closes the watch.
    pub async fn run(self, stop: CancellationToken) {
        let mut index = Index::new();
        let mut events = self.registry.watch(None).ready_chunks(BATCH);
        while let Some(Some(batch)) = stop.run_until_cancelled(events.next()).await {
            let changed = batch
                .into_iter()
                .fold(false, |changed, event| index.apply(event) | changed);
            if changed {
                self.snapshots.send_replace(Arc::new(index.snapshot()));
            }
        }
    }
}
