//! Which connections belong to the head that owns a namespace now.
//!
//! Nothing in Ray keeps two heads off one namespace, so the store tells them
//! apart and lets only the newest write. A head is an *incarnation* with an
//! epoch of its own. Its launcher may declare the epoch in the user name, or
//! the store observes the head's first steps:
//!
//! ```text
//!   pair B   HSET KV gcs_pid <pid>                      (since Ray 2.60)
//!   pair A   HSCAN of JOB, NODE, ACTOR, ACTOR_TASK_SPEC, PLACEMENT_GROUP
//!            ---- either is a sign: a new head, unless it is the sign that
//!                 the newest one still owed
//! ```
//!
//! A head writes on two connections, so the newest incarnation takes in a
//! second one from the same address that writes and was opened after all that
//! older heads wrote on. Who only reads (the launcher, an operator) is nobody's.
//! Whoever else used the namespace before is fenced. When two heads start at
//! the very same time from one address and a connection could be either's, it
//! is fenced too: both may die and be restarted, but never do both write.
//!
//! Pure: no clock, no I/O. Connections are known by the order in which they
//! were opened.
//!
//! Invariants:
//! 1. The epoch only grows (`the_epoch_only_grows`).
//! 2. A connection that was refused once is refused for ever
//!    (`who_was_fenced_stays_fenced`).
//! 3. Of two observed heads with both signs each, only the connections of the
//!    one that announced itself last may write (`only_the_newest_head_writes`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bytes::Bytes;
use ray_tables::TableName;
use serde::{Deserialize, Serialize};

use super::command::Command;

/// Connections of one head that carry commands.
const PER_HEAD: usize = 2;

/// The tables whose scan every known version of Ray begins with.
const ANNOUNCING: [TableName; 5] = [
    TableName::JOB,
    TableName::NODE,
    TableName::ACTOR,
    TableName::ACTOR_TASK_SPEC,
    TableName::PLACEMENT_GROUP,
];

/// The field by which a head tells its process.
const GCS_PID: &[u8] = b"gcs_pid";

/// A client connection; larger means opened later.
pub(crate) type Order = u64;

/// What a new head does and nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It wrote its process id.
    Pid,
    /// It read all tables.
    Scan,
}

/// The scans that one connection has begun, one bit a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scans(u8);

impl Scans {
    /// The sign that `command` completes, if any.
    pub(crate) fn sign(&mut self, command: &Command) -> Option<Sign> {
        match command {
            Command::Hset { key, field, .. } if key.table == TableName::KV && field == GCS_PID => {
                Some(Sign::Pid)
            }
            Command::Hscan {
                key,
                cursor: 0,
                pattern: None,
                ..
            } => {
                let nth = ANNOUNCING.iter().position(|table| *table == key.table)?;
                self.0 |= 1 << nth;
                let all = self.0 == (1 << ANNOUNCING.len()) - 1;
                all.then(|| {
                    self.0 = 0;
                    Sign::Scan
                })
            }
            _ => None,
        }
    }
}

/// Whether a connection may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may.
    Go,
    /// It may, and is the first of a new head.
    Begin,
    /// A newer head owns the namespace.
    Fenced,
    /// Heads of this namespace declare their epochs, and this one did not.
    Undeclared,
}

/// A connection of which nobody knows whose it is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Guest {
    address: IpAddr,
    wrote: bool,
}

/// The heads of one namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Heads {
    epoch: u64,
    declared: bool,
    address: Option<IpAddr>,
    /// Connections up to here are older than the newest head.
    low: Order,
    pid: Option<Order>,
    scan: Option<Order>,
    /// Connections of the newest head that have written or given a sign.
    members: BTreeSet<Order>,
    /// Others that used the namespace since it began.
    guests: BTreeMap<Order, Guest>,
    /// Refused, until they are gone.
    fenced: BTreeSet<Order>,
}

