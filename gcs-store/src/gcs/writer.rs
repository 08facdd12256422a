//! The one who writes: who that is, and the SQL it writes with.
//!
//! `gcs_writer` has one row. Whoever raised its epoch last is active, and every
//! write of the engine is tied to that epoch inside the database:
//!
//! ```text
//!   append   INSERT INTO gcs_journal … SELECT … FROM gcs_writer WHERE epoch = mine
//!            0 rows: deposed.  Duplicate: it was committed before the answer was
//!            lost.  Anything else: the same statement again.
//! ```
//!
//! A statement that arrives after it was tried again and folded finds `folded`
//! ahead of itself and does nothing.
//!
//! One statement and its own transaction, so that its outcome never is in doubt
//! for long: the sequence number holds the epoch, nobody else writes it, and a
//! second try meets the first.
//!
//! Invariants:
//! 1. Nothing is appended under an epoch that is not the newest
//!    (`a_deposed_writer_appends_nothing`).
//! 2. A group is in the journal once, however often it is tried
//!    (`an_append_that_is_tried_again_is_there_once`).

use std::collections::HashMap;

use bytes::Bytes;
use gcs_sql::{Connection, Database, Dialect, Error, Row, Value};
use ray_tables::NamespaceName;

use super::{
    engine::Passwords,
    journal,
    key::NamespaceId,
    patience::Patience,
    space::{Entry, State},
};

/// Bits of a sequence number below the epoch.
const EPOCH_SHIFT: u32 = 40;

/// Another process has the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another process writes to this database now")]
pub(crate) struct Deposed;

/// The row of `gcs_writer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) epoch: i64,
    pub(crate) holder: String,
    pub(crate) address: String,
    pub(crate) beat: i64,
    pub(crate) catalog_version: i64,
}

/// A connection that writes under one epoch. It is replaced when it breaks.
#[derive(Debug)]
pub(crate) struct Writer {
    database: Database,
    connection: Option<Connection>,
    epoch: i64,
    next: i64,
    append: String,
}

/// Where the active store is reached; `None` if none is.
///
/// # Errors
/// The database's.
pub(crate) async fn active(database: &Database) -> Result<Option<String>, Error> {
    let held = read(database).await?;
    Ok((!held.holder.is_empty()).then_some(held.address))
}

/// Who holds the database.
///
/// # Errors
/// The database's.
pub(crate) async fn read(database: &Database) -> Result<Held, Error> {
    let rows = database
        .fetch(
            "SELECT epoch, holder, address, beat, catalog_version FROM gcs_writer WHERE id = 1",
            &[],
        )
        .await?;
    let row = rows
        .first()
        .ok_or_else(|| Error::invalid("gcs_writer has no row"))?;
    Ok(Held {
        epoch: row.int(0)?,
        holder: row.text(1)?,
        address: row.text(2)?,
        beat: row.int(3)?,
        catalog_version: row.int(4)?,
    })
}

/// Takes the database from who is known as `seen`. `false` if that is no longer
/// how things are.
///
/// # Errors
/// The database's; then the outcome may be unknown, and `read` tells it by the
/// holder.
pub(crate) async fn take(
    database: &Database,
    seen: &Held,
    holder: &str,
    address: &str,
) -> Result<bool, Error> {
    let taken = database
        .execute(
            "UPDATE gcs_writer SET epoch = epoch + 1, beat = beat + 1, holder = ?, address = ? \
             WHERE id = 1 AND epoch = ? AND beat = ?",
            &[
                holder.into(),
                address.into(),
                seen.epoch.into(),
                seen.beat.into(),
            ],
        )
        .await?;
    Ok(taken > 0)
}

impl Writer {
    /// Writes under `epoch`, which this process has taken.
    pub(crate) fn new(database: Database, epoch: i64) -> Self {
        let append = append_statement(database.dialect());
        Self {
            database,
            connection: None,
            epoch,
            next: epoch << EPOCH_SHIFT,
            append,
        }
    }

