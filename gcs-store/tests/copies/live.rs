//! Copies beside a store that runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gcs_sql::{Database, Settings};
use gcs_store::{
    Config, Store,
    copies::{self, Address, Progress},
    namespace::{Applied, Catalog},
};
use ray_tables::TableName;
use resp::{Client, Reply, Target};
use tokio_util::sync::CancellationToken;

use crate::stage::{hard_rows, name, number, open, picture_of, row, write};

/// A store in this process, and its database.
struct Running {
    address: String,
    stop: CancellationToken,
    store: tokio::task::JoinHandle<Result<(), gcs_store::Error>>,
}

impl Running {
    async fn start(settings: &Settings) -> Self {
        let config = Config {
            database: settings.url.clone(),
            listen: ([127, 0, 0, 1], 0).into(),
            ..Config::default()
        };
        let store = Store::open(config).await.unwrap();
        let handle = store.handle();
        let stop = CancellationToken::new();
        let store = tokio::spawn(store.run(stop.clone()));
        handle.settled().await;
        Self {
            address: handle.local_addr().to_string(),
            stop,
            store,
        }
    }

    async fn client(&self) -> Client {
        let target = Target::new(&self.address);
        Client::connect(&target).await.unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.store.await.unwrap().unwrap();
    }
}

/// Waits until the tables say so.
async fn until(database: &Database, sql: &str, wanted: i64) {
    while number(database, sql, &[]).await != wanted {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn a_namespace_cleaned_by_ray_comes_back_under_a_running_store(
    settings: &Settings,
) {
    let database = open(settings).await;
    let store = Running::start(settings).await;
    let mut client = store.client().await;
    let rows = hard_rows();
    write(&mut client, "prod", &rows).await;
    let all = i64::try_from(rows.len()).unwrap();
    until(&database, "SELECT COUNT(*) FROM gcs_row", all).await;
    let at_ms = Catalog::new(&database).now_ms().await.unwrap();

    // What `cleanup_redis_storage` does.
    let tables: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.0).collect();
    for table in tables {
        let reply = client.call(&["DEL", &format!("RAYprod@{table}")]).await;
        assert_eq!(reply.unwrap(), Reply::Int(1));
    }
    let none = Progress::none();
    let prod = name("prod");
    let early = copies::rebuild(&database, &prod, at_ms, &none).await;
    assert!(early.unwrap_err().is_refusal(), "it was used just now");
    until(&database, "SELECT COUNT(*) FROM gcs_journal", 0).await;
    let sql = "UPDATE gcs_namespace SET seen_ms = seen_ms - 60000";
    database.execute(sql, &[]).await.unwrap();

    let done = copies::rebuild(&database, &prod, at_ms, &none)
        .await
        .unwrap();
    assert_eq!(done.rows, rows.len() as u64);
    let applied = Catalog::new(&database).applied(done.version).await.unwrap();
    assert_eq!(applied, Applied::Now);
    let get = ["HGET", "RAYprod@KV", "large"];
    let large = rows.iter().find(|row| row.1 == "large").unwrap();
    assert_eq!(client.call(&get).await.unwrap(), Reply::bulk(&large.2));
    let next = ["INCRBY", "RAYprod@JobCounter", "1"];
    assert_eq!(client.call(&next).await.unwrap(), Reply::Int(8));
    let write = ["HSET", "RAYprod@KV", "empty", "no more"];
    assert_eq!(client.call(&write).await.unwrap(), Reply::Int(0));
    store.stop().await;
}

pub(crate) async fn a_clone_of_a_namespace_in_use_is_of_one_moment(settings: &Settings) {
    let database = open(settings).await;
    let store = Running::start(settings).await;
    let mut client = store.client().await;
    let done = Arc::new(AtomicBool::new(false));
    let go_on = Arc::clone(&done);
    // First `a`, then `b`, always with the same number.
    let head = tokio::spawn(async move {
        let mut n = 0_u64;
        while !go_on.load(Ordering::Relaxed) {
            n += 1;
            for field in ["a", "b"] {
                let command = ["HSET", "RAYprod@KV", field, &n.to_string()];
                assert!(client.call(&command).await.unwrap().as_error().is_none());
            }
        }
        n
    });
    let prod = name("prod");
    let written = "SELECT COUNT(*) FROM gcs_row";
    until(&database, written, 2).await;
    let mut seen = Vec::new();
    let mut reader = store.client().await;
    for nth in 0..3 {
        let copy = name(&format!("copy{nth}"));
        let cloned = copies::clone(&database, &prod, None, &copy, &Progress::none())
            .await
            .unwrap();
        let catalog = Catalog::new(&database);
        assert_eq!(catalog.applied(cloned.version).await.unwrap(), Applied::Now);
        let mut read = async |field: &str| {
            let reply = reader
                .call(&["HGET", &format!("RAY{copy}@KV"), field])
                .await;
            let Reply::Bulk(value) = reply.unwrap() else {
                panic!("{copy} has no {field}");
            };
            String::from_utf8_lossy(&value).parse::<u64>().unwrap()
        };
        let (a, b) = (read("a").await, read("b").await);
        assert!(a == b || a == b + 1, "{a} and {b} are of two moments");
        seen.push(a);
    }
    done.store(true, Ordering::Relaxed);
    assert!(head.await.unwrap() > seen[0], "it went on meanwhile");
    store.stop().await;
}

pub(crate) async fn a_frozen_namespace_takes_no_write_from_then_on(settings: &Settings) {
    let database = open(settings).await;
    let catalog = Catalog::new(&database);
    let store = Running::start(settings).await;
    let mut client = store.client().await;
    let write = ["HSET", "RAYprod@KV", "a", "1"];
    assert_eq!(client.call(&write).await.unwrap(), Reply::Int(1));
    let prod = name("prod");
    let version = catalog.freeze(&prod).await.unwrap();
    assert_eq!(catalog.applied(version).await.unwrap(), Applied::Now);
    let refused = client.call(&write).await.unwrap();
    assert!(refused.as_error().unwrap().starts_with("READONLY"));
    let read = ["HGET", "RAYprod@KV", "a"];
    assert_eq!(client.call(&read).await.unwrap(), Reply::bulk("1"));

    let version = catalog.unfreeze(&prod).await.unwrap();
    catalog.applied(version).await.unwrap();
    assert_eq!(client.call(&write).await.unwrap(), Reply::Int(0));

    let version = catalog.delete(&prod, true).await.unwrap();
    catalog.applied(version).await.unwrap();
    for command in [&write[..], &read[..]] {
        let refused = client.call(command).await.unwrap();
        assert!(refused.as_error().unwrap().contains("is deleted"));
    }
    let version = catalog.undelete(&prod).await.unwrap();
    catalog.applied(version).await.unwrap();
    assert_eq!(client.call(&read).await.unwrap(), Reply::bulk("1"));
    store.stop().await;
}

pub(crate) async fn a_namespace_moves_from_store_to_store(settings: &Settings) {
    let database = open(settings).await;
    let store = Running::start(settings).await;
    let rows = hard_rows();
    let mut client = store.client().await;
    write(&mut client, "prod", &rows).await;
    let address = Address::new(&format!("redis://{}", store.address), None, None).unwrap();
    let none = Progress::none();
    // From a running store, its last writes still in the journal.
    let moved = name("moved");
    let imported = copies::import(&database, &address, "prod", &moved, &none)
        .await
        .unwrap();
    assert_eq!(imported.blake3, picture_of(&rows).blake3());
    let exported = copies::export(&database, &moved, &address, "back", &none)
        .await
        .unwrap();
    assert_eq!(exported.blake3, imported.blake3);
    let last = row(TableName::KV, b"after", b"all");
    write(&mut client, "back", &[last]).await;
    store.stop().await;
}