impl Heads {
    /// Those of a namespace whose newest epoch is `epoch`; none is connected.
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            declared: false,
            address: None,
            low: 0,
            pid: None,
            scan: None,
            members: BTreeSet::new(),
            guests: BTreeMap::new(),
            fenced: BTreeSet::new(),
        }
    }

    /// The newest head's epoch; 0 if there was none.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether a connection of the newest head is open.
    pub(crate) fn alive(&self) -> bool {
        !self.members.is_empty()
    }

    /// Whether any connection uses the namespace.
    pub(crate) fn connected(&self) -> bool {
        self.alive() || !self.guests.is_empty() || !self.fenced.is_empty()
    }

    /// Judges a command of `connection`, which was opened from `address`.
    pub(crate) fn judge(
        &mut self,
        connection: Order,
        address: IpAddr,
        sign: Option<Sign>,
        writes: bool,
    ) -> Verdict {
        if self.fenced.contains(&connection) {
            return Verdict::Fenced;
        }
        let member = self.members.contains(&connection);
        if !member && !self.guests.contains_key(&connection) {
            if self.epoch > 0 && connection <= self.low {
                self.fenced.insert(connection);
                return Verdict::Fenced;
            }
            let wrote = false;
            self.guests.insert(connection, Guest { address, wrote });
        }
        if self.declared {
            // Members said who they are; their signs tell nothing new. Who did
            // not say it may look around.
            return if member || (sign.is_none() && !writes) {
                Verdict::Go
            } else {
                Verdict::Undeclared
            };
        }
        let owed = match sign {
            None => true,
            Some(sign) => self.owed(sign).is_none_or(|by| by == connection),
        };
        if !member && (writes || sign.is_some()) {
            let joins = self.epoch > 0
                && self.address == Some(address)
                && self.members.len() < PER_HEAD
                && owed;
            if joins {
                self.guests.remove(&connection);
                self.members.insert(connection);
            } else if let Some(guest) = self.guests.get_mut(&connection) {
                guest.wrote |= writes;
            }
        }
        let Some(sign) = sign else {
            return Verdict::Go;
        };
        if owed && self.members.contains(&connection) {
            *self.owed(sign) = Some(connection);
            return Verdict::Go;
        }
        self.begin(connection, address, sign);
        Verdict::Begin
    }

    /// Who has given a sign for the newest head.
    fn owed(&mut self, sign: Sign) -> &mut Option<Order> {
        match sign {
            Sign::Pid => &mut self.pid,
            Sign::Scan => &mut self.scan,
        }
    }

    /// A connection that declared `epoch` when it logged in.
    pub(crate) fn declare(&mut self, connection: Order, address: IpAddr, epoch: u64) -> Verdict {
        if self.fenced.contains(&connection) || epoch < self.epoch {
            return Verdict::Fenced;
        }
        if epoch == self.epoch && self.declared {
            self.guests.remove(&connection);
            self.members.insert(connection);
            return Verdict::Go;
        }
        if epoch == self.epoch && self.epoch > 0 && !self.alive() {
            // Nobody of it is left, as after a restart of the store.
            self.declared = true;
            self.members.insert(connection);
            return Verdict::Go;
        }
        if epoch == self.epoch {
            return Verdict::Fenced;
        }
        self.supersede(address);
        self.epoch = epoch;
        self.declared = true;
        self.members.insert(connection);
        Verdict::Begin
    }

    fn begin(&mut self, connection: Order, address: IpAddr, sign: Sign) {
        self.members.remove(&connection);
        self.guests.remove(&connection);
        self.low = self.low.max(self.members.last().copied().unwrap_or(0));
        // What may be the new head's other connection, or just looks around.
        let mut siblings = std::mem::take(&mut self.guests);
        let low = self.low;
        self.guests = siblings
            .extract_if(.., |order, guest| *order <= low || guest.address != address)
            .collect();
        if siblings.values().filter(|guest| guest.wrote).count() > 1 {
            // Whose writes these were cannot be told.
            self.guests
                .extend(siblings.extract_if(.., |_, guest| guest.wrote));
        }
        self.supersede(address);
        self.epoch += 1;
        self.declared = false;
        self.members.insert(connection);
        self.members.extend(
            siblings
                .extract_if(.., |_, guest| guest.wrote)
                .map(|(order, _)| order),
        );
        self.guests = siblings;
        *self.owed(sign) = Some(connection);
    }

    /// Fences everybody who is here.
    fn supersede(&mut self, address: IpAddr) {
        self.fenced.append(&mut self.members);
        self.fenced
            .extend(std::mem::take(&mut self.guests).into_keys());
        self.address = Some(address);
        self.pid = None;
        self.scan = None;
    }

    /// Everybody who is refused and still connected.
    pub(crate) fn fenced(&self) -> impl Iterator<Item = Order> {
        self.fenced.iter().copied()
    }

    /// A connection was closed.
    pub(crate) fn gone(&mut self, connection: Order) {
        self.members.remove(&connection);
        self.guests.remove(&connection);
        self.fenced.remove(&connection);
    }
}

/// What a head writes when it stores the cluster's id.
pub(crate) fn cluster_id_field() -> Bytes {
    Bytes::from_static(b"@namespace_cluster:ray_cluster_id")
}

#[cfg(test)]
mod tests;
