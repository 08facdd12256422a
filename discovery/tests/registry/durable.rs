//! The suite on a registry that is written down, and what only that promises.

use std::{sync::Arc, time::Duration};

use discovery::{Config, DurableRegistry, Error, MemoryRegistry};
use discovery_client::{Endpoint, Error as Refused, Event, LeaseId, Registry};
use gcs_sql::{Database, Pace, Range, Settings, TableName, Tables};
use harness::{Setup, postgres::Postgres};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    stage::{Frozen, LEASE, Way, advance, durable, next, next_change, replica, soon, sqlite},
    suite::suite,
};

suite!(Way::Durable);

/// A registry whose changes are being written down.
struct Running {
    registry: MemoryRegistry,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    async fn open(settings: &Settings) -> Self {
        Self::run(durable(settings, &Config::default()).await)
    }

    fn run(durable: DurableRegistry) -> Self {
        let (registry, stop) = (durable.registry(), CancellationToken::new());
        let task = tokio::spawn(durable.run(stop.clone()));
        Self {
            registry,
            stop,
            task,
        }
    }

    async fn register(&self, id: &str, version: u64) -> LeaseId {
        let endpoint = replica(id, version);
        self.registry.register(endpoint, LEASE).await.unwrap()
    }

    /// All records, which must be there at once.
    async fn list(&self) -> Vec<Arc<Endpoint>> {
        let Event::Reset { mut endpoints, .. } = next(&mut self.registry.watch(None)).await else {
            panic!("a watch begins with a list")
        };
        endpoints.sort_by(|a, b| a.key.cmp(&b.key));
        endpoints
    }

    async fn stop(self) -> Result<(), Error> {
        self.stop.cancel();
        soon(self.task).await.unwrap()
    }

    /// As SIGKILL would end it.
    async fn kill(self) {
        self.task.abort();
        soon(self.task).await.unwrap_err();
    }
}

