//! A database of its own and engines on it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use gcs_sql::{Database, Value};
use harness::{mariadb::Mariadb, postgres::Postgres};
use ray_tables::{NamespaceName, StorageKey, TableName};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    gcs::{
        command::{Command, Reply, Stored},
        engine::{self, EngineState, Settings},
        session::{Engine, Session, Standing},
    },
    metrics::Metrics,
    schema::MIGRATIONS,
};

/// Longest wait for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) enum Backend {
    Sqlite(PathBuf),
    Postgres(Postgres),
    Mariadb(Mariadb),
}

impl Backend {
    async fn database(&self, name: &str) -> String {
        // PostgreSQL and MySQL allow 63 and 64 bytes.
        let short = &name[..name.len().min(60)];
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}/{name}.db", folder.display()),
            Self::Postgres(server) => server.database(short).await.unwrap(),
            Self::Mariadb(server) => server.database(short).await.unwrap(),
        }
    }
}

/// A database with the store's tables.
pub(super) struct Stage {
    url: String,
    pub(super) database: Database,
    pub(super) open: bool,
}

/// A running engine.
pub(super) struct Running {
    pub(super) engine: Engine,
    stop: CancellationToken,
    task: JoinHandle<EngineState>,
}

impl Stage {
    pub(super) async fn on(backend: &Backend, name: &str) -> Self {
        let url = backend.database(name).await;
        let database = Database::open(&gcs_sql::Settings::new(&*url))
            .await
            .unwrap();
        database.migrate(&MIGRATIONS).await.unwrap();
        Self {
            url,
            database,
            open: true,
        }
    }

    /// An engine at the usual place; waits until it is active.
    pub(super) async fn start(&self) -> Running {
        let running = self.start_at("here", EngineState::default());
        running.active().await;
        running
    }

    /// An engine at a place of its own.
    pub(super) fn start_at(&self, place: &str, inherited: EngineState) -> Running {
        let lock = self.url.strip_prefix("sqlite://");
        let settings = Settings {
            place: place.to_owned(),
            address: format!("{place}:6379"),
            open: self.open,
            fold: Duration::from_millis(100),
            history: Duration::from_secs(3600),
            blob_grace: Duration::from_secs(3600),
            image_limit: u64::MAX,
            lock: lock.map(|path| format!("{path}.lock").into()),
            metrics: Metrics::new(),
            board: Default::default(),
            passwords: Box::new(|_| {}),
        };
        let stop = CancellationToken::new();
        let engine = Engine::new(self.database.clone());
        let task = engine::run(engine.clone(), settings.into(), inherited, stop.clone());
        let task = tokio::task::spawn_local(task);
        Running { engine, stop, task }
    }

    /// One number out of the database.
    pub(super) async fn int(&self, statement: &str, arguments: &[Value]) -> i64 {
        let rows = self.database.fetch(statement, arguments).await.unwrap();
        rows[0].int(0).unwrap()
    }

    /// Waits until a number in the database is what it should be.
    pub(super) async fn until(&self, statement: &str, expected: i64) {
        let reached = async {
            while self.int(statement, &[]).await != expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let within = tokio::time::timeout(PATIENCE, reached).await;
        assert!(within.is_ok(), "{statement} never was {expected}");
    }

    /// Waits until the tables know all that the journal does.
    pub(super) async fn folded(&self) {
        self.until("SELECT COUNT(*) FROM gcs_journal", 0).await;
    }
}

impl Running {
    pub(super) async fn active(&self) {
        let mut standings = self.engine.standings();
        let active = standings.wait_for(|it| matches!(it, Standing::Active { .. }));
        let within = tokio::time::timeout(PATIENCE, active).await;
        let _active = within.expect("never active").unwrap();
    }

    /// Ends it as a process that stops in order does.
    pub(super) async fn stop(self) -> EngineState {
        self.stop.cancel();
        self.task.await.unwrap()
    }

    /// Ends it as SIGKILL would: nothing is said to anybody.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ended = self.task.await;
    }

    pub(super) fn session(&self, nth: u8) -> Session {
        self.engine.open(SocketAddr::from(([10, 0, 0, nth], 1000)))
    }
}

pub(super) async fn ask(session: &Session, command: Command) -> Reply {
    let pending = session.submit(command);
    let reply = tokio::time::timeout(PATIENCE, pending).await;
    reply.expect("no reply").expect("the store gave up")
}

pub(super) fn namespace(name: &str) -> NamespaceName {
    NamespaceName::new(name).unwrap()
}

pub(super) fn key(name: &str, table: &TableName) -> StorageKey {
    StorageKey::new(namespace(name), table.clone())
}

pub(super) fn inline(value: &[u8]) -> Stored {
    Stored::Inline(Bytes::copy_from_slice(value))
}

pub(super) fn bulk(value: &[u8]) -> Reply {
    Reply::Bulk(inline(value))
}

pub(super) fn hset(name: &str, field: &[u8], value: &[u8]) -> Command {
    Command::Hset {
        key: key(name, &TableName::KV),
        field: Bytes::copy_from_slice(field),
        value: inline(value),
    }
}

pub(super) fn hget(name: &str, field: &[u8]) -> Command {
    Command::Hget {
        key: key(name, &TableName::KV),
        field: Bytes::copy_from_slice(field),
    }
}

pub(super) fn hdel(name: &str, field: &[u8]) -> Command {
    Command::Hdel {
        key: key(name, &TableName::KV),
        fields: vec![Bytes::copy_from_slice(field)],
    }
}

pub(super) fn incrby(name: &str, by: i64) -> Command {
    Command::Incrby {
        key: key(name, &TableName::JOB_COUNTER),
        by,
    }
}
