//! A transaction: all of it or nothing.
//!
//! After an error nothing more is done in it, on any database (PostgreSQL would
//! refuse, the others would commit the rest). Dropped before `commit`, it is
//! rolled back by a task, which then gives its connection back.

use std::{fmt, sync::Arc};

use crate::{
    Dialect, Error, Row, Value,
    connection::Turn,
    database::Inner,
    pool::{Place, Session, within},
};

/// A transaction that runs. Dropping it rolls it back.
pub struct Transaction {
    inner: Arc<Inner>,
    /// None after an error.
    session: Option<Session>,
    /// None once it has ended.
    home: Option<Home>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    Read,
}

/// Where the session came from.
pub(crate) enum Home {
    Pool(Place),
    Dedicated(Turn),
}

impl From<Place> for Home {
    fn from(place: Place) -> Self {
        Self::Pool(place)
    }
}

impl From<Turn> for Home {
    fn from(turn: Turn) -> Self {
        Self::Dedicated(turn)
    }
}

impl Home {
    fn give_back(&mut self, session: Session) {
        match self {
            Self::Pool(place) => place.give_back(session),
            Self::Dedicated(turn) => turn.give_back(session),
        }
    }

    fn lost(&self) {
        if let Self::Pool(place) = self {
            place.pool().forget();
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("dialect", &self.inner.dialect)
            .finish_non_exhaustive()
    }
}

impl Transaction {
    pub(crate) async fn begin(
        inner: Arc<Inner>,
        session: Session,
        home: Home,
        kind: Kind,
    ) -> Result<Self, Error> {
        let (mut session, mut home) = (session, home);
        let opening = session.driver.batch(opening(inner.dialect, kind));
        match within(inner.deadline, opening).await {
            Ok(()) => Ok(Self {
                inner,
                session: Some(session),
                home: Some(home),
            }),
            Err(error) => {
                if error.spoils_connection() {
                    home.lost();
                } else {
                    home.give_back(session);
                }
                Err(error)
            }
        }
    }

    /// Which SQL its database speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// Reads rows.
    ///
    /// # Errors
    /// As the database says; see [`Error`]. The transaction is over then.
    pub async fn fetch(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
        let sql = self.inner.translate(sql);
        let mut session = self.take()?;
        let result = within(self.inner.deadline, session.driver.fetch(sql, values)).await;
        self.settle(session, result)
    }

    /// Runs a statement; returns what
    /// [`Database::execute`](crate::Database::execute) returns.
    ///
    /// # Errors
    /// As the database says; see [`Error`]. The transaction is over then.
    pub async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, Error> {
        let sql = self.inner.translate(sql);
        let mut session = self.take()?;
        let result = within(self.inner.deadline, session.driver.execute(sql, values)).await;
        self.settle(session, result)
    }

    /// Inserts rows, or gives those whose key exists the new values; any
    /// number of rows. `values` are row after row, key columns first; keys must
    /// differ.
    ///
    /// # Errors
    /// As the database says; see [`Error`]. The transaction is over then.
    pub async fn upsert(
        &mut self,
        table: &str,
        key_columns: &[&str],
        other_columns: &[&str],
        values: &[Value],
    ) -> Result<(), Error> {
        let columns = key_columns.len() + other_columns.len();
        if columns == 0 || !values.len().is_multiple_of(columns) {
            return Err(Error::invalid("values do not make whole rows"));
        }
        let dialect = self.inner.dialect;
        for rows in dialect.batches(values.len() / columns, columns) {
            let sql = dialect.upsert(table, key_columns, other_columns, rows.len());
            let values = &values[rows.start * columns..rows.end * columns];
            self.execute(&sql, values).await?;
        }
        Ok(())
    }

    /// Makes it last.
    ///
    /// # Errors
    /// If the error is [unknown](Error::is_unknown), it may have been made to
    /// last all the same.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.batch("COMMIT").await?;
        self.end();
        Ok(())
    }

    /// Undoes it, and waits until that is done.
    ///
    /// # Errors
    /// As the database says. It is undone in any case, sooner or later.
    pub async fn rollback(mut self) -> Result<(), Error> {
        if self.session.is_some() {
            self.batch("ROLLBACK").await?;
        }
        self.end();
        Ok(())
    }

    async fn batch(&mut self, sql: &str) -> Result<(), Error> {
        let mut session = self.take()?;
        let result = within(self.inner.deadline, session.driver.batch(sql)).await;
        self.settle(session, result)
    }

    /// The session, which is lost with the caller if that is cancelled.
    fn take(&mut self) -> Result<Session, Error> {
        self.session
            .take()
            .ok_or_else(|| Error::invalid("transaction has failed before"))
    }

    fn settle<T>(&mut self, session: Session, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Ok(_) => self.session = Some(session),
            Err(error) => {
                if let Some(home) = self.home.take() {
                    if error.spoils_connection() {
                        home.lost();
                    } else {
                        undo(session, home, &self.inner);
                    }
                }
            }
        }
        result
    }

    /// It has ended in order.
    fn end(&mut self) {
        if let (Some(session), Some(mut home)) = (self.session.take(), self.home.take()) {
            home.give_back(session);
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let (Some(session), Some(home)) = (self.session.take(), self.home.take()) {
            undo(session, home, &self.inner);
        }
    }
}

/// Rolls back and gives the session back, in a task. Without a runtime the
/// connection is dropped, which undoes as well.
fn undo(mut session: Session, mut home: Home, inner: &Inner) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    let deadline = inner.deadline;
    runtime.spawn(async move {
        match within(deadline, session.driver.batch("ROLLBACK")).await {
            Ok(()) => home.give_back(session),
            Err(error) => {
                tracing::warn!(%error, "transaction was not rolled back, dropping its connection");
                home.lost();
            }
        }
    });
}

/// What begins a transaction. A reader's takes its snapshot at once. A writer
/// does not say that it will write: a replica would take that for wrong SQL,
/// while it answers the write itself with being read-only.
fn opening(dialect: Dialect, kind: Kind) -> &'static str {
    match (dialect, kind) {
        (Dialect::Sqlite, Kind::Write) => "BEGIN IMMEDIATE",
        (Dialect::Sqlite, Kind::Read) => "BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1",
        (Dialect::Postgres, Kind::Write) => "BEGIN ISOLATION LEVEL READ COMMITTED",
        (Dialect::Postgres, Kind::Read) => {
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1"
        }
        (Dialect::Mysql, Kind::Write) => "START TRANSACTION",
        (Dialect::Mysql, Kind::Read) => {
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
             START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
        }
    }
}
