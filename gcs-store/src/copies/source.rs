//! The rows of a namespace now or at an earlier time, and their values.

use gcs_sql::Database;
use ray_tables::NamespaceName;

use super::{
    Error,
    picture::{Fingerprint, Picture},
};
use crate::{
    gcs::{clock::now_ms, command::Stored},
    namespace::{self, Catalog, Record, State},
    snapshot::{self, Entry},
};

/// How often the large values of a long copy are kept from being swept.
const HOLD: std::time::Duration = std::time::Duration::from_secs(20);

/// The rows of one moment, by table and field.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) record: Record,
    pub(crate) at_ms: i64,
    pub(crate) entries: Vec<Entry>,
}

/// Reads the rows of `name` at `at_ms`, or now.
pub(crate) async fn rows(
    database: &Database,
    name: &NamespaceName,
    at_ms: Option<i64>,
) -> Result<Rows, Error> {
    let catalog = Catalog::new(database);
    let record = catalog.find(name).await?;
    // What a copy that died has left is looked at for its history only.
    if at_ms.is_none() {
        record.refuse_unless(&[State::Active, State::Frozen, State::Deleted])?;
    }
    let now_ms = catalog.now_ms().await?;
    let entries = snapshot::read(database, name, at_ms).await?;
    let mut entries = entries.ok_or_else(|| namespace::Error::Missing { name: name.clone() })?;
    entries.sort_unstable_by(|a, b| (&a.table, &a.field).cmp(&(&b.table, &b.field)));
    Ok(Rows {
        record,
        at_ms: at_ms.unwrap_or(now_ms),
        entries,
    })
}

/// The fingerprints of the rows of `name` at `at_ms`, or now.
///
/// # Errors
/// [`Error`]; there must be such a namespace.
pub(crate) async fn picture(
    database: &Database,
    name: &NamespaceName,
    at_ms: Option<i64>,
) -> Result<Picture, Error> {
    let mut picture = Picture::default();
    for entry in rows(database, name, at_ms).await?.entries {
        let value = fingerprint(&entry.value);
        picture.add(entry.table, entry.field, value);
    }
    Ok(picture)
}

/// The fingerprint of a value, wherever it is.
pub(crate) fn fingerprint(value: &Stored) -> Fingerprint {
    match value {
        Stored::Inline(bytes) => Fingerprint::of(bytes),
        Stored::Blob { hash, size } => Fingerprint {
            size: *size,
            blake3: *hash,
        },
    }
}

/// Keeps the large values of a copy under way from being swept as unused, even
/// if their rows are overwritten meanwhile.
#[derive(Debug)]
pub(crate) struct Hold {
    hashes: Vec<[u8; 32]>,
    last: Option<tokio::time::Instant>,
}

impl Hold {
    pub(crate) fn new(rows: &Rows) -> Self {
        let hashes = rows.entries.iter().filter_map(|entry| match entry.value {
            Stored::Blob { hash, .. } => Some(hash),
            Stored::Inline(_) => None,
        });
        Self {
            hashes: hashes.collect(),
            last: None,
        }
    }

    /// To be called before each row is copied.
    pub(crate) async fn on(&mut self, database: &Database) -> Result<(), Error> {
        if self.hashes.is_empty() || self.last.is_some_and(|last| last.elapsed() < HOLD) {
            return Ok(());
        }
        for hash in &self.hashes {
            let sql = "UPDATE gcs_blob_info SET touched_ms = ? WHERE hash = ?";
            let values = [now_ms().into(), hash.as_slice().into()];
            database.execute(sql, &values).await?;
        }
        self.last = Some(tokio::time::Instant::now());
        Ok(())
    }
}
