//! Writes: conditions and operations, all or nothing.
//!
//! ```text
//!   lock the head --> fence? --> conditions? --> leases? --> end the old
//!        |             Stale       Refused     LeaseLapsed   versions, write
//!        |                                                   the new, advance
//!        '---- every other writer waits until the end -----------> commit
//! ```
//!
//! Invariants:
//! 1. A transaction that changes anything takes the next revision, and all its
//!    changes have it (`counters_by_compare_and_set_lose_nothing`).
//! 2. Nothing is written under a stale fence (`a_stale_fence_writes_nothing`).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Tables,
    entry::{ENTRY, Entry, Revision, TableName, VALUE_MAX_BYTES, check_key, entry},
    head::{FOREVER, Head, IN_FORCE, to_i64},
    lease::{self, LeaseId},
};
use crate::{Error, Fence, Transaction};

/// Most operations of one transaction.
pub const OPERATIONS_MAX: usize = 128;

/// Most bytes of values in one transaction.
pub const TRANSACTION_MAX_BYTES: usize = 8 << 20;

/// How often a transaction that the database rolled back is tried again.
const ATTEMPTS: u32 = 8;

/// What must hold of an entry for a transaction to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// There is no such entry.
    Absent,
    /// There is one.
    Present,
    /// It was last changed by this revision.
    Modified(Revision),
    /// It was made by this revision.
    Created(Revision),
    /// It was written so many times.
    Version(i64),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operation {
    Put(Bytes, Option<LeaseId>),
    Delete,
}

type At = (TableName, Bytes);

/// What to write, and under which conditions.
#[derive(Debug, Clone, Default)]
pub struct Write {
    conditions: Vec<(At, Condition)>,
    operations: BTreeMap<At, Operation>,
    /// A key that was written twice, which is refused.
    twice: bool,
    fence: Option<Fence>,
}

/// What became of a [`Write`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is committed. If it changed nothing, the revision is of an earlier
    /// change.
    Done(Revision),
    /// A condition did not hold, and nothing was written.
    Refused {
        /// Which, counted from 0.
        condition: usize,
        /// The entry that it was about, as it stands.
        found: Option<Entry>,
    },
}

impl Write {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if `condition` holds of the entry of `key`.
    #[must_use]
    pub fn when(mut self, table: &TableName, key: impl Into<Bytes>, condition: Condition) -> Self {
        let at = (table.clone(), key.into());
        self.conditions.push((at, condition));
        self
    }

    /// Only if nobody has raised `fence` since.
    #[must_use]
    pub fn under(mut self, fence: &Fence) -> Self {
        self.fence = Some(fence.clone());
        self
    }

    /// Writes an entry that stays until it is deleted.
    #[must_use]
    pub fn put(self, table: &TableName, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.operation(table, key.into(), Operation::Put(value.into(), None))
    }

    /// Writes an entry that leaves with `lease`.
    #[must_use]
    pub fn put_leased(
        self,
        table: &TableName,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        lease: LeaseId,
    ) -> Self {
        self.operation(table, key.into(), Operation::Put(value.into(), Some(lease)))
    }

    /// Deletes an entry if there is one.
    #[must_use]
    pub fn delete(self, table: &TableName, key: impl Into<Bytes>) -> Self {
        self.operation(table, key.into(), Operation::Delete)
    }

    fn operation(mut self, table: &TableName, key: Bytes, operation: Operation) -> Self {
        let at = (table.clone(), key);
        self.twice |= self.operations.insert(at, operation).is_some();
        self
    }

    fn check(&self) -> Result<(), Error> {
        if self.twice {
            return Err(Error::invalid("a transaction writes one key twice"));
        }
        let too_large = |what, size, limit| Err(Error::TooLarge { what, size, limit });
        let count = self.operations.len().max(self.conditions.len());
        if count > OPERATIONS_MAX {
            return too_large("transaction (operations)", count, OPERATIONS_MAX);
        }
        let mut bytes = 0;
        for ((_, key), operation) in &self.operations {
            check_key(key)?;
            if let Operation::Put(value, _) = operation {
                if value.len() > VALUE_MAX_BYTES {
                    return too_large("value", value.len(), VALUE_MAX_BYTES);
                }
                bytes += value.len();
            }
        }
        if bytes > TRANSACTION_MAX_BYTES {
            return too_large("transaction", bytes, TRANSACTION_MAX_BYTES);
        }
        self.conditions
            .iter()
            .try_for_each(|((_, key), _)| check_key(key))
    }
}

/// What a transaction needs to know of an entry it is about to change.
#[derive(Debug, Clone, Copy)]
struct Known {
    created: i64,
    modified: i64,
    version: i64,
}

impl Condition {
    fn holds(self, known: Option<Known>) -> bool {
        match (self, known) {
            (Self::Absent, known) => known.is_none(),
            (Self::Present, known) => known.is_some(),
            (Self::Modified(revision), Some(known)) => known.modified == revision.0,
            (Self::Created(revision), Some(known)) => known.created == revision.0,
            (Self::Version(version), Some(known)) => known.version == version,
            (_, None) => false,
        }
    }
}

