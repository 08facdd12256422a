//! The registry of one process, in its memory.
//!
//! All state is one [`Ledger`] behind a lock that is held for a lookup and
//! never across a wait. A watcher keeps nothing but its position and reads on
//! from the shared history, so a slow one costs nothing, delays nobody and,
//! once it has fallen out of the history, is given the whole list.
//!
//! ```text
//!   register, renew, update, revoke                watch, watch, watch
//!        |                                            ^  its position
//!        v          "something changed"               |
//!      Ledger --------------------------------> reads on, or waits for the
//!                                               news, the next lapse, or the
//!                                               second to say Progress
//! ```
//!
//! No task: whoever reads or writes lets lapse what is due, and a watcher wakes
//! for the next lapse. A lapse that nobody looks at does not matter.
//!
//! Invariants: those of [`Registry`], checked by `tests/registry/suite.rs` here
//! and again through the wire; and
//! 1. A slow watcher is given the whole list rather than what it missed
//!    (`a_slow_watcher_is_given_the_whole_list`).

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use discovery_client::{Cursor, Endpoint, Error, Event, LeaseId, Registry, Watch};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    ledger::{Bounds, Ledger},
};

/// A watcher hears something at least this often.
const PROGRESS: Duration = Duration::from_secs(1);

/// How often a registry gives itself a sign of life.
const BEAT: Duration = Duration::from_millis(500);

/// A [`Registry`] in memory. Cheap to clone; all clones are the same registry.
/// Time is tokio's.
#[derive(Debug, Clone)]
pub struct MemoryRegistry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ledger: Mutex<Ledger>,
    news: watch::Sender<Cursor>,
    /// Wakes who writes the backlog down, if anybody does.
    unwritten: Notify,
}

impl MemoryRegistry {
    /// An empty registry with a history of its own.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let bounds = Bounds {
            lease_max: config.lease_max,
            records_max: config.records_max.get(),
            history_max: config.history_max.get(),
        };
        // A position of an earlier life of this process must not be taken for
        // one of this life.
        let generation = RandomState::new().hash_one(std::time::SystemTime::now());
        let ledger = Ledger::new(bounds, generation);
        let news = watch::Sender::new(ledger.at());
        Self {
            shared: Arc::new(Shared {
                ledger: Mutex::new(ledger),
                news,
                unwritten: Notify::new(),
            }),
        }
    }

    /// Does one step for who writes the backlog down.
    pub(crate) fn step<T>(&self, step: impl FnOnce(&mut Ledger, Instant) -> T) -> T {
        self.shared.step(step)
    }

    /// Waits until there may be something to write down.
    pub(crate) async fn unwritten(&self) {
        self.shared.unwritten.notified().await;
    }
}

impl MemoryRegistry {
    /// Gives signs of life until `stop` fires, so that a process that was
    /// paused with all its leases in it does not forget everybody when it comes
    /// back. Without them leases simply run.
    pub async fn beat(self, stop: CancellationToken) {
        let beating = async {
            let mut ticks = tokio::time::interval(BEAT);
            loop {
                ticks.tick().await;
                self.shared.step(Ledger::beat);
            }
        };
        stop.run_until_cancelled(beating).await;
    }
}

impl Shared {
    /// Does one step and tells the watchers if it changed anything.
    fn step<T>(&self, step: impl FnOnce(&mut Ledger, Instant) -> T) -> T {
        let mut ledger = self.ledger.lock();
        let result = step(&mut ledger, Instant::now());
        let at = ledger.at();
        let unwritten = ledger.backlog().is_some_and(|backlog| !backlog.is_empty());
        drop(ledger);
        if unwritten {
            self.unwritten.notify_one();
        }
        self.news.send_if_modified(|news| {
            let newer = news.revision < at.revision;
            if newer {
                *news = at;
            }
            newer
        });
        result
    }
}

impl Registry for MemoryRegistry {
    fn register(&self, endpoint: Endpoint, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        async move {
            self.shared
                .step(|ledger, now| ledger.register(endpoint, ttl, now))
        }
        .boxed()
    }

    fn renew(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.shared.step(|ledger, now| ledger.renew(lease, now)) }.boxed()
    }

    fn update(&self, lease: LeaseId, endpoint: Endpoint) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            self.shared
                .step(|ledger, now| ledger.update(lease, endpoint, now))
        }
        .boxed()
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            self.shared.step(|ledger, now| ledger.revoke(lease, now));
            Ok(())
        }
        .boxed()
    }

    fn watch(&self, after: Option<Cursor>) -> Watch {
        let watcher = Watcher {
            news: self.shared.news.subscribe(),
            shared: Arc::clone(&self.shared),
            at: after,
            spoke: None,
        };
        stream::unfold(watcher, |mut watcher| async {
            Some((watcher.next().await, watcher))
        })
        .boxed()
    }
}

/// One watch: a position in the shared history.
struct Watcher {
    shared: Arc<Shared>,
    news: watch::Receiver<Cursor>,
    at: Option<Cursor>,
    /// When it last said something; the first word comes at once.
    spoke: Option<Instant>,
}

impl Watcher {
    async fn next(&mut self) -> Event {
        loop {
            self.news.mark_unchanged();
            let (event, newest, next_lapse) = self.shared.step(|ledger, now| {
                ledger.lapse(now);
                (ledger.after(self.at), ledger.at(), ledger.next_lapse())
            });
            let progress = self
                .spoke
                .map_or_else(Instant::now, |spoke| spoke + PROGRESS);
            let event = event
                .or_else(|| (Instant::now() >= progress).then_some(Event::Progress { at: newest }));
            if let Some(event) = event {
                self.at = Some(event.at());
                self.spoke = Some(Instant::now());
                return event;
            }
            let wake = next_lapse.map_or(progress, |lapse| lapse.min(progress));
            tokio::select! {
                // The sender lives as long as `self.shared`.
                _ = self.news.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }
}
