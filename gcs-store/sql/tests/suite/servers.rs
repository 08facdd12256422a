//! One server of each kind for all tests, and a database of it for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use gcs_sql::{Database, Dialect, Settings};
use harness::{mariadb::Mariadb, postgres::Postgres, scratch};
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub(crate) const ALL: [Dialect; 3] = [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql];

/// Makes of each function, which takes a [`Fresh`], one test a database.
macro_rules! on_all {
    ($($test:ident),+ $(,)?) => {
        on_all!(@ sqlite Sqlite: $($test),+);
        on_all!(@ postgres Postgres: $($test),+);
        on_all!(@ mysql Mysql: $($test),+);
    };
    (@ $module:ident $dialect:ident: $($test:ident),+) => {
        mod $module {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::servers::fresh(gcs_sql::Dialect::$dialect).await).await;
            })+
        }
    };
}
pub(crate) use on_all;

/// A database that nobody has used.
pub(crate) struct Fresh {
    pub(crate) settings: Settings,
    _folder: Option<TempDir>,
}

impl Fresh {
    pub(crate) async fn open(&self) -> Database {
        Database::open(&self.settings).await.unwrap()
    }

    /// With a table `t`: `k` bytes, its key, and `n`, `s` and `b` of each type.
    pub(crate) async fn with_table(&self) -> Database {
        let database = self.open().await;
        let (key, text, bytes) = match database.dialect() {
            Dialect::Sqlite => ("BLOB", "TEXT", "BLOB"),
            Dialect::Postgres => ("BYTEA", "TEXT", "BYTEA"),
            Dialect::Mysql => (
                "VARBINARY(1100)",
                "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                "LONGBLOB",
            ),
        };
        let sql =
            format!("CREATE TABLE t (k {key} NOT NULL PRIMARY KEY, n BIGINT, s {text}, b {bytes})");
        database.execute(&sql, &[]).await.unwrap();
        database
    }
}

/// A statement that takes longer than any test waits. On SQLite, where nobody
/// can interrupt it, a second or so.
pub(crate) fn slow(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5000000) \
             SELECT COUNT(*) FROM c"
        }
        Dialect::Postgres => "SELECT 1 FROM pg_sleep(60)",
        Dialect::Mysql => "SELECT SLEEP(60)",
    }
}

pub(crate) async fn fresh(dialect: Dialect) -> Fresh {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let (url, folder) = match dialect {
        Dialect::Sqlite => {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", folder.path().join("db").display());
            (url, Some(folder))
        }
        Dialect::Postgres => {
            static SERVER: OnceCell<Postgres> = OnceCell::const_new();
            let start = async || {
                Postgres::start(&scratch::folder("sql").unwrap())
                    .await
                    .unwrap()
            };
            let server = SERVER.get_or_init(start).await;
            (server.database(&name).await.unwrap(), None)
        }
        Dialect::Mysql => {
            static SERVER: OnceCell<Mariadb> = OnceCell::const_new();
            let start = async || {
                Mariadb::start(&scratch::folder("sql").unwrap())
                    .await
                    .unwrap()
            };
            let server = SERVER.get_or_init(start).await;
            (server.database(&name).await.unwrap(), None)
        }
    };
    Fresh {
        settings: Settings::new(url),
        _folder: folder,
    }
}
