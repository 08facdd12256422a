//! What every registry does, whatever its backend and however it is reached.
//!
//! Each function takes a fresh stage. `suite!` makes a test of each for one way
//! of reaching the registry.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use discovery::Config;
use discovery_client::{Application, Cursor, Error, Event, Index, MAX_APPLICATIONS};
use futures_util::FutureExt as _;

use crate::stage::{LEASE, SECOND, Stage, Way, advance, key, next, next_change, replica, soon};

/// A test a function of this module, for one way.
macro_rules! suite {
    ($way:expr; $($name:ident)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                crate::suite::$name($way).await;
            }
        )*
    };
    ($way:expr) => {
        suite! { $way;
            changes_come_in_order
            a_watch_goes_on_from_its_cursor
            lost_history_gives_a_reset
            a_foreign_cursor_gives_a_reset
            a_lapsed_lease_is_a_delete
            an_older_life_is_refused
            a_newer_life_voids_the_old_lease
            an_equal_record_writes_nothing
            revoke_removes_at_once
            records_are_bounded
            invalid_records_are_refused_and_cost_no_lease
            progress_comes_every_second
            ten_watchers_agree_whatever_their_pace
        }
    };
}
pub(crate) use suite;

async fn stage(way: Way) -> Stage {
    Stage::new(way, &Config::default()).await
}

fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

pub(crate) async fn changes_come_in_order(way: Way) {
    let Stage { registry, .. } = &stage(way).await;
    let mut watch = registry.watch(None);
    let Event::Reset {
        at: start,
        endpoints,
    } = next(&mut watch).await
    else {
        panic!("a watch begins with a list")
    };
    assert!(endpoints.is_empty());

    let a = soon(registry.register(replica("a", 0), LEASE))
        .await
        .unwrap();
    let b = soon(registry.register(replica("b", 0), LEASE))
        .await
        .unwrap();
    soon(registry.update(a, replica("a", 1))).await.unwrap();
    soon(registry.revoke(b)).await.unwrap();

    let at = |n| Cursor {
        revision: start.revision + n,
        ..start
    };
    let put = |n, id, version| Event::Put {
        at: at(n),
        endpoint: Arc::new(replica(id, version)),
    };
    let expected = [
        put(1, "a", 0),
        put(2, "b", 0),
        put(3, "a", 1),
        Event::Delete {
            at: at(4),
            key: key("b"),
        },
    ];
    for event in expected {
        assert_eq!(next_change(&mut watch).await, event);
    }
}

pub(crate) async fn a_watch_goes_on_from_its_cursor(way: Way) {
    let Stage { registry, .. } = &stage(way).await;
    let a = soon(registry.register(replica("a", 0), LEASE))
        .await
        .unwrap();
    let at = next(&mut registry.watch(None)).await.at();

    soon(registry.register(replica("b", 0), LEASE))
        .await
        .unwrap();
    soon(registry.revoke(a)).await.unwrap();

    let mut watch = registry.watch(Some(at));
    assert!(
        matches!(next_change(&mut watch).await, Event::Put { endpoint, .. } if endpoint.key == key("b"))
    );
    assert!(
        matches!(next_change(&mut watch).await, Event::Delete { key: gone, .. } if gone == key("a"))
    );
}

pub(crate) async fn lost_history_gives_a_reset(way: Way) {
    let Stage { registry, .. } = &Stage::new(
        way,
        &Config {
            history_max: count(4),
            ..Config::default()
        },
    )
    .await;
    let start = next(&mut registry.watch(None)).await.at();
    let lease = soon(registry.register(replica("a", 0), LEASE))
        .await
        .unwrap();
    for version in 1..6 {
        soon(registry.update(lease, replica("a", version)))
            .await
            .unwrap();
    }

    let kept = Cursor {
        revision: start.revision + 2,
        ..start
    };
    assert!(
        matches!(
            next(&mut registry.watch(Some(kept))).await,
            Event::Put { .. }
        ),
        "four changes are kept"
    );
    let lost = Cursor {
        revision: start.revision + 1,
        ..start
    };
    let Event::Reset { at, endpoints } = next(&mut registry.watch(Some(lost))).await else {
        panic!("five are not")
    };
    assert_eq!(at.revision, start.revision + 6);
    assert_eq!(endpoints, [Arc::new(replica("a", 5))]);
}

