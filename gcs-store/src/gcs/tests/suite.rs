//! What one active store promises.

use bytes::Bytes;
use ray_tables::TableName;
use resp::Pattern;

use super::stage::{PATIENCE, Stage, ask, bulk, hdel, hget, hset, incrby, inline, key, namespace};
use crate::{
    gcs::{
        blob,
        clock::now_ms,
        command::{Command, INLINE_MAX, Reply, Stored},
        execute::page,
        fold::Fold,
        heads::{Heads, cluster_id_field},
        image::Image,
        journal,
        key::FIELD_IN_KEY,
        space::{Group, Space, Spaces},
        writer::{self, Writer},
    },
    snapshot,
};

pub(super) async fn what_was_acknowledged_is_there_after_a_restart(stage: &mut Stage) {
    let odd = b"\0\xff\r\n@*";
    let running = stage.start().await;
    let session = running.session(1);
    assert_eq!(ask(&session, hset("a", odd, odd)).await, Reply::Int(1));
    assert_eq!(ask(&session, hset("a", odd, b"")).await, Reply::Int(0));
    assert_eq!(ask(&session, hset("a", b"gone", b"1")).await, Reply::Int(1));
    assert_eq!(ask(&session, hdel("a", b"gone")).await, Reply::Int(1));
    assert_eq!(ask(&session, incrby("a", 1)).await, Reply::Int(1));
    assert_eq!(ask(&session, incrby("a", 1)).await, Reply::Int(2));
    running.kill().await;

    for _ in 0..2 {
        let running = stage.start().await;
        let session = running.session(2);
        assert_eq!(ask(&session, hget("a", odd)).await, bulk(b""));
        assert_eq!(ask(&session, hget("a", b"gone")).await, Reply::Null);
        let counter = Command::Get {
            key: key("a", &TableName::JOB_COUNTER),
        };
        assert_eq!(ask(&session, counter).await, bulk(b"2"));
        running.stop().await;
    }
}

pub(super) async fn a_fold_changes_nothing_that_can_be_read(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    for nth in 0..600_u32 {
        let field = nth.to_be_bytes();
        ask(&session, hset("a", &field, &field)).await;
        if nth.is_multiple_of(3) {
            ask(&session, hdel("a", &field)).await;
        }
    }
    let read = async || {
        let entries = snapshot::read(&stage.database, &namespace("a"), None).await;
        entries.unwrap().unwrap()
    };
    let before = read().await;
    assert_eq!(before.len(), 400);
    stage.folded().await;
    assert_eq!(stage.int("SELECT COUNT(*) FROM gcs_row", &[]).await, 400);
    assert_eq!(read().await, before);
}

/// A fold of several transactions, looked at after each.
pub(super) async fn a_fold_that_stops_anywhere_loses_nothing(stage: &mut Stage) {
    let running = stage.start().await;
    ask(&running.session(1), hset("a", b"first", b"")).await;
    running.stop().await;
    let held = writer::read(&stage.database).await.unwrap();
    assert!(
        writer::take(&stage.database, &held, "test#1", "")
            .await
            .unwrap()
    );
    let mut writer = Writer::new(stage.database.clone(), held.epoch + 1);

    let (entries, _) = writer.catalog().await.unwrap();
    let (id, mut spaces) = (entries[0].id, Spaces::default());
    spaces.load(Space::new(
        entries[0].clone(),
        Heads::new(0),
        Image::default(),
    ));
    spaces.set_catalog(entries);
    for row in writer.journal().await.unwrap() {
        for effect in row.effects {
            spaces.get_mut(id).unwrap().apply(&effect, row.at_ms);
        }
    }
    let mut upto = 0;
    for nth in 0..40_u32 {
        let mut group = Group {
            at_ms: now_ms(),
            effects: Vec::new(),
        };
        let space = spaces.get_mut(id).unwrap();
        for inner in 0..30_u32 {
            let field = Bytes::from((nth * 20 + inner).to_be_bytes().to_vec());
            space.put(
                &TableName::KV,
                &field,
                &inline(&nth.to_be_bytes()),
                &mut group,
            );
        }
        if nth == 20 {
            space.drop_table(&TableName::KV, &mut group);
        }
        upto = writer
            .append(group.at_ms, journal::encode(&group.effects))
            .await
            .unwrap();
    }
    let read = async || {
        let entries = snapshot::read(&stage.database, &namespace("a"), None).await;
        let fields = entries.unwrap().unwrap().into_iter();
        fields.map(|it| (it.field, it.value)).collect::<Vec<_>>()
    };
    let before = read().await;
    let mut fold = Fold::begin(&mut spaces, upto);
    let mut steps = 0;
    loop {
        let step = fold.step(&mut writer, &spaces, now_ms(), true).await;
        let (_, last) = step.unwrap().unwrap();
        steps += 1;
        assert_eq!(read().await, before, "after step {steps}");
        if last {
            break;
        }
    }
    assert!(steps > 2, "one transaction proves little");
    stage.folded().await;
}

