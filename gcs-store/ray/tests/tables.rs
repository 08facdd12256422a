//! Rows that a real Ray wrote are read as what they are.

mod trace;

use std::fmt::Write;

use bytes::Bytes;
use ray_tables::{
    Actor, ActorState, Cluster, Decode, Id, KvKey, Node, Pair, Record, Row, TableName, TaskSpec,
    Time, Unreadable,
};
use serde::Serialize;
use trace::{BEFORE_THE_KILL, END, HEAD_BACK, records};

fn json(value: impl Serialize) -> String {
    serde_json::to_string_pretty(&value).expect("these are plain values")
}

fn readable<T>(rows: &[Row<T>]) -> Vec<&T> {
    rows.iter()
        .map(|row| row.content.as_ref().expect("Ray wrote it"))
        .collect()
}

#[test]
fn every_recorded_row_is_read() {
    for until in [BEFORE_THE_KILL, HEAD_BACK, END] {
        let cluster = Cluster::read(records(until));
        readable(&cluster.nodes);
        readable(&cluster.actors);
        readable(&cluster.specs);
        readable(&cluster.jobs);
        readable(&cluster.workers);
        readable(&cluster.groups);
        assert!(cluster.other.is_empty());
        assert_eq!(cluster.live_heads().count(), 1);
    }
}

#[test]
fn one_row_of_each_table_in_full() {
    let cluster = Cluster::read(records(END));
    insta::assert_snapshot!("nodes", json(&cluster.nodes));
    let dead = cluster.actors.iter().find(|row| {
        row.get()
            .is_some_and(|actor| actor.state.is(&ActorState::Dead))
    });
    insta::assert_snapshot!("actor_alive", json(&cluster.actors[0]));
    insta::assert_snapshot!("actor_dead", json(dead));
    insta::assert_snapshot!("task_spec", json(&cluster.specs[0]));
    insta::assert_snapshot!("jobs", json(&cluster.jobs));
    insta::assert_snapshot!("workers", json(&cluster.workers[..3]));
    insta::assert_snapshot!("groups", json(&cluster.groups));
    insta::assert_snapshot!("job_counter", json(&cluster.job_counter));
    insta::assert_snapshot!("identity", json(cluster.identity()));
    let submissions: Vec<_> = cluster.kv.iter().filter_map(Pair::submission).collect();
    insta::assert_snapshot!("submissions", json(submissions));
    insta::assert_snapshot!("kv", json(&cluster.kv));
}

#[test]
fn a_head_that_comes_back_finds_its_actors_restarting() {
    let cluster = Cluster::read(records(HEAD_BACK));
    let mut lines = String::new();
    for actor in readable(&cluster.actors) {
        let name = actor.name.as_deref().unwrap_or_default();
        writeln!(lines, "{:<14}{:<3}{name}", actor.state, actor.restarts).unwrap();
    }
    insta::assert_snapshot!(lines);
}

fn record(table: TableName, field: &'static [u8], value: &[u8]) -> Record {
    Record {
        table,
        field: Bytes::from_static(field),
        value: Some(Bytes::copy_from_slice(value)),
        size: value.len() as u64,
        created: Time::from_ms(0),
        updated: Time::from_ms(0),
    }
}

#[test]
fn a_row_that_cannot_be_read_hides_no_other() {
    let mut rows = records(END);
    let all = Cluster::read(rows.clone()).nodes.len();
    rows.push(record(TableName::NODE, b"\x01\x02", b"\xff\xff\xff"));
    rows.push(record(TableName::NODE, b"\x03\x04", b""));
    let cluster = Cluster::read(rows);
    assert_eq!(cluster.nodes.len(), all + 2);
    assert_eq!(cluster.nodes.iter().filter_map(Row::get).count(), all);
    insta::assert_snapshot!(json(&cluster.nodes[..2]));
}

