//! An endpoint stays registered whatever happens to its registry.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use discovery::{Config, MemoryRegistry};
use discovery_client::{
    Application, Cursor, Endpoint, Error, Event, LeaseId, Life, Registrar, Registration, Registry,
    Standing, State, Watch,
};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stage::{LEASE, SECOND, key, replica};

/// A registry that can be cut off, and replaced by an empty one.
struct Frail {
    registry: Mutex<MemoryRegistry>,
    cut: AtomicBool,
}

impl Frail {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            registry: Mutex::new(fresh()),
            cut: AtomicBool::new(false),
        })
    }

    fn restart(&self) {
        *self.registry.lock() = fresh();
    }

    fn now(&self) -> MemoryRegistry {
        self.registry.lock().clone()
    }

    /// Calls hang while cut off.
    async fn reach(&self) -> MemoryRegistry {
        if self.cut.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        self.now()
    }

    async fn list(&self) -> Vec<Arc<Endpoint>> {
        match self.now().watch(None).next().await {
            Some(Event::Reset { endpoints, .. }) => endpoints,
            other => panic!("a watch begins with a list, not {other:?}"),
        }
    }
}

fn fresh() -> MemoryRegistry {
    MemoryRegistry::new(&Config::default())
}

impl Registry for Frail {
    fn register(&self, endpoint: Endpoint, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        async move { self.reach().await.register(endpoint, ttl).await }.boxed()
    }
    fn renew(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.reach().await.renew(lease).await }.boxed()
    }
    fn update(&self, lease: LeaseId, endpoint: Endpoint) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.reach().await.update(lease, endpoint).await }.boxed()
    }
    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.reach().await.revoke(lease).await }.boxed()
    }
    fn watch(&self, after: Option<Cursor>) -> Watch {
        self.now().watch(after)
    }
}

struct Scene {
    registry: Arc<Frail>,
    registration: Registration,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Scene {
    async fn registered() -> Self {
        let registry = Frail::new();
        let (registrar, registration) = Registrar::new(registry.clone(), replica("a", 0), LEASE);
        let stop = CancellationToken::new();
        let task = tokio::spawn(registrar.run(stop.clone()));
        let scene = Self {
            registry,
            registration,
            stop,
            task,
        };
        scene.stands(Standing::Registered).await;
        scene
    }

    async fn stands(&self, wanted: Standing) {
        let mut standing = self.registration.standing();
        let reached = standing.wait_for(|standing| *standing == wanted);
        tokio::time::timeout(Duration::from_secs(60), reached)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_endpoint_stays_registered_and_writes_once() {
    let scene = Scene::registered().await;
    tokio::time::sleep(LEASE * 20).await;
    assert_eq!(scene.registry.list().await, [Arc::new(replica("a", 0))]);
    let at = scene.registry.watch(None).next().await.unwrap().at();
    assert_eq!(at.revision, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_taken_again() {
    let scene = Scene::registered().await;
    scene.registry.cut.store(true, SeqCst);
    scene.stands(Standing::Waiting).await;
    tokio::time::sleep(LEASE).await;
    assert!(scene.registry.list().await.is_empty());

    scene.registry.cut.store(false, SeqCst);
    scene.stands(Standing::Registered).await;
    assert_eq!(scene.registry.list().await, [Arc::new(replica("a", 0))]);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_registry_is_told_within_the_lease() {
    let scene = Scene::registered().await;
    scene.registry.restart();
    assert!(scene.registry.list().await.is_empty());
    tokio::time::sleep(LEASE / 3 + SECOND / 10).await;
    assert_eq!(scene.registry.list().await, [Arc::new(replica("a", 0))]);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_written_at_once() {
    let scene = Scene::registered().await;
    let mut watch = scene.registry.watch(None);
    watch.next().await;
    let began = tokio::time::Instant::now();

    scene.registration.set_state(State::Draining);
    let Some(Event::Put { endpoint, .. }) = watch.next().await else {
        panic!("a change")
    };
    assert_eq!(
        (endpoint.state, endpoint.life.version),
        (State::Draining, 1)
    );

    let [chat, base] = ["chat", "base"].map(|name| Application::new(name).unwrap());
    scene
        .registration
        .set_applications(vec![chat.clone(), base.clone(), chat.clone()]);
    let Some(Event::Put { endpoint, .. }) = watch.next().await else {
        panic!("a change")
    };
    assert_eq!(
        (&endpoint.applications, endpoint.life.version),
        (&vec![base, chat], 2)
    );
    assert!(began.elapsed() < SECOND / 10);
}

#[tokio::test(start_paused = true)]
async fn a_newer_process_wins() {
    let scene = Scene::registered().await;
    let newer = Endpoint {
        life: Life {
            incarnation: 2,
            version: 0,
        },
        ..replica("a", 0)
    };
    scene
        .registry
        .register(newer.clone(), LEASE * 10)
        .await
        .unwrap();
    scene.stands(Standing::Refused).await;
    assert!(
        matches!(scene.task.await.unwrap(), Err(Error::Superseded { key: lost, .. }) if lost == key("a"))
    );
    assert_eq!(scene.registry.list().await, [Arc::new(newer)]);
}

#[tokio::test(start_paused = true)]
async fn leave_is_over_when_the_registry_knows() {
    let scene = Scene::registered().await;
    scene.registration.leave(SECOND).await.unwrap();
    assert!(scene.registry.list().await.is_empty());
    scene.task.await.unwrap().unwrap();
    scene.registration.leave(SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn leave_from_a_mute_registry_ends_in_time() {
    let scene = Scene::registered().await;
    scene.registry.cut.store(true, SeqCst);
    let began = tokio::time::Instant::now();
    let left = scene.registration.leave(SECOND * 2).await;
    assert!(matches!(left, Err(Error::Unavailable { .. })), "{left:?}");
    assert!(began.elapsed() <= SECOND * 2);
    scene.stands(Standing::Lapsing).await;
    tokio::time::sleep(LEASE).await;
    assert!(scene.registry.list().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn stop_leaves_too() {
    let scene = Scene::registered().await;
    scene.stop.cancel();
    scene.task.await.unwrap().unwrap();
    assert!(scene.registry.list().await.is_empty());
}
