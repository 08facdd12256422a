//! Which records are still to be written down.
//!
//! A record that changes ten times before it is written is written once, as it
//! is then. A record that came and went unwritten is not written at all, which
//! bounds the backlog however long the database is away and however much
//! happens meanwhile.
//!
//! Invariants:
//! 1. It holds about twice as many keys as there are records and written
//!    records, at most (`the_backlog_forgets_what_came_and_went`).

use std::{collections::HashSet, time::Duration};

use discovery_client::{Endpoint, Key, LeaseId};
use serde::{Deserialize, Serialize};

/// Below this no time is spent on keeping the backlog short.
const SMALL: usize = 1024;

/// A record as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) lease: LeaseId,
    pub(crate) ttl: Duration,
    pub(crate) endpoint: Endpoint,
}

/// [`Kept`] in JSON. Later versions only add.
#[derive(Serialize, Deserialize)]
struct Text {
    lease: u64,
    ttl_ms: u64,
    endpoint: Endpoint,
}

impl Kept {
    pub(crate) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Text {
            lease: self.lease.0,
            ttl_ms: u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX),
            endpoint: self.endpoint.clone(),
        })
    }

    pub(crate) fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        let Text {
            lease,
            ttl_ms,
            endpoint,
        } = serde_json::from_slice(json)?;
        Ok(Self {
            lease: LeaseId(lease),
            ttl: Duration::from_millis(ttl_ms),
            endpoint,
        })
    }
}

/// The keys that wait, and those that are written down.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    waiting: HashSet<Key>,
    /// Taken, and not known to be written.
    in_hand: Vec<Key>,
    written: HashSet<Key>,
    /// When to look for keys that need not wait.
    tidy_at: usize,
}

impl Backlog {
    /// Nothing waits, and these are written down.
    pub(crate) fn new(written: impl IntoIterator<Item = Key>) -> Self {
        Self {
            waiting: HashSet::new(),
            in_hand: Vec::new(),
            written: written.into_iter().collect(),
            tidy_at: SMALL,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_hand.is_empty()
    }

    /// How many records wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.in_hand.len()
    }

    /// `key` is to be written down again. `lives` tells which have a record.
    pub(crate) fn note(&mut self, key: Key, lives: impl Fn(&Key) -> bool) {
        self.waiting.insert(key);
        if self.waiting.len() > self.tidy_at {
            let written = &self.written;
            self.waiting
                .retain(|key| lives(key) || written.contains(key));
            self.tidy_at = SMALL.max(2 * self.waiting.len());
        }
    }

    /// What was found written down, all of which is to be looked at again.
    pub(crate) fn found(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.written.extend(keys);
        self.waiting.extend(self.written.iter().cloned());
    }

    /// At most `count` keys to write now. The same again, until each of them is
    /// written.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Key> {
        if self.in_hand.is_empty() {
            self.in_hand = self.waiting.iter().take(count).cloned().collect();
            for key in &self.in_hand {
                self.waiting.remove(key);
            }
        }
        self.in_hand.clone()
    }

    /// `key` is written down, or its absence is.
    pub(crate) fn written(&mut self, key: &Key, present: bool) {
        self.in_hand.retain(|taken| taken != key);
        if !present {
            self.written.remove(key);
        } else if !self.written.contains(key) {
            self.written.insert(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use discovery_client::{EndpointId, Site};

    use super::*;

    fn key(n: usize) -> Key {
        Key {
            site: Site::new("east").unwrap(),
            id: EndpointId::new(format!("r{n}")).unwrap(),
        }
    }

    #[test]
    fn the_backlog_forgets_what_came_and_went() {
        let mut backlog = Backlog::new([key(0)]);
        for n in 0..10 * SMALL {
            backlog.note(key(n), |_| false);
        }
        assert!(backlog.len() <= SMALL, "{}", backlog.len());
        assert!(backlog.waiting.contains(&key(0)), "it is written down");
    }

    #[test]
    fn what_changes_is_written_once_for_each_key() {
        let mut backlog = Backlog::new([]);
        for _ in 0..3 {
            backlog.note(key(1), |_| true);
        }
        assert_eq!(backlog.take(10), [key(1)]);
        backlog.note(key(2), |_| true);
        assert_eq!(backlog.take(10), [key(1)], "until it is written");
        backlog.written(&key(1), true);
        assert_eq!(backlog.take(10), [key(2)]);
        backlog.written(&key(2), true);
        assert!(backlog.is_empty());
    }
}
