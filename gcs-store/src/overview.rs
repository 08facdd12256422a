//! What the database itself says of the store: who writes, and how much is
//! there. For people; it reads tables from end to end.

use std::time::{Duration, Instant};

use gcs_sql::{Database, Dialect, Error};
use serde::Serialize;
use tokio::time::sleep;

/// An active store gives a sign of life each second.
const SIGN_OF_LIFE: Duration = Duration::from_millis(2500);

/// Between two looks for one.
const PERIOD: Duration = Duration::from_millis(250);

/// The state of a database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// `sqlite`, `postgres` or `mysql`.
    pub kind: &'static str,
    /// How long it took to answer the simplest question, in microseconds.
    pub delay_us: u64,
    /// Who writes; absent if no store is registered.
    pub writer: Option<Writer>,
    /// How often the writer has changed.
    pub epoch: i64,
    /// Namespaces by state.
    pub namespaces: Vec<(String, i64)>,
    /// Rows as they were at the last fold.
    pub rows: Amount,
    /// Groups of commands that are durable and not yet folded into rows.
    pub journal: Amount,
    /// Earlier values.
    pub history: Amount,
    /// Large values, each once.
    pub blobs: Amount,
}

/// The store that is registered as active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Writer {
    /// What it calls itself.
    pub holder: String,
    /// Where heads reach it.
    pub address: String,
    /// Whether it gave a sign of life while we looked. Absent with SQLite, where
    /// it gives none.
    pub alive: Option<bool>,
}

/// How much of something is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub count: i64,
    /// Their bytes.
    pub bytes: i64,
}

impl Overview {
    /// Looks, for up to 2.5 s.
    ///
    /// # Errors
    /// What the database says; [`Error::Invalid`] if no store has ever used it.
    pub async fn read(database: &Database) -> Result<Self, Error> {
        let began = Instant::now();
        database.fetch("SELECT 1", &[]).await?;
        let delay_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (epoch, writer) = writer(database).await?;
        let sql = "SELECT state, COUNT(*) FROM gcs_namespace GROUP BY state ORDER BY state";
        let mut namespaces = Vec::new();
        for row in database.fetch(sql, &[]).await? {
            namespaces.push((row.text(0)?, row.int(1)?));
        }
        Ok(Self {
            kind: match database.dialect() {
                Dialect::Sqlite => "sqlite",
                Dialect::Postgres => "postgres",
                Dialect::Mysql => "mysql",
            },
            delay_us,
            writer,
            epoch,
            namespaces,
            rows: amount(database, "gcs_row", "size").await?,
            journal: amount(database, "gcs_journal", "LENGTH(payload)").await?,
            history: amount(database, "gcs_history", "size").await?,
            blobs: amount(database, "gcs_blob_info", "size").await?,
        })
    }
}

async fn writer(database: &Database) -> Result<(i64, Option<Writer>), Error> {
    let sql = "SELECT epoch, beat, holder, address FROM gcs_writer WHERE id = 1";
    let began = Instant::now();
    let mut first = None;
    loop {
        let rows = database.fetch(sql, &[]).await?;
        let row = rows
            .first()
            .ok_or_else(|| Error::invalid("no store has used this database yet"))?;
        let (epoch, beat, holder) = (row.int(0)?, row.int(1)?, row.text(2)?);
        if holder.is_empty() {
            return Ok((epoch, None));
        }
        let moved = *first.get_or_insert((epoch, beat)) != (epoch, beat);
        let silent = database.dialect() == Dialect::Sqlite;
        if moved || silent || began.elapsed() > SIGN_OF_LIFE {
            let writer = Writer {
                holder,
                address: row.text(3)?,
                alive: (!silent).then_some(moved),
            };
            return Ok((epoch, Some(writer)));
        }
        sleep(PERIOD).await;
    }
}

async fn amount(database: &Database, table: &str, bytes: &str) -> Result<Amount, Error> {
    let sum = database.dialect().sum(bytes);
    let sql = format!("SELECT COUNT(*), COALESCE({sum}, 0) FROM {table}");
    let rows = database.fetch(&sql, &[]).await?;
    match rows.first() {
        Some(row) => Ok(Amount {
            count: row.int(0)?,
            bytes: row.int(1)?,
        }),
        None => Ok(Amount::default()),
    }
}

#[cfg(test)]
mod tests {
    use gcs_sql::Settings;

    use super::*;
    use crate::schema::MIGRATIONS;

    #[tokio::test]
    async fn a_database_tells_who_writes_and_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("ray.db").display());
        let database = Database::open(&Settings::new(url)).await.unwrap();
        database.migrate(&MIGRATIONS).await.unwrap();
        let fresh = Overview::read(&database).await.unwrap();
        assert_eq!((fresh.kind, fresh.epoch, fresh.writer), ("sqlite", 0, None));
        assert_eq!(fresh.rows, Amount::default());

        for sql in [
            "UPDATE gcs_writer SET epoch = 3, holder = 'here#1', address = '127.0.0.1:6379'",
            "INSERT INTO gcs_namespace(id, name, epoch, state, created_ms, seen_ms) \
             VALUES (1, 'prod', 1, 'active', 0, 0), (2, 'test', 0, 'active', 0, 0)",
            "INSERT INTO gcs_journal(seq, epoch, at_ms, payload) VALUES (1, 3, 0, 'abc')",
        ] {
            database.execute(sql, &[]).await.unwrap();
        }
        let used = Overview::read(&database).await.unwrap();
        let writer = used.writer.unwrap();
        assert_eq!((used.epoch, writer.alive), (3, None));
        assert_eq!(writer.address, "127.0.0.1:6379");
        assert_eq!(used.namespaces, [("active".to_owned(), 2)]);
        assert_eq!(used.journal, Amount { count: 1, bytes: 3 });
    }
}
