//! The SQL views show what a real Ray wrote, on every database.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../ray/tests/trace/mod.rs"]
mod trace;

use std::collections::BTreeSet;

use bytes::Bytes;
use gcs_sql::{Database, Settings, Value};
use gcs_store::{
    key::{self, NamespaceId},
    schema::MIGRATIONS,
};
use harness::{mariadb::Mariadb, postgres::Postgres};
use ray_tables::{Cluster, Id, Record, Row, TableName, Time};
use trace::{END, records};

const DRILL: NamespaceId = NamespaceId(258);
const DELETED: NamespaceId = NamespaceId(259);

/// The recorded rows, some that cannot be read, and one with a long field.
fn rows() -> Vec<Record> {
    let mut rows = records(END);
    let long = Bytes::from(vec![b'k'; 3000]);
    for (table, field, value) in [
        (TableName::NODE, Bytes::from("junk"), "\u{7f}\u{7f}"),
        (TableName::ACTOR, Bytes::from("junk"), ""),
        (TableName::JOB, Bytes::from("junk"), "\n\u{4}\0\0\0\0"),
        (TableName::KV, long, "long"),
        (TableName::KV, Bytes::from_static(b"\0\xff%'\\"), ""),
    ] {
        rows.push(Record {
            table,
            field,
            size: value.len() as u64,
            value: Some(value.into()),
            created: Time::from_ms(1000),
            updated: Time::from_ms(2500),
        });
    }
    rows
}

async fn filled(url: String) -> Database {
    let database = Database::open(&Settings::new(url)).await.unwrap();
    database.migrate(&MIGRATIONS).await.unwrap();
    for (id, name, deleted) in [
        (DRILL, "drill", Value::Null),
        (DELETED, "gone", Value::Int(1)),
    ] {
        let sql = "INSERT INTO gcs_namespace \
                   (id, name, epoch, state, created_ms, seen_ms, deleted_ms) \
                   VALUES (?, ?, 1, 'active', 0, 0, ?)";
        let values = [id.0.into(), name.to_owned().into(), deleted];
        database.execute(sql, &values).await.unwrap();
    }
    for row in rows() {
        let sql = "INSERT INTO gcs_row \
                   (k, long_field, value, size, created_ms, updated_ms, epoch) \
                   VALUES (?, ?, ?, ?, ?, ?, 7)";
        for namespace in [DRILL, DELETED] {
            let long = (row.field.len() > key::FIELD_IN_KEY).then(|| row.field.clone());
            let values = [
                key::row(namespace, &row.table, &row.field).into(),
                long.map_or(Value::Null, Value::Bytes),
                row.value.clone().unwrap().into(),
                i64::try_from(row.size).unwrap().into(),
                row.created.ms().into(),
                row.updated.ms().into(),
            ];
            database.execute(sql, &values).await.unwrap();
        }
    }
    database
}

/// What the view must list: table, field and size, in any order.
fn expected() -> BTreeSet<(String, String, i64)> {
    let of = |row: Record| {
        let field = Id::new(row.field).to_string();
        (row.table.to_string(), field, row.size.cast_signed())
    };
    rows().into_iter().map(of).collect()
}

async fn check_rows(database: &Database) {
    let sql = "SELECT table_name, field_hex, size, namespace, epoch FROM ray_rows";
    let rows = database.fetch(sql, &[]).await.unwrap();
    let mut listed = BTreeSet::new();
    for row in &rows {
        assert_eq!(row.text(3).unwrap(), "drill");
        assert_eq!(row.int(4).unwrap(), 7);
        let field = row.text(1).unwrap().to_lowercase();
        listed.insert((row.text(0).unwrap(), field, row.int(2).unwrap()));
    }
    assert_eq!(listed, expected());
    assert_eq!(rows.len(), listed.len());

    let sql = "SELECT field_text FROM ray_rows WHERE table_name = 'KV' AND size = 40";
    let rows = database.fetch(sql, &[]).await.unwrap();
    assert_eq!(rows[0].text(0).unwrap(), "@namespace_session:session_name");
}

#[tokio::test]
async fn sqlite_lists_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/rows.db", folder.path().display());
    let database = filled(url).await;
    check_rows(&database).await;
    let sql = "SELECT updated_at FROM ray_rows WHERE size = 4 AND table_name = 'KV'";
    let rows = database.fetch(sql, &[]).await.unwrap();
    assert_eq!(rows[0].text(0).unwrap(), "1970-01-01T00:00:02.500Z");
}

#[tokio::test]
async fn mariadb_lists_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let server = Mariadb::start(folder.path()).await.unwrap();
    let database = filled(server.database("views").await.unwrap()).await;
    check_rows(&database).await;
    let sql = "SELECT CAST(updated_at AS CHAR) FROM ray_rows \
               WHERE size = 4 AND table_name = 'KV'";
    let rows = database.fetch(sql, &[]).await.unwrap();
    assert_eq!(rows[0].text(0).unwrap(), "1970-01-01 00:00:02.500000");
}

