//! What is found wrong, in the tables of a real run and in broken ones.

mod trace;

use std::fmt::Write;

use ray_tables::{Cluster, Incarnation, MANY_WORKERS, Record, Severity, TableName, Time, findings};
use trace::{BEFORE_THE_KILL, END, HEAD_BACK, NO_HEAD, records};

fn head(epoch: i64, fenced: Option<i64>) -> Incarnation {
    Incarnation {
        epoch,
        kind: "observed".to_owned(),
        peer: format!("192.0.2.{epoch}:40000"),
        user: String::new(),
        began: Time::from_ms(epoch),
        fenced: fenced.map(Time::from_ms),
        fenced_by: fenced.map(|_| epoch + 1),
    }
}

/// All findings one second after the last write.
fn found(rows: Vec<Record>, heads: &[Incarnation]) -> String {
    let cluster = Cluster::read(rows);
    let now = cluster
        .updated()
        .map_or(0, |last| last.ms().saturating_add(1000));
    shown(&cluster, heads, now)
}

fn shown(cluster: &Cluster, heads: &[Incarnation], now: i64) -> String {
    let mut text = String::new();
    for finding in findings(cluster, heads, Time::from_ms(now)) {
        writeln!(
            text,
            "{} {}: {}",
            finding.severity.name(),
            finding.code,
            finding.what
        )
        .expect("a text takes everything");
    }
    text
}

fn without(table: &TableName, until: i64) -> Vec<Record> {
    let rows = records(until).into_iter();
    rows.filter(|row| row.table != *table).collect()
}

#[test]
fn a_sound_cluster_has_no_findings() {
    let heads = [head(1, Some(2)), head(2, None)];
    for until in [BEFORE_THE_KILL, HEAD_BACK, END] {
        assert_eq!(found(records(until), &heads), "");
    }
    assert_eq!(found(vec![], &[]), "");
}

