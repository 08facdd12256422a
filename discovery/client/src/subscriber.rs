//! Follows a registry and keeps the newest state at hand.
//!
//! One task. It watches the first of its sources that answers, goes on from its
//! own position after each loss, and waits ever longer between tries. What it
//! knows stays when the link is cut: readers go on with the last good snapshot
//! and see in [`Link`] how old it is.
//!
//! ```text
//!   source 1 --x                        .--> watch<Arc<Snapshot>>   (content)
//!   source 2 ---- events --> Carryover -+
//!   source 3                            '--> watch<Link>            (evidence)
//! ```
//!
//! Invariants:
//! 1. A cut link takes nothing out of the snapshot
//!    (`a_cut_link_keeps_the_last_good_snapshot`).
//! 2. After a cut the watch goes on from the last position
//!    (`a_watch_goes_on_from_where_it_was`).
//! 3. The snapshot is published before the link says that it was heard: who
//!    sees [`Link::last_heard`] move sees at least what was heard then
//!    (`the_snapshot_comes_before_the_word_of_the_link`).

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Address, Error, Event, Registry, RemoteRegistry, Snapshot, backoff::Backoff,
    carryover::Carryover,
};

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Most events taken before a snapshot is published, if they come at once.
const BATCH: usize = 1024;

/// What is known of the way to the registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Whether a watch is open and has said something.
    pub connected: bool,
    /// When something was last heard, be it only that nothing changed. At
    /// least every second while connected.
    pub last_heard: Option<Instant>,
    /// Which source is, or was last, heard.
    pub address: Option<Address>,
}

/// One place to watch.
#[derive(Clone)]
struct Source {
    address: Address,
    registry: Arc<dyn Registry>,
}

/// The task that follows a registry. Made, asked for its receivers, then run.
pub struct Subscriber {
    sources: Vec<Source>,
    known: Carryover,
    snapshots: watch::Sender<Arc<Snapshot>>,
    link: watch::Sender<Link>,
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sources: Vec<_> = self.sources.iter().map(|source| &source.address).collect();
        f.debug_struct("Subscriber")
            .field("sources", &sources)
            .finish_non_exhaustive()
    }
}

impl Subscriber {
    /// How long the records of a registry that restarted are kept without a
    /// word of their owners, unless set otherwise.
    pub const GRACE: Duration = Duration::from_secs(5);

    /// Follows the registry that is served at any of `addresses`, under the
    /// name `name`. Without addresses it stays unconnected. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`] as of [`RemoteRegistry::new`].
    pub fn new(name: &str, addresses: &[Address]) -> Result<Self, Error> {
        let sources = addresses.iter().map(|address| {
            let registry: Arc<dyn Registry> = Arc::new(RemoteRegistry::new(name, address.clone())?);
            Ok((address.clone(), registry))
        });
        Ok(Self::over(sources.collect::<Result<Vec<_>, _>>()?))
    }

    /// Follows the first of `sources` that answers; the addresses are for
    /// [`Link`] and the log.
    #[must_use]
    pub fn over(sources: Vec<(Address, Arc<dyn Registry>)>) -> Self {
        Self {
            sources: sources
                .into_iter()
                .map(|(address, registry)| Source { address, registry })
                .collect(),
            known: Carryover::new(Self::GRACE),
            snapshots: watch::Sender::default(),
            link: watch::Sender::default(),
        }
    }

    /// Sets how long records outlive the restart of their registry without a
    /// word of their owners: the usual lease; zero to follow the registry to the
    /// letter.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.known = Carryover::new(grace);
        self
    }

    /// The newest state. [`Snapshot::at`] is absent until the first answer.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// The state of the link; changes whenever something is heard.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    /// Follows until `stop` fires.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        for source in self.sources.clone().iter().cycle() {
            let began = Instant::now();
            if stop
                .run_until_cancelled(self.follow(source))
                .await
                .is_none()
            {
                return;
            }
            if self
                .link
                .send_if_modified(|link| std::mem::take(&mut link.connected))
            {
                tracing::warn!(registry = %source.address, "the link to a registry was cut; the last state is kept");
            }
            if began.elapsed() > LONGEST_WAIT {
                backoff.reset();
            }
            if stop
                .run_until_cancelled(sleep(backoff.next()))
                .await
                .is_none()
            {
                return;
            }
        }
        stop.cancelled().await;
    }

    /// One watch, until it ends.
    async fn follow(&mut self, source: &Source) {
        let mut events = source
            .registry
            .watch(self.known.cursor())
            .ready_chunks(BATCH);
        self.known.resume(Instant::now());
        loop {
            tokio::select! {
                biased;
                batch = events.next() => match batch {
                    Some(batch) => self.take(batch, source),
                    None => return,
                },
                () = passed(self.known.until()) => {
                    let changed = self.known.settle(Instant::now());
                    self.publish(changed);
                }
            }
        }
    }

    fn take(&mut self, batch: Vec<Event>, source: &Source) {
        let now = Instant::now();
        let changed = batch.into_iter().fold(false, |changed, event| {
            self.known.apply(event, now) | changed
        });
        self.publish(changed);
        if !self.link.borrow().connected {
            tracing::info!(registry = %source.address, "a registry is being followed");
        }
        let address = Some(source.address.clone());
        self.link.send_replace(Link {
            connected: true,
            last_heard: Some(now),
            address,
        });
    }

    fn publish(&self, changed: bool) {
        if changed {
            self.snapshots.send_replace(Arc::new(self.known.snapshot()));
        }
    }
}

async fn passed(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