#[test]
fn a_row_under_the_id_of_another_is_not_believed() {
    let row = records(END)
        .into_iter()
        .find(|row| row.table == TableName::ACTOR);
    let value = row.unwrap().value.unwrap();
    let other = Bytes::from_static(&[7; 16]);
    assert!(matches!(
        Actor::decode(&other, &value),
        Err(Unreadable::Misplaced { .. })
    ));
    assert!(TaskSpec::decode(&other, &value).is_err());
}

#[test]
fn what_a_newer_ray_adds_is_skipped_or_shown_as_a_number() {
    let row = records(END)
        .into_iter()
        .find(|row| row.table == TableName::NODE)
        .unwrap();
    let mut value = row.value.unwrap().to_vec();
    // Field 7, the state, once more with a number nobody has: the last counts.
    value.extend([7 << 3, 7]);
    // Field 1000, a text.
    value.extend([0xc2, 0x3e, 3, b'n', b'e', b'w']);
    let node = Node::decode(&row.field, &value.into()).unwrap();
    assert_eq!(node.state.to_string(), "UNKNOWN(7)");
    assert_eq!(json(node.state), r#""UNKNOWN(7)""#);
}

#[test]
fn times_no_clock_shows_are_numbers() {
    assert_eq!(Time::from_ms(0).to_string(), "1970-01-01T00:00:00.000Z");
    assert_eq!(
        Time::from_ms(1_795_183_810_056).to_string(),
        "2026-11-20T14:10:10.056Z"
    );
    assert_eq!(Time::from_ms(-1).to_string(), "-1 ms");
    assert_eq!(
        Time::from_ms(i64::MAX).to_string(),
        "9223372036854775807 ms"
    );
}

#[test]
fn keys_are_split_into_namespace_and_key_and_printed_safely() {
    let parse = |field: &'static [u8]| KvKey::parse(&Bytes::from_static(field));
    let key = parse(b"@namespace_serve:a:b");
    assert_eq!(key.namespace.as_deref(), Some(&b"serve"[..]));
    assert_eq!(key.key, "a:b");
    assert_eq!(parse(b"gcs_pid").namespace, None);
    assert_eq!(parse(b"@namespace_x").to_string(), "@namespace_x");
    assert_eq!(
        parse(b"@namespace_cov:\x00\xff\r\n\x1b\\\xc3\xbc").to_string(),
        "cov:\\u{0}\\xff\\r\\n\\u{1b}\\\\\u{fc}"
    );
}

#[test]
fn ids_are_hexadecimal_and_of_jobs_little_endian() {
    let id: Id = "05010000".parse().unwrap();
    assert_eq!(
        (id.to_string().as_str(), id.job_number()),
        ("05010000", Some(261))
    );
    assert_eq!(id.short(2), "05");
    for wrong in ["0", "0g", "-1"] {
        assert!(wrong.parse::<Id>().is_err(), "{wrong}");
    }
    assert_eq!("0501".parse::<Id>().unwrap().job_number(), None);
}

proptest::proptest! {
    #[test]
    fn every_field_of_kv_is_split_without_loss(
        namespace in "[^:]{0,8}",
        key in proptest::collection::vec(proptest::num::u8::ANY, 0..32),
    ) {
        let field = [b"@namespace_", namespace.as_bytes(), b":", &key].concat();
        let split = KvKey::parse(&field.into());
        proptest::prop_assert_eq!(split.namespace.unwrap(), namespace);
        proptest::prop_assert_eq!(split.key, key);
    }

    #[test]
    fn any_bytes_are_a_row_or_an_error(
        field in proptest::collection::vec(proptest::num::u8::ANY, 0..32),
        value in proptest::collection::vec(proptest::num::u8::ANY, 0..256),
    ) {
        let rows = TableName::ALL.map(|table| Record {
            table,
            field: field.clone().into(),
            value: Some(value.clone().into()),
            size: value.len() as u64,
            created: Time::from_ms(i64::MIN),
            updated: Time::from_ms(i64::MAX),
        });
        let cluster = Cluster::read(rows);
        serde_json::to_string(&cluster.kv).unwrap();
        serde_json::to_string(&cluster.nodes).unwrap();
        serde_json::to_string(&cluster.identity()).unwrap();
    }
}