/// Makes every row look as if it had been written an hour ago.
async fn age(stage: &Stage) {
    let hour = 3_600_000;
    stage
        .database
        .execute(
            "UPDATE gcs_row SET updated_ms = updated_ms - ?, created_ms = created_ms - ?",
            &[hour.into(), hour.into()],
        )
        .await
        .unwrap();
}

pub(super) async fn what_is_overwritten_or_deleted_is_remembered(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    for field in [&b"kept"[..], b"changed", b"deleted"] {
        ask(&session, hset("a", field, b"old")).await;
    }
    stage.folded().await;
    running.stop().await;
    age(stage).await;
    let past = now_ms() - 60_000;

    let running = stage.start().await;
    let session = running.session(1);
    ask(&session, hset("a", b"changed", b"new")).await;
    ask(&session, hset("a", b"added", b"new")).await;
    ask(&session, hdel("a", b"deleted")).await;
    stage.folded().await;

    let at = async |at| {
        let entries = snapshot::read(&stage.database, &namespace("a"), at).await;
        let entries = entries.unwrap().unwrap().into_iter();
        entries.map(|it| (it.field, it.value)).collect::<Vec<_>>()
    };
    let pair = |field: &'static str, value: &[u8]| (Bytes::from(field), inline(value));
    assert_eq!(
        at(Some(past)).await,
        [
            pair("changed", b"old"),
            pair("deleted", b"old"),
            pair("kept", b"old")
        ]
    );
    assert_eq!(
        at(None).await,
        [
            pair("added", b"new"),
            pair("changed", b"new"),
            pair("kept", b"old")
        ]
    );
    assert_eq!(at(Some(past - 3_600_000)).await, []);
}

pub(super) async fn a_value_that_lived_less_than_a_minute_is_not_remembered(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    for beat in 0..3_u8 {
        ask(&session, hset("a", b"heartbeat", &[beat])).await;
        stage.folded().await;
    }
    assert_eq!(stage.int("SELECT COUNT(*) FROM gcs_history", &[]).await, 0);
    ask(&session, hdel("a", b"heartbeat")).await;
    stage.folded().await;
    assert_eq!(stage.int("SELECT COUNT(*) FROM gcs_history", &[]).await, 1);
}

pub(super) async fn a_large_value_is_stored_once_and_read_in_pieces(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    let large: Bytes = (0..3 * blob::CHUNK + 17).map(|nth| nth as u8).collect();
    for field in ["one", "other"] {
        let value = session.stage(large.clone()).await;
        assert!(matches!(value, Stored::Blob { size, .. } if size == large.len() as u64));
        let command = Command::Hset {
            key: key("a", &TableName::KV),
            field: field.into(),
            value,
        };
        assert_eq!(ask(&session, command).await, Reply::Int(1));
    }
    let small = session.stage(large.slice(..INLINE_MAX)).await;
    assert_eq!(small, Stored::Inline(large.slice(..INLINE_MAX)));
    assert_eq!(stage.int("SELECT COUNT(*) FROM gcs_blob", &[]).await, 4);

    running.kill().await;
    let running = stage.start().await;
    let session = running.session(1);
    let Reply::Bulk(stored) = ask(&session, hget("a", b"other")).await else {
        panic!("not there");
    };
    let Stored::Blob { hash, .. } = stored else {
        panic!("not large")
    };
    let mut read = Vec::new();
    for nth in 0..4 {
        read.extend_from_slice(&session.chunk(&hash, nth).await.unwrap());
    }
    assert!(read == large);
    assert!(session.chunk(&hash, 4).await.is_err());
    assert!(blob::value(&stage.database, &stored).await.unwrap() == large);
}

