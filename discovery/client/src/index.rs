//! Turns the events of a watch into snapshots.
//!
//! Pure: no I/O, no clock. The registry and every subscriber run this code, so
//! equal events give equal content hashes at both ends of the wire.
//!
//! Invariants:
//! 1. The position never goes back within a generation: an event at or before
//!    it changes nothing (`repeated_and_old_events_change_nothing`).
//! 2. The content depends on the last record of each key alone, not on the way
//!    there (`any_history_equals_its_final_list`).

use std::{collections::BTreeSet, hash::BuildHasher, sync::Arc};

use crate::{Application, Cursor, Endpoint, Event, Key, Snapshot};

/// The newest state, and the means to step it forward.
#[derive(Debug, Default)]
pub struct Index {
    now: Snapshot,
}

impl Index {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event. `true` if the content changed.
    pub fn apply(&mut self, event: Event) -> bool {
        let before = self.now.content_hash;
        let known = self.now.at;
        if let (Some(known), at) = (known, event.at())
            && !matches!(event, Event::Reset { .. })
            && (at.generation != known.generation || at.revision <= known.revision)
        {
            return false;
        }
        self.now.at = Some(event.at());
        match event {
            Event::Reset { endpoints, .. } => self.replace(endpoints),
            Event::Put { endpoint, .. } => self.put(endpoint),
            Event::Delete { key, .. } => self.delete(&key),
            Event::Progress { .. } => {}
        }
        before != self.now.content_hash || known.is_none()
    }

    /// The position of the last event.
    #[must_use]
    pub fn at(&self) -> Option<Cursor> {
        self.now.at
    }

    /// The state as of the last event.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.now.clone()
    }

    fn replace(&mut self, endpoints: Vec<Arc<Endpoint>>) {
        self.now.endpoints.clear();
        self.now.by_application.clear();
        self.now.content_hash = 0;
        for endpoint in endpoints {
            self.put(endpoint);
        }
    }

    fn put(&mut self, endpoint: Arc<Endpoint>) {
        let old = self.now.endpoints.insert(endpoint.key.clone(), Arc::clone(&endpoint));
        self.now.content_hash ^= hash(&endpoint);
        let mut touched: BTreeSet<&Application> = endpoint.applications.iter().collect();
        if let Some(old) = &old {
            self.now.content_hash ^= hash(old);
            touched.extend(&old.applications);
        }
        for application in touched {
            let stays = endpoint.applications.contains(application).then_some(&endpoint);
            self.relist(application, &endpoint.key, stays);
        }
    }

    fn delete(&mut self, key: &Key) {
        let Some(old) = self.now.endpoints.remove(key) else { return };
        self.now.content_hash ^= hash(&old);
        for application in &old.applications {
            self.relist(application, key, None);
        }
    }

    /// Rebuilds one application's list, sorted by key.
    fn relist(&mut self, application: &Application, key: &Key, with: Option<&Arc<Endpoint>>) {
        let others = self.now.by_application.get(application).into_iter().flat_map(|list| list.iter());
        let mut list: Vec<_> = others.filter(|endpoint| endpoint.key != *key).chain(with).cloned().collect();
        list.sort_by(|a, b| a.key.cmp(&b.key));
        if list.is_empty() {
            self.now.by_application.remove(application);
        } else {
            self.now.by_application.insert(application.clone(), list.into());
        }
    }
}

/// Fixed seed: the same on every machine.
fn hash(endpoint: &Endpoint) -> u64 {
    foldhash::quality::FixedState::with_seed(0x7472_6164_6577_696e).hash_one(endpoint)
}
