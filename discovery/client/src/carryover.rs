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
//! Without a grace each list is taken as it is. Pure: the time is handed in.
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
                let anew = known
                    .at()
                    .is_some_and(|known| known.generation != at.generation);
                if anew && !self.grace.is_zero() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Endpoint, EndpointId, Kind, Life, Site, State};

    const GRACE: Duration = Duration::from_secs(5);

    fn endpoint(id: &str, port: u16) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            key: key(id),
            kind: Kind::Replica,
            address: Address::new(format!("127.0.0.1:{port}")).unwrap(),
            applications: Vec::new(),
            state: State::Serving,
            capacity: None,
            life: Life {
                incarnation: 1,
                version: 0,
            },
        })
    }

    fn key(id: &str) -> Key {
        Key {
            site: Site::new("east").unwrap(),
            id: EndpointId::new(id).unwrap(),
        }
    }

    fn at(generation: u64, revision: u64) -> Cursor {
        Cursor {
            generation,
            revision,
        }
    }

    fn reset(at: Cursor, ids: &[&str]) -> Event {
        Event::Reset {
            at,
            endpoints: ids.iter().map(|id| endpoint(id, 1)).collect(),
        }
    }

    fn known(carryover: &Carryover) -> Vec<String> {
        let mut ids: Vec<_> = carryover
            .snapshot()
            .endpoints()
            .map(|endpoint| endpoint.key.id.to_string())
            .collect();
        ids.sort();
        ids
    }

    /// Three were known, the registry has begun anew and lists nobody.
    fn restarted(now: Instant) -> Carryover {
        let mut carryover = Carryover::new(GRACE);
        carryover.apply(reset(at(1, 3), &["a", "b", "c"]), now);
        carryover.apply(reset(at(2, 0), &[]), now);
        carryover
    }

    #[test]
    fn a_restart_takes_nothing_away_at_once() {
        let now = Instant::now();
        let mut carryover = restarted(now);
        assert_eq!(known(&carryover), ["a", "b", "c"]);
        assert_eq!(carryover.cursor(), Some(at(2, 0)));

        carryover.apply(
            Event::Put {
                at: at(2, 1),
                endpoint: endpoint("b", 2),
            },
            now,
        );
        carryover.apply(
            Event::Delete {
                at: at(2, 2),
                key: key("c"),
            },
            now,
        );
        assert_eq!(
            known(&carryover),
            ["a", "b"],
            "only what the registry itself deletes goes"
        );
        assert_eq!(
            carryover
                .snapshot()
                .get(&key("b"))
                .unwrap()
                .address
                .authority(),
            "127.0.0.1:2"
        );
        assert!(!carryover.settle(now + GRACE - Duration::from_millis(1)));
    }

    #[test]
    fn after_the_grace_only_the_new_list_counts() {
        let now = Instant::now();
        let mut carryover = restarted(now);
        carryover.apply(
            Event::Put {
                at: at(2, 1),
                endpoint: endpoint("b", 1),
            },
            now,
        );
        assert!(carryover.settle(now + GRACE));
        assert_eq!(known(&carryover), ["b"]);

        let mut fresh = Carryover::new(GRACE);
        fresh.apply(reset(at(2, 1), &["b"]), now);
        assert_eq!(
            carryover.snapshot().content_hash(),
            fresh.snapshot().content_hash()
        );
        assert!(
            carryover.apply(
                Event::Put {
                    at: at(2, 2),
                    endpoint: endpoint("d", 1)
                },
                now
            ),
            "the position is kept"
        );
    }

    #[test]
    fn nothing_is_waited_for_once_all_are_back() {
        let now = Instant::now();
        let mut carryover = restarted(now);
        assert_eq!(carryover.until(), Some(now + GRACE));
        for (id, revision) in [("a", 1), ("b", 2), ("c", 3)] {
            carryover.apply(
                Event::Put {
                    at: at(2, revision),
                    endpoint: endpoint(id, 1),
                },
                now,
            );
        }
        assert_eq!(carryover.until(), None);
    }

    #[test]
    fn without_a_grace_a_new_generation_is_the_truth_too() {
        let now = Instant::now();
        let mut carryover = Carryover::new(Duration::ZERO);
        carryover.apply(reset(at(1, 3), &["a", "b"]), now);
        carryover.apply(reset(at(2, 0), &["b"]), now);
        assert_eq!(known(&carryover), ["b"]);
        assert_eq!(carryover.until(), None);
    }

    #[test]
    fn a_list_of_the_same_generation_is_the_truth() {
        let now = Instant::now();
        let mut carryover = Carryover::new(GRACE);
        carryover.apply(reset(at(1, 3), &["a", "b"]), now);
        carryover.apply(reset(at(1, 9), &["b"]), now);
        assert_eq!(known(&carryover), ["b"]);
    }

    #[test]
    fn those_still_missed_outlast_a_second_list() {
        let now = Instant::now();
        let mut carryover = restarted(now);
        carryover.apply(reset(at(2, 4), &["b"]), now);
        assert_eq!(known(&carryover), ["a", "b", "c"]);
        carryover.resume(now + GRACE);
        assert!(!carryover.settle(now + GRACE));
        assert!(carryover.settle(now + GRACE * 2));
        assert_eq!(known(&carryover), ["b"]);
    }
}
