//! The job counter of a copy: it never goes back.
//!
//! A head whose counter was set back hands out a job number twice. All looks
//! well then, but the second job's tasks never run. So a copy gets the highest
//! number that its origin, or the namespace it is named after, is known ever to
//! have handed out, not the one of the moment that was copied.

use gcs_sql::Database;
use ray_tables::{NamespaceName, TableName};

use super::Error;
use crate::{
    gcs::{
        command::Stored,
        journal::{self, Effect},
        key::{self, NamespaceId},
    },
    namespace::{self, Catalog},
};

/// The counter that a copy is to have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counter {
    copied: Option<i64>,
    floor: Option<i64>,
}

impl Counter {
    /// Knows that `number` was handed out.
    pub(crate) fn raise(&mut self, number: Option<i64>) {
        self.floor = self.floor.max(number);
    }

    /// Takes the counter of the copied moment. False if it is no number.
    pub(crate) fn copied(&mut self, value: &[u8]) -> bool {
        self.copied = parse(value);
        self.copied.is_some()
    }

    /// What it is to be; `None`: not there.
    pub(crate) fn value(self) -> Option<i64> {
        self.copied.max(self.floor)
    }

    /// What it is to be, if that is not what was copied.
    pub(crate) fn raised(self) -> Option<i64> {
        self.value().filter(|_| self.value() != self.copied)
    }
}

/// The highest job number that a namespace is known to have handed out, now or
/// in its history; `None` if there is no such namespace or number.
pub(crate) async fn known(database: &Database, name: &NamespaceName) -> Result<Option<i64>, Error> {
    let id = match Catalog::new(database).find(name).await {
        Ok(record) => record.id,
        Err(namespace::Error::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let key = key::row(id, &TableName::JOB_COUNTER, b"");
    let mut transaction = database.read().await?;
    let mut highest = None;
    for table in ["gcs_row", "gcs_history"] {
        let sql = format!("SELECT value FROM {table} WHERE k = ?");
        for row in transaction.fetch(&sql, &[key.clone().into()]).await? {
            highest = highest.max(row.opt_bytes(0)?.and_then(|value| parse(&value)));
        }
    }
    for row in transaction.fetch(journal::SELECT, &[]).await? {
        for effect in journal::Row::read(&row)?.effects {
            if let Effect::Put {
                namespace,
                table,
                value: Stored::Inline(value),
                ..
            } = effect
                && (namespace, &table) == (id, &TableName::JOB_COUNTER)
            {
                highest = highest.max(parse(&value));
            }
        }
    }
    transaction.rollback().await?;
    Ok(highest)
}

/// Whether the journal holds changes of a namespace that the tables do not show.
pub(crate) async fn unfolded(database: &Database, id: NamespaceId) -> Result<bool, Error> {
    for row in database.fetch(journal::SELECT, &[]).await? {
        let effects = journal::Row::read(&row)?.effects;
        if effects.iter().any(|effect| effect.namespace() == id) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn parse(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_number_ever_handed_out_counts() {
        let mut counter = Counter::default();
        assert_eq!((counter.value(), counter.raised()), (None, None));
        assert!(counter.copied(b"7"));
        counter.raise(Some(3));
        assert_eq!((counter.value(), counter.raised()), (Some(7), None));
        counter.raise(Some(9));
        counter.raise(None);
        assert_eq!((counter.value(), counter.raised()), (Some(9), Some(9)));
        assert!(!counter.copied(b"\xff"));
    }

    #[test]
    fn a_counter_that_is_lost_is_known_from_elsewhere() {
        let mut counter = Counter::default();
        counter.raise(Some(9));
        assert_eq!((counter.value(), counter.raised()), (Some(9), Some(9)));
    }
}
