//! A database server and fresh databases on it.

use std::{pin::pin, time::Duration};

use futures_util::{Stream, StreamExt as _};
use gcs_sql::{Change, Database, Event, Pace, Settings, TableName, Tables};
use harness::{Setup, mariadb::Mariadb, postgres::Postgres};
use tempfile::TempDir;

/// Nothing in a test takes longer, unless it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) enum Server {
    Sqlite,
    Postgres(Postgres),
    Mariadb(Mariadb),
}

/// A server with its folder.
pub(crate) struct Stage {
    pub(crate) server: Server,
    folder: TempDir,
}

impl Stage {
    pub(crate) fn sqlite() -> Self {
        Self {
            server: Server::Sqlite,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) async fn postgres(durable: bool) -> Self {
        let (folder, setup) = (tempfile::tempdir().unwrap(), setup(durable));
        let server = Postgres::start_with(folder.path(), setup).await.unwrap();
        let server = Server::Postgres(server);
        Self { server, folder }
    }

    pub(crate) async fn mariadb(durable: bool) -> Self {
        let (folder, setup) = (tempfile::tempdir().unwrap(), setup(durable));
        let server = Mariadb::start_with(folder.path(), setup).await.unwrap();
        let server = Server::Mariadb(server);
        Self { server, folder }
    }

    /// An empty database of this name.
    pub(crate) async fn settings(&self, name: &str) -> Settings {
        Settings::new(match &self.server {
            Server::Sqlite => format!("sqlite://{}/{name}.db", self.folder.path().display()),
            Server::Postgres(server) => server.database(name).await.unwrap(),
            Server::Mariadb(server) => server.database(name).await.unwrap(),
        })
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self.server, Server::Sqlite)
    }
}

fn setup(durable: bool) -> Setup {
    Setup {
        durable,
        ..Setup::default()
    }
}

/// As another process would open it.
pub(crate) async fn open(settings: &Settings) -> Database {
    Database::open(settings).await.unwrap()
}

pub(crate) async fn tables(settings: &Settings) -> Tables {
    let pace = Pace {
        poll: Duration::from_millis(50),
        ..Pace::default()
    };
    Tables::open(&open(settings).await, pace).await.unwrap()
}

pub(crate) fn table(name: &str) -> TableName {
    TableName::new(name).unwrap()
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it should have happened by now")
}

pub(crate) async fn next(
    watch: &mut (impl Stream<Item = Result<Event, gcs_sql::Error>> + Unpin),
) -> Event {
    soon(pin!(watch.next()))
        .await
        .expect("the watch goes on")
        .unwrap()
}

/// The next event that is not [`Event::Progress`].
pub(crate) async fn next_change(
    watch: &mut (impl Stream<Item = Result<Event, gcs_sql::Error>> + Unpin),
) -> Event {
    loop {
        let event = next(watch).await;
        if !matches!(event, Event::Progress { .. }) {
            return event;
        }
    }
}

/// `key=value` or `key!` for each change.
pub(crate) fn told(event: &Event) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Event::Changed { changes, .. } = event else {
        panic!("no change: {event:?}")
    };
    let one = |change: &Change| match change {
        Change::Put(entry) => format!("{}={}", text(&entry.key), text(&entry.value)),
        Change::Delete { key } => format!("{}!", text(key)),
    };
    changes.iter().map(one).collect()
}