    /// One whose next group has the number `seq`.
    #[cfg(test)]
    pub(crate) fn echo(database: Database, epoch: i64, seq: i64) -> Self {
        Self {
            next: seq - 1,
            ..Self::new(database, epoch)
        }
    }

    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The connection, a new one if the last broke.
    pub(crate) async fn connection(&mut self) -> Result<&mut Connection, Error> {
        if self.connection.is_none() {
            self.connection = Some(self.database.connect().await?);
        }
        Ok(self.connection.as_mut().expect("it was put there"))
    }

    /// Drops a connection that an error has spoiled.
    pub(crate) fn spoiled(&mut self, error: &Error) {
        // What a server refuses for its own state (a node out of its cluster, a
        // forgotten statement) another connection may do.
        if !matches!(error, Error::Conflict { .. } | Error::Duplicate { .. }) {
            self.connection = None;
        }
    }

    /// Appends a group to the journal, as long as it takes; returns its number.
    pub(crate) async fn append(&mut self, at_ms: i64, payload: Bytes) -> Result<i64, Deposed> {
        self.next += 1;
        let seq = self.next;
        let arguments = [
            Value::from(seq),
            self.epoch.into(),
            at_ms.into(),
            payload.clone().into(),
            self.epoch.into(),
            seq.into(),
        ];
        let mut patience = Patience::new("committing writes");
        loop {
            match self.append_once(&arguments, seq, &payload).await {
                Ok(true) => return Ok(seq),
                Ok(false) => return Err(Deposed),
                Err(error) => {
                    self.spoiled(&error);
                    patience.wait(&error).await;
                }
            }
        }
    }

