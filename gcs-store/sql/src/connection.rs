//! A connection of one's own.
//!
//! Who writes all the time (the store's engine) does not want to ask a pool each
//! time. On SQLite it still takes turns with the pool's writer: a turn within
//! the process costs nothing, while SQLite's own waiting sleeps for up to 100 ms
//! between looks.

use std::{fmt, sync::Arc};

use tokio::{
    sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit},
    time::timeout,
};

use crate::{
    Dialect, Error, Row, Transaction, Value,
    connect::Purpose,
    database::Inner,
    pool::{Session, permit, within},
    transaction,
};

/// A connection outside of the pool. After [`Error::Unavailable`],
/// [`Error::Deadline`] or [`Error::Full`] it is of no more use: get another.
pub struct Connection {
    inner: Arc<Inner>,
    session: Arc<Mutex<Option<Session>>>,
}

/// Where a transaction on it gives the session back, and its turn to write.
pub(crate) struct Turn {
    slot: OwnedMutexGuard<Option<Session>>,
    _write: Option<OwnedSemaphorePermit>,
}

impl Turn {
    pub(crate) fn give_back(&mut self, session: Session) {
        *self.slot = Some(session);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("dialect", &self.inner.dialect)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) async fn open(inner: Arc<Inner>) -> Result<Self, Error> {
        let driver = inner
            .connector
            .connect(Purpose::Write, inner.connect_deadline)
            .await?;
        Ok(Self {
            inner,
            session: Arc::new(Mutex::new(Some(Session::new(driver)))),
        })
    }

    /// As [`Database::fetch`](crate::Database::fetch).
    ///
    /// # Errors
    /// As the database says; see [`Error`].
    pub async fn fetch(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
        let sql = self.inner.translate(sql);
        let (mut session, mut turn) = self.take(false).await?;
        let result = within(self.inner.deadline, session.driver.fetch(sql, values)).await;
        settle(&mut turn, session, result)
    }

    /// As [`Database::execute`](crate::Database::execute).
    ///
    /// # Errors
    /// As the database says; see [`Error`].
    pub async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, Error> {
        let sql = self.inner.translate(sql);
        let (mut session, mut turn) = self.take(true).await?;
        let result = within(self.inner.deadline, session.driver.execute(sql, values)).await;
        settle(&mut turn, session, result)
    }

    /// As [`Database::begin`](crate::Database::begin). Until the transaction
    /// has ended, other calls here wait, until their deadline.
    ///
    /// # Errors
    /// As the database says; see [`Error`].
    pub async fn begin(&mut self) -> Result<Transaction, Error> {
        let (session, turn) = self.take(true).await?;
        let inner = Arc::clone(&self.inner);
        Transaction::begin(inner, session, turn.into(), transaction::Kind::Write).await
    }

    /// Whether it may be used: false after an error that ended it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        // Somebody's turn means that it is in use.
        self.session.try_lock().is_ok_and(|slot| slot.is_some())
    }

    async fn take(&mut self, write: bool) -> Result<(Session, Turn), Error> {
        let deadline = self.inner.deadline;
        let mut slot = match Arc::clone(&self.session).try_lock_owned() {
            Ok(slot) => slot,
            Err(_) => timeout(deadline, Arc::clone(&self.session).lock_owned())
                .await
                .map_err(|_| Error::Deadline(deadline))?,
        };
        let write = if write && self.inner.dialect == Dialect::Sqlite {
            Some(permit(self.inner.writers.permits(), deadline).await?)
        } else {
            None
        };
        let session = slot
            .take()
            .ok_or_else(|| Error::unavailable("connection was lost before"))?;
        let turn = Turn {
            slot,
            _write: write,
        };
        Ok((session, turn))
    }
}

fn settle<T>(turn: &mut Turn, session: Session, result: Result<T, Error>) -> Result<T, Error> {
    if !result.as_ref().is_err_and(Error::spoils_connection) {
        turn.give_back(session);
    }
    result
}
