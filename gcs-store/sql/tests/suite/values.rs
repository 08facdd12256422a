//! What goes in comes out, and counts mean the same.

use gcs_sql::{Dialect, Value};

use crate::servers::{Fresh, on_all};

on_all!(
    every_value_comes_back_as_it_was,
    null_is_taken_where_another_value_was_before,
    marks_in_quotes_are_no_parameters,
    counts_are_of_rows_found,
    an_upsert_inserts_and_replaces,
    few_words_differ,
);

const INSERT: &str = "INSERT INTO t (k, n, s, b) VALUES (?, ?, ?, ?)";

async fn every_value_comes_back_as_it_was(fresh: Fresh) {
    let database = fresh.with_table().await;
    let all_bytes: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = all_bytes.iter().copied().cycle().take(3 << 20).collect();
    let rows: [[Value; 4]; 6] = [
        [
            b"\0".to_vec().into(),
            i64::MIN.into(),
            "".into(),
            Vec::new().into(),
        ],
        [
            b"\xff\0\xfe".to_vec().into(),
            i64::MAX.into(),
            "ä€😀".into(),
            all_bytes.into(),
        ],
        [
            b"a".to_vec().into(),
            0.into(),
            "'\"\\;--?$1".into(),
            vec![0; 3].into(),
        ],
        // Keys are bytes: neither case nor blanks at the end are nothing.
        [b"A".to_vec().into(), (-1).into(), " a ".into(), Value::Null],
        [b"a ".to_vec().into(), Value::Null, Value::Null, Value::Null],
        [
            Vec::new().into(),
            1.into(),
            "x".repeat(100_000).into(),
            large.into(),
        ],
    ];

    for row in &rows {
        assert_eq!(database.execute(INSERT, row).await.unwrap(), 1);
    }

    for row in &rows {
        let found = database
            .fetch("SELECT k, n, s, b FROM t WHERE k = ?", &row[..1])
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].values(), row);
    }
    let ordered = database
        .fetch("SELECT k FROM t ORDER BY k", &[])
        .await
        .unwrap();
    let mut keys: Vec<Vec<u8>> = ordered
        .iter()
        .map(|row| row.bytes(0).unwrap().to_vec())
        .collect();
    assert_eq!(keys.len(), rows.len());
    assert!(keys.is_sorted(), "{keys:?}");
    keys.dedup();
    assert_eq!(keys.len(), rows.len());
}

/// A prepared statement must not keep the type that its first caller sent.
async fn null_is_taken_where_another_value_was_before(fresh: Fresh) {
    let database = fresh.with_table().await;
    let mut connection = database.connect().await.unwrap();
    let full: [Value; 3] = [7.into(), "text".into(), vec![1, 0xff].into()];
    for (nth, order) in [[false, true, false], [true, false, true]]
        .iter()
        .enumerate()
    {
        // Another text, so that it is prepared anew.
        let insert = format!("{INSERT}{}", " ".repeat(nth));
        for (try_, null) in order.iter().enumerate() {
            let mut row = vec![Value::from(vec![u8::try_from(nth * 8 + try_).unwrap()])];
            row.extend(if *null {
                vec![Value::Null; 3]
            } else {
                full.to_vec()
            });
            connection.execute(&insert, &row).await.unwrap();
            let found = connection
                .fetch("SELECT k, n, s, b FROM t WHERE k = ?", &row[..1])
                .await
                .unwrap();
            assert_eq!(found[0].values(), row);
        }
    }
}

async fn marks_in_quotes_are_no_parameters(fresh: Fresh) {
    let database = fresh.with_table().await;
    let sql = "INSERT INTO t (k, s) /* what? */ VALUES (?, '?''\\?' || ?) -- and?";
    database
        .execute(sql, &[b"k".to_vec().into(), "!".into()])
        .await
        .unwrap();
    let sql = "SELECT s AS \"really?\" FROM t WHERE s <> '?' AND k = ?";
    let rows = database.fetch(sql, &[b"k".to_vec().into()]).await.unwrap();
    assert_eq!(rows[0].text(0).unwrap(), "?'\\?!");
}

