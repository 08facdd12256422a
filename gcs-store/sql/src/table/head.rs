//! The one row that orders all writers.
//!
//! Whoever changes a table first locks the head, so that revisions are given
//! out in the order of commits: who reads a revision sees every earlier one.

use super::entry::Revision;
use crate::{Dialect, Error, Row, Transaction};

/// When a version ends that is in force.
pub(super) const FOREVER: i64 = i64::MAX;

/// Selects the versions in force.
pub(super) const IN_FORCE: &str = "ended = 9223372036854775807";

/// Selects the versions that stood at a revision, which is bound twice.
pub(super) const STANDING: &str = "revision <= ? AND ended > ?";

/// A size or a count as SQL knows it.
pub(super) fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// How far history reaches, forwards and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The newest change.
    pub(super) revision: Revision,
    /// What ended at or before it may be gone.
    pub(super) compacted: Revision,
}

impl Head {
    pub(super) const READ: &'static str = "SELECT revision, compacted FROM table_head WHERE id = 1";

    pub(super) fn of(rows: &[Row]) -> Result<Self, Error> {
        let row = rows
            .first()
            .ok_or_else(|| Error::invalid("table_head has lost its row"))?;
        Ok(Self {
            revision: Revision(row.int(0)?),
            compacted: Revision(row.int(1)?),
        })
    }

    /// As `transaction` sees it.
    pub(super) async fn read(transaction: &mut Transaction) -> Result<Self, Error> {
        Self::of(&transaction.fetch(Self::READ, &[]).await?)
    }

    /// Locked until `transaction` ends: nobody else writes meanwhile.
    pub(super) async fn lock(
        transaction: &mut Transaction,
        dialect: Dialect,
    ) -> Result<Self, Error> {
        let sql = format!("{} {}", Self::READ, dialect.for_update());
        Self::of(&transaction.fetch(&sql, &[]).await?)
    }

    /// Moves on to `revision`.
    pub(super) async fn advance(
        transaction: &mut Transaction,
        revision: Revision,
    ) -> Result<(), Error> {
        let sql = "UPDATE table_head SET revision = ? WHERE id = 1";
        transaction.execute(sql, &[revision.0.into()]).await?;
        Ok(())
    }
}
