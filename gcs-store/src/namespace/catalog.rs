//! The catalog: which namespaces there are and what may be done with them.
//!
//! ```text
//!             create            freeze
//!   (none) ---------> active <---------> frozen
//!      \                 |    unfreeze      |
//!       \ copy           | delete           | delete
//!        v               v                  v
//!    incomplete --> active   deleted <------+
//!        ^                     |  ^ undelete makes it active
//!        +-------- purge ------+
//! ```
//!
//! Every change is one transaction that locks the writer's row, so changes have
//! one order, and counts the catalog's version up. The active store looks at
//! that version each second and says which one it goes by.
//!
//! Invariants:
//! 1. An *incomplete* namespace, one that is being written or purged, can be
//!    neither read nor undeleted: half a cluster state is worse than none.
//! 2. Ids are not used again while anything of the old namespace is left.

use std::{fmt, time::Duration};

use bytes::Bytes;
use gcs_sql::{Database, Row, Transaction};
use ray_tables::NamespaceName;
use serde::Serialize;

use super::{Error, Refusal};
use crate::gcs::key::NamespaceId;

/// A head that gave a sign so long ago may still be there.
const HEAD_ALIVE: Duration = Duration::from_secs(15);

/// What may be done with a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Read and written.
    Active,
    /// Read only.
    Frozen,
    /// Neither, until it is undeleted or purged.
    Deleted,
    /// Being written by a copy, or being purged: nothing but deleting.
    Incomplete,
}

impl State {
    /// As the database spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Frozen => "frozen",
            Self::Deleted => "deleted",
            Self::Incomplete => "incomplete",
        }
    }

    fn parse(name: &str) -> Self {
        match name {
            "active" => Self::Active,
            "deleted" => Self::Deleted,
            "incomplete" => Self::Incomplete,
            _ => Self::Frozen,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One namespace, as the catalog has it. Times are in milliseconds since the
/// Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub id: NamespaceId,
    /// Its name.
    pub name: NamespaceName,
    /// The newest head's epoch; 0: there was none.
    pub epoch: i64,
    /// What may be done with it.
    pub state: State,
    /// Most bytes of fields and values.
    pub quota_bytes: Option<i64>,
    /// Most rows.
    pub quota_rows: Option<i64>,
    /// Ray's id of the cluster that owns it.
    pub cluster_id: Option<Bytes>,
    /// When it was made.
    pub created_ms: i64,
    /// When a head last used it; while incomplete, when a copy last wrote.
    pub seen_ms: i64,
    /// When it was deleted.
    pub deleted_ms: Option<i64>,
}

const COLUMNS: &str = "id, name, epoch, state, quota_bytes, quota_rows, cluster_id, created_ms, \
                       seen_ms, deleted_ms";

impl Record {
    /// Reads [`COLUMNS`]; nothing if a name is none of ours.
    fn read(row: &Row) -> Result<Option<Self>, gcs_sql::Error> {
        let Ok(name) = NamespaceName::new(row.text(1)?) else {
            return Ok(None);
        };
        Ok(Some(Self {
            id: NamespaceId(row.int(0)?),
            name,
            epoch: row.int(2)?,
            state: State::parse(&row.text(3)?),
            quota_bytes: row.opt_int(4)?,
            quota_rows: row.opt_int(5)?,
            cluster_id: row.opt_bytes(6)?,
            created_ms: row.int(7)?,
            seen_ms: row.int(8)?,
            deleted_ms: row.opt_int(9)?,
        }))
    }

    /// Refuses if a head may be using it at `now_ms`.
    pub(crate) fn refuse_in_use(&self, now_ms: i64) -> Result<(), Refusal> {
        let since = now_ms - self.seen_ms;
        if self.state == State::Active
            && u128::try_from(since).unwrap_or(0) < HEAD_ALIVE.as_millis()
        {
            return Err(Refusal::InUse {
                name: self.name.clone(),
                seconds: since / 1000,
            });
        }
        Ok(())
    }

    /// Refuses if it is in none of `states`.
    pub(crate) fn refuse_unless(&self, states: &[State]) -> Result<(), Refusal> {
        if states.contains(&self.state) {
            return Ok(());
        }
        Err(Refusal::State {
            name: self.name.clone(),
            state: self.state,
        })
    }
}

/// The version of the catalog that a change made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version(pub i64);

/// The catalog of one database.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub(crate) database: Database,
}

