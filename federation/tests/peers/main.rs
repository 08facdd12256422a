//! What a site knows of its peers, as their registries speak, fall silent and
//! come back.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is a failure with a place"
)]

mod stage;

use std::time::Duration;

use discovery_client::{Address, Cursor, Event, Kind, Site, State};
use federation::{Config, Error, PeerConfig, peers::Peers};
use tokio::time::{Instant, advance, sleep};

use crate::stage::{Feed, LEASE, Local, SECOND, Scene, gateway, key, peer, put, replica, reset};

/// West as it is at first: one gateway, one replica that serves `chat`.
fn west() -> Vec<discovery_client::Endpoint> {
    vec![gateway("west", "g1"), replica("west", "r1", &["chat"])]
}

#[tokio::test(start_paused = true)]
async fn a_peers_gateways_are_made_known_with_what_it_serves() {
    let scene = Scene::new();
    let _feed = scene.feed(reset(1, west()));
    scene.settled().await;
    let [known] = scene.local.list().try_into().unwrap();
    assert_eq!(known.key, key("west", "g1"));
    assert_eq!((known.kind, known.state), (Kind::Peer, State::Serving));
    assert_eq!(known.address, gateway("west", "g1").address);
    assert_eq!(stage::names(&known), ["chat"]);
}

#[tokio::test(start_paused = true)]
async fn the_digest_is_of_the_peers_own_serving_replicas() {
    let scene = Scene::new();
    let mut draining = replica("west", "r2", &["old"]);
    draining.state = State::Draining;
    let all = vec![
        gateway("west", "g1"),
        gateway("west", "g2"),
        gateway("north", "g1"),
        replica("west", "r1", &["chat", "base"]),
        replica("west", "r3", &["chat"]),
        draining,
        replica("north", "r1", &["theirs"]),
        peer("north", "g9", &["far"]),
    ];
    let _feed = scene.feed(reset(1, all));
    scene.settled().await;
    for id in ["g1", "g2"] {
        assert_eq!(
            scene.serves("west", id),
            Some(vec!["base".to_owned(), "chat".to_owned()])
        );
    }
    assert_eq!(
        scene.local.list().len(),
        2,
        "what a peer knows of third sites is not passed on"
    );
}

#[tokio::test(start_paused = true)]
async fn changes_of_a_peer_are_followed_at_once() {
    let scene = Scene::new();
    let feed = scene.feed(reset(1, west()));
    scene.settled().await;
    let began = Instant::now();

    feed.say(put(2, replica("west", "r2", &["code"])));
    scene.settled().await;
    assert_eq!(
        scene.serves("west", "g1"),
        Some(vec!["chat".to_owned(), "code".to_owned()])
    );

    let mut draining = replica("west", "r1", &["chat"]);
    draining.state = State::Draining;
    feed.say(put(3, draining));
    scene.settled().await;
    assert_eq!(
        scene.serves("west", "g1"),
        Some(vec!["code".to_owned()]),
        "a draining replica is left out"
    );

    feed.say(Event::Delete {
        at: stage::at(4),
        key: key("west", "r2"),
    });
    scene.settled().await;
    assert_eq!(
        scene.serves("west", "g1"),
        Some(Vec::new()),
        "the peer is there and serves nothing"
    );

    let mut leaving = gateway("west", "g1");
    leaving.state = State::Draining;
    feed.say(put(5, leaving));
    scene.settled().await;
    assert_eq!(scene.local.list()[0].state, State::Draining);

    feed.say(Event::Delete {
        at: stage::at(6),
        key: key("west", "g1"),
    });
    scene.settled().await;
    assert!(scene.local.list().is_empty());
    assert!(began.elapsed() < SECOND / 2, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_heard_stays_and_is_written_once() {
    let scene = Scene::new();
    let feed = scene.feed(reset(1, west()));
    for revision in 2..60 {
        advance(SECOND).await;
        feed.say(Event::Progress {
            at: stage::at(revision),
        });
        scene.settled().await;
        assert_eq!(scene.local.list().len(), 1);
    }
    assert_eq!(scene.local.written(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cut_link_ages_out_within_the_lease() {
    for silent in [true, false] {
        let scene = Scene::new();
        let mut feed = Some(scene.feed(reset(1, west())));
        scene.settled().await;
        // The last word comes so soon after a renewal that it renews nothing.
        advance(SECOND / 10).await;
        feed.as_ref()
            .unwrap()
            .say(Event::Progress { at: stage::at(2) });
        scene.settled().await;
        let cut = Instant::now();
        feed.take_if(|_| !silent);

        sleep(LEASE - SECOND / 2).await;
        assert_eq!(scene.local.list().len(), 1, "a short cut harms nobody");
        sleep((cut + LEASE).duration_since(Instant::now())).await;
        assert!(scene.local.list().is_empty(), "silent: {silent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_comes_back_registers_again() {
    let scene = Scene::new();
    drop(scene.feed(reset(1, west())));
    sleep(LEASE * 3).await;
    assert!(scene.local.list().is_empty());

    let _feed = scene.feed(put(2, replica("west", "r2", &["code"])));
    sleep(SECOND * 2).await;
    assert_eq!(
        scene.serves("west", "g1"),
        Some(vec!["chat".to_owned(), "code".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_begins_anew_is_followed_to_the_letter() {
    let scene = Scene::new();
    let feed = scene.feed(reset(1, west()));
    scene.settled().await;
    assert_eq!(scene.serves("west", "g1"), Some(vec!["chat".to_owned()]));

    let endpoints = vec![gateway("west", "g1").into()];
    feed.say(Event::Reset {
        at: Cursor {
            generation: 2,
            revision: 0,
        },
        endpoints,
    });
    scene.settled().await;
    assert_eq!(scene.serves("west", "g1"), Some(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_local_registry_that_forgot_is_told_again() {
    let scene = Scene::new();
    let feed = scene.feed(reset(1, west()));
    scene.settled().await;
    scene.local.forget();
    advance(SECOND).await;
    feed.say(Event::Progress { at: stage::at(2) });
    scene.settled().await;
    assert_eq!(scene.local.list().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_handle_tells_how_the_links_stand() {
    let scene = Scene::new();
    let feed: Feed = scene.feed(reset(1, west()));
    scene.settled().await;
    let links: Vec<_> = scene
        .handle
        .links()
        .map(|(site, link)| (site.to_string(), link.connected))
        .collect();
    assert_eq!(links, [("west".to_owned(), true)]);
    drop(feed);
    scene.settled().await;
    assert!(scene.handle.links().all(|(_, link)| !link.connected));
}

#[tokio::test(start_paused = true)]
async fn stop_ends_the_links() {
    let mut scene = Scene::new();
    let _feed = scene.feed(reset(1, west()));
    scene.settled().await;
    scene.stop.cancel();
    tokio::time::timeout(Duration::from_secs(1), scene.tasks.join_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wrong_configuration_is_refused() {
    let here = Site::new("east").unwrap();
    let own = PeerConfig {
        site: here.clone(),
        registry: vec![Address::new("127.0.0.1:1").unwrap()],
    };
    let config = Config {
        peers: vec![own],
        ..Config::default()
    };
    let refused = Peers::new(&config, &here, &Local::shared());
    assert!(matches!(refused, Err(Error::OwnSite { .. })), "{refused:?}");
}
