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

use std::{
    collections::{BTreeSet, HashMap},
    hash::BuildHasher,
    sync::Arc,
};

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
            Event::Put { endpoint, .. } => self.put(&endpoint),
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

    /// One pass, where a `put` each would rebuild every list as often as it
    /// has members.
    fn replace(&mut self, endpoints: Vec<Arc<Endpoint>>) {
        self.now.endpoints = endpoints
            .into_iter()
            .map(|endpoint| (endpoint.key.clone(), endpoint))
            .collect();
        self.now.content_hash = self
            .now
            .endpoints
            .values()
            .fold(0, |all, endpoint| all ^ hash(endpoint));
        let mut lists: HashMap<&Application, Vec<Arc<Endpoint>>> = HashMap::new();
        for endpoint in self.now.endpoints.values() {
            for application in &endpoint.applications {
                lists
                    .entry(application)
                    .or_default()
                    .push(Arc::clone(endpoint));
            }
        }
        let sorted = lists.into_iter().map(|(application, mut list)| {
            list.sort_by(|a, b| a.key.cmp(&b.key));
            list.dedup_by(|a, b| a.key == b.key);
            (application.clone(), list.into())
        });
        self.now.by_application = sorted.collect();
    }

    fn put(&mut self, endpoint: &Arc<Endpoint>) {
        let old = self
            .now
            .endpoints
            .insert(endpoint.key.clone(), Arc::clone(endpoint));
        self.now.content_hash ^= hash(endpoint);
        let mut touched: BTreeSet<&Application> = endpoint.applications.iter().collect();
        if let Some(old) = &old {
            self.now.content_hash ^= hash(old);
            touched.extend(&old.applications);
        }
        for application in touched {
            let stays = endpoint
                .applications
                .contains(application)
                .then_some(endpoint);
            self.relist(application, &endpoint.key, stays);
        }
    }

    fn delete(&mut self, key: &Key) {
        let Some(old) = self.now.endpoints.remove(key) else {
            return;
        };
        self.now.content_hash ^= hash(&old);
        for application in &old.applications {
            self.relist(application, key, None);
        }
    }

    /// Rebuilds one application's list, sorted by key.
    fn relist(&mut self, application: &Application, key: &Key, with: Option<&Arc<Endpoint>>) {
        let others = self
            .now
            .by_application
            .get(application)
            .into_iter()
            .flat_map(|list| list.iter());
        let mut list: Vec<_> = others
            .filter(|endpoint| endpoint.key != *key)
            .chain(with)
            .cloned()
            .collect();
        list.sort_by(|a, b| a.key.cmp(&b.key));
        if list.is_empty() {
            self.now.by_application.remove(application);
        } else {
            self.now
                .by_application
                .insert(application.clone(), list.into());
        }
    }
}