pub(crate) async fn a_foreign_cursor_gives_a_reset(way: Way) {
    let Stage { registry, .. } = &stage(way).await;
    soon(registry.register(replica("a", 0), LEASE))
        .await
        .unwrap();
    let here = next(&mut registry.watch(None)).await.at();
    let elsewhere = Cursor {
        generation: here.generation ^ 1,
        ..here
    };
    let ahead = Cursor {
        revision: here.revision + 1,
        ..here
    };
    for foreign in [elsewhere, ahead] {
        let event = next(&mut registry.watch(Some(foreign))).await;
        assert_eq!(
            event,
            Event::Reset {
                at: here,
                endpoints: vec![Arc::new(replica("a", 0))]
            }
        );
    }
}

pub(crate) async fn a_lapsed_lease_is_a_delete(way: Way) {
    let Stage { registry, .. } = &stage(way).await;
    let lease = soon(registry.register(replica("a", 0), LEASE))
        .await
        .unwrap();
    let mut watch = registry.watch(Some(next(&mut registry.watch(None)).await.at()));
    let nearly = LEASE - Duration::from_millis(100);

    advance(nearly).await;
    soon(registry.renew(lease)).await.unwrap();
    advance(nearly).await;
    soon(registry.update(lease, replica("a", 1))).await.unwrap();
    assert!(matches!(next_change(&mut watch).await, Event::Put { .. }));

    advance(nearly).await;
    assert!(
        matches!(next(&mut watch).await, Event::Progress { .. }),
        "the lease was renewed by the update"
    );
    advance(Duration::from_millis(200)).await;
    assert!(
        matches!(next_change(&mut watch).await, Event::Delete { key: gone, .. } if gone == key("a"))
    );
    assert!(matches!(
        soon(registry.renew(lease)).await,
        Err(Error::LeaseLapsed)
    ));
    assert!(matches!(
        soon(registry.update(lease, replica("a", 2))).await,
        Err(Error::LeaseLapsed)
    ));
    soon(registry.revoke(lease)).await.unwrap();
}

pub(crate) async fn an_older_life_is_refused(way: Way) {
    let Stage { registry, .. } = &stage(way).await;
    let lease = soon(registry.register(replica("a", 5), LEASE))
        .await
        .unwrap();
    let at = next(&mut registry.watch(None)).await.at();

    let older = soon(registry.register(replica("a", 4), LEASE)).await;
    let Err(Error::Superseded {
        key: contested,
        newest,
        offered,
    }) = older
    else {
        panic!("{older:?}")
    };
    assert_eq!(
        (contested, newest.version, offered.version),
        (key("a"), 5, 4)
    );

    let mut same_life = replica("a", 5);
    same_life.applications.clear();
    assert!(matches!(
        soon(registry.update(lease, same_life)).await,
        Err(Error::Superseded { .. })
    ));

    soon(registry.renew(lease)).await.unwrap();
    let event = next(&mut registry.watch(None)).await;
    assert_eq!(
        event,
        Event::Reset {
            at,
            endpoints: vec![Arc::new(replica("a", 5))]
        }
    );
}

pub(crate) async fn a_newer_life_voids_the_old_lease(way: Way) {
    let Stage { registry, .. } = &stage(way).await;
    let old = soon(registry.register(replica("a", 0), LEASE))
        .await
        .unwrap();
    let new = soon(registry.register(replica("a", 1), LEASE))
        .await
        .unwrap();

    assert!(matches!(
        soon(registry.renew(old)).await,
        Err(Error::LeaseLapsed)
    ));
    soon(registry.revoke(old)).await.unwrap();
    soon(registry.renew(new)).await.unwrap();
    let Event::Reset { endpoints, .. } = next(&mut registry.watch(None)).await else {
        panic!("a list")
    };
    assert_eq!(
        endpoints,
        [Arc::new(replica("a", 1))],
        "the voided lease removes nothing"
    );
}

pub(crate) async fn an_equal_record_writes_nothing(way: Way) {
    let Stage { registry, .. } = &stage(way).await;
    soon(registry.register(replica("a", 0), LEASE))
        .await
        .unwrap();
    let at = next(&mut registry.watch(None)).await.at();
    let mut watch = registry.watch(Some(at));
    assert_eq!(
        next(&mut watch).await,
        Event::Progress { at },
        "a watch says at once that it goes on"
    );

    let mut shuffled = replica("a", 0);
    shuffled.applications.reverse();
    shuffled
        .applications
        .push(Application::new("chat").unwrap());
    let lease = soon(registry.register(shuffled, LEASE)).await.unwrap();
    soon(registry.update(lease, replica("a", 0))).await.unwrap();
    soon(registry.renew(lease)).await.unwrap();

    advance(SECOND).await;
    assert_eq!(next(&mut watch).await, Event::Progress { at });
}

