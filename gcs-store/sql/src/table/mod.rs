//! Versioned tables: entries under one global revision, in SQL.
//!
//! ```text
//!   table_head      revision, compacted                    one row, the lock
//!   table_version   (name, k, revision) -> value, ended    every version kept
//!   table_lease     id -> expires, by the database's clock
//! ```
//!
//! A version stands from its revision until the one that ended it; what is in
//! force ends never. So the present, the past and the changes between are three
//! questions to one table, and nothing is stored twice. A separate log beside
//! the present would write each value once more and answer no read as of a
//! past revision.
//!
//! Invariants:
//! 1. Revisions are given out in the order of commits: whoever sees one sees
//!    all before it, for writers lock `table_head` first.
//! 2. A deletion is a version too: it ends where it begins.

mod compaction;
mod entry;
mod head;
mod lease;
mod range;
mod transaction;
mod watch;

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use crate::{Database, Error, Migrations, Step};

pub use compaction::Keep;
pub use entry::{Entry, KEY_MAX_BYTES, Revision, TableName, VALUE_MAX_BYTES};
use head::Head;
pub use lease::LeaseId;
pub use range::{Page, Range};
pub use transaction::{Condition, OPERATIONS_MAX, Outcome, TRANSACTION_MAX_BYTES, Write};
pub use watch::{Cause, Change, Event};

/// How tables are watched and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How often other processes' changes are looked for.
    pub poll: Duration,
    /// How long a watch may be silent.
    pub progress: Duration,
    /// How much history [`Tables::tend`] keeps.
    pub keep: Keep,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(250),
            progress: Duration::from_secs(1),
            keep: Keep::default(),
        }
    }
}

/// The tables of one database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tables {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    pace: Pace,
    /// The newest revision that this process knows of.
    news: tokio::sync::watch::Sender<Revision>,
    /// The last look at the head, so that many watchers look once.
    looked: Mutex<Option<(Instant, Head)>>,
}

/// The DDL of tables and fences.
pub(crate) const MIGRATIONS: Migrations = Migrations {
    component: "tables",
    steps: &[Step {
        version: 1,
        name: "versioned tables, leases and fences",
        sqlite: include_str!("../../migrations/sqlite/tables_001.sql"),
        postgres: include_str!("../../migrations/postgres/tables_001.sql"),
        mysql: include_str!("../../migrations/mysql/tables_001.sql"),
    }],
};

impl Tables {
    /// The tables in `database`, which are made if there are none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open(database: &Database, pace: Pace) -> Result<Self, Error> {
        database.migrate(&MIGRATIONS).await?;
        Ok(Self {
            shared: Arc::new(Shared {
                database: database.clone(),
                pace,
                news: tokio::sync::watch::Sender::default(),
                looked: Mutex::default(),
            }),
        })
    }

    fn database(&self) -> &Database {
        &self.shared.database
    }

    fn settings(&self) -> &Pace {
        &self.shared.pace
    }

    fn news(&self) -> tokio::sync::watch::Receiver<Revision> {
        self.shared.news.subscribe()
    }

    /// Wakes this process's watchers.
    fn announce(&self, revision: Revision) {
        self.shared.news.send_if_modified(|newest| {
            let newer = *newest < revision;
            *newest = revision.max(*newest);
            newer
        });
    }

    /// The head, looked up after this call began or by a watcher that did so
    /// a moment ago.
    async fn head(&self) -> Result<Head, Error> {
        let asked = Instant::now();
        let mut looked = self.shared.looked.lock().await;
        if let Some((at, head)) = *looked
            && at >= asked
        {
            return Ok(head);
        }
        let at = Instant::now();
        let head = Head::of(&self.database().fetch(Head::READ, &[]).await?)?;
        *looked = Some((at, head));
        Ok(head)
    }
}
