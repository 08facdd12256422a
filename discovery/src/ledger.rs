//! Who is registered, until when, and what changed lately.
//!
//! The state of [`MemoryRegistry`](crate::MemoryRegistry), without waiting and
//! without a clock: `now` is handed in. Every step first lets lapse what is
//! due, so no record is given out after its lease.
//!
//! ```text
//!   records   key   -> record, its lease        (at most `records_max`)
//!   leases    lease -> key, length, deadline    (one a record)
//!   due       deadline, lease                   (the next to lapse first)
//!   history   the latest changes, in order      (at most `history_max`)
//! ```
//!
//! Invariants:
//! 1. Each change takes the next revision, and the history has no gap: its
//!    last change is the newest revision.
//! 2. A record has one lease and a lease one record.
//! 3. While the registry itself is away no lease runs
//!    (`leases_stand_still_while_the_registry_is_away`).
//! 4. No list outgrows its bound (`records_are_bounded`,
//!    `lost_history_gives_a_reset`).
//! 5. A record that came, changed, got another lease or left is in the backlog,
//!    if there is one, until it is written down
//!    (`what_changes_is_written_once_for_each_key`).

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use discovery_client::{Cursor, Endpoint, Error, Event, Key, LeaseId, MAX_APPLICATIONS};
use tokio::time::Instant;

use crate::backlog::{Backlog, Kept};

/// A registry that did not beat for so long was itself away.
const AWAY: Duration = Duration::from_secs(2);

/// The shortest lease that can be kept by renewing it.
const LEASE_MIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Record {
    endpoint: Arc<Endpoint>,
    lease: LeaseId,
}

#[derive(Debug)]
struct Lease {
    key: Key,
    ttl: Duration,
    deadline: Instant,
}

/// The bounds of a ledger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) lease_max: Duration,
    pub(crate) records_max: usize,
    pub(crate) history_max: usize,
}

/// Everything the in-process registry knows.
#[derive(Debug)]
pub(crate) struct Ledger {
    bounds: Bounds,
    at: Cursor,
    last_lease: u64,
    records: HashMap<Key, Record>,
    leases: HashMap<LeaseId, Lease>,
    due: BTreeSet<(Instant, LeaseId)>,
    history: VecDeque<Event>,
    /// The registry's own last sign of life, if it gives any.
    beat: Option<Instant>,
    /// What is still to be written down, if anything is.
    backlog: Option<Backlog>,
}

impl Ledger {
    pub(crate) fn new(bounds: Bounds, generation: u64) -> Self {
        Self {
            bounds,
            at: Cursor {
                generation,
                revision: 0,
            },
            last_lease: 0,
            records: HashMap::new(),
            leases: HashMap::new(),
            due: BTreeSet::new(),
            history: VecDeque::new(),
            beat: None,
            backlog: None,
        }
    }

    /// With what was written down: every lease begins its whole time again.
    /// New leases are numbered from a random place, for a number given out
    /// once must never be another's.
    pub(crate) fn restore(&mut self, kept: Vec<Kept>, backlog: Backlog, now: Instant) {
        self.last_lease = fastrand::u64(1..u64::MAX / 2);
        for Kept {
            lease,
            ttl,
            endpoint,
        } in kept
        {
            self.lend(lease, &endpoint.key, ttl.min(self.bounds.lease_max), now);
            self.put(endpoint, lease);
        }
        self.backlog = Some(backlog);
    }

    /// Keeps account of what is to be written down.
    pub(crate) fn backlog(&mut self) -> Option<&mut Backlog> {
        self.backlog.as_mut()
    }

    /// The record of `key` as it is to be written down.
    pub(crate) fn kept(&self, key: &Key) -> Option<Kept> {
        let Record { endpoint, lease } = self.records.get(key)?;
        let ttl = self.leases.get(lease)?.ttl;
        Some(Kept {
            lease: *lease,
            ttl,
            endpoint: Endpoint::clone(endpoint),
        })
    }

    /// Puts every record into the backlog.
    pub(crate) fn write_all(&mut self) {
        for key in self.records.keys() {
            if let Some(backlog) = &mut self.backlog {
                backlog.note(key.clone(), |key| self.records.contains_key(key));
            }
        }
    }

