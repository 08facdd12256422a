//! The same mishap is the same error everywhere.

use std::time::{Duration, Instant};

use gcs_sql::{Database, Dialect, Error, Settings, Value};

use crate::servers::{Fresh, on_all, slow};

on_all!(
    a_second_row_with_a_key_is_a_duplicate,
    writers_in_each_others_way_conflict,
    a_slow_statement_ends_at_its_deadline,
    wrong_sql_is_invalid_and_costs_nothing,
    what_has_no_portable_type_is_refused,
);

const INSERT: &str = "INSERT INTO t (k, n) VALUES (?, ?)";

fn row(key: u8, n: i64) -> [Value; 2] {
    [vec![key].into(), n.into()]
}

async fn a_second_row_with_a_key_is_a_duplicate(fresh: Fresh) {
    let database = fresh.with_table().await;
    database.execute(INSERT, &row(1, 1)).await.unwrap();
    let error = database.execute(INSERT, &row(1, 2)).await.unwrap_err();
    assert!(matches!(error, Error::Duplicate { .. }), "{error:?}");
    assert!(!error.is_transient() && !error.is_unknown());
}

async fn writers_in_each_others_way_conflict(mut fresh: Fresh) {
    fresh.settings.deadline = Duration::from_secs(2);
    let database = fresh.with_table().await;
    database.execute(INSERT, &row(1, 1)).await.unwrap();
    database.execute(INSERT, &row(2, 1)).await.unwrap();
    // Another process; SQLite's writers of one process take turns.
    let other = fresh.open().await;
    let update = "UPDATE t SET n = n + 1 WHERE k = ?";
    let mut first = database.begin().await.unwrap();
    first.execute(update, &[vec![1].into()]).await.unwrap();
    let error = if database.dialect() == Dialect::Sqlite {
        other.begin().await.unwrap_err()
    } else {
        let mut second = other.begin().await.unwrap();
        second.execute(update, &[vec![2].into()]).await.unwrap();
        let (key_1, key_2): ([Value; 1], [Value; 1]) = ([vec![1].into()], [vec![2].into()]);
        let one = async { first.execute(update, &key_2).await.err() };
        let two = async { second.execute(update, &key_1).await.err() };
        let (one, two) = tokio::join!(one, two);
        assert!(one.is_none() || two.is_none(), "one of them goes on");
        one.or(two).unwrap()
    };
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    assert!(error.is_transient() && !error.is_unknown());
}

async fn a_slow_statement_ends_at_its_deadline(mut fresh: Fresh) {
    fresh.settings.deadline = Duration::from_millis(200);
    let database = fresh.open().await;
    let start = Instant::now();
    let error = database
        .fetch(slow(database.dialect()), &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Deadline(_)), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(database.fetch("SELECT 1", &[]).await.unwrap().len(), 1);
}

async fn wrong_sql_is_invalid_and_costs_nothing(mut fresh: Fresh) {
    fresh.settings.connections = 1;
    let database = fresh.with_table().await;
    for (sql, values) in [
        ("SELEKT 1", vec![]),
        ("SELECT x FROM t", vec![]),
        (
            "SELECT n FROM t WHERE k = ? AND n = ?",
            vec![vec![1].into(), "text".into()],
        ),
    ] {
        match database.fetch(sql, &values).await {
            Err(error) => assert!(matches!(error, Error::Invalid { .. }), "{error:?}"),
            // Only PostgreSQL minds comparing a number with a text.
            Ok(rows) => assert!(rows.is_empty() && sql.contains("= ?")),
        }
        assert_eq!(database.execute(INSERT, &row(1, 1)).await.unwrap(), 1);
        assert_eq!(database.execute("DELETE FROM t", &[]).await.unwrap(), 1);
    }
}

async fn what_has_no_portable_type_is_refused(fresh: Fresh) {
    let database = fresh.open().await;
    let sql = "SELECT CAST(0.5 AS DOUBLE PRECISION)";
    let sql = if database.dialect() == Dialect::Mysql {
        "SELECT 0.5e0"
    } else {
        sql
    };
    let error = database.fetch(sql, &[]).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
}

#[tokio::test]
async fn a_place_that_cannot_be_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nowhere/db");
    for (url, says) in [
        (
            format!("sqlite://{}", missing.display()),
            "nowhere of the database does not exist",
        ),
        ("sqlite::memory:".into(), "name a file"),
        ("redis://127.0.0.1".into(), "begins with `redis:`"),
        (
            "postgres://u:secret@127.0.0.1:port/x".into(),
            "cannot be read",
        ),
    ] {
        let error = Database::open(&Settings::new(url)).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(!format!("{error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn nobody_else_reads_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db");
    let settings = Settings::new(format!("sqlite://{}", file.display()));
    let database = Database::open(&settings).await.unwrap();
    database
        .execute("CREATE TABLE t (k BIGINT)", &[])
        .await
        .unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{entry:?}");
    }
}

#[tokio::test]
async fn sqlite_refuses_a_write_where_rows_are_read() {
    let fresh = crate::servers::fresh(Dialect::Sqlite).await;
    let database = fresh.with_table().await;
    let error = database
        .fetch("DELETE FROM t RETURNING k", &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_was_done() {
    let fresh = crate::servers::fresh(Dialect::Sqlite).await;
    let database = fresh.with_table().await;
    let mut connection = database.connect().await.unwrap();
    connection
        .fetch("PRAGMA max_page_count = 20", &[])
        .await
        .unwrap();
    let large = [vec![1].into(), vec![0; 200_000].into()];
    let insert = "INSERT INTO t (k, b) VALUES (?, ?)";
    let error = connection.execute(insert, &large).await.unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert!(error.is_transient() && !error.is_unknown());
    let rows = database.fetch("SELECT k FROM t", &[]).await.unwrap();
    assert_eq!(rows, []);
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_left_for_another() {
    let fresh = crate::servers::fresh(Dialect::Postgres).await;
    let database = fresh.with_table().await;
    let read_only = async |on| {
        let sql = format!(
            "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || \
             ' SET default_transaction_read_only = {on}'; END $$"
        );
        let mut transaction = database.begin().await.unwrap();
        transaction
            .execute("SET TRANSACTION READ WRITE", &[])
            .await
            .unwrap();
        transaction.execute(&sql, &[]).await.unwrap();
        transaction.commit().await.unwrap();
    };
    read_only("on").await;
    let mut connection = database.connect().await.unwrap();
    let error = connection.execute(INSERT, &row(1, 1)).await.unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert!(!connection.is_usable(), "the next may lead to the primary");
    read_only("off").await;
    let mut connection = database.connect().await.unwrap();
    assert_eq!(connection.execute(INSERT, &row(1, 1)).await.unwrap(), 1);
}
