//! Leases: entries that leave when nobody speaks for them.
//!
//! Time is the database's clock alone, so that processes whose clocks differ
//! agree on what has lapsed. A lease that has lapsed cannot be kept alive;
//! whoever calls [`Tables::expire`] next deletes its entries, by the same
//! history as any deletion.

use std::time::Duration;

use super::{
    Tables,
    entry::Revision,
    head::{Head, IN_FORCE},
};
use crate::{Dialect, Error, Transaction};

/// The shortest and the longest lease.
const BOUNDS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 3600);

/// Most leases ended by one [`Tables::expire`].
const EXPIRE_MAX: usize = 64;

/// A lease. Its number is never given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub i64);

impl Tables {
    /// A lease that lapses `ttl` from now, 100 ms to 24 h, unless kept alive.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another `ttl`; what the database says.
    pub async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        if !BOUNDS.contains(&ttl) {
            return Err(Error::invalid(format!(
                "a lease of {ttl:?} is not between {:?} and {:?}",
                BOUNDS.start(),
                BOUNDS.end()
            )));
        }
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let id = LeaseId(fastrand::i64(1..));
        let now = self.database().dialect().now_ms();
        let sql =
            format!("INSERT INTO table_lease (id, ttl_ms, expires_ms) VALUES (?, ?, {now} + ?)");
        let values = [id.0.into(), ttl_ms.into(), ttl_ms.into()];
        self.database().execute(&sql, &values).await?;
        Ok(id)
    }

    /// Lets `lease` run its whole time again.
    ///
    /// # Errors
    /// [`Error::LeaseLapsed`] if it has lapsed, was revoked or never granted.
    pub async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        let now = self.database().dialect().now_ms();
        let sql = format!(
            "UPDATE table_lease SET expires_ms = {now} + ttl_ms WHERE id = ? AND expires_ms > {now}"
        );
        match self.database().execute(&sql, &[lease.0.into()]).await? {
            0 => Err(Error::LeaseLapsed { lease: lease.0 }),
            _ => Ok(()),
        }
    }

    /// Ends `lease` and deletes its entries. An unknown lease is no error.
    ///
    /// # Errors
    /// What the database says.
    pub async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.end(lease, "DELETE FROM table_lease WHERE id = ?")
            .await?;
        Ok(())
    }

    /// Ends leases that have lapsed, at most 64 of them, and says how many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn expire(&self) -> Result<usize, Error> {
        // The clock as a value: no index serves a comparison with a function
        // that may give another result for each row.
        let now = self.database().dialect().now_ms();
        let rows = self.database().fetch(&format!("SELECT {now}"), &[]).await?;
        let Some(now_ms) = rows.first().map(|row| row.int(0)).transpose()? else {
            return Ok(0);
        };
        let sql = format!("{LAPSED} LIMIT {EXPIRE_MAX}");
        let lapsed = self.database().fetch(&sql, &[now_ms.into()]).await?;
        let still = format!("DELETE FROM table_lease WHERE id = ? AND expires_ms <= {now}");
        let mut ended = 0;
        for row in &lapsed {
            ended += usize::from(self.end(LeaseId(row.int(0)?), &still).await?);
        }
        Ok(ended)
    }

    /// Deletes the entries of a lease if `delete` finds it.
    async fn end(&self, lease: LeaseId, delete: &str) -> Result<bool, Error> {
        let mut transaction = self.database().begin().await?;
        let head = Head::lock(&mut transaction, self.database().dialect()).await?;
        if transaction.execute(delete, &[lease.0.into()]).await? == 0 {
            transaction.rollback().await?;
            return Ok(false);
        }
        let next = Revision(head.revision.0 + 1);
        let tombs = format!(
            "INSERT INTO table_version \
             (name, k, revision, ended, created, version, lease, at_ms, size, value) \
             SELECT name, k, ?, ?, 0, 0, NULL, {}, 0, NULL \
             FROM table_version WHERE lease = ? AND {IN_FORCE}",
            self.database().dialect().now_ms()
        );
        let values = [next.0.into(), next.0.into(), lease.0.into()];
        let entries = transaction.execute(&tombs, &values).await?;
        if entries > 0 {
            let sql = format!("UPDATE table_version SET ended = ? WHERE lease = ? AND {IN_FORCE}");
            let values = [next.0.into(), lease.0.into()];
            transaction.execute(&sql, &values).await?;
            Head::advance(&mut transaction, next).await?;
        }
        transaction.commit().await?;
        if entries > 0 {
            self.announce(next);
        }
        Ok(true)
    }
}

/// The leases that had lapsed at a time, the longest lapsed first.
const LAPSED: &str = "SELECT id FROM table_lease WHERE expires_ms <= ? ORDER BY expires_ms, id";

/// Refuses a lease that has lapsed. The head must be locked: that keeps
/// [`Tables::expire`] out until the transaction ends.
pub(super) async fn check(
    transaction: &mut Transaction,
    dialect: Dialect,
    lease: LeaseId,
) -> Result<(), Error> {
    let sql = format!(
        "SELECT 1 FROM table_lease WHERE id = ? AND expires_ms > {}",
        dialect.now_ms()
    );
    match transaction.fetch(&sql, &[lease.0.into()]).await?.is_empty() {
        true => Err(Error::LeaseLapsed { lease: lease.0 }),
        false => Ok(()),
    }
}