impl Tables {
    /// Does all of `write` in one transaction, or nothing of it.
    ///
    /// # Errors
    /// [`Error::Stale`] under a raised fence, [`Error::LeaseLapsed`],
    /// [`Error::TooLarge`], [`Error::Invalid`]: nothing was written. After
    /// [`Error::Unavailable`] or [`Error::Deadline`] it is unknown whether it
    /// was: ask, or write again under conditions.
    pub async fn transact(&self, write: &Write) -> Result<Outcome, Error> {
        write.check()?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.attempt(write).await {
                Err(Error::Conflict { .. }) if attempt < ATTEMPTS => {}
                Ok(Outcome::Done(revision)) => {
                    self.announce(revision);
                    return Ok(Outcome::Done(revision));
                }
                other => return other,
            }
        }
    }

    async fn attempt(&self, write: &Write) -> Result<Outcome, Error> {
        let mut transaction = self.database().begin().await?;
        let outcome = self.within(&mut transaction, write).await?;
        match outcome {
            Outcome::Done(_) => transaction.commit().await?,
            Outcome::Refused { .. } => transaction.rollback().await?,
        }
        Ok(outcome)
    }

    async fn within(&self, transaction: &mut Transaction, write: &Write) -> Result<Outcome, Error> {
        let head = Head::lock(transaction, self.database().dialect()).await?;
        if let Some(fence) = &write.fence {
            fence.check(transaction).await?;
        }
        let mut known = BTreeMap::new();
        for at in write
            .conditions
            .iter()
            .map(|(at, _)| at)
            .chain(write.operations.keys())
        {
            if !known.contains_key(at) {
                known.insert(at, find(transaction, at).await?);
            }
        }
        for (condition, (at, wanted)) in write.conditions.iter().enumerate() {
            if !wanted.holds(known[at]) {
                let found = found(transaction, at).await?;
                return Ok(Outcome::Refused { condition, found });
            }
        }
        let next = Revision(head.revision.0 + 1);
        let mut changed = false;
        for (at, operation) in &write.operations {
            changed |= self
                .change(transaction, next, at, operation, known[at])
                .await?;
        }
        if !changed {
            return Ok(Outcome::Done(head.revision));
        }
        Head::advance(transaction, next).await?;
        Ok(Outcome::Done(next))
    }

    /// Ends the version in force and writes the next. `false`: nothing to do.
    async fn change(
        &self,
        transaction: &mut Transaction,
        next: Revision,
        (name, key): &At,
        operation: &Operation,
        known: Option<Known>,
    ) -> Result<bool, Error> {
        if known.is_none() && *operation == Operation::Delete {
            return Ok(false);
        }
        if let Some(known) = known {
            let sql =
                "UPDATE table_version SET ended = ? WHERE name = ? AND k = ? AND revision = ?";
            let values = [
                next.0.into(),
                name.as_str().into(),
                key.clone().into(),
                known.modified.into(),
            ];
            transaction.execute(sql, &values).await?;
        }
        let (value, lease, ended, created, version) = match operation {
            Operation::Put(value, lease) => {
                if let Some(lease) = lease {
                    lease::check(transaction, self.database().dialect(), *lease).await?;
                }
                let (created, version) = known.map_or((next.0, 0), |it| (it.created, it.version));
                (Some(value.clone()), *lease, FOREVER, created, version + 1)
            }
            Operation::Delete => (None, None, next.0, 0, 0),
        };
        let sql = format!(
            "INSERT INTO table_version \
             (name, k, revision, ended, created, version, lease, at_ms, size, value) \
             VALUES (?, ?, ?, ?, ?, ?, ?, {}, ?, ?)",
            self.database().dialect().now_ms()
        );
        let values = [
            name.as_str().into(),
            key.clone().into(),
            next.0.into(),
            ended.into(),
            created.into(),
            version.into(),
            lease.map(|lease| lease.0).into(),
            value.as_ref().map_or(0, |value| to_i64(value.len())).into(),
            value.into(),
        ];
        transaction.execute(&sql, &values).await?;
        Ok(true)
    }
}

async fn find(transaction: &mut Transaction, (name, key): &At) -> Result<Option<Known>, Error> {
    let sql = format!(
        "SELECT created, revision, version FROM table_version \
         WHERE name = ? AND k = ? AND {IN_FORCE}"
    );
    let values = [name.as_str().into(), key.clone().into()];
    let rows = transaction.fetch(&sql, &values).await?;
    let known = rows.first().map(|row| {
        Ok(Known {
            created: row.int(0)?,
            modified: row.int(1)?,
            version: row.int(2)?,
        })
    });
    known.transpose()
}

async fn found(transaction: &mut Transaction, (name, key): &At) -> Result<Option<Entry>, Error> {
    let sql = format!("SELECT {ENTRY} FROM table_version WHERE name = ? AND k = ? AND {IN_FORCE}");
    let values = [name.as_str().into(), key.clone().into()];
    let rows = transaction.fetch(&sql, &values).await?;
    rows.first().map(entry).transpose()
}