/// Fixed seed: the same on every machine.
fn hash(endpoint: &Endpoint) -> u64 {
    foldhash::quality::FixedState::with_seed(0x7472_6164_6577_696e).hash_one(endpoint)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{Address, EndpointId, Kind, Life, Site, State};

    fn any_endpoint() -> impl Strategy<Value = Endpoint> {
        let application = (0..4_u8).prop_map(|n| Application::new(format!("app-{n}")).unwrap());
        let applications = prop::collection::btree_set(application, 0..3);
        (0..6_u8, 1..4_u16, applications, any::<bool>()).prop_map(
            |(id, port, applications, serving)| Endpoint {
                key: Key {
                    site: Site::new("east").unwrap(),
                    id: EndpointId::new(format!("r{id}")).unwrap(),
                },
                kind: Kind::Replica,
                address: Address::new(format!("127.0.0.1:{port}")).unwrap(),
                applications: applications.into_iter().collect(),
                state: if serving {
                    State::Serving
                } else {
                    State::Draining
                },
                capacity: None,
                life: Life {
                    incarnation: 1,
                    version: 0,
                },
            },
        )
    }

    /// Puts, deletes, full lists and words without a change.
    #[derive(Debug, Clone)]
    enum Step {
        Put(Endpoint),
        Delete(Endpoint),
        Relist,
        Progress,
    }

    fn any_history() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => any_endpoint().prop_map(Step::Put),
            3 => any_endpoint().prop_map(Step::Delete),
            1 => Just(Step::Relist),
            1 => Just(Step::Progress),
        ];
        prop::collection::vec(step, 0..40)
    }

    type Model = BTreeMap<Key, Arc<Endpoint>>;

    /// The events of a history and what is there at its end.
    fn played(history: Vec<Step>) -> (Vec<Event>, Model) {
        let mut model = Model::new();
        let mut events = vec![reset(0, &model)];
        for (step, revision) in history.into_iter().zip(1..) {
            let at = Cursor {
                generation: 7,
                revision,
            };
            events.push(match step {
                Step::Put(endpoint) => {
                    let endpoint = Arc::new(endpoint);
                    model.insert(endpoint.key.clone(), Arc::clone(&endpoint));
                    Event::Put { at, endpoint }
                }
                Step::Delete(Endpoint { key, .. }) => {
                    model.remove(&key);
                    Event::Delete { at, key }
                }
                Step::Relist => reset(revision, &model),
                Step::Progress => Event::Progress { at },
            });
        }
        (events, model)
    }

    fn reset(revision: u64, model: &Model) -> Event {
        Event::Reset {
            at: Cursor {
                generation: 7,
                revision,
            },
            endpoints: model.values().cloned().collect(),
        }
    }

    fn index(events: impl IntoIterator<Item = Event>) -> Index {
        let mut index = Index::new();
        for event in events {
            index.apply(event);
        }
        index
    }

    /// All that a reader can see.
    fn seen(index: &Index) -> (u64, Model, BTreeMap<Application, Vec<Arc<Endpoint>>>) {
        let snapshot = index.snapshot();
        (
            snapshot.content_hash(),
            snapshot
                .endpoints()
                .map(|endpoint| (endpoint.key.clone(), Arc::clone(endpoint)))
                .collect(),
            snapshot
                .applications()
                .map(|(name, list)| (name.clone(), list.to_vec()))
                .collect(),
        )
    }

    proptest! {
        #[test]
        fn any_history_equals_its_final_list(history in any_history()) {
            let (events, model) = played(history);
            let (stepped, listed) = (index(events), index([reset(99, &model)]));
            prop_assert_eq!(seen(&stepped), seen(&listed));
            prop_assert_eq!(&seen(&stepped).1, &model);
        }

        #[test]
        fn repeated_and_old_events_change_nothing(history in any_history(), again in any::<prop::sample::Index>()) {
            let (events, _) = played(history);
            let mut index = index(events.clone());
            let (before, at) = (seen(&index), index.at());
            let old = again.get(&events).clone();
            if !matches!(old, Event::Reset { .. }) {
                prop_assert!(!index.apply(old));
            }
            prop_assert_eq!(seen(&index), before);
            prop_assert_eq!(index.at(), at);
        }

        #[test]
        fn a_change_is_told_exactly_when_there_is_one(history in any_history()) {
            let (events, _) = played(history);
            let mut index = Index::new();
            index.apply(events[0].clone());
            for event in events.into_iter().skip(1) {
                let before = seen(&index);
                let told = index.apply(event);
                prop_assert_eq!(told, seen(&index) != before);
            }
        }
    }

    #[test]
    fn another_generation_is_taken_only_as_a_whole() {
        let mut index = index([reset(5, &Model::new())]);
        let other = Cursor {
            generation: 8,
            revision: 6,
        };
        assert!(!index.apply(Event::Progress { at: other }));
        assert_eq!(index.at().unwrap().generation, 7);
        index.apply(Event::Reset {
            at: other,
            endpoints: Vec::new(),
        });
        assert_eq!(index.at(), Some(other));
    }
}
