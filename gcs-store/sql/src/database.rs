//! The database: pools, and what concerns all connections.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::RwLock;

use crate::{
    Connection, Dialect, Error, Migrations, Row, Settings, Transaction, Value,
    connect::{Connector, Purpose},
    migrate,
    pool::{Place, Pool, Session, within},
    text, transaction, version,
};

/// Translated statements kept. Shapes are few, so this is never reached unless
/// somebody writes values into SQL.
const TRANSLATIONS: usize = 4096;

/// A database. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) dialect: Dialect,
    pub(crate) deadline: Duration,
    pub(crate) connect_deadline: Duration,
    pub(crate) connector: Arc<Connector>,
    /// Writes; on servers reads as well. On SQLite it is one connection.
    pub(crate) writers: Arc<Pool>,
    pub(crate) readers: Arc<Pool>,
    translations: RwLock<HashMap<Box<str>, Arc<str>>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("dialect", &self.0.dialect)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Connects and checks that the server is one that will do: PostgreSQL 14,
    /// MySQL 8.0, MariaDB 10.6 or later. SQLite's file is made if its folder
    /// exists.
    ///
    /// # Errors
    /// [`Error::Invalid`] for settings or a server that will not do,
    /// [`Error::Unavailable`] or [`Error::Deadline`] if it does not answer.
    pub async fn open(settings: &Settings) -> Result<Self, Error> {
        let connector = Arc::new(Connector::new(settings)?);
        let dialect = connector.dialect();
        let size = settings.connections.max(1) as usize;
        let pool = |purpose, size| {
            Pool::new(
                Arc::clone(&connector),
                purpose,
                size,
                settings.connect_deadline,
            )
        };
        let (writers, readers) = if dialect == Dialect::Sqlite {
            (pool(Purpose::Write, 1), pool(Purpose::Read, size))
        } else {
            let both = pool(Purpose::Write, size);
            (Arc::clone(&both), both)
        };
        let database = Self(Arc::new(Inner {
            dialect,
            deadline: settings.deadline,
            connect_deadline: settings.connect_deadline,
            connector,
            writers,
            readers,
            translations: RwLock::default(),
        }));
        version::check(&database).await?;
        Ok(database)
    }

    /// Which SQL it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.0.dialect
    }

    /// How long one statement may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.0.deadline
    }

    /// Brings `migrations`' tables up to date; several processes may do so at
    /// once. A step of a newer release is left as it is: steps only add.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a step was changed after it was applied, or is
    /// wrong; else what the database says.
    pub async fn migrate(&self, migrations: &Migrations) -> Result<(), Error> {
        migrate::run(self, migrations).await
    }

    /// Reads rows. On SQLite a write is refused here.
    ///
    /// # Errors
    /// As the database says; see [`Error`].
    pub async fn fetch(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
        let inner = &self.0;
        let sql = inner.translate(sql);
        let (mut session, place) = inner.readers.lend(inner.deadline).await?;
        let result = within(inner.deadline, session.driver.fetch(sql, values)).await;
        settle(&place, session, result)
    }

    /// Runs one statement that commits by itself. Returns how many rows it
    /// inserted, deleted, or *found* to update, also where the new values are
    /// the old ones.
    ///
    /// # Errors
    /// As the database says; see [`Error`].
    pub async fn execute(&self, sql: &str, values: &[Value]) -> Result<u64, Error> {
        let inner = &self.0;
        let sql = inner.translate(sql);
        let (mut session, place) = inner.writers.lend(inner.deadline).await?;
        let result = within(inner.deadline, session.driver.execute(sql, values)).await;
        settle(&place, session, result)
    }

    /// Begins a transaction that may write. Each statement reads what is
    /// committed when it starts; rows to rely on are locked
    /// ([`Dialect::for_update`]). SQLite lets one write at a time.
    ///
    /// # Errors
    /// As the database says; see [`Error`].
    pub async fn begin(&self) -> Result<Transaction, Error> {
        let (session, place) = self.0.writers.lend(self.0.deadline).await?;
        Transaction::begin(
            Arc::clone(&self.0),
            session,
            place.into(),
            transaction::Kind::Write,
        )
        .await
    }

    /// Begins a transaction that reads, and sees the database as it is now
    /// however long it reads. It must not pause for a minute.
    ///
    /// # Errors
    /// As the database says; see [`Error`].
    pub async fn read(&self) -> Result<Transaction, Error> {
        let (session, place) = self.0.readers.lend(self.0.deadline).await?;
        Transaction::begin(
            Arc::clone(&self.0),
            session,
            place.into(),
            transaction::Kind::Read,
        )
        .await
    }

    /// A connection of its own, outside of the pool.
    ///
    /// # Errors
    /// As the database says; see [`Error`].
    pub async fn connect(&self) -> Result<Connection, Error> {
        Connection::open(Arc::clone(&self.0)).await
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// Closes what is not in use, in order. Dropping does as well, but leaves
    /// SQLite's log to be read at the next start.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writers.close().await;
    }
}

/// Gives a session back unless its `result` says that it is spoilt.
fn settle<T>(place: &Place, session: Session, result: Result<T, Error>) -> Result<T, Error> {
    match &result {
        Err(error) if error.spoils_connection() => place.pool().forget(),
        _ => place.give_back(session),
    }
    result
}

impl Inner {
    /// `sql` as this database wants it.
    pub(crate) fn translate(&self, sql: &str) -> Arc<str> {
        if self.dialect != Dialect::Postgres || !sql.contains('?') {
            return sql.into();
        }
        if let Some(known) = self.translations.read().get(sql) {
            return Arc::clone(known);
        }
        let numbered: Arc<str> = text::numbered(sql).into();
        let mut translations = self.translations.write();
        if translations.len() >= TRANSLATIONS {
            translations.clear();
        }
        translations.insert(sql.into(), Arc::clone(&numbered));
        numbered
    }
}