    /// A sign of life of the registry itself, due well within [`AWAY`].
    pub(crate) fn beat(&mut self, now: Instant) {
        self.lapse(now);
        self.beat = Some(now);
    }

    /// The newest position.
    pub(crate) fn at(&self) -> Cursor {
        self.at
    }

    /// When the next lease lapses.
    pub(crate) fn next_lapse(&self) -> Option<Instant> {
        self.due.first().map(|(deadline, _)| *deadline)
    }

    /// Lets lapse what is due. A registry that was away (paused, starved) heard
    /// nobody and can judge nobody: leases stood still with it.
    pub(crate) fn lapse(&mut self, now: Instant) {
        if let Some(beat) = self.beat
            && now.duration_since(beat) > AWAY
        {
            self.postpone(now.duration_since(beat));
            self.beat = Some(now);
        }
        while let Some((deadline, lease)) = self.due.first().copied()
            && deadline <= now
        {
            self.end(lease);
        }
    }

    fn postpone(&mut self, by: Duration) {
        self.due.clear();
        for (id, lease) in &mut self.leases {
            lease.deadline += by;
            self.due.insert((lease.deadline, *id));
        }
    }

    pub(crate) fn register(
        &mut self,
        endpoint: Endpoint,
        ttl: Duration,
        now: Instant,
    ) -> Result<LeaseId, Error> {
        self.lapse(now);
        let endpoint = checked(endpoint)?;
        if !(LEASE_MIN..=self.bounds.lease_max).contains(&ttl) {
            let reason = format!(
                "a lease of {ttl:?} is not between {LEASE_MIN:?} and {:?}",
                self.bounds.lease_max
            );
            return Err(Error::Invalid { reason });
        }
        let known = self.records.get(&endpoint.key);
        if let Some(known) = known
            && known.endpoint.life > endpoint.life
        {
            return Err(superseded(&known.endpoint, &endpoint));
        }
        if known.is_none() && self.records.len() >= self.bounds.records_max {
            return Err(Error::Full {
                limit: self.bounds.records_max,
            });
        }
        if let Some(Record { lease, .. }) = known {
            let voided = *lease;
            self.forget(voided);
        }
        self.last_lease += 1;
        let lease = LeaseId(self.last_lease);
        self.lend(lease, &endpoint.key, ttl, now);
        self.touch(&endpoint.key);
        self.put(endpoint, lease);
        Ok(lease)
    }

    pub(crate) fn renew(&mut self, lease: LeaseId, now: Instant) -> Result<(), Error> {
        self.lapse(now);
        let held = self.leases.get_mut(&lease).ok_or(Error::LeaseLapsed)?;
        self.due.remove(&(held.deadline, lease));
        held.deadline = now + held.ttl;
        self.due.insert((held.deadline, lease));
        Ok(())
    }

    pub(crate) fn update(
        &mut self,
        lease: LeaseId,
        endpoint: Endpoint,
        now: Instant,
    ) -> Result<(), Error> {
        self.lapse(now);
        let endpoint = checked(endpoint)?;
        let held = self.leases.get(&lease).ok_or(Error::LeaseLapsed)?;
        if held.key != endpoint.key {
            let reason = format!("the lease is for {}, not for {}", held.key, endpoint.key);
            return Err(Error::Invalid { reason });
        }
        if let Some(known) = self.records.get(&endpoint.key)
            && *known.endpoint != endpoint
            && known.endpoint.life >= endpoint.life
        {
            return Err(superseded(&known.endpoint, &endpoint));
        }
        self.touch(&endpoint.key);
        self.put(endpoint, lease);
        self.renew(lease, now)
    }

    pub(crate) fn revoke(&mut self, lease: LeaseId, now: Instant) {
        self.lapse(now);
        self.end(lease);
    }

