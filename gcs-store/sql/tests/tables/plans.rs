//! How PostgreSQL answers: by an index, never by reading a whole table.

use std::time::Duration;

use gcs_sql::Write;

use crate::stage::{Stage, open, table, tables};

/// What the code asks, with values of a usual size, written out for `EXPLAIN`.
const READS: [(&str, &str); 8] = [
    (
        "get",
        "SELECT k, value, created, revision, version, lease FROM table_version \
              WHERE name = 't5' AND k = '\\x6b31' AND ended = 9223372036854775807",
    ),
    (
        "page now",
        "SELECT k, size FROM table_version WHERE name = 't5' AND k >= '\\x6b31' \
              AND k < '\\x6b39' AND ended = 9223372036854775807 ORDER BY k LIMIT 101",
    ),
    (
        "page then",
        "SELECT k, size FROM table_version WHERE name = 't5' AND k >= '\\x6b31' \
              AND k < '\\x6b32' AND revision <= 19000 AND ended > 19000 ORDER BY k LIMIT 101",
    ),
    (
        "watch",
        "SELECT revision, size FROM table_version WHERE revision > 19990 \
              AND revision <= 20000 AND name = 't5' AND k >= '\\x' AND k < '\\xff' \
              ORDER BY revision, k LIMIT 1024",
    ),
    (
        "lapsed leases",
        "SELECT id FROM table_lease WHERE expires_ms <= 1000 \
              ORDER BY expires_ms, id LIMIT 64",
    ),
    (
        "entries of a lease",
        "UPDATE table_version SET ended = 1 WHERE lease = 77 \
              AND ended = 9223372036854775807",
    ),
    (
        "compaction step",
        "SELECT ended FROM table_version WHERE ended <= 100 \
              ORDER BY ended LIMIT 1 OFFSET 500",
    ),
    ("compaction", "DELETE FROM table_version WHERE ended <= 100"),
];

pub(crate) async fn every_read_is_served_by_an_index(stage: &Stage) {
    let settings = stage.settings("plans").await;
    let (database, tables) = (open(&settings).await, tables(&settings).await);
    tables
        .transact(&Write::new().put(&table("t"), "k", ""))
        .await
        .unwrap();
    tables.grant(Duration::from_secs(60)).await.unwrap();
    // 20,000 versions of 2,000 entries in ten tables, and 5,000 leases.
    for sql in [
        "INSERT INTO table_version \
           (name, k, revision, ended, created, version, lease, at_ms, size, value) \
         SELECT 't' || (n % 10), convert_to('k' || (n % 2000), 'UTF8'), n, \
           CASE WHEN n > 18000 THEN 9223372036854775807 ELSE n + 2000 END, \
           1, 1, CASE WHEN n % 3 = 0 THEN n / 30 END, n, 100, decode(repeat('61', 100), 'hex') \
         FROM generate_series(2, 20000) AS n",
        "INSERT INTO table_lease (id, ttl_ms, expires_ms) \
         SELECT n, 1, 100000 + n FROM generate_series(1, 5000) AS n ON CONFLICT DO NOTHING",
        "ANALYZE",
    ] {
        database.execute(sql, &[]).await.unwrap();
    }
    for (what, sql) in READS {
        let rows = database
            .fetch(&format!("EXPLAIN {sql}"), &[])
            .await
            .unwrap();
        let plan: Vec<_> = rows.iter().map(|row| row.text(0).unwrap()).collect();
        let plan = plan.join("\n");
        assert!(
            plan.contains("Index") && !plan.contains("Seq Scan"),
            "{what} is not served by an index:\n{plan}"
        );
    }
}