#[test]
fn a_dead_head_is_found_with_what_hangs_on_it() {
    insta::assert_snapshot!(found(records(NO_HEAD), &[]), @r#"
    warning no_live_head: no head is alive; other nodes alive: 1
    warning orphaned_jobs: jobs that run although their driver's node is dead: 01000000, 03000000
    "#);
}

#[test]
fn a_killed_head_is_found_by_its_silence() {
    let cluster = Cluster::read(records(BEFORE_THE_KILL));
    insta::assert_snapshot!(shown(&cluster, &[], BEFORE_THE_KILL + 90_000), @"warning silent_head: the head is called alive but wrote nothing for 1m 42s");
}

#[test]
fn two_heads_are_found_in_the_nodes_or_among_the_incarnations() {
    let mut rows = records(END);
    let old = records(BEFORE_THE_KILL).into_iter();
    rows.extend(old.filter(|row| row.table == TableName::NODE));
    insta::assert_snapshot!(found(rows, &[]), @"error two_live_heads: more than one head node is alive: 22b0a857 at 192.0.2.2, bebdb290 at 192.0.2.2");
    insta::assert_snapshot!(found(records(END), &[head(1, None), head(2, None)]), @"error two_live_heads: more than one head may write: epoch 1 from 192.0.2.1:40000, epoch 2 from 192.0.2.2:40000");
}

#[test]
fn an_actor_restarting_for_ten_minutes_is_found() {
    let cluster = Cluster::read(records(HEAD_BACK));
    let minute = |n: i64| shown(&cluster, &[], HEAD_BACK + n * 60_000);
    assert!(!minute(9).contains("actor_restarting"));
    insta::assert_snapshot!(minute(10), @r#"
    warning actor_restarting: actors restarting for ten minutes: SERVE_CONTROLLER_ACTOR (0e684587)
    warning silent_head: the head is called alive but wrote nothing for 10m
    "#);
}

#[test]
fn a_job_counter_behind_its_jobs_is_found() {
    insta::assert_snapshot!(found(without(&TableName::JOB_COUNTER, END), &[]), @"error job_counter_behind: there is no job counter, but job 5 exists");
    let mut rows = records(END);
    let counter = rows
        .iter_mut()
        .find(|row| row.table == TableName::JOB_COUNTER)
        .unwrap();
    counter.value = Some("4".into());
    insta::assert_snapshot!(found(rows.clone(), &[]), @"error job_counter_behind: the job counter is at 4, but job 5 exists");
    let counter = rows
        .iter_mut()
        .find(|row| row.table == TableName::JOB_COUNTER)
        .unwrap();
    counter.value = Some("four".into());
    insta::assert_snapshot!(found(rows, &[]), @"error job_counter_behind: the job counter cannot be read, but job 5 exists");
}

#[test]
fn lost_tables_are_found() {
    insta::assert_snapshot!(found(without(&TableName::KV, END), &[]), @"error no_cluster_id: there are nodes but no cluster id");
    insta::assert_snapshot!(found(without(&TableName::ACTOR_TASK_SPEC, END), &[]), @"error actor_without_spec: live actors without a task spec: SERVE_REPLICA::drill#Echo#vfp485hm (01625ad2), SERVE_CONTROLLER_ACTOR (0e684587), SERVE_PROXY_ACTOR-f547e0365625634d2f526aec83feb7b309358ad7d34a2d8a2f8494d5 (27f8849a), SERVE_PROXY_ACTOR-bebdb290c196cfd2503fca67015b2e8be22ea706225fd040360b55fc (4aee67c9), drill-counter (6b7fced6) and 1 more");
}

#[test]
fn a_job_whose_driver_went_with_its_node_is_found() {
    let mut rows = without(&TableName::JOB, END);
    let old = records(BEFORE_THE_KILL).into_iter();
    rows.extend(old.filter(|row| row.table == TableName::JOB));
    insta::assert_snapshot!(found(rows, &[]), @"warning orphaned_jobs: jobs that run although their driver's node is dead: 01000000, 03000000");
}

#[test]
fn a_full_table_of_workers_and_rows_of_others_are_found() {
    let mut rows = records(END);
    let row = rows.iter().find(|row| row.table == TableName::WORKERS);
    let mut row = row.unwrap().clone();
    rows.extend((0..MANY_WORKERS as u32).map(|number| {
        row.field = number.to_le_bytes().to_vec().into();
        row.clone()
    }));
    insta::assert_snapshot!(found(rows, &[]), @r#"
    warning unreadable_rows: rows that cannot be read: WORKERS 90000
    info many_workers: 90018 rows in WORKERS; Ray keeps 100,000
    "#);
}

#[test]
fn the_worst_comes_first_and_all_say_what_to_do() {
    let mut rows = without(&TableName::KV, NO_HEAD);
    rows.retain(|row| row.table != TableName::JOB_COUNTER);
    let found = findings(&Cluster::read(rows), &[], Time::from_ms(END));
    let severities: Vec<_> = found.iter().map(|it| it.severity).collect();
    assert!(severities.is_sorted());
    assert_eq!(severities[0], Severity::Error);
    insta::assert_snapshot!(serde_json::to_string_pretty(&found).unwrap(), @r#"
    [
      {
        "code": "no_cluster_id",
        "severity": "error",
        "what": "there are nodes but no cluster id",
        "means": "the next head makes up a new id, and every worker node of this cluster exits",
        "advice": "restore a backup into a new namespace, and start the head with that one"
      },
      {
        "code": "job_counter_behind",
        "severity": "error",
        "what": "there is no job counter, but job 3 exists",
        "means": "a new driver gets the number of an old one, and its tasks never run",
        "advice": "stop the head and raise the counter through the store: INCRBY RAY<namespace>@JobCounter <missing>"
      },
      {
        "code": "actor_restarting",
        "severity": "warning",
        "what": "actors restarting for ten minutes: SERVE_CONTROLLER_ACTOR (0e684587)",
        "means": "no node has what they need, or their start never ends",
        "advice": "compare `ray status` with what they take; look at their logs"
      },
      {
        "code": "no_live_head",
        "severity": "warning",
        "what": "no head is alive; other nodes alive: 1",
        "means": "the cluster was shut down, or its head has not come back",
        "advice": "start the head with this namespace; if the cluster is gone, delete the namespace"
      },
      {
        "code": "orphaned_jobs",
        "severity": "warning",
        "what": "jobs that run although their driver's node is dead: 01000000, 03000000",
        "means": "nobody waits for them, but they keep what they hold",
        "advice": "a restart of the head ends them; stop submitted ones by `ray job stop`"
      }
    ]
    "#);
}