pub(super) async fn a_blob_in_use_is_kept(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    let values: Vec<Bytes> = (0..3_u8)
        .map(|nth| vec![nth; INLINE_MAX + 1].into())
        .collect();
    for (field, value) in ["row", "history", "nothing"].into_iter().zip(&values) {
        let command = Command::Hset {
            key: key("a", &TableName::KV),
            field: field.into(),
            value: session.stage(value.clone()).await,
        };
        ask(&session, command).await;
    }
    stage.folded().await;
    ask(&session, hdel("a", b"history")).await;
    ask(&session, hdel("a", b"nothing")).await;
    stage.folded().await;
    let hash = blake3::hash(&values[2]);
    stage
        .database
        .execute(
            "DELETE FROM gcs_history WHERE blob_hash = ?",
            &[Bytes::copy_from_slice(hash.as_bytes()).into()],
        )
        .await
        .unwrap();

    assert_eq!(blob::sweep(&stage.database, 0, 10).await.unwrap(), 0);
    let later = now_ms() + 1;
    assert_eq!(blob::sweep(&stage.database, later, 10).await.unwrap(), 1);
    assert_eq!(stage.int("SELECT COUNT(*) FROM gcs_blob", &[]).await, 2);
    assert_eq!(
        stage.int("SELECT COUNT(*) FROM gcs_blob_info", &[]).await,
        2
    );
    // Who stores it again finds it gone and writes it anew.
    let again = session.stage(values[2].clone()).await;
    assert!(blob::value(&stage.database, &again).await.unwrap() == values[2]);
}

pub(super) async fn a_long_field_is_a_field_like_any_other(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    let mut long = vec![b'x'; FIELD_IN_KEY + 1];
    let mut other = long.clone();
    other[FIELD_IN_KEY] = b'y';
    ask(&session, hset("a", &long, b"1")).await;
    ask(&session, hset("a", &other, b"2")).await;
    stage.folded().await;
    running.stop().await;

    let running = stage.start().await;
    let session = running.session(1);
    assert_eq!(ask(&session, hget("a", &long)).await, bulk(b"1"));
    assert_eq!(ask(&session, hget("a", &other)).await, bulk(b"2"));
    assert_eq!(ask(&session, hdel("a", &long)).await, Reply::Int(1));
    stage.folded().await;
    assert_eq!(stage.int("SELECT COUNT(*) FROM gcs_row", &[]).await, 1);
    long.push(b'z');
    assert_eq!(ask(&session, hget("a", &long)).await, Reply::Null);
}

pub(super) async fn commands_keep_their_order_while_a_namespace_loads(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    ask(&session, hset("a", b"f", b"0")).await;
    running.stop().await;

    let running = stage.start().await;
    let session = running.session(1);
    let mut pending = Vec::new();
    for nth in 1..=50_u8 {
        pending.push(session.submit(hset("a", b"f", &[nth])));
        pending.push(session.submit(hget("a", b"f")));
    }
    for (nth, replies) in (1..=50_u8).zip(pending.chunks_mut(2)) {
        let [set, get] = replies else { unreachable!() };
        let set = tokio::time::timeout(PATIENCE, set).await.unwrap();
        let get = tokio::time::timeout(PATIENCE, get).await.unwrap();
        assert_eq!(set.unwrap(), Reply::Int(0));
        assert_eq!(get.unwrap(), bulk(&[nth]));
    }
}

pub(super) async fn keys_are_scanned_namespace_by_namespace(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    for name in ["expA", "expA2", "b"] {
        ask(&session, hset(name, b"f", b"")).await;
        ask(&session, incrby(name, 1)).await;
    }
    let scan = async |pattern: &str, mut cursor| {
        let mut found = Vec::new();
        loop {
            let command = Command::Scan {
                cursor,
                pattern: Some(Pattern::parse(pattern.as_bytes())),
                count: 1000,
            };
            let Reply::Array(page) = ask(&session, command).await else {
                panic!("no page");
            };
            let [Reply::Bulk(Stored::Inline(next)), Reply::Array(keys)] = &page[..] else {
                panic!("no page");
            };
            for key in keys {
                let Reply::Bulk(Stored::Inline(key)) = key else {
                    panic!("no key")
                };
                found.push(String::from_utf8(key.to_vec()).unwrap());
            }
            cursor = str::from_utf8(next).unwrap().parse().unwrap();
            if cursor == 0 {
                found.sort();
                return found;
            }
        }
    };
    assert_eq!(
        scan("RAYexpA@*", 0).await,
        ["RAYexpA@JobCounter", "RAYexpA@KV"]
    );
    assert_eq!(
        scan("*@KV", 0).await,
        ["RAYb@KV", "RAYexpA2@KV", "RAYexpA@KV"]
    );
    assert_eq!(scan("RAYnone@*", 0).await, Vec::<String>::new());
}

