//! Which values a namespace's fields have had.
//!
//! The store keeps what was replaced or deleted, unless it lived less than a
//! minute. Each such value, and each that is still there, is a version.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use gcs_sql::{Database, Row, Value};
use ray_tables::{NamespaceName, TableName};
use serde::Serialize;

use super::{
    Error,
    picture::{Fingerprint, readable},
    source::fingerprint,
};
use crate::{
    gcs::{key, load},
    namespace::Catalog,
};

/// Which versions to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this table only.
    pub table: Option<TableName>,
    /// Of this field only; needs the table.
    pub field: Option<Bytes>,
    /// Only those that came or went since then, in milliseconds since the Unix
    /// epoch.
    pub since_ms: i64,
    /// The newest so many.
    pub limit: u32,
}

/// A value that a field has or had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Of which table.
    pub table: TableName,
    /// Of which field, for people: as text if it is text, else in hexadecimal.
    pub field: String,
    /// Of which field, exactly, in Base64.
    pub field_base64: String,
    /// Since when it was there, in milliseconds since the Unix epoch.
    pub from_ms: i64,
    /// Until when, some seconds more or less; absent: it still is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// The epoch of the head that wrote it; 0: none, it was copied.
    pub epoch: i64,
    /// The value.
    #[serde(flatten)]
    pub value: Fingerprint,
}

/// The versions of `name` that `filter` lets through, the newest first. What a
/// running store has not folded yet (some seconds) is missing.
///
/// # Errors
/// [`Error`].
pub async fn history(
    database: &Database,
    name: &NamespaceName,
    filter: &Filter,
) -> Result<Vec<Version>, Error> {
    let record = Catalog::new(database).find(name).await?;
    let (first, end) = match (&filter.table, &filter.field) {
        (Some(table), Some(field)) => {
            let key = key::row(record.id, table, field);
            let end = Bytes::from([&key[..], &[0]].concat());
            (key, end)
        }
        (Some(table), None) => key::table_range(record.id, table),
        (None, _) => key::namespace_range(record.id),
    };
    let values: [Value; 4] = [
        first.into(),
        end.into(),
        filter.since_ms.into(),
        i64::from(filter.limit).into(),
    ];
    let mut transaction = database.read().await?;
    let mut versions = Vec::new();
    for (sql, ended) in [
        (
            "SELECT k, long_field, value, blob_hash, size, epoch, valid_from_ms, valid_to_ms \
             FROM gcs_history WHERE k >= ? AND k < ? AND valid_to_ms >= ? \
             ORDER BY valid_to_ms DESC LIMIT ?",
            true,
        ),
        (
            "SELECT k, long_field, value, blob_hash, size, epoch, updated_ms \
             FROM gcs_row WHERE k >= ? AND k < ? AND updated_ms >= ? \
             ORDER BY updated_ms DESC LIMIT ?",
            false,
        ),
    ] {
        for row in transaction.fetch(sql, &values).await? {
            versions.push(version(&row, ended)?);
        }
    }
    transaction.rollback().await?;
    versions.sort_by_key(|version| std::cmp::Reverse(version.until_ms.unwrap_or(version.from_ms)));
    versions.truncate(filter.limit as usize);
    Ok(versions)
}

fn version(row: &Row, ended: bool) -> Result<Version, Error> {
    let wrong = || gcs_sql::Error::invalid("a row that this program cannot read");
    let (_, table, field) = key::parse(&row.bytes(0)?, row.opt_bytes(1)?).ok_or_else(wrong)?;
    let value = load::stored(row.opt_bytes(2)?, row.opt_bytes(3)?, row.int(4)?);
    Ok(Version {
        table,
        field: readable(&field),
        field_base64: BASE64.encode(&field),
        from_ms: row.int(6)?,
        until_ms: ended.then(|| row.int(7)).transpose()?,
        epoch: row.int(5)?,
        value: fingerprint(&value.ok_or_else(wrong)?),
    })
}
