//! Against a plain map, and one refusal after the other.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ray_tables::{NamespaceName, StorageKey};

use super::*;
use crate::gcs::{
    heads::Heads,
    image::Image,
    key::NamespaceId,
    space::{Entry, State},
};

const ROOM: Room = Room { more: true };

fn space() -> Space {
    let entry = Entry {
        id: NamespaceId(1),
        name: NamespaceName::new("test").unwrap(),
        epoch: 0,
        state: State::Active,
        quota_bytes: None,
        quota_rows: None,
        cluster_id: None,
    };
    Space::new(entry, Heads::new(0), Image::default())
}

fn key(table: &TableName) -> StorageKey {
    StorageKey::new(NamespaceName::new("test").unwrap(), table.clone())
}

fn inline(bytes: &[u8]) -> Stored {
    Stored::Inline(Bytes::copy_from_slice(bytes))
}

fn run(space: &mut Space, command: &Command) -> (Reply, usize) {
    let mut group = Group {
        at_ms: 1,
        effects: Vec::new(),
    };
    let reply = execute(space, command, &mut Cursors::default(), ROOM, &mut group);
    (reply, group.effects.len())
}

fn hset(field: &[u8], value: &[u8]) -> Command {
    Command::Hset {
        key: key(&TableName::KV),
        field: Bytes::copy_from_slice(field),
        value: inline(value),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Set(u8, u8),
    SetNew(u8, u8),
    Get(u8),
    Many(Vec<u8>),
    Delete(Vec<u8>),
    Drop,
    Add(i64),
    Len,
}

fn step() -> impl Strategy<Value = Step> {
    let field = || 0..6_u8;
    prop_oneof![
        (field(), any::<u8>()).prop_map(|(f, v)| Step::Set(f, v)),
        (field(), any::<u8>()).prop_map(|(f, v)| Step::SetNew(f, v)),
        field().prop_map(Step::Get),
        prop::collection::vec(field(), 1..4).prop_map(Step::Many),
        prop::collection::vec(field(), 1..4).prop_map(Step::Delete),
        Just(Step::Drop),
        (-5..5_i64).prop_map(Step::Add),
        Just(Step::Len),
    ]
}

proptest! {
    #[test]
    fn replies_are_those_of_a_plain_map(steps in prop::collection::vec(step(), 1..80)) {
        let (mut space, mut map, mut counter) = (space(), BTreeMap::new(), None::<i64>);
        let (kv, count) = (key(&TableName::KV), key(&TableName::JOB_COUNTER));
        let name = |field: u8| Bytes::from(vec![field]);
        for step in steps {
            let (command, expected) = match step {
                Step::Set(field, value) => {
                    let new = map.insert(field, value).is_none();
                    (hset(&[field], &[value]), Reply::Int(new.into()))
                }
                Step::SetNew(field, value) => {
                    let new = !map.contains_key(&field);
                    map.entry(field).or_insert(value);
                    let command = Command::Hsetnx { key: kv.clone(), field: name(field), value: inline(&[value]) };
                    (command, Reply::Int(new.into()))
                }
                Step::Get(field) => {
                    let found = map.get(&field).map_or(Reply::Null, |it| Reply::Bulk(inline(&[*it])));
                    (Command::Hget { key: kv.clone(), field: name(field) }, found)
                }
                Step::Many(fields) => {
                    let found = fields.iter().map(|field| map.get(field).map_or(Reply::Null, |it| Reply::Bulk(inline(&[*it])))).collect();
                    (Command::Hmget { key: kv.clone(), fields: fields.into_iter().map(name).collect() }, Reply::Array(found))
                }
                Step::Delete(fields) => {
                    let deleted = fields.iter().filter(|field| map.remove(field).is_some()).count();
                    (Command::Hdel { key: kv.clone(), fields: fields.into_iter().map(name).collect() }, Reply::Int(deleted as i64))
                }
                Step::Drop => {
                    let there = usize::from(!map.is_empty()) + usize::from(counter.is_some());
                    map.clear();
                    counter = None;
                    (Command::Del { keys: vec![kv.clone(), count.clone()] }, Reply::Int(there as i64))
                }
                Step::Add(by) => {
                    let new = counter.unwrap_or(0) + by;
                    counter = Some(new);
                    (Command::Incrby { key: count.clone(), by }, Reply::Int(new))
                }
                Step::Len => (Command::Hlen { key: kv.clone() }, Reply::Int(map.len() as i64)),
            };
            prop_assert_eq!(run(&mut space, &command).0, expected);
        }
    }

    #[test]
    fn a_scan_finds_what_stays_from_its_start_to_its_end(
        kept in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 1..4), 0..60),
        meanwhile in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..4), any::<bool>()), 0..60),
    ) {
        let (mut space, mut cursors) = (space(), Cursors::default());
        let mut group = Group { at_ms: 1, effects: Vec::new() };
        // A value that fills a quarter of a page, so that there are several.
        let value = Stored::Blob { hash: [0; 32], size: PAGE_BYTES / 4 };
        for field in &kept {
            space.put(&TableName::KV, &Bytes::copy_from_slice(field), &value, &mut group);
        }
        let (mut found, mut cursor, mut meanwhile) = (Vec::new(), 0, meanwhile.into_iter());
        loop {
            let scan = Command::Hscan { key: key(&TableName::KV), cursor, pattern: None, count: 1000 };
            let Reply::Array(page) = execute(&mut space, &scan, &mut cursors, ROOM, &mut group) else { panic!() };
            let [Reply::Bulk(Stored::Inline(next)), Reply::Array(items)] = &page[..] else { panic!() };
            for pair in items.chunks(2) {
                let Reply::Bulk(Stored::Inline(field)) = &pair[0] else { panic!() };
                found.push(field.to_vec());
            }
            cursor = str::from_utf8(next).unwrap().parse().unwrap();
            if cursor == 0 { break; }
            for (field, put) in meanwhile.by_ref().take(3).filter(|(field, _)| !kept.contains(field)) {
                if put {
                    space.put(&TableName::KV, &Bytes::from(field), &value, &mut group);
                } else {
                    space.delete(&TableName::KV, &field, &mut group);
                }
            }
        }
        for field in &kept {
            prop_assert_eq!(found.iter().filter(|it| *it == field).count(), 1);
        }
    }
}