    /// Whether the group is in the journal now; `false` means deposed.
    async fn append_once(
        &mut self,
        arguments: &[Value],
        seq: i64,
        payload: &Bytes,
    ) -> Result<bool, Error> {
        let statement = std::mem::take(&mut self.append);
        let outcome = match self.connection().await {
            Ok(connection) => connection.execute(&statement, arguments).await,
            Err(error) => Err(error),
        };
        self.append = statement;
        match outcome {
            Ok(rows) => Ok(rows > 0),
            Err(Error::Duplicate { .. }) => {
                let rows = self
                    .connection()
                    .await?
                    .fetch(
                        "SELECT payload FROM gcs_journal WHERE seq = ?",
                        &[seq.into()],
                    )
                    .await?;
                // Gone again: a successor has folded it.
                let own = rows.first().map(|row| row.bytes(0)).transpose()?;
                Ok(own.is_some_and(|own| own == *payload))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a sign of life and reads the catalog's version.
    pub(crate) async fn beat(&mut self, seen: i64) -> Result<Result<i64, Deposed>, Error> {
        let quiet = self.database.dialect() == Dialect::Sqlite;
        let epoch = self.epoch;
        let connection = self.connection().await?;
        let rows = connection
            .fetch(
                "SELECT catalog_version, catalog_seen FROM gcs_writer WHERE id = 1 AND epoch = ?",
                &[epoch.into()],
            )
            .await?;
        let Some(row) = rows.first() else {
            return Ok(Err(Deposed));
        };
        let (version, told) = (row.int(0)?, row.int(1)?);
        // Nobody stands by for an SQLite file, so a sign of life would only
        // wake the disk.
        if quiet && told == seen {
            return Ok(Ok(version));
        }
        let alive = connection
            .execute(
                "UPDATE gcs_writer SET beat = beat + 1, catalog_seen = ? WHERE id = 1 AND epoch = ?",
                &[seen.into(), epoch.into()],
            )
            .await?;
        Ok(if alive > 0 { Ok(version) } else { Err(Deposed) })
    }

    /// Lets the next one take the database without waiting.
    pub(crate) async fn release(&mut self) -> Result<(), Error> {
        let epoch = self.epoch;
        self.connection()
            .await?
            .execute(
                "UPDATE gcs_writer SET holder = '', beat = beat + 1 WHERE id = 1 AND epoch = ?",
                &[epoch.into()],
            )
            .await?;
        Ok(())
    }

    /// The journal, oldest row first.
    pub(crate) async fn journal(&mut self) -> Result<Vec<journal::Row>, Error> {
        let rows = self.connection().await?.fetch(journal::SELECT, &[]).await?;
        rows.iter().map(journal::Row::read).collect()
    }

    /// Makes a namespace, unless it is there; its row in the catalog, and
    /// whether it was made.
    pub(crate) async fn create(
        &mut self,
        name: &NamespaceName,
        at_ms: i64,
    ) -> Result<Result<(Entry, bool), Deposed>, Error> {
        let (epoch, lock) = (self.epoch, self.database.dialect().for_update());
        let mut transaction = self.connection().await?.begin().await?;
        let held = transaction
            .fetch(
                &format!("SELECT epoch FROM gcs_writer WHERE id = 1{lock}"),
                &[],
            )
            .await?;
        if held.first().map(|row| row.int(0)).transpose()? != Some(epoch) {
            transaction.rollback().await?;
            return Ok(Err(Deposed));
        }
        let there = transaction
            .fetch(
                &format!("{CATALOG} WHERE name = ?"),
                &[name.as_str().into()],
            )
            .await?;
        if let Some(entry) = there.first().and_then(|row| entry(row).transpose()) {
            transaction.rollback().await?;
            return entry.map(|entry| Ok((entry, false)));
        }
        let id = NamespaceId::fresh();
        transaction
            .execute(
                "INSERT INTO gcs_namespace (id, name, epoch, state, created_ms, seen_ms) \
                 VALUES (?, ?, 0, 'active', ?, ?)",
                &[
                    id.0.into(),
                    name.as_str().into(),
                    at_ms.into(),
                    at_ms.into(),
                ],
            )
            .await?;
        transaction.commit().await?;
        let entry = Entry {
            id,
            name: name.clone(),
            epoch: 0,
            state: State::Active,
            quota_bytes: None,
            quota_rows: None,
            cluster_id: None,
        };
        Ok(Ok((entry, true)))
    }

    /// The catalog, and the password hashes of its namespaces.
    pub(crate) async fn catalog(&mut self) -> Result<(Vec<Entry>, Passwords), Error> {
        let connection = self.connection().await?;
        let rows = connection.fetch(CATALOG, &[]).await?;
        let entries: Vec<Entry> = rows
            .iter()
            .filter_map(|row| entry(row).transpose())
            .collect::<Result<_, _>>()?;
        let names: HashMap<i64, &NamespaceName> = entries
            .iter()
            .map(|entry| (entry.id.0, &entry.name))
            .collect();
        let mut passwords = Passwords::new();
        let hashes = "SELECT ns_id, hash FROM gcs_credential ORDER BY ns_id, id";
        for row in connection.fetch(hashes, &[]).await? {
            if let Some(name) = names.get(&row.int(0)?) {
                let of = passwords.entry((*name).clone()).or_default();
                of.push(row.text(1)?);
            }
        }
        Ok((entries, passwords))
    }
}

const CATALOG: &str =
    "SELECT id, name, epoch, state, quota_bytes, quota_rows, cluster_id FROM gcs_namespace";

/// Reads a row of [`CATALOG`]; `None` if its name is no name.
fn entry(row: &Row) -> Result<Option<Entry>, Error> {
    let name = row.text(1)?;
    let Ok(name) = NamespaceName::new(&name) else {
        tracing::warn!(name, "a namespace in the catalog has no valid name");
        return Ok(None);
    };
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(Some(Entry {
        id: NamespaceId(row.int(0)?),
        name,
        epoch: unsigned(row.int(2)?),
        state: State::parse(&row.text(3)?),
        quota_bytes: row.opt_int(4)?.map(unsigned),
        quota_rows: row.opt_int(5)?.map(unsigned),
        cluster_id: row.opt_bytes(6)?,
    }))
}

fn append_statement(dialect: Dialect) -> String {
    format!(
        "INSERT INTO gcs_journal (seq, epoch, at_ms, payload) \
         SELECT ?, ?, ?, ? FROM gcs_writer WHERE id = 1 AND epoch = ? AND folded < ?{}",
        dialect.for_share()
    )
}
