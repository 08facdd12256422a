//! What an operator does to a namespace.

use std::time::Duration;

use ray_tables::NamespaceName;

use super::{
    Error, Refusal,
    catalog::{Catalog, Change, Record, State, Version},
};
use crate::gcs::key::{NamespaceId, namespace_range};

/// Rows that one transaction of a purge deletes.
const PURGED_AT_ONCE: i64 = 500;

/// How long a deleted namespace is kept unless somebody says otherwise.
pub const GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Bounds on what a namespace may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Most bytes of fields and values; `None`: no bound.
    pub bytes: Option<i64>,
    /// Most rows; `None`: no bound.
    pub rows: Option<i64>,
}

impl Catalog {
    /// Makes an empty namespace.
    ///
    /// # Errors
    /// [`Refusal::Exists`]; what the database says.
    pub async fn create(&self, name: &NamespaceName) -> Result<Version, Error> {
        let mut change = self.change().await?;
        refuse_existing(&mut change, name).await?;
        change.add(name, State::Active).await?;
        change.commit().await
    }

    /// Refuses writes from now on.
    ///
    /// # Errors
    /// [`Refusal::State`] if it is deleted; [`Error::Missing`]; what the
    /// database says.
    pub async fn freeze(&self, name: &NamespaceName) -> Result<Version, Error> {
        self.turn(name, &[State::Active, State::Frozen], State::Frozen)
            .await
    }

    /// Takes writes again.
    ///
    /// # Errors
    /// As [`Self::freeze`].
    pub async fn unfreeze(&self, name: &NamespaceName) -> Result<Version, Error> {
        self.turn(name, &[State::Active, State::Frozen], State::Active)
            .await
    }

    /// Sets both bounds. What is there already stays.
    ///
    /// # Errors
    /// [`Error::Missing`]; what the database says.
    pub async fn set_quota(&self, name: &NamespaceName, quota: Quota) -> Result<Version, Error> {
        let mut change = self.change().await?;
        let record = change.find(name).await?;
        let sql = "UPDATE gcs_namespace SET quota_bytes = ?, quota_rows = ? WHERE id = ?";
        let values = [quota.bytes.into(), quota.rows.into(), record.id.0.into()];
        change.transaction.execute(sql, &values).await?;
        change.commit().await
    }

    /// Hides a namespace until it is undeleted or purged. Its rows stay.
    ///
    /// # Errors
    /// [`Refusal::InUse`] unless `even_in_use`; [`Refusal::State`] if it is
    /// deleted already; [`Error::Missing`]; what the database says.
    pub async fn delete(&self, name: &NamespaceName, even_in_use: bool) -> Result<Version, Error> {
        let mut change = self.change().await?;
        let record = change.find(name).await?;
        record.refuse_unless(&[State::Active, State::Frozen])?;
        if !even_in_use {
            record.refuse_in_use(change.now_ms)?;
        }
        change.set_state(record.id, State::Deleted).await?;
        change.commit().await
    }

    /// Takes back a [`Self::delete`].
    ///
    /// # Errors
    /// [`Refusal::State`] if it is not deleted; [`Error::Missing`] if it was
    /// purged; what the database says.
    pub async fn undelete(&self, name: &NamespaceName) -> Result<Version, Error> {
        self.turn(name, &[State::Deleted], State::Active).await
    }

    /// Removes for ever what was deleted at least `grace` ago, copies that
    /// nobody finished included; all such namespaces or just one. Returns their
    /// names.
    ///
    /// # Errors
    /// [`Refusal::State`] if `only` is not deleted; [`Error::Missing`]; what the
    /// database says. What is half purged then stays hidden, and the next purge
    /// goes on with it.
    pub async fn purge(
        &self,
        only: Option<&NamespaceName>,
        grace: Duration,
    ) -> Result<Vec<NamespaceName>, Error> {
        let candidates = match only {
            Some(name) => {
                let record = self.find(name).await?;
                record.refuse_unless(&[State::Deleted, State::Incomplete])?;
                vec![record]
            }
            None => self.all().await?,
        };
        let before_ms = self.now_ms().await? - i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let mut purged = Vec::new();
        for record in candidates {
            if self.purge_one(&record, before_ms).await? {
                purged.push(record.name);
            }
        }
        Ok(purged)
    }

    async fn purge_one(&self, record: &Record, before_ms: i64) -> Result<bool, Error> {
        let mut change = self.change().await?;
        let record = match change.find(&record.name).await {
            Ok(found) if found.id == record.id => found,
            Ok(_) | Err(Error::Missing { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let since_ms = match record.state {
            State::Deleted => record.deleted_ms.unwrap_or(record.seen_ms),
            State::Incomplete => record.seen_ms,
            State::Active | State::Frozen => return Ok(false),
        };
        if since_ms > before_ms {
            return Ok(false);
        }
        let sql = "UPDATE gcs_namespace SET state = ?, deleted_ms = ? WHERE id = ?";
        let values = [
            State::Incomplete.name().into(),
            since_ms.into(),
            record.id.0.into(),
        ];
        change.transaction.execute(sql, &values).await?;
        let version = change.commit().await?;
        // A running store forgets what it has of it before its number is free.
        self.applied(version).await?;
        self.erase(record.id).await?;
        Ok(true)
    }

    /// Removes all of an incomplete namespace, in small transactions.
    pub(crate) async fn erase(&self, id: NamespaceId) -> Result<(), Error> {
        for table in ["gcs_row", "gcs_history"] {
            self.erase_rows(table, id).await?;
        }
        gcs_sql::crash::point("purge");
        let mut change = self.change().await?;
        for sql in [
            "DELETE FROM gcs_incarnation WHERE ns_id = ?",
            "DELETE FROM gcs_credential WHERE ns_id = ?",
            "DELETE FROM gcs_namespace WHERE id = ?",
        ] {
            change.transaction.execute(sql, &[id.0.into()]).await?;
        }
        change.commit().await?;
        Ok(())
    }

    /// Removes a namespace's rows from one table, in small transactions.
    pub(crate) async fn erase_rows(&self, table: &str, id: NamespaceId) -> Result<(), Error> {
        let (first, end) = namespace_range(id);
        loop {
            let sql = format!(
                "SELECT k FROM {table} WHERE k >= ? AND k < ? ORDER BY k LIMIT {PURGED_AT_ONCE}"
            );
            let range = [first.clone().into(), end.clone().into()];
            let rows = self.database.fetch(&sql, &range).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            let sql = format!("DELETE FROM {table} WHERE k >= ? AND k <= ?");
            let range = [first.clone().into(), last.bytes(0)?.into()];
            self.database.execute(&sql, &range).await?;
        }
    }

    async fn turn(
        &self,
        name: &NamespaceName,
        from: &[State],
        to: State,
    ) -> Result<Version, Error> {
        let mut change = self.change().await?;
        let record = change.find(name).await?;
        record.refuse_unless(from)?;
        change.set_state(record.id, to).await?;
        change.commit().await
    }
}

/// Refuses if the name is taken.
pub(crate) async fn refuse_existing(
    change: &mut Change,
    name: &NamespaceName,
) -> Result<(), Error> {
    match change.find(name).await {
        Err(Error::Missing { .. }) => Ok(()),
        Ok(record) => Err(Refusal::Exists {
            name: record.name,
            state: record.state,
        }
        .into()),
        Err(error) => Err(error),
    }
}