#[test]
fn a_prefix_is_a_range() {
    let mut space = space();
    for field in [&b"a"[..], b"ab", b"ab\xff", b"ac", b"b"] {
        run(&mut space, &hset(field, b""));
    }
    let scan = Command::Hscan {
        key: key(&TableName::KV),
        cursor: 0,
        pattern: Some(Pattern::parse(b"ab*")),
        count: 10,
    };
    let expected = [&b"ab"[..], b"", b"ab\xff", b""].map(|it| Reply::Bulk(inline(it)));
    assert_eq!(run(&mut space, &scan).0, page(0, expected.to_vec()));
}

#[test]
fn a_cursor_that_nobody_gave_out_is_refused() {
    let scan = Command::Hscan {
        key: key(&TableName::KV),
        cursor: 77,
        pattern: None,
        count: 10,
    };
    assert_eq!(
        run(&mut space(), &scan).0,
        Reply::Error("ERR invalid cursor".into())
    );
}

#[test]
fn a_refused_command_changes_nothing() {
    let refused = |change: fn(&mut Space), room: Room, command: &Command, kind: &str| {
        let mut space = space();
        run(&mut space, &hset(b"there", b"12345"));
        change(&mut space);
        let before = space.image.usage();
        let mut group = Group {
            at_ms: 2,
            effects: Vec::new(),
        };
        let reply = execute(
            &mut space,
            command,
            &mut Cursors::default(),
            room,
            &mut group,
        );
        let Reply::Error(text) = reply else {
            panic!("not refused: {reply:?}")
        };
        assert!(text.starts_with(kind), "{text}");
        assert_eq!(space.image.usage(), before);
        assert!(group.effects.is_empty());
    };
    let full = Room { more: false };
    refused(
        |it| it.entry.state = State::Frozen,
        ROOM,
        &hset(b"x", b""),
        "READONLY",
    );
    refused(
        |it| it.entry.state = State::Deleted,
        ROOM,
        &hset(b"x", b""),
        "ERR namespace",
    );
    refused(
        |it| it.entry.quota_rows = Some(1),
        ROOM,
        &hset(b"x", b""),
        "OOM",
    );
    refused(
        |it| it.entry.quota_bytes = Some(11),
        ROOM,
        &hset(b"x", b"1"),
        "OOM",
    );
    refused(
        |it| it.entry.quota_bytes = Some(11),
        ROOM,
        &hset(b"there", b"1234567"),
        "OOM",
    );
    refused(|_| {}, full, &hset(b"x", b""), "OOM");
    refused(|_| {}, ROOM, &hset(&[0; FIELD_MAX + 1], b""), "ERR a field");
    let add = Command::Incrby {
        key: key(&TableName::JOB_COUNTER),
        by: 1,
    };
    refused(
        |it| {
            let mut group = Group {
                at_ms: 1,
                effects: Vec::new(),
            };
            it.put(
                &TableName::JOB_COUNTER,
                &Bytes::new(),
                &inline(b"many"),
                &mut group,
            );
        },
        ROOM,
        &add,
        "ERR value is not an integer",
    );
    refused(
        |it| {
            let mut group = Group {
                at_ms: 1,
                effects: Vec::new(),
            };
            let most = i64::MAX.to_string();
            it.put(
                &TableName::JOB_COUNTER,
                &Bytes::new(),
                &inline(most.as_bytes()),
                &mut group,
            );
        },
        ROOM,
        &add,
        "ERR increment",
    );
}

#[test]
fn a_smaller_value_always_fits() {
    let mut space = space();
    run(&mut space, &hset(b"there", b"12345"));
    space.entry.quota_bytes = Some(1);
    space.entry.quota_rows = Some(1);
    assert_eq!(
        run(&mut space, &hset(b"there", b"1234")),
        (Reply::Int(0), 1)
    );
}
