//! What is printed of a real cluster.

#[path = "../../../../gcs-store/ray/tests/trace/mod.rs"]
mod trace;

use ray_tables::{Cluster, Incarnation, NamespaceName, Record, TableName, Time};
use trace::{BEFORE_THE_KILL, END, HEAD_BACK, NO_HEAD, records};

use super::{
    seen::{Filter, Seen},
    table::{self, View},
    value,
};

/// Twenty minutes after the last write of the run.
const NOW: i64 = 1_795_185_071_000;

fn head(epoch: i64, began: i64, fenced: Option<i64>) -> Incarnation {
    Incarnation {
        epoch,
        kind: if epoch == 1 { "observed" } else { "user" }.to_owned(),
        peer: format!("192.0.2.2:4{epoch:04}"),
        user: if epoch == 1 { "" } else { "drill/2" }.to_owned(),
        began: Time::from_ms(began),
        fenced: fenced.map(Time::from_ms),
        fenced_by: fenced.map(|_| epoch + 1),
    }
}

fn seen(until: i64, now: i64) -> Seen {
    Seen {
        namespace: NamespaceName::new("drill").unwrap(),
        state: "active".to_owned(),
        cluster: Cluster::read(records(until)),
        heads: vec![
            head(2, 1_795_183_847_231, None),
            head(1, 1_795_183_794_634, Some(1_795_183_847_240)),
        ],
        now: Time::from_ms(now),
    }
}

fn wide() -> View {
    View {
        wide: true,
        ..View::default()
    }
}

fn only(state: &str, limit: Option<usize>) -> View {
    View {
        filter: Filter {
            state: Some(state.to_owned()),
            limit,
        },
        wide: false,
    }
}

#[test]
fn a_cluster_in_tables() {
    let seen = seen(END, NOW);
    let view = View::default();
    insta::assert_snapshot!("nodes", table::nodes(&seen, &view));
    insta::assert_snapshot!("actors", table::actors(&seen, &view));
    insta::assert_snapshot!("jobs", table::jobs(&seen, &view));
    insta::assert_snapshot!("groups", table::groups(&seen, &view));
    insta::assert_snapshot!("kv", table::kv(&seen, &view));
    insta::assert_snapshot!("heads", table::heads(&seen, &view));
}

#[test]
fn wide_tables_hold_everything() {
    let seen = seen(END, NOW);
    insta::assert_snapshot!("nodes_wide", table::nodes(&seen, &wide()));
    insta::assert_snapshot!("actors_wide", table::actors(&seen, &wide()));
    insta::assert_snapshot!("groups_wide", table::groups(&seen, &wide()));
}

#[test]
fn rows_are_chosen_by_state_and_number() {
    let seen = seen(HEAD_BACK, HEAD_BACK);
    let restarting = only("restarting", None);
    insta::assert_snapshot!("restarting", table::actors(&seen, &restarting));
    let one = only("ALIVE", Some(1));
    insta::assert_snapshot!("one_alive", table::nodes(&seen, &one));
}

#[test]
fn clusters_in_a_line_each() {
    let mut empty = seen(0, NOW);
    empty.cluster = Cluster::default();
    let all = [
        seen(BEFORE_THE_KILL, BEFORE_THE_KILL + 1000).summary(),
        seen(NO_HEAD, NO_HEAD + 3_600_000).summary(),
        empty.summary(),
    ];
    let now = Time::from_ms(NOW);
    insta::assert_snapshot!("clusters", table::clusters(&all, now, &View::default()));
    let json = serde_json::to_string_pretty(&all[0]).unwrap();
    insta::assert_snapshot!("cluster_json", json);
}

#[test]
fn findings_say_what_to_do() {
    let seen = seen(NO_HEAD, NO_HEAD + 3_600_000);
    insta::assert_snapshot!("findings", table::findings(&seen.findings()));
    assert_eq!(table::findings(&[]), "no findings\n");
}

#[test]
fn a_row_that_cannot_be_read_is_shown_with_its_error() {
    let mut rows = records(END);
    rows.retain(|row| row.table == TableName::NODE);
    rows.push(Record {
        table: TableName::NODE,
        field: "\u{1b}[2J".into(),
        value: Some("\u{1b}[2J".into()),
        size: 4,
        created: Time::from_ms(0),
        updated: Time::from_ms(0),
    });
    let mut seen = seen(END, NOW);
    seen.cluster = Cluster::read(rows);
    let text = table::nodes(&seen, &View::default());
    assert!(!text.contains('\u{1b}'));
    insta::assert_snapshot!("unreadable", text);
}

#[test]
fn values_are_text_json_or_digits() {
    insta::assert_snapshot!(value::draw(b"session_2026"), @"session_2026");
    insta::assert_snapshot!(value::draw(br#"{"a":[1,2]}"#), @r#"
    {
      "a": [
        1,
        2
      ]
    }
    "#);
    insta::assert_snapshot!(value::draw(b"\x80\x05\x95pickled \x1b[2J object"), @r#"
    00000000  80 05 95 70 69 63 6b 6c 65 64 20 1b 5b 32 4a 20  ...pickled .[2J 
    00000010  6f 62 6a 65 63 74                                object
    "#);
    insta::assert_snapshot!(value::draw(b"12"), @"12");
    let long = value::draw(&[0; 5000]);
    assert!(long.ends_with("904 more bytes: --raw writes them all\n"));
}

#[test]
fn a_pair_is_found_by_what_is_printed_and_by_its_field() {
    let pairs = seen(END, NOW).cluster.kv;
    let found = |key| value::find(&pairs, key).map(|pair| pair.bytes);
    assert_eq!(found("session:session_name"), Some(40));
    assert_eq!(found("@namespace_session:session_name"), Some(40));
    assert_eq!(found("gcs_pid"), Some(5));
    assert_eq!(found("session_name"), None);
    let pair = value::find(&pairs, "cluster:ray_cluster_id").unwrap();
    let value = value::Value::new(pair, pair.value.as_deref().unwrap());
    insta::assert_snapshot!("value_json", serde_json::to_string_pretty(&value).unwrap());
}
