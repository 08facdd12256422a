//! Watches: every revision, once, in order.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use gcs_sql::{Cause, Change, Event, Outcome, Revision, Settings, Write};

use crate::stage::{next, next_change, table, tables, told};

pub(crate) async fn a_watch_sees_every_revision_once_and_in_order(settings: &Settings) {
    const WRITERS: u64 = 4;
    const EACH: usize = 30;
    let t = table("t");
    let processes = [tables(settings).await, tables(settings).await];
    let watchers = processes.iter().flat_map(|tables| {
        ["", "a"].map(|prefix| {
            let mut watch = tables.watch(&t, prefix, Some(Revision(0)));
            tokio::spawn(async move {
                let mut seen: Vec<(Revision, Vec<Change>)> = Vec::new();
                loop {
                    match next_change(&mut watch).await {
                        Event::Changed { at, changes } => {
                            let last = changes.iter().any(|change| {
                                matches!(change, Change::Put(entry) if entry.key == "a-end")
                            });
                            seen.push((at, changes));
                            if last {
                                return (prefix, seen);
                            }
                        }
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
    });
    let watchers: Vec<_> = watchers.collect();

    let writers = (0..WRITERS).map(|n| {
        let (tables, t) = (processes[n as usize % 2].clone(), t.clone());
        tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(n);
            let mut written = BTreeMap::new();
            for step in 0..EACH {
                let mut write = Write::new().put(&table("noise"), format!("{n}"), "x");
                let mut changes = BTreeMap::new();
                for key in ["a", "b", "c"] {
                    let key = format!("{key}{}", random.u8(0..3));
                    if random.bool() {
                        let value = format!("{n}.{step}");
                        write = write.put(&t, key.clone(), value.clone());
                        changes.insert(Bytes::from(key), Bytes::from(value));
                    }
                }
                match tables.transact(&write).await.unwrap() {
                    Outcome::Done(at) => written.insert(at, changes),
                    refused => panic!("{refused:?}"),
                };
            }
            written
        })
    });
    let mut written = BTreeMap::new();
    for task in join_all(writers).await {
        written.extend(task.unwrap());
    }
    assert_eq!(written.len(), WRITERS as usize * EACH, "a revision each");
    processes[1]
        .transact(&Write::new().put(&t, "a-end", ""))
        .await
        .unwrap();
    written.retain(|_, changes| !changes.is_empty());

    for watcher in watchers {
        let (prefix, mut seen) = watcher.await.unwrap();
        seen.pop();
        let mut expected = written.clone();
        for changes in expected.values_mut() {
            changes.retain(|key, _| key.starts_with(prefix.as_bytes()));
        }
        expected.retain(|_, changes| !changes.is_empty());
        let seen: Vec<_> = seen
            .into_iter()
            .map(|(at, changes)| {
                let puts = changes.into_iter().map(|change| match change {
                    Change::Put(entry) => {
                        assert_eq!(entry.modified, at);
                        (entry.key, entry.value)
                    }
                    Change::Delete { key } => panic!("nobody deleted {key:?}"),
                });
                (at, puts.collect::<BTreeMap<_, _>>())
            })
            .collect();
        assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
    }
}

pub(crate) async fn a_compacted_position_is_reset_and_says_so(settings: &Settings) {
    let (tables, t) = (tables(settings).await, table("t"));
    for n in 1..=10 {
        tables
            .transact(&Write::new().put(&t, "k", n.to_string()))
            .await
            .unwrap();
    }
    tables
        .transact(&Write::new().delete(&t, "k").put(&t, "l", "1"))
        .await
        .unwrap();
    tables.compact(Revision(9)).await.unwrap();

    let mut kept = tables.watch(&t, "", Some(Revision(9)));
    assert_eq!(told(&next(&mut kept).await), ["k=10"]);
    assert_eq!(told(&next(&mut kept).await), ["k!", "l=1"]);

    let mut lost = tables.watch(&t, "", Some(Revision(8)));
    let Event::Reset { at, cause, entries } = next(&mut lost).await else {
        panic!("history is gone")
    };
    let oldest = Revision(9);
    assert_eq!((at, cause), (Revision(11), Cause::Compacted { oldest }));
    assert_eq!(entries.len(), 1);
    tables
        .transact(&Write::new().put(&t, "m", "1"))
        .await
        .unwrap();
    assert_eq!(
        told(&next_change(&mut lost).await),
        ["m=1"],
        "and on from there"
    );
}

pub(crate) async fn a_position_yet_to_come_is_reset(settings: &Settings) {
    let (tables, t) = (tables(settings).await, table("t"));
    tables
        .transact(&Write::new().put(&t, "k", "1"))
        .await
        .unwrap();
    let mut begun = tables.watch(&t, "", None);
    assert!(matches!(
        next(&mut begun).await,
        Event::Reset { at: Revision(1), cause: Cause::Begun, entries } if entries.len() == 1
    ));
    let mut foreign = tables.watch(&t, "", Some(Revision(99)));
    assert!(matches!(
        next(&mut foreign).await,
        Event::Reset {
            at: Revision(1),
            cause: Cause::Foreign,
            ..
        }
    ));
}

pub(crate) async fn a_quiet_watch_moves_on(settings: &Settings) {
    let pace = gcs_sql::Pace {
        poll: Duration::from_millis(10),
        progress: Duration::from_millis(50),
        ..Default::default()
    };
    let database = crate::stage::open(settings).await;
    let tables = gcs_sql::Tables::open(&database, pace).await.unwrap();
    let mut watch = tables.watch(&table("quiet"), "", Some(Revision(0)));
    tables
        .transact(&Write::new().put(&table("loud"), "k", "1"))
        .await
        .unwrap();
    while next(&mut watch).await != (Event::Progress { at: Revision(1) }) {}
    tables.compact(Revision(1)).await.unwrap();
    let event = next(&mut watch).await;
    assert!(
        matches!(event, Event::Progress { .. }),
        "nothing of it was compacted: {event:?}"
    );
}

/// What a watcher knows after applying an event.
fn apply(known: &mut BTreeMap<Bytes, Bytes>, event: Event) {
    match event {
        Event::Reset { entries, .. } => {
            *known = entries.into_iter().map(|it| (it.key, it.value)).collect();
        }
        Event::Changed { changes, .. } => {
            for change in changes {
                match change {
                    Change::Put(entry) => known.insert(entry.key, entry.value),
                    Change::Delete { key } => known.remove(&key),
                };
            }
        }
        Event::Progress { .. } => {}
    }
}

pub(crate) async fn watchers_agree_while_history_is_compacted(settings: &Settings) {
    const STEPS: i64 = 150;
    let t = table("t");
    let (writer, reader) = (tables(settings).await, tables(settings).await);
    let watchers = (0..4).map(|pace| {
        let mut watch = reader.watch(&t, "", None);
        tokio::spawn(async move {
            let (mut known, mut resets) = (BTreeMap::new(), 0);
            while !known.contains_key(&b"end"[..]) {
                let event = next(&mut watch).await;
                resets += usize::from(matches!(
                    event,
                    Event::Reset {
                        cause: Cause::Compacted { .. },
                        ..
                    }
                ));
                apply(&mut known, event);
                tokio::time::sleep(Duration::from_millis(pace * 15)).await;
            }
            (known, resets)
        })
    });
    let watchers: Vec<_> = watchers.collect();
    let mut random = fastrand::Rng::with_seed(5);
    for step in 0..STEPS {
        let key = random.u8(0..20).to_string();
        let write = match random.u8(0..3) {
            0 => Write::new().delete(&t, key),
            _ => Write::new().put(&t, key, step.to_string()),
        };
        let Outcome::Done(at) = writer.transact(&write).await.unwrap() else {
            panic!("it had no condition")
        };
        if step % 5 == 0 {
            writer.compact(at).await.unwrap();
        }
    }
    writer
        .transact(&Write::new().put(&t, "end", ""))
        .await
        .unwrap();

    let page = writer.range(&gcs_sql::Range::all(&t)).await.unwrap();
    let truth: BTreeMap<_, _> = page
        .entries
        .into_iter()
        .map(|it| (it.key, it.value))
        .collect();
    let mut reset = 0;
    for watcher in watchers {
        let (known, resets) = watcher.await.unwrap();
        assert_eq!(known, truth);
        reset += resets;
    }
    println!("{reset} times history was lost to a watcher");
}
