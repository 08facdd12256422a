//! `tradewind store ray` on a database with the state of a real cluster.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../../gcs-store/ray/tests/trace/mod.rs"]
mod trace;

use std::path::Path;

use assert_cmd::Command;
use gcs_sql::{Database, Settings};
use gcs_store::{
    key::{self, NamespaceId},
    schema::MIGRATIONS,
};
use ray_tables::{Record, TableName};
use serde_json::Value;
use trace::{BEFORE_THE_KILL, END, records};

/// A database with `sound`, a cluster that is well, and `broken`, one that lost
/// its job counter.
async fn database(folder: &Path) -> String {
    let url = format!("sqlite://{}/ray.db", folder.display());
    let database = Database::open(&Settings::new(&url)).await.unwrap();
    database.migrate(&MIGRATIONS).await.unwrap();
    let broken = records(BEFORE_THE_KILL).into_iter();
    let broken = broken.filter(|row| row.table != TableName::JOB_COUNTER);
    fill(&database, 1, "sound", records(END)).await;
    fill(&database, 2, "broken", broken.collect()).await;
    url
}

async fn fill(database: &Database, id: i64, name: &str, rows: Vec<Record>) {
    let sql = "INSERT INTO gcs_namespace (id, name, epoch, state, created_ms, seen_ms) \
               VALUES (?, ?, 1, 'active', 0, 0)";
    let values = [id.into(), name.to_owned().into()];
    database.execute(sql, &values).await.unwrap();
    let sql = "INSERT INTO gcs_incarnation (ns_id, epoch, kind, peer, user_name, began_ms) \
               VALUES (?, 1, 'observed', '192.0.2.2:40000', '', 1795183847231)";
    database.execute(sql, &[id.into()]).await.unwrap();
    for row in rows {
        let sql = "INSERT INTO gcs_row (k, value, size, created_ms, updated_ms, epoch) \
                   VALUES (?, ?, ?, ?, ?, 1)";
        let values = [
            key::row(NamespaceId(id), &row.table, &row.field).into(),
            row.value.unwrap().into(),
            row.size.cast_signed().into(),
            row.created.ms().into(),
            row.updated.ms().into(),
        ];
        database.execute(sql, &values).await.unwrap();
    }
}

/// Runs a command to its end: exit code and what it printed.
fn run(url: &str, args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tradewind"))
        .args(["store", "ray"])
        .args(args)
        .args(["--database", url])
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}

fn json(url: &str, args: &[&str]) -> Value {
    let (code, text) = run(url, &[args, &["-o", "json"]].concat());
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn every_table_is_read_from_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let url = database(folder.path()).await;

    let clusters = json(&url, &["clusters"]);
    let names: Vec<_> = clusters
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["namespace"])
        .collect();
    assert_eq!(names, ["broken", "sound"]);
    assert_eq!(clusters[1]["nodes_alive"], 2);

    for (table, rows) in [("nodes", 3), ("actors", 8), ("groups", 1), ("kv", 15)] {
        let read = json(&url, &[table, "sound"]);
        assert_eq!(read.as_array().unwrap().len(), rows, "{table}");
        let (code, text) = run(&url, &[table, "sound"]);
        assert_eq!((code, text.lines().count()), (0, rows + 1), "{text}");
    }
    let jobs = json(&url, &["jobs", "sound"]);
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 5);
    assert_eq!(jobs["submissions"][0]["status"], "SUCCEEDED");
    let alive = json(
        &url,
        &["actors", "sound", "--state", "dead", "--limit", "1"],
    );
    assert_eq!(alive.as_array().unwrap().len(), 1);

    let heads = json(&url, &["heads", "sound"]);
    assert_eq!(heads["incarnations"][0]["peer"], "192.0.2.2:40000");
    assert_eq!(heads["nodes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_value_is_printed_for_people_for_programs_and_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let url = database(folder.path()).await;
    let name = "session_2026-11-20_14-09-54_484473_24517";
    let key = ["kv", "sound", "session:session_name"];
    assert_eq!(run(&url, &key), (0, format!("{name}\n")));
    assert_eq!(
        run(&url, &[&key[..], &["--raw"]].concat()),
        (0, name.to_owned())
    );
    assert_eq!(json(&url, &key)["text"], name);
    let (code, text) = run(&url, &["kv", "sound", "nothing"]);
    assert_eq!(code, 1);
    assert!(text.contains("no key \"nothing\" in sound"), "{text}");
}

#[tokio::test]
async fn lost_work_is_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let url = database(folder.path()).await;
    let (code, text) = run(&url, &["findings", "broken"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.starts_with("error: there is no job counter, but job 3 exists"),
        "{text}"
    );
    // It is long ago that this head wrote: a warning, and no more.
    let (code, text) = run(&url, &["findings", "sound"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.starts_with("warning: the head is called alive"),
        "{text}"
    );
}

#[tokio::test]
async fn an_unknown_namespace_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let url = database(folder.path()).await;
    let (code, text) = run(&url, &["nodes", "nobody"]);
    assert_ne!(code, 0);
    assert!(text.contains("nobody"), "{text}");
    let (code, text) = run(&url, &["nodes", "team/7"]);
    assert_eq!(code, 2);
    assert!(text.contains("may not end in a slash and digits"), "{text}");
}
