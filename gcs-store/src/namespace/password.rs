//! The passwords of a namespace: several at once, so that one can be replaced
//! while heads are up.

use ray_tables::NamespaceName;
use serde::Serialize;

use super::{
    Error, Password, Refusal,
    catalog::{Catalog, Version},
    hash,
};

/// A password as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// Its number within the namespace.
    pub id: i64,
    /// When it was added, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

impl Catalog {
    /// The passwords of a namespace, oldest first.
    ///
    /// # Errors
    /// [`Error::Missing`]; what the database says.
    pub async fn passwords(&self, name: &NamespaceName) -> Result<Vec<Credential>, Error> {
        let record = self.find(name).await?;
        let sql = "SELECT id, created_ms FROM gcs_credential WHERE ns_id = ? ORDER BY id";
        let rows = self.database.fetch(sql, &[record.id.0.into()]).await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            all.push(Credential {
                id: row.int(0)?,
                created_ms: row.int(1)?,
            });
        }
        Ok(all)
    }

    /// Lets one more password in. Returns its number.
    ///
    /// # Errors
    /// [`Error::Missing`]; what the database says.
    pub async fn add_password(
        &self,
        name: &NamespaceName,
        password: &Password,
    ) -> Result<(i64, Version), Error> {
        let hash = hash(password)?;
        let mut change = self.change().await?;
        let record = change.find(name).await?;
        let sql = "SELECT MAX(id) FROM gcs_credential WHERE ns_id = ?";
        let rows = change.transaction.fetch(sql, &[record.id.0.into()]).await?;
        let last = rows.first().map_or(Ok(None), |row| row.opt_int(0))?;
        let id = last.unwrap_or(0) + 1;
        let sql = "INSERT INTO gcs_credential (ns_id, id, hash, created_ms) VALUES (?, ?, ?, ?)";
        let values = [
            record.id.0.into(),
            id.into(),
            hash.into(),
            change.now_ms.into(),
        ];
        change.transaction.execute(sql, &values).await?;
        Ok((id, change.commit().await?))
    }

    /// Shuts a password out. Heads that are connected stay.
    ///
    /// # Errors
    /// [`Refusal::LastPassword`] unless `even_the_last`; [`Error::NoPassword`];
    /// [`Error::Missing`]; what the database says.
    pub async fn remove_password(
        &self,
        name: &NamespaceName,
        id: i64,
        even_the_last: bool,
    ) -> Result<Version, Error> {
        let mut change = self.change().await?;
        let record = change.find(name).await?;
        let sql = "SELECT id FROM gcs_credential WHERE ns_id = ?";
        let rows = change.transaction.fetch(sql, &[record.id.0.into()]).await?;
        let ids = rows.iter().map(|row| row.int(0));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        if !ids.contains(&id) {
            return Err(Error::NoPassword {
                name: record.name,
                id,
            });
        }
        if ids.len() == 1 && !even_the_last {
            return Err(Refusal::LastPassword { name: record.name }.into());
        }
        let sql = "DELETE FROM gcs_credential WHERE ns_id = ? AND id = ?";
        let values = [record.id.0.into(), id.into()];
        change.transaction.execute(sql, &values).await?;
        change.commit().await
    }
}
