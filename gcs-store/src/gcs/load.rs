//! Reads a namespace from the tables into memory.

use std::ops::ControlFlow;

use bytes::Bytes;
use gcs_sql::{Database, Error, Row, Transaction};
use ray_tables::TableName;

use super::{
    command::Stored,
    image::{Cell, Image},
    key::{self, NamespaceId},
};

/// Rows of one page.
const PAGE: i64 = 2000;

/// One row as the tables have it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) table: TableName,
    pub(crate) field: Bytes,
    pub(crate) cell: Cell,
}

/// The columns that [`loaded`] reads.
pub(crate) const COLUMNS: &str =
    "k, long_field, value, blob_hash, size, created_ms, updated_ms, epoch";

/// Reads one row of [`COLUMNS`].
///
/// # Errors
/// If it is no row of ours.
pub(crate) fn loaded(row: &Row) -> Result<(Bytes, Loaded), Error> {
    let key = row.bytes(0)?;
    let wrong = || Error::invalid("gcs_row holds a row that this program cannot read");
    let (_, table, field) = key::parse(&key, row.opt_bytes(1)?).ok_or_else(wrong)?;
    let value = stored(row.opt_bytes(2)?, row.opt_bytes(3)?, row.int(4)?).ok_or_else(wrong)?;
    let cell = Cell {
        value,
        created_ms: row.int(5)?,
        updated_ms: row.int(6)?,
        epoch: u64::try_from(row.int(7)?).unwrap_or(0),
    };
    Ok((key, Loaded { table, field, cell }))
}

/// A value from its columns; `None` if they contradict each other.
pub(crate) fn stored(value: Option<Bytes>, hash: Option<Bytes>, size: i64) -> Option<Stored> {
    match (value, hash) {
        (_, Some(hash)) => Some(Stored::Blob {
            hash: hash.as_ref().try_into().ok()?,
            size: u64::try_from(size).ok()?,
        }),
        (Some(value), None) => Some(Stored::Inline(value)),
        (None, None) => None,
    }
}

/// The columns of a value: `value`, `blob_hash`, `size`.
pub(crate) fn columns(value: &Stored) -> [gcs_sql::Value; 3] {
    let size = i64::try_from(value.size()).unwrap_or(i64::MAX).into();
    match value {
        Stored::Inline(bytes) => [bytes.clone().into(), gcs_sql::Value::Null, size],
        Stored::Blob { hash, .. } => [
            gcs_sql::Value::Null,
            Bytes::copy_from_slice(hash).into(),
            size,
        ],
    }
}

/// Walks the rows of a namespace in key order, page by page.
///
/// # Errors
/// The database's.
pub(crate) async fn walk<F>(
    transaction: &mut Transaction,
    namespace: NamespaceId,
    mut visit: F,
) -> Result<(), Error>
where
    F: FnMut(Loaded) -> ControlFlow<()>,
{
    let statement =
        format!("SELECT {COLUMNS} FROM gcs_row WHERE k >= ? AND k < ? ORDER BY k LIMIT {PAGE}");
    let (mut from, end) = key::namespace_range(namespace);
    loop {
        let rows = transaction
            .fetch(&statement, &[from.clone().into(), end.clone().into()])
            .await?;
        let full = i64::try_from(rows.len()) == Ok(PAGE);
        let mut last = None;
        for row in rows {
            let (key, row) = loaded(&row)?;
            last = Some(key);
            if visit(row).is_break() {
                return Ok(());
            }
        }
        match last {
            // The next key after `last` is itself and a zero byte.
            Some(last) if full => from = [&last[..], &[0]].concat().into(),
            _ => return Ok(()),
        }
    }
}

/// A namespace as the tables have it.
///
/// # Errors
/// The database's.
pub(crate) async fn image(database: &Database, namespace: NamespaceId) -> Result<Image, Error> {
    let mut image = Image::default();
    let mut transaction = database.read().await?;
    walk(&mut transaction, namespace, |row| {
        // The driver's buffer holds more than the value; the image lives long.
        let field = Bytes::copy_from_slice(&row.field);
        let mut cell = row.cell;
        if let Stored::Inline(bytes) = &cell.value {
            cell.value = Stored::Inline(Bytes::copy_from_slice(bytes));
        }
        image.put(&row.table, &field, cell);
        ControlFlow::Continue(())
    })
    .await?;
    Ok(image)
}
