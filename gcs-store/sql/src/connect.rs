//! Opens connections and sets sessions up.
//!
//! What a session is told, and why:
//!
//! - Statements end at the server too when their deadline has passed, and
//!   transactions that idle for [`IDLE_TRANSACTION`] are ended: the locks of a
//!   client that vanished must not outlive it for long.
//! - MySQL reads committed data, as PostgreSQL does by default: who waited for a
//!   lock sees what its holder wrote, and no gaps are locked, so there are fewer
//!   deadlocks. Its SQL is made as strict and as standard as it gets.
//! - SQLite writes ahead and syncs at each commit.

use std::{
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions as _,
    mysql::MySqlConnectOptions,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::time::timeout;

use crate::{Dialect, Error, Settings, driver::Driver, error::classify};

/// A transaction in which nothing happens for so long is ended by the server.
pub(crate) const IDLE_TRANSACTION: Duration = Duration::from_secs(60);

/// Between two tries to open a file that another process opens.
const RETRY: Duration = Duration::from_millis(5);

/// Statements kept prepared on each connection.
const PREPARED: usize = 256;

/// Knows how to make connections to one database.
#[derive(Debug)]
pub(crate) enum Connector {
    Sqlite(Box<SqliteConnectOptions>),
    Postgres {
        options: Box<PgConnectOptions>,
        setup: String,
    },
    Mysql {
        options: Box<MySqlConnectOptions>,
        setup: String,
    },
}

/// What a connection is for. It matters on SQLite only, where one writes at a
/// time and a reader is held to reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Write,
    Read,
}

impl Connector {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let Settings { url, deadline, .. } = settings;
        let password = settings.password.as_ref();
        let scheme = url.split(':').next().unwrap_or_default();
        match scheme {
            "sqlite" => Self::sqlite(url, *deadline),
            "postgres" | "postgresql" => {
                let mut options = PgConnectOptions::from_str(url).map_err(bad_url)?;
                if let Some(password) = password {
                    options = options.password(password.reveal());
                }
                Ok(Self::Postgres {
                    options: Box::new(
                        options
                            .application_name("tradewind")
                            .statement_cache_capacity(PREPARED)
                            .disable_statement_logging(),
                    ),
                    setup: format!(
                        "SET statement_timeout = {}; \
                         SET idle_in_transaction_session_timeout = {}; \
                         SET client_min_messages = warning",
                        deadline.as_millis(),
                        IDLE_TRANSACTION.as_millis(),
                    ),
                })
            }
            "mysql" | "mariadb" => {
                let mut options = MySqlConnectOptions::from_str(url).map_err(bad_url)?;
                if let Some(password) = password {
                    options = options.password(password.reveal());
                }
                Ok(Self::Mysql {
                    options: Box::new(
                        options
                            .charset("utf8mb4")
                            .collation("utf8mb4_bin")
                            .pipes_as_concat(false)
                            .no_engine_substitution(false)
                            .statement_cache_capacity(PREPARED)
                            .disable_statement_logging(),
                    ),
                    setup: format!(
                        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,\
                         ERROR_FOR_DIVISION_BY_ZERO,ONLY_FULL_GROUP_BY,ANSI_QUOTES,\
                         PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES', \
                         innodb_lock_wait_timeout = {}, wait_timeout = {} \
                         /*M!, max_statement_time = {} */ \
                         /*!80000, max_execution_time = {} */; \
                         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
                        deadline.as_secs().max(1),
                        IDLE_TRANSACTION.as_secs(),
                        // MariaDB's, for all statements; MySQL's, for reading.
                        deadline.as_secs_f64(),
                        deadline.as_millis(),
                    ),
                })
            }
            _ => Err(Error::invalid(format!(
                "database URL begins with `{scheme}:`, known are sqlite, postgres and mysql"
            ))),
        }
    }

    fn sqlite(url: &str, deadline: Duration) -> Result<Self, Error> {
        let options = SqliteConnectOptions::from_str(url).map_err(bad_url)?;
        let file = options.get_filename().to_owned();
        if url.contains(":memory:") || url.contains("mode=memory") || file.as_os_str().is_empty() {
            return Err(Error::invalid(
                "database in memory would be another one on each connection, name a file",
            ));
        }
        prepare_file(&file)?;
        Ok(Self::Sqlite(Box::new(
            options
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                // Below the deadline, so that "busy" is told and not guessed.
                .busy_timeout(deadline * 3 / 4)
                .pragma("journal_size_limit", "67108864")
                .pragma("temp_store", "memory")
                .statement_cache_capacity(PREPARED)
                .disable_statement_logging(),
        )))
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres { .. } => Dialect::Postgres,
            Self::Mysql { .. } => Dialect::Mysql,
        }
    }

    /// A connection, within `deadline`.
    pub(crate) async fn connect(
        &self,
        purpose: Purpose,
        deadline: Duration,
    ) -> Result<Driver, Error> {
        let end = Instant::now() + deadline;
        loop {
            match self.try_connect(purpose, deadline).await {
                // The first to open a file turns its log on, and SQLite lets
                // nobody wait for that.
                Err(Error::Conflict { .. }) if Instant::now() < end => {
                    tokio::time::sleep(RETRY).await;
                }
                other => return other,
            }
        }
    }

    async fn try_connect(&self, purpose: Purpose, deadline: Duration) -> Result<Driver, Error> {
        let connect = async {
            match self {
                Self::Sqlite(options) => {
                    let options = SqliteConnectOptions::clone(options);
                    let options = match purpose {
                        Purpose::Write => options,
                        Purpose::Read => options.pragma("query_only", "on"),
                    };
                    options.connect().await.map(Driver::Sqlite)
                }
                Self::Postgres { options, setup } => {
                    let mut driver = Driver::Postgres(options.connect().await?);
                    driver.batch(setup).await?;
                    Ok(driver)
                }
                Self::Mysql { options, setup } => {
                    let mut driver = Driver::Mysql(options.connect().await?);
                    driver.batch(setup).await?;
                    Ok(driver)
                }
            }
        };
        match timeout(deadline, connect).await {
            Ok(Ok(driver)) => Ok(driver),
            Ok(Err(error)) => Err(match classify(error, deadline) {
                Error::Invalid { source, .. } => Error::Invalid {
                    what: "database refused the connection".into(),
                    source,
                },
                other => other,
            }),
            Err(_) => Err(Error::Deadline(deadline)),
        }
    }
}

/// Says what is wrong with the place, and makes the file so that only its owner
/// reads it: it holds everybody's state.
fn prepare_file(file: &Path) -> Result<(), Error> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let created = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(Error::Invalid {
            what: if folder.is_dir() {
                format!("cannot create the database {}", file.display())
            } else {
                format!("folder {} of the database does not exist", folder.display())
            },
            source: Some(source.into()),
        }),
    }
}

fn bad_url(error: sqlx::Error) -> Error {
    Error::Invalid {
        what: "database URL cannot be read".into(),
        source: Some(error.into()),
    }
}
