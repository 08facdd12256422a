//! The epoch ledger: who may write, and proof of it inside the transaction.
//!
//! Whoever is to act alone under a name raises its epoch. From the commit of
//! that on, nobody who holds an older epoch can write: each of their
//! transactions looks at the ledger, and holds what it saw until it commits.
//!
//! ```text
//!   writer   begin ... check (shared lock on the row) ... commit
//!   raiser                      raise waits ---------------^ then passes
//!   writer                                   begin ... check: Stale
//! ```
//!
//! A writer that is paused between check and commit holds a raise up until the
//! database ends its idle transaction, and then it cannot commit. On SQLite
//! nothing ends it: there all writers are processes of one host.
//!
//! Invariants:
//! 1. An epoch only grows, and each has one holder
//!    (`of_two_who_raise_one_succeeds`).
//! 2. A write under an epoch commits before the next raise or not at all
//!    (`a_raise_and_a_late_write_have_one_order`).

use std::fmt;

use crate::{Database, Error, Row, Transaction, table};

/// How often somebody has taken over; 0: nobody yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub i64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The right to write under `name` until somebody raises it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// What it guards.
    pub name: String,
    /// The epoch that was raised to.
    pub epoch: Epoch,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// What is held.
    pub fence: Fence,
    /// By whom, in the words of the one who raised it.
    pub holder: String,
    /// Since when, by the database's clock: milliseconds since the Unix epoch.
    pub raised_ms: i64,
}

impl Fence {
    /// Refuses, inside `transaction`, if somebody has raised the fence; else
    /// nobody can until the transaction ends.
    ///
    /// # Errors
    /// [`Error::Stale`]; what the database says.
    pub async fn check(&self, transaction: &mut Transaction) -> Result<(), Error> {
        let lock = transaction.dialect().for_share();
        let sql = format!("SELECT epoch FROM fence WHERE name = ? {lock}");
        let rows = transaction
            .fetch(&sql, &[self.name.as_str().into()])
            .await?;
        let current = epoch(&rows)?;
        if current == self.epoch {
            return Ok(());
        }
        Err(self.stale(current))
    }

    fn stale(&self, current: Epoch) -> Error {
        Error::Stale {
            name: self.name.clone(),
            held: self.epoch.0,
            current: current.0,
        }
    }
}

/// The ledger of one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    database: Database,
}

impl Ledger {
    /// The ledger in `database`, which is made if there is none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open(database: &Database) -> Result<Self, Error> {
        database.migrate(&table::MIGRATIONS).await?;
        Ok(Self {
            database: database.clone(),
        })
    }

    /// The epoch of `name`, 0 if nobody has raised it yet.
    ///
    /// # Errors
    /// What the database says.
    pub async fn current(&self, name: &str) -> Result<Epoch, Error> {
        let sql = "SELECT epoch FROM fence WHERE name = ?";
        epoch(&self.database.fetch(sql, &[name.into()]).await?)
    }

    /// Takes over `name` from whoever held it at `expected`. Name and holder
    /// have at most 255 characters.
    ///
    /// # Errors
    /// [`Error::Stale`] if somebody else was faster. After
    /// [`Error::Unavailable`] it is unknown whether the raise happened: ask for
    /// the current epoch and raise again from there, which is safe either way.
    pub async fn raise(&self, name: &str, expected: Epoch, holder: &str) -> Result<Fence, Error> {
        for (what, text) in [("name of a fence", name), ("holder of a fence", holder)] {
            let size = text.chars().count();
            if size > 255 {
                let limit = 255;
                return Err(Error::TooLarge { what, size, limit });
            }
        }
        let next = Fence {
            name: name.to_owned(),
            epoch: Epoch(expected.0 + 1),
        };
        match self.attempt(&next, expected, holder).await {
            Ok(true) => return Ok(next),
            // Somebody else was the first to raise it at all.
            Ok(false) | Err(Error::Duplicate { .. }) => {}
            Err(error) => return Err(error),
        }
        let held = Fence {
            epoch: expected,
            ..next
        };
        Err(held.stale(self.current(name).await?))
    }

    async fn attempt(&self, next: &Fence, expected: Epoch, holder: &str) -> Result<bool, Error> {
        let now = self.database.dialect().now_ms();
        let mut transaction = self.database.begin().await?;
        let raised = if expected == Epoch(0) {
            let sql = format!(
                "INSERT INTO fence (epoch, holder, name, raised_ms) VALUES (?, ?, ?, {now})"
            );
            let values = [
                next.epoch.0.into(),
                holder.into(),
                next.name.as_str().into(),
            ];
            transaction.execute(&sql, &values).await?
        } else {
            let sql = format!(
                "UPDATE fence SET epoch = ?, holder = ?, raised_ms = {now} \
                 WHERE name = ? AND epoch = ?"
            );
            let values = [
                next.epoch.0.into(),
                holder.into(),
                next.name.as_str().into(),
                expected.0.into(),
            ];
            transaction.execute(&sql, &values).await?
        };
        if raised == 0 {
            transaction.rollback().await?;
            return Ok(false);
        }
        let sql = "INSERT INTO fence_history (name, epoch, holder, raised_ms) \
                   SELECT name, epoch, holder, raised_ms FROM fence WHERE name = ?";
        transaction
            .execute(sql, &[next.name.as_str().into()])
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Takes over `name` from whoever holds it, however often others do too.
    ///
    /// # Errors
    /// What the database says.
    pub async fn take(&self, name: &str, holder: &str) -> Result<Fence, Error> {
        loop {
            let current = self.current(name).await?;
            match self.raise(name, current, holder).await {
                Err(Error::Stale { .. } | Error::Conflict { .. }) => {}
                other => return other,
            }
        }
    }

    /// Every name with its holder.
    ///
    /// # Errors
    /// What the database says.
    pub async fn list(&self) -> Result<Vec<Holding>, Error> {
        let sql = "SELECT name, epoch, holder, raised_ms FROM fence ORDER BY name";
        let rows = self.database.fetch(sql, &[]).await?;
        rows.iter().map(holding).collect()
    }

    /// The holders of `name`, the newest first, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn history(&self, name: &str, limit: u32) -> Result<Vec<Holding>, Error> {
        let sql = "SELECT name, epoch, holder, raised_ms FROM fence_history \
                   WHERE name = ? ORDER BY epoch DESC LIMIT ?";
        let values = [name.into(), i64::from(limit).into()];
        let rows = self.database.fetch(sql, &values).await?;
        rows.iter().map(holding).collect()
    }
}

fn epoch(rows: &[Row]) -> Result<Epoch, Error> {
    rows.first()
        .map_or(Ok(Epoch(0)), |row| row.int(0).map(Epoch))
}

fn holding(row: &Row) -> Result<Holding, Error> {
    Ok(Holding {
        fence: Fence {
            name: row.text(0)?,
            epoch: Epoch(row.int(1)?),
        },
        holder: row.text(2)?,
        raised_ms: row.int(3)?,
    })
}
