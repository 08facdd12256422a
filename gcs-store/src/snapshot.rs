//! A namespace at one moment, as anybody can read it from the database.
//!
//! The tables lag behind by a fold; what they lack is in the journal. Both are
//! read in one transaction, so what comes out was true at that moment, beside
//! a running store or without one.
//!
//! ```text
//!   now:    rows, then the journal over them
//!   past:   a row not changed since, else the before-image of that time
//! ```
//!
//! The past is as fine as the history is: a value that lived for less than a
//! minute has left no before-image, and the value after it stands in its place.

use std::{collections::BTreeMap, ops::ControlFlow};

use bytes::Bytes;
use gcs_sql::{Database, Error, Transaction};
use ray_tables::{NamespaceName, TableName};

pub use crate::gcs::blob::{ReadError, value};
use crate::gcs::{
    command::Stored,
    journal::{self, Effect},
    key::{self, NamespaceId},
    load,
};

/// One field.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its table.
    pub table: TableName,
    /// Its name.
    pub field: Bytes,
    /// What it holds, or where that is.
    pub value: Stored,
    /// When it was first written, unix milliseconds.
    pub created_ms: i64,
    /// When it was last written, unix milliseconds.
    pub updated_ms: i64,
    /// The epoch of the head that wrote it.
    pub epoch: u64,
}

type Fields = BTreeMap<(TableName, Bytes), Entry>;

/// All fields of a namespace by table and field, now or at a past time in unix
/// milliseconds; `None` if there is no such namespace.
///
/// Values up to 16 KiB are in memory, larger ones are read by [`value`].
///
/// # Errors
/// The database's.
pub async fn read(
    database: &Database,
    namespace: &NamespaceName,
    at_ms: Option<i64>,
) -> Result<Option<Vec<Entry>>, Error> {
    let mut transaction = database.read().await?;
    let found = transaction
        .fetch(
            "SELECT id FROM gcs_namespace WHERE name = ?",
            &[namespace.as_str().into()],
        )
        .await?;
    let Some(row) = found.first() else {
        return Ok(None);
    };
    let id = NamespaceId(row.int(0)?);
    let now = now(&mut transaction, id).await?;
    let fields = match at_ms {
        None => now,
        Some(at_ms) => past(&mut transaction, id, now, at_ms).await?,
    };
    Ok(Some(fields.into_values().collect()))
}

async fn now(transaction: &mut Transaction, id: NamespaceId) -> Result<Fields, Error> {
    let mut fields = Fields::new();
    load::walk(transaction, id, |row| {
        let entry = Entry {
            table: row.table,
            field: row.field,
            value: row.cell.value,
            created_ms: row.cell.created_ms,
            updated_ms: row.cell.updated_ms,
            epoch: row.cell.epoch,
        };
        fields.insert((entry.table.clone(), entry.field.clone()), entry);
        ControlFlow::Continue(())
    })
    .await?;
    for row in transaction.fetch(journal::SELECT, &[]).await? {
        let row = journal::Row::read(&row)?;
        for effect in row.effects {
            if effect.namespace() == id {
                apply(&mut fields, effect, row.at_ms);
            }
        }
    }
    Ok(fields)
}

fn apply(fields: &mut Fields, effect: Effect, at_ms: i64) {
    match effect {
        Effect::Put {
            table,
            field,
            value,
            created_ms,
            epoch,
            ..
        } => {
            let entry = Entry {
                table: table.clone(),
                field: field.clone(),
                value,
                created_ms,
                updated_ms: at_ms,
                epoch,
            };
            fields.insert((table, field), entry);
        }
        Effect::Delete { table, field, .. } => {
            fields.remove(&(table, field));
        }
        Effect::Drop { table, .. } => fields.retain(|(of, _), _| *of != table),
        Effect::Begin(_) => {}
    }
}

/// The fields at `at_ms`, from those of now and the before-images since.
async fn past(
    transaction: &mut Transaction,
    id: NamespaceId,
    now: Fields,
    at_ms: i64,
) -> Result<Fields, Error> {
    let (first, end) = key::namespace_range(id);
    // Oldest last, so that the image nearest behind the time is met last.
    let rows = transaction
        .fetch(
            "SELECT k, long_field, value, blob_hash, size, valid_from_ms, epoch \
             FROM gcs_history WHERE k >= ? AND k < ? AND valid_to_ms > ? \
             ORDER BY k, valid_to_ms DESC, seq DESC",
            &[first.into(), end.into(), at_ms.into()],
        )
        .await?;
    let mut fields = now;
    for row in rows {
        let wrong = || Error::invalid("gcs_history holds a row that this program cannot read");
        let key = row.bytes(0)?;
        let (_, table, field) = key::parse(&key, row.opt_bytes(1)?).ok_or_else(wrong)?;
        let value =
            load::stored(row.opt_bytes(2)?, row.opt_bytes(3)?, row.int(4)?).ok_or_else(wrong)?;
        let since = row.int(5)?;
        let later = fields.get(&(table.clone(), field.clone()));
        let entry = Entry {
            table: table.clone(),
            field: field.clone(),
            value,
            created_ms: later.map_or(since, |later| later.created_ms.min(since)),
            updated_ms: since,
            epoch: u64::try_from(row.int(6)?).unwrap_or(0),
        };
        fields.insert((table, field), entry);
    }
    // What began later was not there; what was merely overwritten was.
    fields.retain(|_, entry| entry.updated_ms <= at_ms || entry.created_ms <= at_ms);
    Ok(fields)
}
