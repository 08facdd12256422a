//! All or nothing, and nothing of it seen before.

use std::pin::pin;

use gcs_sql::{Database, Error, Value};

use crate::servers::{Fresh, on_all, slow};

on_all!(
    a_commit_lasts_and_a_rollback_leaves_nothing,
    a_dropped_transaction_is_undone_and_gives_its_connection_back,
    after_an_error_nothing_more_is_done,
    a_dedicated_connection_takes_turns_with_its_transaction,
    a_reader_sees_one_moment,
    who_waited_for_a_lock_sees_what_its_holder_wrote,
    a_cancelled_statement_costs_its_connection_only,
);

const INSERT: &str = "INSERT INTO t (k, n) VALUES (?, ?)";

fn row(key: u8, n: i64) -> [Value; 2] {
    [vec![key].into(), n.into()]
}

async fn count(database: &Database) -> i64 {
    let rows = database.fetch("SELECT COUNT(*) FROM t", &[]).await.unwrap();
    rows[0].int(0).unwrap()
}

async fn a_commit_lasts_and_a_rollback_leaves_nothing(fresh: Fresh) {
    let database = fresh.with_table().await;
    let mut transaction = database.begin().await.unwrap();
    transaction.execute(INSERT, &row(1, 1)).await.unwrap();
    transaction.execute(INSERT, &row(2, 1)).await.unwrap();
    assert_eq!(count(&database).await, 0);
    transaction.commit().await.unwrap();
    assert_eq!(count(&database).await, 2);

    let mut transaction = database.begin().await.unwrap();
    transaction.execute("DELETE FROM t", &[]).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(count(&database).await, 2);
}

async fn a_dropped_transaction_is_undone_and_gives_its_connection_back(mut fresh: Fresh) {
    fresh.settings.connections = 1;
    let database = fresh.with_table().await;
    for _ in 0..3 {
        let mut transaction = database.begin().await.unwrap();
        transaction.execute(INSERT, &row(1, 1)).await.unwrap();
        drop(transaction);
    }
    assert_eq!(database.execute(INSERT, &row(1, 1)).await.unwrap(), 1);
}

async fn after_an_error_nothing_more_is_done(fresh: Fresh) {
    let database = fresh.with_table().await;
    database.execute(INSERT, &row(1, 1)).await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    transaction.execute(INSERT, &row(2, 1)).await.unwrap();
    let twice = transaction.execute(INSERT, &row(1, 1)).await.unwrap_err();
    assert!(matches!(twice, Error::Duplicate { .. }), "{twice:?}");
    transaction.execute(INSERT, &row(3, 1)).await.unwrap_err();
    transaction.commit().await.unwrap_err();
    assert_eq!(count(&database).await, 1);
}

async fn a_dedicated_connection_takes_turns_with_its_transaction(fresh: Fresh) {
    let database = fresh.with_table().await;
    let mut connection = database.connect().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    transaction.execute(INSERT, &row(1, 1)).await.unwrap();
    drop(transaction);
    assert_eq!(connection.execute(INSERT, &row(1, 1)).await.unwrap(), 1);
    let mut transaction = connection.begin().await.unwrap();
    transaction.execute(INSERT, &row(2, 1)).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(
        connection
            .fetch("SELECT k FROM t", &[])
            .await
            .unwrap()
            .len(),
        2
    );
    assert!(connection.is_usable());
}

async fn a_reader_sees_one_moment(fresh: Fresh) {
    let database = fresh.with_table().await;
    database.execute(INSERT, &row(1, 1)).await.unwrap();
    let mut reader = database.read().await.unwrap();
    // Its moment is when it began, not when it first reads.
    database.execute(INSERT, &row(2, 1)).await.unwrap();
    for key in 3..5 {
        let rows = reader.fetch("SELECT k FROM t", &[]).await.unwrap();
        assert_eq!(rows.len(), 1);
        database.execute(INSERT, &row(key, 1)).await.unwrap();
    }
    reader.execute("DELETE FROM t", &[]).await.unwrap_err();
    drop(reader);
    assert_eq!(count(&database).await, 4);
}

async fn who_waited_for_a_lock_sees_what_its_holder_wrote(fresh: Fresh) {
    let database = fresh.with_table().await;
    database.execute(INSERT, &row(1, 0)).await.unwrap();
    let add = async || {
        let mut transaction = database.begin().await?;
        let select = format!(
            "SELECT n FROM t WHERE k = ?{}",
            database.dialect().for_update()
        );
        let key: Value = vec![1].into();
        let rows = transaction
            .fetch(&select, std::slice::from_ref(&key))
            .await?;
        let next = rows[0].int(0)? + 1;
        transaction
            .execute("UPDATE t SET n = ? WHERE k = ?", &[next.into(), key])
            .await?;
        transaction.commit().await
    };
    let add_all = async || {
        for _ in 0..20 {
            add().await.unwrap();
        }
    };
    tokio::join!(add_all(), add_all(), add_all(), add_all());
    let rows = database.fetch("SELECT n FROM t", &[]).await.unwrap();
    assert_eq!(rows[0].int(0).unwrap(), 80);
}

async fn a_cancelled_statement_costs_its_connection_only(mut fresh: Fresh) {
    fresh.settings.connections = 1;
    let database = fresh.with_table().await;
    let slow = slow(database.dialect());
    // Polled once: sent, and given up before its answer.
    let fetch = database.fetch(slow, &[]);
    assert!(futures_util::poll!(pin!(fetch)).is_pending());
    let mut transaction = database.begin().await.unwrap();
    transaction.execute(INSERT, &row(1, 1)).await.unwrap();
    let fetch = transaction.fetch(slow, &[]);
    assert!(futures_util::poll!(pin!(fetch)).is_pending());
    transaction.commit().await.unwrap_err();

    assert_eq!(count(&database).await, 0);
    // Where nothing holds what the lost transaction locked, this is at once.
    let mut next = database.begin().await.unwrap();
    next.execute(INSERT, &row(2, 1)).await.unwrap();
    next.commit().await.unwrap();
    assert_eq!(count(&database).await, 1);
}