pub(super) async fn a_deleted_table_comes_back_empty(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    ask(&session, hset("a", b"before", b"")).await;
    stage.folded().await;
    ask(&session, hset("a", b"unfolded", b"")).await;
    let keys = vec![key("a", &TableName::KV), key("none", &TableName::KV)];
    assert_eq!(ask(&session, Command::Del { keys }).await, Reply::Int(1));
    ask(&session, hset("a", b"after", b"")).await;
    let scan = Command::Hscan {
        key: key("a", &TableName::KV),
        cursor: 0,
        pattern: None,
        count: 10,
    };
    let expected = page(0, vec![bulk(b"after"), bulk(b"")]);
    assert_eq!(ask(&session, scan.clone()).await, expected);
    running.kill().await;
    let running = stage.start().await;
    assert_eq!(ask(&running.session(1), scan).await, expected);
    stage.folded().await;
    assert_eq!(stage.int("SELECT COUNT(*) FROM gcs_row", &[]).await, 1);
}

pub(super) async fn a_catalog_change_is_in_force_when_it_is_said_to_be_seen(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    ask(&session, hset("a", b"f", b"1")).await;
    stage
        .database
        .execute("UPDATE gcs_namespace SET state = 'frozen'", &[])
        .await
        .unwrap();
    stage
        .database
        .execute(
            "UPDATE gcs_writer SET catalog_version = catalog_version + 1",
            &[],
        )
        .await
        .unwrap();
    stage
        .until(
            "SELECT COUNT(*) FROM gcs_writer WHERE catalog_seen = catalog_version",
            1,
        )
        .await;
    let refused = ask(&session, hset("a", b"f", b"2")).await;
    assert_eq!(
        refused,
        Reply::Error("READONLY namespace a is frozen".into())
    );
    assert_eq!(ask(&session, hget("a", b"f")).await, bulk(b"1"));
}

pub(super) async fn a_namespace_must_be_declared_if_so_configured(stage: &mut Stage) {
    stage.open = false;
    let running = stage.start().await;
    let session = running.session(1);
    let Reply::Error(text) = ask(&session, hset("a", b"f", b"1")).await else {
        panic!("not refused");
    };
    assert!(text.starts_with("NOPERM there is no namespace a"), "{text}");
    assert_eq!(ask(&session, hget("a", b"f")).await, Reply::Null);
}

pub(super) async fn a_cluster_cannot_take_the_place_of_a_living_one(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    let id = |value: &[u8]| Command::Hsetnx {
        key: key("a", &TableName::KV),
        field: cluster_id_field(),
        value: inline(value),
    };
    assert_eq!(ask(&session, id(b"first")).await, Reply::Int(1));
    // A node that is alive: its id, and no state, which is ALIVE.
    let node = Command::Hset {
        key: key("a", &TableName::NODE),
        field: Bytes::from_static(&[7; 28]),
        value: inline(&[&[0x0a, 28][..], &[7; 28]].concat()),
    };
    assert_eq!(ask(&session, node).await, Reply::Int(1));
    assert_eq!(
        ask(&session, hdel("a", &cluster_id_field())).await,
        Reply::Int(1)
    );
    let Reply::Error(text) = ask(&session, id(b"second")).await else {
        panic!("not refused");
    };
    assert!(text.starts_with("ERR namespace a: "), "{text}");
    let Reply::Error(text) = ask(&session, id(&[0; 300])).await else {
        panic!("not refused");
    };
    assert!(text.starts_with("ERR a cluster's id has at most"), "{text}");
    assert_eq!(ask(&session, id(b"first")).await, Reply::Int(1));
}