#[tokio::test]
async fn postgres_lists_every_row_and_decodes_the_main_tables() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start(folder.path()).await.unwrap();
    let database = filled(server.database("views").await.unwrap()).await;
    check_rows(&database).await;

    let cluster = Cluster::read(rows());
    let nodes = lines(&cluster.nodes, |it| {
        vec![
            it.id.to_string(),
            it.state.to_string(),
            it.is_head.to_string(),
            it.ip.clone(),
            text(it.name.clone()),
            text(it.host.clone()),
            it.raylet_port.to_string(),
            moment(it.started),
            moment(it.ended),
            text(it.death.as_ref().and_then(|death| death.message.clone())),
        ]
    });
    let columns = "node_id, state, is_head, ip, node_name, host, raylet_port, started_at, \
                   ended_at, death";
    assert_eq!(decoded(&database, "ray_nodes", columns).await, nodes);

    let actors = lines(&cluster.actors, |it| {
        vec![
            it.id.to_string(),
            it.state.to_string(),
            it.class.clone(),
            text(it.name.clone()),
            text(it.ray_namespace.clone()),
            it.detached.to_string(),
            id(it.job_id.as_ref()),
            id(it.node_id.as_ref()),
            text(it.ip.clone()),
            text(it.pid.map(|pid| pid.to_string())),
            it.restarts.to_string(),
            it.max_restarts.to_string(),
            moment(it.started),
            moment(it.ended),
            text(it.death.clone()),
        ]
    });
    let columns = "actor_id, state, class_name, name, ray_namespace, is_detached, job_id, \
                   node_id, ip, pid, restarts, max_restarts, started_at, ended_at, death";
    assert_eq!(decoded(&database, "ray_actors", columns).await, actors);

    let jobs = lines(&cluster.jobs, |it| {
        vec![
            it.id.to_string(),
            text(it.number.map(|number| number.to_string())),
            it.dead.to_string(),
            it.driver_ip.clone(),
            it.driver_pid.to_string(),
            id(it.driver_node_id.as_ref()),
            text(it.ray_namespace.clone()),
            it.entrypoint.clone(),
            moment(it.started),
            moment(it.ended),
        ]
    });
    let columns = "job_id, job_number, is_dead, driver_ip, driver_pid, driver_node_id, \
                   ray_namespace, entrypoint, started_at, ended_at";
    assert_eq!(decoded(&database, "ray_jobs", columns).await, jobs);

    let groups = lines(&cluster.groups, |it| {
        vec![
            it.id.to_string(),
            it.state.to_string(),
            text(it.name.clone()),
            text(it.ray_namespace.clone()),
            it.strategy.to_string(),
            it.detached.to_string(),
            id(it.job_id.as_ref()),
            moment(it.requested),
        ]
    });
    let columns = "group_id, state, name, ray_namespace, strategy, is_detached, \
                   creator_job_id, requested_at";
    assert_eq!(
        decoded(&database, "ray_placement_groups", columns).await,
        groups
    );
}

fn text(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn id(id: Option<&Id>) -> String {
    text(id.map(Id::to_string))
}

fn moment(time: Option<Time>) -> String {
    text(time.map(|time| time.ms().to_string()))
}

/// The rows that can be read, and nothing but the id of the others.
fn lines<T>(rows: &[Row<T>], columns: impl Fn(&T) -> Vec<String>) -> BTreeSet<Vec<String>> {
    let line = |row: &Row<T>| match row.get() {
        Some(it) => columns(it),
        None => vec![row.field.to_string(), "unreadable".to_owned()],
    };
    rows.iter().map(line).collect()
}

/// What a view says, in the same form.
async fn decoded(database: &Database, view: &str, columns: &str) -> BTreeSet<Vec<String>> {
    let names: Vec<_> = columns.split(',').map(str::trim).collect();
    let columns: Vec<_> = names
        .iter()
        .map(|name| match name.ends_with("_at") {
            true => format!("round(extract(epoch FROM {name}) * 1000)::bigint::text"),
            false => format!("{name}::text"),
        })
        .collect();
    let sql = format!(
        "SELECT readable::int::bigint, {} FROM {view}",
        columns.join(", ")
    );
    let rows = database.fetch(&sql, &[]).await.unwrap();
    let line = |row: &gcs_sql::Row| {
        let mut cells = (1..=names.len()).map(|nth| row.opt_text(nth).unwrap());
        if row.int(0).unwrap() == 1 {
            return cells.map(text).collect();
        }
        let id = cells.next().flatten();
        assert!(
            cells.all(|cell| cell.is_none()) || view == "ray_jobs",
            "an unreadable row of {view} says something"
        );
        vec![text(id), "unreadable".to_owned()]
    };
    rows.iter().map(line).collect()
}
