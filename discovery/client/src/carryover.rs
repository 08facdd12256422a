//! Carries what is known over the restart of a registry.
//!
//! A registry that restarts knows nobody until they register again, some
//! moments later. Its first list is not the truth yet, and an empty answer is
//! never taken for "all gone": what was known before stays, under the new
//! list, until its owner is heard of again or `grace` has passed. `grace`
//! should be the usual lease: an owner that is alive registers within it.
//!
//! ```text
//!   generation 1   a b c            a b c        <- what is shown
//!   restart        Reset []         a b c
//!   generation 2   Put b'           a b' c
//!                  Put c'           a b' c'
//!   grace is over                   b' c'
//! ```
//!
//! Pure: the time is handed in.
//!
//! Invariants:
//! 1. A new generation takes nothing away before `grace` has passed, but for
//!    what it deletes itself (`a_restart_takes_nothing_away_at_once`).
//! 2. Afterwards the content is the registry's own
//!    (`after_the_grace_only_the_new_list_counts`).

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{Cursor, Event, Index, Key, Snapshot};

/// An [`Index`] with patience for registries that begin anew.
#[derive(Debug)]
pub(crate) struct Carryover {
    index: Index,
    grace: Duration,
    /// Known from an earlier generation alone.
    carried: HashSet<Key>,
    until: Option<Instant>,
}

impl Carryover {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            index: Index::new(),
            grace,
            carried: HashSet::new(),
            until: None,
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.index.snapshot()
    }

    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.index.at()
    }

    /// When [`Self::settle`] has something to do.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Takes one event. `true` if the content changed.
    pub(crate) fn apply(&mut self, event: Event, now: Instant) -> bool {
        match event {
            Event::Reset { at, endpoints } => {
                let known = self.index.snapshot();
                if known
                    .at()
                    .is_some_and(|known| known.generation != at.generation)
                {
                    self.carried = known
                        .endpoints()
                        .map(|endpoint| endpoint.key.clone())
                        .collect();
                    self.until = Some(now + self.grace);
                }
                for endpoint in &endpoints {
                    self.carried.remove(&endpoint.key);
                }
                let carried = self
                    .carried
                    .iter()
                    .filter_map(|key| known.get(key))
                    .map(Arc::clone);
                let endpoints = endpoints.into_iter().chain(carried).collect();
                self.rest();
                self.index.apply(Event::Reset { at, endpoints })
            }
            Event::Put { ref endpoint, .. } => {
                self.carried.remove(&endpoint.key);
                self.rest();
                self.index.apply(event)
            }
            Event::Delete { ref key, .. } => {
                self.carried.remove(key);
                self.rest();
                self.index.apply(event)
            }
            Event::Progress { .. } => self.index.apply(event),
        }
    }

    /// The link is up again: those who could not be heard of meanwhile have
    /// their whole time once more.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.until = self.until.map(|_| now + self.grace);
    }

    /// Lets go of what nobody spoke of again, once its time is up. `true` if
    /// the content changed.
    pub(crate) fn settle(&mut self, now: Instant) -> bool {
        if self.until.is_none_or(|until| now < until) {
            return false;
        }
        self.until = None;
        let carried = std::mem::take(&mut self.carried);
        let known = self.index.snapshot();
        let Some(at) = known.at() else { return false };
        let endpoints = known
            .endpoints()
            .filter(|endpoint| !carried.contains(&endpoint.key))
            .map(Arc::clone)
            .collect();
        self.index.apply(Event::Reset { at, endpoints })
    }

    /// Nothing carried, nothing to wait for.
    fn rest(&mut self) {
        if self.carried.is_empty() {
            self.until = None;
        }
    }
}
