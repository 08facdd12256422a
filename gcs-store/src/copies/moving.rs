//! Moves: from a Redis into the store, and back.

use bytes::Bytes;
use gcs_sql::Database;
use ray_tables::{NamespaceName, TableName};
use serde::Serialize;

use super::{
    Address, Error, Progress,
    fill::Fill,
    picture::{Difference, Fingerprint, Picture},
    remote::{Remote, is_full},
    source::{self, Hold},
};
use crate::{
    gcs::blob,
    namespace::{Catalog, Version},
};

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Rows that are there now, verified.
    pub rows: u64,
    /// Bytes of their fields and values.
    pub bytes: u64,
    /// One BLAKE3 hash of all rows.
    pub blake3: String,
    /// What the job counter was raised to, if it is not what was copied.
    pub counter_raised: Option<i64>,
    /// What changed at the origin while it was copied. Not empty: a head still
    /// wrote there, and the copy is of no one moment.
    pub meanwhile: Difference,
    /// Of the catalog.
    #[serde(skip)]
    pub version: Version,
}

/// Copies `namespace` from a Redis, or another store, into the new namespace
/// `into`. Then reads both again and compares.
///
/// # Errors
/// [`Error`]; `into` then is not there.
pub async fn import(
    database: &Database,
    from: &Address,
    namespace: &str,
    into: &NamespaceName,
    progress: &Progress,
) -> Result<Imported, Error> {
    let mut remote = Remote::connect(from, namespace).await?;
    let tables = remote.tables().await?;
    if tables.is_empty() {
        return Err(Error::Nothing {
            namespace: namespace.to_owned(),
            address: from.shown().to_owned(),
        });
    }
    let catalog = Catalog::new(database);
    let mut fill = Fill::begin(&catalog, into, &[]).await?;
    let meanwhile = match take(&mut remote, &tables, &mut fill, progress).await {
        Ok(meanwhile) => meanwhile,
        Err(error) => return Err(fill.abandon(error).await),
    };
    let done = fill.finish(async |_, _| Ok(())).await?;
    Ok(Imported {
        rows: done.rows,
        bytes: done.bytes,
        blake3: done.blake3,
        counter_raised: done.counter_raised,
        meanwhile,
        version: done.version,
    })
}

async fn take(
    remote: &mut Remote,
    tables: &[TableName],
    fill: &mut Fill,
    progress: &Progress,
) -> Result<Difference, Error> {
    let mut taken = Picture::default();
    for table in tables {
        let mut next = Some(Bytes::from_static(b"0"));
        while let Some(cursor) = next {
            let rows;
            (rows, next) = remote.page(table, cursor).await?;
            for (field, value) in rows {
                // A scan may show a row twice; the first counts.
                if taken.add(table.clone(), field.clone(), Fingerprint::of(&value)) {
                    let value = fill.store(value).await?;
                    fill.put(table, &field, &value).await?;
                }
            }
            progress.at(taken.rows(), None);
        }
    }
    let again = remote.picture(|_| {}).await?;
    Ok(Difference::between(&taken, &again))
}

/// What an export did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The moment the rows are of, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Rows that are there now, verified.
    pub rows: u64,
    /// Bytes of their fields and values.
    pub bytes: u64,
    /// One BLAKE3 hash of all rows.
    pub blake3: String,
}

/// Copies `name` to a Redis that has nothing under `namespace`. Then reads it
/// back and compares.
///
/// # Errors
/// [`Error`]; what was written there stays.
pub async fn export(
    database: &Database,
    name: &NamespaceName,
    to: &Address,
    namespace: &str,
    progress: &Progress,
) -> Result<Exported, Error> {
    let rows = source::rows(database, name, None).await?;
    let mut remote = Remote::connect(to, namespace).await?;
    if !remote.tables().await?.is_empty() {
        return Err(Error::Occupied {
            namespace: namespace.to_owned(),
            address: to.shown().to_owned(),
        });
    }
    let mut hold = Hold::new(&rows);
    let (mut sent, mut batch, mut bytes) = (Picture::default(), Vec::new(), 0);
    let all = rows.entries.len() as u64;
    for (nth, entry) in (1..).zip(&rows.entries) {
        hold.on(database).await?;
        let value = blob::value(database, &entry.value).await?;
        sent.add(
            entry.table.clone(),
            entry.field.clone(),
            Fingerprint::of(&value),
        );
        bytes += entry.field.len() + value.len();
        batch.push((entry.table.clone(), entry.field.clone(), value));
        if is_full(batch.len(), bytes) || nth == all {
            remote.write(&batch).await?;
            batch.clear();
            bytes = 0;
            progress.at(nth, Some(all));
        }
    }
    let arrived = remote.picture(|_| {}).await?;
    let wrong = Difference::between(&sent, &arrived).rows.len();
    if wrong > 0 {
        return Err(Error::Mismatch { rows: wrong });
    }
    Ok(Exported {
        at_ms: rows.at_ms,
        rows: sent.rows(),
        bytes: sent.bytes(),
        blake3: sent.blake3(),
    })
}
