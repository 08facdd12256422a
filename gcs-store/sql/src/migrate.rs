//! Brings tables up to date, whoever comes first.
//!
//! ```text
//!   look: all steps recorded? ----yes----> done, nothing was locked
//!     | no
//!   lock (one process at a time) -> look again -> run a step -> record it -+
//!     ^                                                                    |
//!     +--------------------------------------------------------------------+
//! ```
//!
//! SQLite and PostgreSQL do a step and its record in one transaction. MySQL
//! commits at each `CREATE`, so a crash there leaves a step half done and not
//! recorded; it is run again from its start, which is why steps say
//! `IF NOT EXISTS` and must bear being repeated.
//!
//! Releases N and N-1 run on the same tables: a step that only a newer release
//! knows is left alone, so steps may add and never take away. A step that was
//! applied must not change any more; its checksum tells.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    Database, Dialect, Error, Row, Value, connect::Purpose, crash, driver::Driver, pool::within,
    text,
};

/// All steps of one component, oldest first.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// Whose tables these are. At most 64 characters.
    pub component: &'static str,
    /// The steps, with growing versions.
    pub steps: &'static [Step],
}

/// One change of the tables. It may run twice: `IF NOT EXISTS`.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Its place in the order.
    pub version: i64,
    /// What it does.
    pub name: &'static str,
    /// How to say it to SQLite: statements parted by `;`.
    pub sqlite: &'static str,
    /// How to say it to PostgreSQL.
    pub postgres: &'static str,
    /// How to say it to MySQL.
    pub mysql: &'static str,
}

/// A step may take so long: it may build an index over everything.
const STEP: Duration = Duration::from_secs(600);
/// How long to wait for another process that migrates.
const WAIT: Duration = Duration::from_secs(600);
/// Between two tries for the lock.
const RETRY: Duration = Duration::from_millis(100);

const LOOK: &str = "SELECT version, checksum FROM tw_migration WHERE component = ?";
const RECORD: &str = "INSERT INTO tw_migration \
     (component, version, name, checksum, applied_ms) VALUES (?, ?, ?, ?, ?)";
const TABLE: &str = "CREATE TABLE IF NOT EXISTS tw_migration (\
     component VARCHAR(64) NOT NULL, version BIGINT NOT NULL, name VARCHAR(255) NOT NULL, \
     checksum VARCHAR(64) NOT NULL, applied_ms BIGINT NOT NULL, \
     PRIMARY KEY (component, version))";
/// Texts compare as the server likes unless told otherwise.
const MYSQL_TABLE: &str = " ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// Versions that were applied, and the checksum each had.
type Applied = BTreeMap<i64, String>;

pub(crate) async fn run(database: &Database, migrations: &Migrations) -> Result<(), Error> {
    // A look from outside spares the lock, and the right to make tables.
    if let Ok(rows) = database.fetch(LOOK, &[migrations.component.into()]).await
        && missing(database.dialect(), migrations, &applied(&rows)?)?.is_none()
    {
        return Ok(());
    }
    let end = Instant::now() + WAIT;
    loop {
        let mut migrator = Migrator::connect(database).await?;
        match migrator.run(migrations).await {
            // A connection that is dropped gives its lock and transaction up.
            Err(Error::Conflict { .. } | Error::Deadline(_)) if Instant::now() < end => {
                tokio::time::sleep(RETRY).await;
            }
            other => return other,
        }
    }
}

/// The first step that was not applied.
fn missing<'m>(
    dialect: Dialect,
    migrations: &'m Migrations,
    applied: &Applied,
) -> Result<Option<&'m Step>, Error> {
    for step in migrations.steps {
        match applied.get(&step.version) {
            None => return Ok(Some(step)),
            Some(checksum) if *checksum != step.checksum(dialect) => {
                let (component, version) = (migrations.component, step.version);
                return Err(Error::invalid(format!(
                    "step {version} of {component} was changed after it was applied"
                )));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}

fn applied(rows: &[Row]) -> Result<Applied, Error> {
    rows.iter()
        .map(|row| Ok((row.int(0)?, row.text(1)?)))
        .collect()
}

impl Step {
    fn sql(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
            Dialect::Mysql => self.mysql,
        }
    }

    fn checksum(&self, dialect: Dialect) -> String {
        let hash = blake3::hash(self.sql(dialect).as_bytes());
        hash.to_hex()[..32].to_owned()
    }
}

/// A connection that migrates, with longer deadlines than others have.
struct Migrator<'d> {
    database: &'d Database,
    driver: Driver,
}

