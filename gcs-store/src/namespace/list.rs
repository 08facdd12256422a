//! All namespaces at a glance.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ray_tables::NamespaceName;
use serde::Serialize;

use super::{
    Error,
    catalog::{Catalog, State},
};

/// One namespace and what it holds. Times are in milliseconds since the Unix
/// epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: NamespaceName,
    /// What may be done with it.
    pub state: State,
    /// Rows, without what an active store has not folded yet (some seconds).
    pub rows: u64,
    /// Bytes of their fields and values.
    pub bytes: u64,
    /// Most rows.
    pub quota_rows: Option<i64>,
    /// Most bytes.
    pub quota_bytes: Option<i64>,
    /// How many passwords may enter.
    pub passwords: u64,
    /// Ray's id of the cluster, in Base64.
    pub cluster_id: Option<String>,
    /// The newest head's epoch; 0: there was none.
    pub epoch: i64,
    /// Heads that no newer one has fenced; the newest first.
    pub heads: Vec<Head>,
    /// When it was made.
    pub created_ms: i64,
    /// When a head last used it; absent: none ever did.
    pub seen_ms: Option<i64>,
    /// When it was deleted.
    pub deleted_ms: Option<i64>,
}

/// One life of a cluster's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Its epoch.
    pub epoch: i64,
    /// How it was told from others: `user` or `observed`.
    pub kind: String,
    /// Where it connected from.
    pub peer: String,
    /// As whom.
    pub user: String,
    /// When.
    pub began_ms: i64,
}

#[derive(Default)]
struct Usage {
    rows: u64,
    bytes: u64,
}

impl Catalog {
    /// All namespaces, by name. Counts every row: some seconds for millions.
    ///
    /// # Errors
    /// What the database says.
    pub async fn list(&self) -> Result<Vec<Listed>, Error> {
        let mut usage = self.usage().await?;
        let mut heads = self.heads().await?;
        let mut passwords = self.counts().await?;
        let listed = self.all().await?.into_iter().map(|record| {
            let id = record.id.0;
            let Usage { rows, bytes } = usage.remove(&id).unwrap_or_default();
            let seen_ms = Some(record.seen_ms);
            Listed {
                rows,
                bytes,
                passwords: passwords.remove(&id).unwrap_or(0),
                heads: heads.remove(&id).unwrap_or_default(),
                name: record.name,
                state: record.state,
                quota_rows: record.quota_rows,
                quota_bytes: record.quota_bytes,
                cluster_id: record.cluster_id.map(|id| BASE64.encode(id)),
                epoch: record.epoch,
                created_ms: record.created_ms,
                seen_ms: seen_ms.filter(|at| *at > 0 && record.state != State::Incomplete),
                deleted_ms: record.deleted_ms,
            }
        });
        Ok(listed.collect())
    }

    /// Those no head has used for `idle_ms`, by name; those that never had one
    /// count from when they were made.
    ///
    /// # Errors
    /// What the database says.
    pub async fn orphans(&self, idle_ms: i64) -> Result<Vec<Listed>, Error> {
        let before_ms = self.now_ms().await? - idle_ms;
        let mut listed = self.list().await?;
        listed.retain(|it| {
            let used = matches!(it.state, State::Active | State::Frozen);
            used && it.seen_ms.unwrap_or(it.created_ms) <= before_ms
        });
        Ok(listed)
    }

    async fn usage(&self) -> Result<HashMap<i64, Usage>, Error> {
        // The first 9 bytes of a key are the namespace and the length of the
        // table's name, which the field stands behind unless it is a long one.
        let sum = self
            .database
            .dialect()
            .sum("size + COALESCE(LENGTH(long_field), LENGTH(k) - 9)");
        let sql = format!(
            "SELECT SUBSTR(k, 1, 9), COUNT(*), COUNT(*) - COUNT(long_field), {sum} FROM gcs_row \
             GROUP BY SUBSTR(k, 1, 9)"
        );
        let mut usage: HashMap<i64, Usage> = HashMap::new();
        for row in self.database.fetch(&sql, &[]).await? {
            let prefix = row.bytes(0)?;
            let Some((id, [table])) = prefix.split_first_chunk::<8>() else {
                continue;
            };
            let [rows, short, bytes] = [1, 2, 3].map(|column| row.int(column));
            let [rows, short, bytes] = [rows?, short?, bytes?].map(i64::unsigned_abs);
            let of = usage.entry(i64::from_be_bytes(*id)).or_default();
            of.rows += rows;
            of.bytes += bytes.saturating_sub(short * u64::from(*table));
        }
        Ok(usage)
    }

    async fn heads(&self) -> Result<HashMap<i64, Vec<Head>>, Error> {
        let sql = "SELECT ns_id, epoch, kind, peer, user_name, began_ms FROM gcs_incarnation \
                   WHERE fenced_ms IS NULL ORDER BY epoch DESC";
        let mut heads: HashMap<i64, Vec<Head>> = HashMap::new();
        for row in self.database.fetch(sql, &[]).await? {
            heads.entry(row.int(0)?).or_default().push(Head {
                epoch: row.int(1)?,
                kind: row.text(2)?,
                peer: row.text(3)?,
                user: row.text(4)?,
                began_ms: row.int(5)?,
            });
        }
        Ok(heads)
    }

    async fn counts(&self) -> Result<HashMap<i64, u64>, Error> {
        let sql = "SELECT ns_id, COUNT(*) FROM gcs_credential GROUP BY ns_id";
        let rows = self.database.fetch(sql, &[]).await?;
        let mut counts = HashMap::with_capacity(rows.len());
        for row in &rows {
            counts.insert(row.int(0)?, row.int(1)?.unsigned_abs());
        }
        Ok(counts)
    }
}