/// Waits until exactly these records are written down.
async fn written(settings: &Settings, expected: &[(&str, u64)]) {
    let tables = async {
        let database = Database::open(settings).await?;
        Tables::open(&database, Pace::default()).await
    };
    let table = TableName::new("registry").unwrap();
    let tables = soon(tables).await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let page = soon(tables.range(&Range::all(&table))).await.unwrap();
        let found = page.entries.iter().map(|entry| {
            let json: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
            let id = json["endpoint"]["key"]["id"].as_str().unwrap().to_owned();
            (id, json["endpoint"]["life"]["version"].as_u64().unwrap())
        });
        let found: Vec<_> = found.collect();
        let found: Vec<_> = found
            .iter()
            .map(|(id, version)| (&**id, *version))
            .collect();
        if found == expected {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{found:?} is written, not {expected:?}"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_records_and_leases() {
    let (_frozen, folder) = (Frozen::new(), tempfile::tempdir().unwrap());
    let settings = sqlite(&folder);
    let first = Running::open(&settings).await;
    let a = first.register("a", 0).await;
    let b = first.register("b", 0).await;
    let c = first.register("c", 7).await;
    first.registry.update(a, replica("a", 1)).await.unwrap();
    first.registry.revoke(b).await.unwrap();
    let old = next(&mut first.registry.watch(None)).await.at();
    written(&settings, &[("a", 1), ("c", 7)]).await;
    first.kill().await;

    let second = Running::open(&settings).await;
    let known = [Arc::new(replica("a", 1)), Arc::new(replica("c", 7))];
    assert_eq!(second.list().await, known, "at once");
    let event = next(&mut second.registry.watch(Some(old))).await;
    assert!(
        matches!(event, Event::Reset { at, .. } if at.generation != old.generation),
        "a position of before is of another history: {event:?}"
    );

    advance(LEASE - Duration::from_millis(100)).await;
    second.registry.renew(a).await.unwrap();
    let gone = second.registry.renew(b).await;
    assert!(matches!(gone, Err(Refused::LeaseLapsed)));
    let older = second.registry.register(replica("c", 6), LEASE).await;
    assert!(
        matches!(older, Err(Refused::Superseded { .. })),
        "{older:?}"
    );
    let d = second.register("d", 0).await;
    assert!(![a, b, c].contains(&d), "no lease is given out twice");
    let mut watch = second.registry.watch(None);
    next(&mut watch).await;
    advance(Duration::from_millis(200)).await;
    assert!(
        matches!(next_change(&mut watch).await, Event::Delete { key, .. } if key == replica("c", 0).key),
        "nobody renewed it for a whole lease"
    );
    second.stop().await.unwrap();
    written(&settings, &[("a", 1), ("d", 0)]).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_stop_leaves_unwritten_is_written_first() {
    let (_frozen, folder) = (Frozen::new(), tempfile::tempdir().unwrap());
    let settings = sqlite(&folder);
    let first = Running::open(&settings).await;
    for n in 0..200 {
        first.register(&format!("r{n}"), 0).await;
    }
    first.stop().await.unwrap();
    let second = Running::open(&settings).await;
    assert_eq!(second.list().await.len(), 200);
    second.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_older_of_two_registries_ends() {
    let (_frozen, folder) = (Frozen::new(), tempfile::tempdir().unwrap());
    let settings = sqlite(&folder);
    let older = Running::open(&settings).await;
    older.register("a", 0).await;
    written(&settings, &[("a", 0)]).await;

    let newer = Running::open(&settings).await;
    older.register("a", 1).await;
    let ended = soon(older.task).await.unwrap().unwrap_err();
    assert_eq!(
        ended.to_string(),
        "another registry has taken over the records of east"
    );
    newer.register("b", 0).await;
    written(&settings, &[("a", 0), ("b", 0)]).await;
    newer.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_older_of_two_registries_ends_though_nothing_changes() {
    let (_frozen, folder) = (Frozen::new(), tempfile::tempdir().unwrap());
    let settings = sqlite(&folder);
    let older = Running::open(&settings).await;
    older.register("a", 0).await;
    written(&settings, &[("a", 0)]).await;
    let newer = Running::open(&settings).await;
    advance(Duration::from_millis(2500)).await;
    let ended = soon(older.task).await.unwrap();
    assert!(matches!(ended, Err(Error::TakenOver { .. })), "{ended:?}");
    newer.stop().await.unwrap();
}

async fn postgres(folder: &std::path::Path) -> (Postgres, Settings) {
    let setup = Setup {
        durable: true,
        ..Setup::default()
    };
    let server = Postgres::start_with(folder, setup).await.unwrap();
    let settings = Settings::new(server.database("registry").await.unwrap());
    (server, settings)
}

#[tokio::test]
async fn a_registry_goes_on_without_its_database_and_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, settings) = postgres(folder.path()).await;
    let running = Running::open(&settings).await;
    let long = |id, version| {
        let registry = running.registry.clone();
        async move {
            let lease = Duration::from_secs(60);
            registry
                .register(replica(id, version), lease)
                .await
                .unwrap()
        }
    };
    let a = long("a", 0).await;
    written(&settings, &[("a", 0)]).await;

    server.kill();
    let mut watch = running.registry.watch(None);
    next(&mut watch).await;
    let began = std::time::Instant::now();
    for version in 0..1000 {
        long("b", version).await;
        assert!(matches!(next_change(&mut watch).await, Event::Put { .. }));
    }
    running.registry.revoke(a).await.unwrap();
    long("c", 0).await;
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "nobody waited for it: {took:?}"
    );

    server.restart().await.unwrap();
    written(&settings, &[("b", 999), ("c", 0)]).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_registry_starts_without_its_database_and_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, settings) = postgres(folder.path()).await;
    let before = Running::open(&settings).await;
    before.register("old", 0).await;
    written(&settings, &[("old", 0)]).await;
    before.kill().await;

    server.kill();
    let running = Running::open(&settings).await;
    assert!(running.list().await.is_empty());
    let lease = Duration::from_secs(60);
    running
        .registry
        .register(replica("new", 0), lease)
        .await
        .unwrap();
    server.restart().await.unwrap();
    written(&settings, &[("new", 0)]).await;
    running.stop().await.unwrap();
}