impl<'d> Migrator<'d> {
    async fn connect(database: &'d Database) -> Result<Self, Error> {
        let inner = database.inner();
        let driver = inner
            .connector
            .connect(Purpose::Write, inner.connect_deadline)
            .await?;
        Ok(Self { database, driver })
    }

    async fn run(&mut self, migrations: &Migrations) -> Result<(), Error> {
        loop {
            self.lock().await?;
            self.make_table().await?;
            let rows = self.fetch(LOOK, &[migrations.component.into()]).await?;
            let next = missing(self.driver.dialect(), migrations, &applied(&rows)?)?;
            if let Some(step) = next {
                self.apply(migrations.component, step).await?;
            }
            self.unlock().await?;
            if next.is_none() {
                return Ok(());
            }
            crash::point("migration");
        }
    }

    async fn apply(&mut self, component: &str, step: &Step) -> Result<(), Error> {
        let dialect = self.driver.dialect();
        for statement in text::statements(step.sql(dialect)) {
            self.batch(&statement).await.map_err(|error| match error {
                Error::Invalid { source, .. } => Error::Invalid {
                    what: format!(
                        "step {} ({}) of {component} failed",
                        step.version, step.name
                    ),
                    source,
                },
                other => other,
            })?;
            crash::point("migration");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = now.unwrap_or_default().as_millis();
        let record = [
            component.into(),
            step.version.into(),
            step.name.into(),
            step.checksum(dialect).into(),
            i64::try_from(now_ms).unwrap_or(i64::MAX).into(),
        ];
        let sql = self.database.inner().translate(RECORD);
        within(STEP, self.driver.execute(sql, &record)).await?;
        tracing::info!(
            component,
            version = step.version,
            name = step.name,
            "tables were changed"
        );
        Ok(())
    }

    async fn make_table(&mut self) -> Result<(), Error> {
        match self.driver.dialect() {
            Dialect::Sqlite | Dialect::Postgres => self.batch(TABLE).await,
            Dialect::Mysql => self.batch(&format!("{TABLE}{MYSQL_TABLE}")).await,
        }
    }

    async fn lock(&mut self) -> Result<(), Error> {
        match self.driver.dialect() {
            Dialect::Sqlite => self.batch("BEGIN IMMEDIATE").await,
            // Falls with the transaction. The number only has to be ours.
            Dialect::Postgres => {
                let step_ms = STEP.as_millis();
                self.batch(&format!(
                    "BEGIN; SET LOCAL statement_timeout = {step_ms}; \
                     SELECT pg_advisory_xact_lock(7237954012)"
                ))
                .await
            }
            // Falls with the connection. Names are of the whole server.
            Dialect::Mysql => {
                let step = STEP.as_secs();
                self.batch(&format!(
                    "SET SESSION wait_timeout = {step} /*M!, max_statement_time = {step} */"
                ))
                .await?;
                let lock = "SELECT GET_LOCK(LEFT(CONCAT('tradewind ', MD5(DATABASE())), 64), 5)";
                let rows = self.fetch(lock, &[]).await?;
                match rows
                    .first()
                    .map(|row| row.opt_int(0))
                    .transpose()?
                    .flatten()
                {
                    Some(1) => Ok(()),
                    _ => Err(Error::Conflict {
                        source: "another process changes the tables".into(),
                    }),
                }
            }
        }
    }

    async fn unlock(&mut self) -> Result<(), Error> {
        match self.driver.dialect() {
            Dialect::Sqlite | Dialect::Postgres => self.batch("COMMIT").await,
            Dialect::Mysql => self.batch("DO RELEASE_ALL_LOCKS()").await,
        }
    }

    async fn batch(&mut self, sql: &str) -> Result<(), Error> {
        within(STEP, self.driver.batch(sql)).await
    }

    async fn fetch(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
        let sql = self.database.inner().translate(sql);
        within(STEP, self.driver.fetch(sql, values)).await
    }
}
