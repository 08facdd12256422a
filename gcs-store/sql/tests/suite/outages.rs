//! The server falls silent, or dies and comes back.

use std::time::{Duration, Instant};

use gcs_sql::{Database, Error, Settings, Value};
use harness::{mariadb::Mariadb, postgres::Postgres, wait};

const DEADLINE: Duration = Duration::from_millis(500);
const INSERT: &str = "INSERT INTO t (k) VALUES (?)";

fn settings(url: String) -> Settings {
    Settings {
        deadline: DEADLINE,
        connect_deadline: DEADLINE,
        ..Settings::new(url)
    }
}

/// The tests below, on a server of type `$server`.
macro_rules! on_own_server {
    ($module:ident, $server:ident) => {
        mod $module {
            use super::*;

            #[tokio::test]
            async fn a_silent_server_costs_a_deadline_and_leaves_the_outcome_open() {
                let folder = tempfile::tempdir().unwrap();
                let server = $server::start(folder.path()).await.unwrap();
                let url = server.database("silent").await.unwrap();
                silent(url, || server.pause(), || server.resume()).await;
            }

            #[tokio::test]
            async fn a_server_that_comes_back_is_used_again() {
                let folder = tempfile::tempdir().unwrap();
                let mut server = $server::start(folder.path()).await.unwrap();
                let url = server.database("killed").await.unwrap();
                let mut before = Outage::new(url).await;
                server.kill();
                before.lost().await;
                server.restart().await.unwrap();
                before.over().await;
            }
        }
    };
}

on_own_server!(postgres, Postgres);
on_own_server!(mysql, Mariadb);

async fn silent(url: String, pause: impl Fn(), resume: impl Fn()) {
    let database = Database::open(&settings(url)).await.unwrap();
    database
        .execute("CREATE TABLE t (k BIGINT PRIMARY KEY)", &[])
        .await
        .unwrap();
    let mut connection = database.connect().await.unwrap();
    connection.execute(INSERT, &[1.into()]).await.unwrap();

    pause();
    let start = Instant::now();
    let lost: [Value; 1] = [2.into()];
    let error = connection.execute(INSERT, &lost).await.unwrap_err();
    assert!(matches!(error, Error::Deadline(_)), "{error:?}");
    assert!(error.is_unknown());
    assert!(!connection.is_usable());
    assert!(
        connection
            .execute(INSERT, &lost)
            .await
            .unwrap_err()
            .is_unknown()
    );
    let (fetched, begun, connected) = tokio::join!(
        database.fetch("SELECT k FROM t", &[]),
        database.begin(),
        database.connect(),
    );
    for error in [fetched.err(), begun.err(), connected.err()] {
        let error = error.unwrap();
        assert!(error.is_unknown() && error.is_transient(), "{error:?}");
    }
    let took = start.elapsed();
    assert!(took < 4 * DEADLINE + Duration::from_secs(1), "{took:?}");

    resume();
    // What was sent may have been done: the same key again tells.
    let mut again = wait::until("an answer", Duration::from_secs(10), async || {
        Ok(database.connect().await?)
    })
    .await
    .unwrap();
    let outcome = again.execute(INSERT, &lost).await;
    assert!(
        matches!(outcome, Ok(1) | Err(Error::Duplicate { .. })),
        "{outcome:?}"
    );
    let rows = database.fetch("SELECT k FROM t", &[]).await.unwrap();
    assert_eq!(rows.len(), 2);
}

struct Outage {
    database: Database,
    next: i64,
}

impl Outage {
    /// With several connections open and unused.
    async fn new(url: String) -> Self {
        let database = Database::open(&settings(url)).await.unwrap();
        database
            .execute("CREATE TABLE t (k BIGINT PRIMARY KEY)", &[])
            .await
            .unwrap();
        let (one, two, three) = tokio::join!(database.read(), database.read(), database.begin());
        for transaction in [one, two, three] {
            transaction.unwrap().commit().await.unwrap();
        }
        Self { database, next: 1 }
    }

    async fn insert(&mut self) -> Result<u64, Error> {
        self.next += 1;
        self.database.execute(INSERT, &[self.next.into()]).await
    }

    async fn lost(&mut self) {
        for _ in 0..5 {
            let error = self.insert().await.unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        }
    }

    async fn over(&mut self) {
        // None of the dead connections is tried: one failure forgot them all.
        self.insert().await.unwrap();
        let rows = self.database.fetch("SELECT k FROM t", &[]).await.unwrap();
        assert_eq!(rows.len(), 1);
    }
}