impl Catalog {
    /// The catalog in `database`, whose tables must be there.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self {
            database: database.clone(),
        }
    }

    /// One namespace.
    ///
    /// # Errors
    /// [`Error::Missing`]; what the database says.
    pub async fn find(&self, name: &NamespaceName) -> Result<Record, Error> {
        let sql = format!("SELECT {COLUMNS} FROM gcs_namespace WHERE name = ?");
        let rows = self.database.fetch(&sql, &[name.as_str().into()]).await?;
        one(&rows, name)
    }

    /// All namespaces, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn all(&self) -> Result<Vec<Record>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM gcs_namespace ORDER BY name");
        let rows = self.database.fetch(&sql, &[]).await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            all.extend(Record::read(row)?);
        }
        Ok(all)
    }

    /// The database's clock, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// What the database says.
    pub async fn now_ms(&self) -> Result<i64, Error> {
        let sql = format!("SELECT {}", self.database.dialect().now_ms());
        Ok(int(&self.database.fetch(&sql, &[]).await?)?)
    }

    /// Begins a change; dropped, it changes nothing.
    pub(crate) async fn change(&self) -> Result<Change, Error> {
        let dialect = self.database.dialect();
        let mut transaction = self.database.begin().await?;
        let lock = dialect.for_update();
        let sql = format!("SELECT catalog_version FROM gcs_writer WHERE id = 1{lock}");
        let version = int(&transaction.fetch(&sql, &[]).await?)? + 1;
        let sql = "UPDATE gcs_writer SET catalog_version = ? WHERE id = 1";
        transaction.execute(sql, &[version.into()]).await?;
        let sql = format!("SELECT {}", dialect.now_ms());
        let now_ms = int(&transaction.fetch(&sql, &[]).await?)?;
        Ok(Change {
            transaction,
            version: Version(version),
            now_ms,
        })
    }
}

/// A change of the catalog that is being made.
pub(crate) struct Change {
    pub(crate) transaction: Transaction,
    version: Version,
    pub(crate) now_ms: i64,
}

impl Change {
    /// One namespace.
    pub(crate) async fn find(&mut self, name: &NamespaceName) -> Result<Record, Error> {
        let sql = format!("SELECT {COLUMNS} FROM gcs_namespace WHERE name = ?");
        let rows = self
            .transaction
            .fetch(&sql, &[name.as_str().into()])
            .await?;
        one(&rows, name)
    }

    /// Adds a namespace without heads.
    pub(crate) async fn add(
        &mut self,
        name: &NamespaceName,
        state: State,
    ) -> Result<NamespaceId, Error> {
        let id = NamespaceId::fresh().0;
        let sql = "INSERT INTO gcs_namespace (id, name, epoch, state, created_ms, seen_ms) \
                   VALUES (?, ?, 0, ?, ?, ?)";
        let seen_ms = match state {
            State::Incomplete => self.now_ms,
            _ => 0,
        };
        let values = [
            id.into(),
            name.as_str().into(),
            state.name().into(),
            self.now_ms.into(),
            seen_ms.into(),
        ];
        self.transaction.execute(sql, &values).await?;
        Ok(NamespaceId(id))
    }

    /// Puts a namespace into another state.
    pub(crate) async fn set_state(&mut self, id: NamespaceId, state: State) -> Result<(), Error> {
        let deleted_ms = (state == State::Deleted).then_some(self.now_ms);
        let sql = "UPDATE gcs_namespace SET state = ?, deleted_ms = ? WHERE id = ?";
        let values = [state.name().into(), deleted_ms.into(), id.0.into()];
        self.transaction.execute(sql, &values).await?;
        Ok(())
    }

    /// Makes a namespace incomplete, with a sign of life of who fills it.
    pub(crate) async fn hold(&mut self, id: NamespaceId) -> Result<(), Error> {
        self.set_state(id, State::Incomplete).await?;
        let sql = "UPDATE gcs_namespace SET seen_ms = ? WHERE id = ?";
        let values = [self.now_ms.into(), id.0.into()];
        self.transaction.execute(sql, &values).await?;
        Ok(())
    }

    /// Makes it so.
    pub(crate) async fn commit(self) -> Result<Version, Error> {
        self.transaction.commit().await?;
        Ok(self.version)
    }
}

fn one(rows: &[Row], name: &NamespaceName) -> Result<Record, Error> {
    let record = rows.first().map(Record::read).transpose()?.flatten();
    record.ok_or_else(|| Error::Missing { name: name.clone() })
}

pub(crate) fn int(rows: &[Row]) -> Result<i64, gcs_sql::Error> {
    rows.first()
        .ok_or_else(|| gcs_sql::Error::invalid("the tables of the store are not set up"))?
        .int(0)
}