async fn counts_are_of_rows_found(fresh: Fresh) {
    let database = fresh.with_table().await;
    for key in 0..3u8 {
        database
            .execute("INSERT INTO t (k, n) VALUES (?, 5)", &[vec![key].into()])
            .await
            .unwrap();
    }
    let count = async |sql| database.execute(sql, &[]).await.unwrap();
    assert_eq!(
        count("UPDATE t SET n = 5").await,
        3,
        "also without a change"
    );
    assert_eq!(count("UPDATE t SET n = 6 WHERE n = 7").await, 0);
    assert_eq!(
        count("INSERT INTO t (k) SELECT k FROM t WHERE n = 7").await,
        0
    );
    assert_eq!(count("DELETE FROM t").await, 3);
}

async fn an_upsert_inserts_and_replaces(fresh: Fresh) {
    let database = fresh.with_table().await;
    let rows = |from: i64, to: i64, n: i64| -> Vec<Value> {
        (from..to)
            .flat_map(|key| [key.to_be_bytes().to_vec().into(), n.into(), Value::Null])
            .collect()
    };
    for (from, to, n) in [(0, 300, 1), (100, 1000, 2), (0, 1, 3)] {
        let mut transaction = database.begin().await.unwrap();
        transaction
            .upsert("t", &["k"], &["n", "s"], &rows(from, to, n))
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }
    // Rows that only have a key stay as they are.
    let mut transaction = database.begin().await.unwrap();
    let keys: Vec<Value> = [0i64, 2000]
        .map(|key| key.to_be_bytes().to_vec().into())
        .into();
    transaction.upsert("t", &["k"], &[], &keys).await.unwrap();
    transaction.upsert("t", &["k"], &["n"], &[]).await.unwrap();
    assert!(
        transaction
            .upsert("t", &["k"], &["n"], &keys[..1])
            .await
            .is_err()
    );
    transaction.commit().await.unwrap();

    let sql = "SELECT n, COUNT(*) FROM t GROUP BY n ORDER BY n";
    let found = database.fetch(sql, &[]).await.unwrap();
    let counted: Vec<_> = found
        .iter()
        .map(|row| (row.opt_int(0).unwrap(), row.int(1).unwrap()))
        .collect();
    let mut wanted = vec![(Some(1), 99), (Some(2), 900), (Some(3), 1), (None, 1)];
    if database.dialect() != Dialect::Postgres {
        // PostgreSQL puts NULL last.
        wanted.rotate_right(1);
    }
    assert_eq!(counted, wanted);
}

async fn few_words_differ(fresh: Fresh) {
    let database = fresh.with_table().await;
    let dialect = database.dialect();
    let sum = dialect.sum("n");
    let greatest = dialect.greatest("n", "?");
    for key in 0..2u8 {
        database
            .execute("INSERT INTO t (k, n) VALUES (?, 5)", &[vec![key].into()])
            .await
            .unwrap();
    }

    let ask =
        async |sql: String, values: &[Value]| database.fetch(&sql, values).await.unwrap().remove(0);
    assert_eq!(
        ask(format!("SELECT {sum} FROM t"), &[])
            .await
            .int(0)
            .unwrap(),
        10
    );
    let none = ask(format!("SELECT {sum} FROM t WHERE n = 0"), &[]).await;
    assert_eq!(none.opt_int(0).unwrap(), None);
    let greatest = ask(format!("SELECT {greatest} FROM t"), &[7.into()]).await;
    assert_eq!(greatest.int(0).unwrap(), 7);

    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let theirs = ask(format!("SELECT {}", dialect.now_ms()), &[])
        .await
        .int(0)
        .unwrap();
    let ours = i64::try_from(now.as_millis()).unwrap();
    assert!((theirs - ours).abs() < 10_000, "{theirs} {ours}");

    for lock in [dialect.for_update(), dialect.for_share()] {
        let mut transaction = database.begin().await.unwrap();
        let rows = transaction
            .fetch(&format!("SELECT n FROM t{lock}"), &[])
            .await
            .unwrap();
        assert_eq!(rows.len(), 2);
        transaction.rollback().await.unwrap();
    }
}
