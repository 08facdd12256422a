//! From one namespace to another in the same database: large values are shared,
//! so a clone costs little more than its rows.

use gcs_sql::Database;
use ray_tables::NamespaceName;
use serde::Serialize;

use super::{
    Error, Progress,
    fill::{Fill, Filled},
    source::{self, Hold},
};
use crate::namespace::{Catalog, Version};

/// What a clone did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cloned {
    /// The moment the rows are of, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Rows that are there now, verified.
    pub rows: u64,
    /// Bytes of their fields and values.
    pub bytes: u64,
    /// What the job counter was raised to, if it is not what was copied.
    pub counter_raised: Option<i64>,
    /// Of the catalog.
    #[serde(skip)]
    pub version: Version,
}

impl Cloned {
    fn new(at_ms: i64, done: &Filled) -> Self {
        Self {
            at_ms,
            rows: done.rows,
            bytes: done.bytes,
            counter_raised: done.counter_raised,
            version: done.version,
        }
    }
}

/// Makes `into` of what `from` was at `at_ms`, or is now, with the same
/// passwords and bounds. `from` may be in use, and even be deleted.
///
/// A head on the clone sees the nodes of the original as its own; it is meant
/// for looking, and for starting again where the original is gone.
///
/// # Errors
/// [`Error`]; `into` then is not there.
pub async fn clone(
    database: &Database,
    from: &NamespaceName,
    at_ms: Option<i64>,
    into: &NamespaceName,
    progress: &Progress,
) -> Result<Cloned, Error> {
    let catalog = Catalog::new(database);
    let rows = source::rows(database, from, at_ms).await?;
    let mut fill = Fill::begin(&catalog, into, &[from]).await?;
    if let Err(error) = copy(database, &rows, &mut fill, progress).await {
        return Err(fill.abandon(error).await);
    }
    let original = rows.record.id.0;
    let done = fill
        .finish(async |change, id| {
            let sql = "INSERT INTO gcs_credential (ns_id, id, hash, created_ms) \
                       SELECT ?, id, hash, created_ms FROM gcs_credential WHERE ns_id = ?";
            let values = [id.0.into(), original.into()];
            change.transaction.execute(sql, &values).await?;
            let sql = "UPDATE gcs_namespace SET quota_bytes = ?, quota_rows = ? WHERE id = ?";
            let values = [
                rows.record.quota_bytes.into(),
                rows.record.quota_rows.into(),
                id.0.into(),
            ];
            change.transaction.execute(sql, &values).await?;
            Ok(())
        })
        .await?;
    Ok(Cloned::new(rows.at_ms, &done))
}

/// Puts back what `name` held at `at_ms`, from its history: what Ray's cleanup
/// removes, for one. `name` must be empty by now.
///
/// # Errors
/// [`Error`]; then `name` is empty as before.
pub async fn rebuild(
    database: &Database,
    name: &NamespaceName,
    at_ms: i64,
    progress: &Progress,
) -> Result<Cloned, Error> {
    let catalog = Catalog::new(database);
    let mut fill = Fill::over(&catalog, name).await?;
    let rows = match source::rows(database, name, Some(at_ms)).await {
        Ok(rows) => rows,
        Err(error) => return Err(fill.abandon(error).await),
    };
    if let Err(error) = copy(database, &rows, &mut fill, progress).await {
        return Err(fill.abandon(error).await);
    }
    let done = fill.finish(async |_, _| Ok(())).await?;
    Ok(Cloned::new(at_ms, &done))
}

async fn copy(
    database: &Database,
    rows: &source::Rows,
    fill: &mut Fill,
    progress: &Progress,
) -> Result<(), Error> {
    let mut hold = Hold::new(rows);
    let all = rows.entries.len() as u64;
    for (nth, entry) in (1..).zip(&rows.entries) {
        hold.on(database).await?;
        fill.put(&entry.table, &entry.field, &entry.value).await?;
        progress.at(nth, Some(all));
    }
    Ok(())
}
