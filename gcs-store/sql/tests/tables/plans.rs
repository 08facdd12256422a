//! How PostgreSQL answers: by an index, never by reading a whole table.

use std::time::Duration;

use gcs_sql::{Database, Keep, Pace, Range, Revision, Settings, Tables, Write};

use crate::stage::{Stage, next, open, soon, table};

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
        "SELECT ended FROM table_version WHERE ended > 0 \
              AND ended <= 100 ORDER BY ended LIMIT 1 OFFSET 500",
    ),
    (
        "compaction",
        "DELETE FROM table_version WHERE ended > 0 AND ended <= 100",
    ),
];

/// 20,000 versions of 2,000 entries in ten tables, and 5,000 leases.
const LOAD: [&str; 4] = [
    "INSERT INTO table_version \
       (name, k, revision, ended, created, version, lease, at_ms, size, value) \
     SELECT 't' || (n % 10), convert_to('k' || (n % 2000), 'UTF8'), n, \
       CASE WHEN n > 18000 THEN 9223372036854775807 ELSE n + 2000 END, \
       1, 1, CASE WHEN n % 3 = 0 THEN n / 30 END, n, 100, decode(repeat('61', 100), 'hex') \
     FROM generate_series(1, 20000) AS n",
    "UPDATE table_head SET revision = 20000",
    "INSERT INTO table_lease (id, ttl_ms, expires_ms) \
     SELECT n, 1000, 9000000000000 + n FROM generate_series(1, 5000) AS n",
    "ANALYZE",
];

async fn loaded(settings: &Settings) -> Database {
    let database = open(settings).await;
    let tables = Tables::open(&database, Pace::default()).await;
    tables.unwrap();
    for sql in LOAD {
        database.execute(sql, &[]).await.unwrap();
    }
    database
}

pub(crate) async fn every_read_is_served_by_an_index(stage: &Stage) {
    let settings = stage.settings("plans").await;
    let database = loaded(&settings).await;
    for (what, sql) in READS {
        let rows = database.fetch(&format!("EXPLAIN {sql}"), &[]).await;
        let rows = rows.unwrap();
        let plan: Vec<_> = rows.iter().map(|row| row.text(0).unwrap()).collect();
        let plan = plan.join("\n");
        assert!(
            plan.contains("Index") && !plan.contains("Seq Scan"),
            "{what} is not served by an index:\n{plan}"
        );
    }
}

/// The statements themselves, as often as it takes PostgreSQL to think of a
/// plan for all values; it counts its scans.
pub(crate) async fn no_call_reads_a_whole_table(stage: &Stage) {
    let settings = stage.settings("scans").await;
    loaded(&settings).await.close().await;
    let observer = open(&settings).await;
    let before = scans(&observer).await;

    let database = open(&settings).await;
    let tables = Tables::open(&database, Pace::default()).await.unwrap();
    let t = table("t5");
    for round in 0..10 {
        tables.get(&t, b"k5").await.unwrap().unwrap();
        let now = tables.range(&Range::prefix(&t, "k1").limit(20)).await;
        let past = now.unwrap().more.unwrap().at(Revision(19_000));
        tables.range(&past).await.unwrap();
        let lease = tables.grant(Duration::from_secs(60)).await.unwrap();
        let write = Write::new()
            .put_leased(&t, "k5", "new", lease)
            .delete(&t, "k15");
        tables.transact(&write).await.unwrap();
        tables.keep_alive(lease).await.unwrap();
        tables.revoke(lease).await.unwrap();
        tables.expire().await.unwrap();
        let mut watch = tables.watch(&t, "k", Some(Revision(19_990 + round)));
        next(&mut watch).await;
        tables
            .transact(&Write::new().put(&t, "k5", "again"))
            .await
            .unwrap();
        tables.compact(Revision(100 * round)).await.unwrap();
    }
    let keep = Keep {
        age: Duration::MAX,
        revisions: 5_000,
    };
    assert!(tables.compact_by(keep).await.unwrap() > 1000);
    database.close().await;
    drop((tables, database));

    let after = scans(&observer).await;
    assert!(
        after[0].1 > before[0].1 + 100,
        "its indexes were used: {after:?}"
    );
    let whole = |scans: &[(i64, i64)]| scans.iter().map(|scans| scans.0).collect::<Vec<_>>();
    assert_eq!(whole(&after), whole(&before), "reads of whole tables");
}

/// Scans of whole `table_version` and `table_lease`, and of their indexes, so
/// far. A session reports them when it ends, so only `observer` may be left.
async fn scans(observer: &Database) -> Vec<(i64, i64)> {
    let others = "SELECT COUNT(*) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    soon(async {
        while observer.fetch(others, &[]).await.unwrap()[0]
            .int(0)
            .unwrap()
            > 0
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let sql = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables \
               WHERE relname IN ('table_version', 'table_lease') ORDER BY relname DESC";
    let rows = observer.fetch(sql, &[]).await.unwrap();
    let scans = rows
        .iter()
        .map(|row| (row.int(0).unwrap(), row.int(1).unwrap()));
    scans.collect()
}