pub(crate) async fn revoke_removes_at_once(way: Way) {
    let Stage { registry, .. } = &stage(way).await;
    let lease = soon(registry.register(replica("a", 0), LEASE))
        .await
        .unwrap();
    let mut watch = registry.watch(Some(next(&mut registry.watch(None)).await.at()));
    soon(registry.revoke(lease)).await.unwrap();
    assert!(
        matches!(next_change(&mut watch).await, Event::Delete { key: gone, .. } if gone == key("a"))
    );
    soon(registry.revoke(lease)).await.unwrap();
    assert!(matches!(
        soon(registry.renew(lease)).await,
        Err(Error::LeaseLapsed)
    ));
    soon(registry.register(replica("a", 0), LEASE))
        .await
        .unwrap();
}

pub(crate) async fn records_are_bounded(way: Way) {
    let Stage { registry, .. } = &Stage::new(
        way,
        &Config {
            records_max: count(2),
            ..Config::default()
        },
    )
    .await;
    let a = soon(registry.register(replica("a", 0), LEASE))
        .await
        .unwrap();
    soon(registry.register(replica("b", 0), LEASE))
        .await
        .unwrap();

    // Through the wire the bound on streams may speak first; it is no verdict
    // on the record either.
    let full = soon(registry.register(replica("c", 0), LEASE)).await;
    assert!(
        matches!(
            full,
            Err(Error::Full { limit: 2 } | Error::Unavailable { .. })
        ),
        "{full:?}"
    );
    soon(registry.update(a, replica("a", 1))).await.unwrap();

    soon(registry.revoke(a)).await.unwrap();
    soon(registry.register(replica("c", 0), LEASE))
        .await
        .unwrap();
}

pub(crate) async fn invalid_records_are_refused_and_cost_no_lease(way: Way) {
    let Stage { registry, .. } = &stage(way).await;
    for ttl in [Duration::ZERO, Duration::from_secs(3601)] {
        assert!(matches!(
            soon(registry.register(replica("a", 0), ttl)).await,
            Err(Error::Invalid { .. })
        ));
    }
    let mut crowded = replica("a", 1);
    let names = (0..=MAX_APPLICATIONS).map(|n| Application::new(format!("app-{n}")).unwrap());
    crowded.applications = names.collect();
    assert!(matches!(
        soon(registry.register(crowded.clone(), LEASE)).await,
        Err(Error::Invalid { .. })
    ));

    let lease = soon(registry.register(replica("a", 0), LEASE))
        .await
        .unwrap();
    assert!(matches!(
        soon(registry.update(lease, crowded)).await,
        Err(Error::Invalid { .. })
    ));
    assert!(matches!(
        soon(registry.update(lease, replica("b", 1))).await,
        Err(Error::Invalid { .. })
    ));
    soon(registry.update(lease, replica("a", 1))).await.unwrap();
}

pub(crate) async fn progress_comes_every_second(way: Way) {
    let Stage { registry, .. } = &stage(way).await;
    let mut watch = registry.watch(None);
    let at = next(&mut watch).await.at();
    for _ in 0..5 {
        advance(SECOND).await;
        assert_eq!(next(&mut watch).await, Event::Progress { at });
    }
}

pub(crate) async fn ten_watchers_agree_whatever_their_pace(way: Way) {
    let Stage { registry, .. } = &Stage::new(
        way,
        &Config {
            history_max: count(16),
            ..Config::default()
        },
    )
    .await;
    let mut watchers: Vec<_> = (0..10)
        .map(|_| (registry.watch(None), Index::new()))
        .collect();
    let mut random = fastrand::Rng::with_seed(7);
    let mut leases = Vec::new();
    for version in 0..300 {
        match random.u8(0..4) {
            0 if !leases.is_empty() => {
                let lease = leases.swap_remove(random.usize(..leases.len()));
                soon(registry.revoke(lease)).await.unwrap();
            }
            1 => advance(SECOND / 4).await,
            _ => {
                let id = format!("r{}", random.u8(0..20));
                leases.push(
                    soon(registry.register(replica(&id, version), LEASE))
                        .await
                        .unwrap(),
                );
            }
        }
        // The first watcher hurries, the last sleeps until the end.
        for (pace, (watch, index)) in (0..9).zip(&mut watchers) {
            while random.u8(0..9) >= pace
                && let Some(Some(event)) = futures_util::StreamExt::next(watch).now_or_never()
            {
                index.apply(event);
            }
        }
    }

    let Event::Reset { at, endpoints } = next(&mut registry.watch(None)).await else {
        panic!("a list")
    };
    let mut truth = Index::new();
    truth.apply(Event::Reset { at, endpoints });
    for (watch, index) in &mut watchers {
        while index.at().is_none_or(|reached| reached < at) {
            index.apply(next(watch).await);
        }
        assert_eq!(
            index.snapshot().content_hash(),
            truth.snapshot().content_hash()
        );
    }
}
