//! What readers of a subscriber see while registries come, go and begin anew.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is a failure with a place"
)]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use discovery_client::{
    Address, Cursor, Endpoint, EndpointId, Error, Event, Key, Kind, LeaseId, Life, Link, Registry,
    Site, Snapshot, State, Subscriber, Watch,
};
use futures_util::{FutureExt as _, StreamExt, future::BoxFuture, stream};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;

type Feed = tokio::sync::mpsc::UnboundedSender<Event>;

/// A registry whose watches say what the test feeds them; without a feed a
/// watch ends at once, as if nobody listened there.
#[derive(Default)]
struct Fed {
    feeds: Mutex<VecDeque<UnboundedReceiverStream<Event>>>,
    asked: Mutex<Vec<(Instant, Option<Cursor>)>>,
}

impl Fed {
    /// Feeds the next watch.
    fn feed(&self) -> Feed {
        let (feed, events) = tokio::sync::mpsc::unbounded_channel();
        self.feeds
            .lock()
            .unwrap()
            .push_back(UnboundedReceiverStream::new(events));
        feed
    }

    fn asked(&self) -> Vec<(Instant, Option<Cursor>)> {
        self.asked.lock().unwrap().clone()
    }
}

fn unused<T: Send>() -> BoxFuture<'static, Result<T, Error>> {
    async {
        Err(Error::Unavailable {
            reason: "only watched here".to_owned(),
        })
    }
    .boxed()
}

impl Registry for Fed {
    fn register(&self, _: Endpoint, _: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        unused()
    }
    fn renew(&self, _: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        unused()
    }
    fn update(&self, _: LeaseId, _: Endpoint) -> BoxFuture<'_, Result<(), Error>> {
        unused()
    }
    fn revoke(&self, _: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        unused()
    }
    fn watch(&self, after: Option<Cursor>) -> Watch {
        self.asked.lock().unwrap().push((Instant::now(), after));
        self.feeds
            .lock()
            .unwrap()
            .pop_front()
            .map_or_else(|| stream::empty().boxed(), StreamExt::boxed)
    }
}

fn at(generation: u64, revision: u64) -> Cursor {
    Cursor {
        generation,
        revision,
    }
}

fn reset(at: Cursor, ids: &[&str]) -> Event {
    Event::Reset {
        at,
        endpoints: ids.iter().map(|id| replica(id)).collect(),
    }
}

fn replica(id: &str) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        key: Key {
            site: Site::new("east").unwrap(),
            id: EndpointId::new(id).unwrap(),
        },
        kind: Kind::Replica,
        address: Address::new("127.0.0.1:1").unwrap(),
        applications: Vec::new(),
        state: State::Serving,
        capacity: None,
        life: Life {
            incarnation: 1,
            version: 0,
        },
    })
}

/// A running subscriber over as many fed registries as asked for.
struct Scene {
    registries: Vec<Arc<Fed>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    link: watch::Receiver<Link>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

fn address(port: usize) -> Address {
    Address::new(format!("127.0.0.1:{port}")).unwrap()
}

impl Scene {
    fn new(count: usize) -> Self {
        let registries: Vec<_> = (0..count).map(|_| Arc::new(Fed::default())).collect();
        let source = |(registry, port): (&Arc<Fed>, usize)| -> (Address, Arc<dyn Registry>) {
            (address(port), registry.clone())
        };
        let subscriber = Subscriber::over(registries.iter().zip(1..).map(source).collect());
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let (snapshots, link) = (subscriber.snapshots(), subscriber.link());
        tasks.spawn(subscriber.run(stop.clone()));
        Self {
            registries,
            snapshots,
            link,
            stop,
            tasks,
        }
    }

    fn feed(&self) -> Feed {
        self.registries[0].feed()
    }

    fn known(&self) -> Vec<String> {
        let snapshot = self.snapshots.borrow();
        let mut ids: Vec<_> = snapshot
            .endpoints()
            .map(|endpoint| endpoint.key.id.to_string())
            .collect();
        ids.sort();
        ids
    }

