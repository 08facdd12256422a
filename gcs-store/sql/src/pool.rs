//! Connections kept open, lent out one at a time.
//!
//! sqlx has a pool, but asks the server twice for each statement whether the
//! connection is well, and gives back what a cancelled caller left half read.
//! Here a connection is well unless a statement on it ended badly: whoever uses
//! one takes it out, and puts it back only after a good end, so that a caller
//! who is cancelled or fails loses the connection and nothing else.
//!
//! Invariants:
//! 1. No more than the pool's size are open at once.
//! 2. After a statement with an unknown end its connection is never used again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    Error,
    connect::{Connector, Purpose},
    driver::Driver,
    error::classify,
};

/// After so long unused, a connection is asked whether it still lives.
const STALE: Duration = Duration::from_secs(5);

/// A connection and since when nobody has used it.
pub(crate) struct Session {
    pub(crate) driver: Driver,
    used: Instant,
}

impl Session {
    pub(crate) fn new(driver: Driver) -> Self {
        Self {
            driver,
            used: Instant::now(),
        }
    }
}

/// Lends connections of one kind.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    purpose: Purpose,
    connect_deadline: Duration,
    idle: Mutex<Vec<Session>>,
    permits: Arc<Semaphore>,
}

/// The right to one of the pool's connections.
pub(crate) struct Place {
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(
        connector: Arc<Connector>,
        purpose: Purpose,
        size: usize,
        connect_deadline: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            connector,
            purpose,
            connect_deadline,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(size)),
        })
    }

    /// What each user of a connection holds one of.
    pub(crate) fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// A connection that is believed to be well, within `deadline` when all
    /// are lent.
    pub(crate) async fn lend(
        self: &Arc<Self>,
        deadline: Duration,
    ) -> Result<(Session, Place), Error> {
        let place = Place {
            pool: Arc::clone(self),
            _permit: permit(&self.permits, deadline).await?,
        };
        loop {
            let Some(mut session) = self.idle.lock().pop() else {
                let driver = self
                    .connector
                    .connect(self.purpose, self.connect_deadline)
                    .await?;
                return Ok((Session::new(driver), place));
            };
            if session.used.elapsed() < STALE || session.is_alive(self.connect_deadline).await {
                return Ok((session, place));
            }
            // One that died of age or with its server is seldom alone.
            self.forget();
        }
    }

    /// Drops all connections that nobody uses.
    pub(crate) fn forget(&self) {
        let forgotten = std::mem::take(&mut *self.idle.lock());
        drop(forgotten);
    }

    /// Closes all connections that nobody uses, and tells the database.
    pub(crate) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        for session in idle {
            if let Ok(Err(error)) = timeout(self.connect_deadline, session.driver.close()).await {
                tracing::debug!(%error, "database connection did not close in order");
            }
        }
    }
}

impl Place {
    pub(crate) fn give_back(&self, mut session: Session) {
        session.used = Instant::now();
        self.pool.idle.lock().push(session);
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Session {
    async fn is_alive(&mut self, deadline: Duration) -> bool {
        matches!(timeout(deadline, self.driver.ping()).await, Ok(Ok(())))
    }
}

/// One of `permits`, within `deadline`.
pub(crate) async fn permit(
    permits: &Arc<Semaphore>,
    deadline: Duration,
) -> Result<OwnedSemaphorePermit, Error> {
    match Arc::clone(permits).try_acquire_owned() {
        Ok(permit) => Ok(permit),
        Err(_) => timeout(deadline, Arc::clone(permits).acquire_owned())
            .await
            .map_err(|_| Error::Deadline(deadline))?
            .map_err(Error::unavailable),
    }
}

/// Bounds one use of a driver by `deadline`, and puts its error in our terms.
pub(crate) async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = sqlx::Result<T>>,
) -> Result<T, Error> {
    match timeout(deadline, work).await {
        Ok(done) => done.map_err(|error| classify(error, deadline)),
        Err(_) => Err(Error::Deadline(deadline)),
    }
}
