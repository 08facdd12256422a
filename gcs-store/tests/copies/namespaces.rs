//! What an operator does to a namespace.

use std::time::Duration;

use gcs_sql::Database;
use gcs_store::namespace::{Applied, Catalog, Error, Quota, Refusal, State};
use ray_tables::TableName;

use crate::stage::{name, number, row, seed};

async fn state(catalog: &Catalog, of: &str) -> State {
    catalog.find(&name(of)).await.unwrap().state
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Refusal {
    match outcome {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) async fn a_namespace_is_made_once(database: &Database) {
    let catalog = Catalog::new(database);
    let first = catalog.create(&name("prod/ray-a")).await.unwrap();
    let second = catalog.create(&name("Prod/ray-a")).await.unwrap();
    assert!(first < second, "each change is a version");
    let refused = refusal(catalog.create(&name("prod/ray-a")).await);
    assert!(matches!(refused, Refusal::Exists { .. }), "{refused}");
    let missing = catalog.freeze(&name("prod")).await;
    assert!(matches!(missing, Err(Error::Missing { .. })));
    assert_eq!(catalog.all().await.unwrap().len(), 2);
}

pub(crate) async fn a_frozen_namespace_thaws(database: &Database) {
    let catalog = Catalog::new(database);
    catalog.create(&name("prod")).await.unwrap();
    for _ in 0..2 {
        catalog.freeze(&name("prod")).await.unwrap();
        assert_eq!(state(&catalog, "prod").await, State::Frozen);
    }
    catalog.unfreeze(&name("prod")).await.unwrap();
    assert_eq!(state(&catalog, "prod").await, State::Active);
}

pub(crate) async fn bounds_are_set_and_lifted(database: &Database) {
    let catalog = Catalog::new(database);
    catalog.create(&name("prod")).await.unwrap();
    for quota in [
        Quota {
            bytes: Some(1 << 40),
            rows: None,
        },
        Quota::default(),
    ] {
        catalog.set_quota(&name("prod"), quota).await.unwrap();
        let record = catalog.find(&name("prod")).await.unwrap();
        let found = Quota {
            bytes: record.quota_bytes,
            rows: record.quota_rows,
        };
        assert_eq!(found, quota);
    }
}

pub(crate) async fn what_was_deleted_comes_back_until_it_is_purged(database: &Database) {
    let catalog = Catalog::new(database);
    let rows: Vec<_> = (0..1200)
        .map(|nth| row(TableName::KV, format!("{nth}").as_bytes(), b"v"))
        .collect();
    let prod = seed(database, "prod", &rows).await;
    let other = seed(database, "other", &rows[..3]).await;
    catalog.delete(&prod, false).await.unwrap();
    assert_eq!(state(&catalog, "prod").await, State::Deleted);
    let refused = refusal(catalog.delete(&prod, false).await);
    assert!(matches!(refused, Refusal::State { .. }), "{refused}");
    let taken = refusal(catalog.create(&prod).await);
    assert!(taken.to_string().contains("is deleted"), "{taken}");

    // Within the grace nothing is purged.
    let day = Duration::from_secs(86_400);
    assert!(catalog.purge(None, day).await.unwrap().is_empty());
    catalog.undelete(&prod).await.unwrap();
    assert_eq!(state(&catalog, "prod").await, State::Active);
    let refused = refusal(catalog.undelete(&prod).await);
    assert!(matches!(refused, Refusal::State { .. }), "{refused}");
    let refused = refusal(catalog.purge(Some(&prod), Duration::ZERO).await);
    assert!(matches!(refused, Refusal::State { .. }), "{refused}");

    catalog.delete(&prod, false).await.unwrap();
    let purged = catalog.purge(None, Duration::ZERO).await.unwrap();
    assert_eq!(purged, std::slice::from_ref(&prod));
    let gone = catalog.undelete(&prod).await;
    assert!(matches!(gone, Err(Error::Missing { .. })));
    let left = number(database, "SELECT COUNT(*) FROM gcs_row", &[]).await;
    assert_eq!(left, 3, "those of {other}");
}

pub(crate) async fn a_namespace_in_use_is_not_deleted(database: &Database) {
    let catalog = Catalog::new(database);
    catalog.create(&name("prod")).await.unwrap();
    let now = catalog.now_ms().await.unwrap();
    let sql = "UPDATE gcs_namespace SET seen_ms = ?";
    database.execute(sql, &[(now - 2000).into()]).await.unwrap();
    let refused = refusal(catalog.delete(&name("prod"), false).await);
    assert!(matches!(refused, Refusal::InUse { .. }), "{refused}");
    assert_eq!(state(&catalog, "prod").await, State::Active);
    catalog.delete(&name("prod"), true).await.unwrap();
    assert_eq!(state(&catalog, "prod").await, State::Deleted);
}

pub(crate) async fn those_without_a_head_for_long_are_found(database: &Database) {
    let catalog = Catalog::new(database);
    for each in ["fresh", "idle", "used", "gone"] {
        catalog.create(&name(each)).await.unwrap();
    }
    let now = catalog.now_ms().await.unwrap();
    let day = 86_400_000;
    for (of, created, seen) in [
        ("idle", 10 * day, 0),
        ("used", 10 * day, now - day),
        ("gone", 10 * day, now - 9 * day),
    ] {
        let sql = "UPDATE gcs_namespace SET created_ms = ?, seen_ms = ? WHERE name = ?";
        let values = [(now - created).into(), seen.into(), of.into()];
        database.execute(sql, &values).await.unwrap();
    }
    let orphans = catalog.orphans(7 * day).await.unwrap();
    let names: Vec<_> = orphans.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["gone", "idle"]);
}

pub(crate) async fn the_list_counts_rows_and_bytes(database: &Database) {
    let catalog = Catalog::new(database);
    let rows = [
        row(TableName::KV, b"abc", b"12345"),
        row(TableName::KV, &[b'x'; 2000], &[0; 50_000]),
        row(TableName::WORKERS, b"w", b""),
    ];
    seed(database, "full", &rows).await;
    catalog.create(&name("empty")).await.unwrap();
    let sql = "INSERT INTO gcs_incarnation (ns_id, epoch, kind, peer, user_name, began_ms, \
               fenced_ms, fenced_by) VALUES (?, ?, 'user', '10.0.0.1:5', 'full/2', 5, ?, ?)";
    let id = catalog.find(&name("full")).await.unwrap().id.0;
    for (epoch, fenced) in [(1, Some(9)), (2, None)] {
        let values = [
            id.into(),
            epoch.into(),
            fenced.into(),
            fenced.map(|_| 2).into(),
        ];
        database.execute(sql, &values).await.unwrap();
    }
    let listed = catalog.list().await.unwrap();
    let [empty, full] = &listed[..] else {
        panic!("{listed:?}");
    };
    assert_eq!((empty.rows, empty.bytes, empty.seen_ms), (0, 0, None));
    assert_eq!((full.rows, full.bytes), (3, 3 + 5 + 2000 + 50_000 + 1));
    let heads: Vec<_> = full.heads.iter().map(|head| head.epoch).collect();
    assert_eq!(heads, [2], "the one that is not fenced");
}

pub(crate) async fn a_change_waits_for_the_store_that_runs(database: &Database) {
    let catalog = Catalog::new(database);
    let version = catalog.create(&name("a")).await.unwrap();
    let none = catalog.applied(version).await.unwrap();
    assert_eq!(none, Applied::Later, "no store runs");

    let sql = "UPDATE gcs_writer SET holder = 'h', beat = beat + 1";
    database.execute(sql, &[]).await.unwrap();
    let silent = catalog.applied(version).await.unwrap();
    assert_eq!(silent, Applied::Unknown, "it gives no sign");

    let store = async {
        let sql = "UPDATE gcs_writer SET catalog_seen = catalog_version";
        database.execute(sql, &[]).await.unwrap();
    };
    let (applied, ()) = tokio::join!(catalog.applied(version), store);
    assert_eq!(applied.unwrap(), Applied::Now);
}