    async fn connected(&mut self, connected: bool) -> Link {
        self.link
            .wait_for(|link| link.connected == connected)
            .await
            .unwrap()
            .clone()
    }

    async fn until_known(&mut self, ids: &[&str]) {
        while self.known() != ids {
            self.snapshots.changed().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_link_keeps_the_last_good_snapshot() {
    let mut scene = Scene::new(1);
    let feed = scene.feed();
    feed.send(reset(at(1, 2), &["a", "b"])).unwrap();
    scene.connected(true).await;

    drop(feed);
    let heard = scene.connected(false).await.last_heard;
    tokio::time::advance(Duration::from_secs(600)).await;

    assert_eq!(scene.known(), ["a", "b"]);
    assert_eq!(
        scene.link.borrow().last_heard,
        heard,
        "the link tells how old it is"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_from_where_it_was() {
    let mut scene = Scene::new(1);
    let (first, second) = (scene.feed(), scene.feed());
    first.send(reset(at(1, 2), &["a"])).unwrap();
    first.send(Event::Progress { at: at(1, 9) }).unwrap();
    scene.connected(true).await;

    drop(first);
    second
        .send(Event::Put {
            at: at(1, 10),
            endpoint: replica("b"),
        })
        .unwrap();
    scene.until_known(&["a", "b"]).await;

    let asked: Vec<_> = scene.registries[0]
        .asked()
        .into_iter()
        .map(|(_, after)| after)
        .collect();
    assert_eq!(asked, [None, Some(at(1, 9))]);
}

#[tokio::test(start_paused = true)]
async fn the_first_source_that_answers_is_followed() {
    let mut scene = Scene::new(3);
    let feed = scene.registries[2].feed();
    feed.send(reset(at(1, 0), &[])).unwrap();
    let link = scene.connected(true).await;
    assert_eq!(link.address, Some(address(3)));
    assert!(
        scene.snapshots.borrow().at().is_some(),
        "an empty site is known to be empty"
    );
}

#[tokio::test(start_paused = true)]
async fn the_waits_grow_while_nobody_answers() {
    let scene = Scene::new(1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let asked = scene.registries[0].asked();
    assert!(
        (60..140).contains(&asked.len()),
        "{} tries in a minute",
        asked.len()
    );
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(
        waits[0] <= Duration::from_millis(51),
        "the first retry comes at once: {:?}",
        waits[0]
    );
    assert!(
        waits
            .iter()
            .all(|wait| *wait <= Duration::from_millis(1001))
    );
}

#[tokio::test(start_paused = true)]
async fn a_restarted_registry_never_shows_an_empty_site() {
    let mut scene = Scene::new(1);
    let (first, second) = (scene.feed(), scene.feed());
    first.send(reset(at(1, 2), &["a", "b", "c"])).unwrap();
    scene.until_known(&["a", "b", "c"]).await;

    drop(first);
    second.send(reset(at(2, 0), &[])).unwrap();
    scene.connected(true).await;
    let restarted = Instant::now();
    second
        .send(Event::Put {
            at: at(2, 1),
            endpoint: replica("b"),
        })
        .unwrap();

    scene.until_known(&["b"]).await;
    assert!(
        restarted.elapsed() >= Subscriber::GRACE - Duration::from_secs(1),
        "{:?}",
        restarted.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_comes_before_the_word_of_the_link() {
    let mut scene = Scene::new(1);
    let feed = scene.feed();
    for revision in 0..50 {
        feed.send(reset(
            at(1, revision),
            &["a", "b"][..(revision % 3) as usize % 3],
        ))
        .unwrap();
        scene.link.changed().await.unwrap();
        assert_eq!(scene.known().len() as u64, revision % 3);
    }
}

#[tokio::test(start_paused = true)]
async fn stop_ends_the_task_whatever_it_waits_for() {
    for count in [0, 1] {
        let mut scene = Scene::new(count);
        tokio::time::sleep(Duration::from_millis(10)).await;
        scene.stop.cancel();
        tokio::time::timeout(Duration::from_secs(1), scene.tasks.join_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