    /// The next event for a watcher that is at `at`; nothing if it knows all.
    pub(crate) fn after(&self, at: Option<Cursor>) -> Option<Event> {
        let missed = at
            .filter(|at| at.generation == self.at.generation)
            .and_then(|at| self.at.revision.checked_sub(at.revision))
            .and_then(|missed| usize::try_from(missed).ok())
            .filter(|missed| *missed <= self.history.len());
        match missed {
            Some(0) => None,
            Some(missed) => self.history.get(self.history.len() - missed).cloned(),
            None => {
                let endpoints = self
                    .records
                    .values()
                    .map(|record| Arc::clone(&record.endpoint))
                    .collect();
                Some(Event::Reset {
                    at: self.at,
                    endpoints,
                })
            }
        }
    }

    fn lend(&mut self, lease: LeaseId, key: &Key, ttl: Duration, now: Instant) {
        let (key, deadline) = (key.clone(), now + ttl);
        self.leases.insert(lease, Lease { key, ttl, deadline });
        self.due.insert((deadline, lease));
    }

    fn touch(&mut self, key: &Key) {
        if let Some(backlog) = &mut self.backlog {
            backlog.note(key.clone(), |key| self.records.contains_key(key));
        }
    }

    fn put(&mut self, endpoint: Endpoint, lease: LeaseId) {
        let endpoint = Arc::new(endpoint);
        let record = Record {
            endpoint: Arc::clone(&endpoint),
            lease,
        };
        let old = self.records.insert(endpoint.key.clone(), record);
        if old.is_none_or(|old| old.endpoint != endpoint) {
            self.note(|at| Event::Put { at, endpoint });
        }
    }

    /// Ends a lease and removes its record.
    fn end(&mut self, lease: LeaseId) {
        if let Some(key) = self.forget(lease) {
            self.records.remove(&key);
            self.touch(&key);
            self.note(|at| Event::Delete { at, key });
        }
    }

    /// Ends a lease alone.
    fn forget(&mut self, lease: LeaseId) -> Option<Key> {
        let Lease { key, deadline, .. } = self.leases.remove(&lease)?;
        self.due.remove(&(deadline, lease));
        Some(key)
    }

    fn note(&mut self, event: impl FnOnce(Cursor) -> Event) {
        self.at.revision += 1;
        if self.history.len() >= self.bounds.history_max {
            self.history.pop_front();
        }
        self.history.push_back(event(self.at));
    }
}

/// The record as the registry keeps it: applications in order, each once.
fn checked(mut endpoint: Endpoint) -> Result<Endpoint, Error> {
    endpoint.applications.sort();
    endpoint.applications.dedup();
    match endpoint.applications.len() {
        count if count > MAX_APPLICATIONS => Err(Error::Invalid {
            reason: format!(
                "{count} applications in one record, at most {MAX_APPLICATIONS} are allowed"
            ),
        }),
        _ => Ok(endpoint),
    }
}

fn superseded(known: &Endpoint, offered: &Endpoint) -> Error {
    Error::Superseded {
        key: known.key.clone(),
        newest: known.life,
        offered: offered.life,
    }
}

#[cfg(test)]
mod tests {
    use discovery_client::{Address, EndpointId, Kind, Life, Site, State};

    use super::*;

    const TTL: Duration = Duration::from_secs(3);

    fn registered(now: Instant) -> Ledger {
        let bounds = Bounds {
            lease_max: TTL,
            records_max: 1,
            history_max: 10,
        };
        let mut ledger = Ledger::new(bounds, 1);
        let endpoint = Endpoint {
            key: Key {
                site: Site::new("east").unwrap(),
                id: EndpointId::new("r1").unwrap(),
            },
            kind: Kind::Replica,
            address: Address::new("127.0.0.1:1").unwrap(),
            applications: Vec::new(),
            state: State::Serving,
            capacity: None,
            life: Life::begin(),
        };
        ledger.register(endpoint, TTL, now).unwrap();
        ledger
    }

    #[test]
    fn leases_stand_still_while_the_registry_is_away() {
        let start = Instant::now();
        let mut ledger = registered(start);
        ledger.beat(start + Duration::from_secs(1));
        let back = start + Duration::from_secs(61);
        ledger.lapse(back);
        assert_eq!(ledger.records.len(), 1);
        ledger.beat(back + Duration::from_millis(1900));
        assert_eq!(ledger.records.len(), 1);
        ledger.beat(back + Duration::from_millis(2100));
        assert_eq!(ledger.records.len(), 0);
    }
}
