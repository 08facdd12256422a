//! Who may write: heads among themselves, and stores among themselves.

use std::time::Duration;

use bytes::Bytes;
use ray_tables::TableName;

use super::stage::{PATIENCE, Stage, ask, bulk, hget, hset, key, namespace};
use crate::gcs::{
    command::{Command, Reply},
    engine::EngineState,
    session::{Session, Standing},
    writer::{self, Deposed, Writer},
};

const ANNOUNCING: [TableName; 5] = [
    TableName::JOB,
    TableName::NODE,
    TableName::ACTOR,
    TableName::ACTOR_TASK_SPEC,
    TableName::PLACEMENT_GROUP,
];

/// What a head of Ray 2.60 does first.
async fn announce(a: &Session, b: &Session) {
    ask(b, hset("a", b"gcs_pid", b"1")).await;
    for table in &ANNOUNCING {
        let scan = Command::Hscan {
            key: key("a", table),
            cursor: 0,
            pattern: None,
            count: 1000,
        };
        ask(a, scan).await;
    }
}

fn is_fenced(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with("FENCED "))
}

pub(super) async fn a_newer_head_fences_the_older_before_it_writes(stage: &mut Stage) {
    let running = stage.start().await;
    let (old_a, old_b) = (running.session(1), running.session(1));
    announce(&old_a, &old_b).await;
    ask(&old_a, hset("a", b"f", b"old")).await;

    // The new head's first write and the old head's next, in one group.
    let (new_a, new_b) = (running.session(2), running.session(2));
    let first = new_b.submit(hset("a", b"gcs_pid", b"2"));
    let late = old_a.submit(hset("a", b"f", b"late"));
    assert_eq!(first.await.unwrap(), Reply::Int(0));
    assert!(is_fenced(&late.await.unwrap()));
    announce(&new_a, &new_b).await;
    tokio::time::timeout(PATIENCE, old_a.fenced())
        .await
        .unwrap();
    tokio::time::timeout(PATIENCE, old_b.fenced())
        .await
        .unwrap();
    assert!(old_b.submit(hset("a", b"f", b"late")).await.is_err());
    assert_eq!(ask(&new_a, hget("a", b"f")).await, bulk(b"old"));
    assert!(!new_a.is_fenced() && !new_b.is_fenced());

    stage.folded().await;
    let rows = stage
        .database
        .fetch(
            "SELECT epoch, peer, fenced_by FROM gcs_incarnation ORDER BY epoch",
            &[],
        )
        .await
        .unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            let by = row.opt_int(2).unwrap();
            (row.int(0).unwrap(), row.text(1).unwrap(), by)
        })
        .collect();
    assert_eq!(
        seen,
        [
            (1, "10.0.0.1:1000".to_owned(), Some(2)),
            (2, "10.0.0.2:1000".to_owned(), None)
        ]
    );
}

pub(super) async fn a_declared_epoch_is_durable_and_only_grows(stage: &mut Stage) {
    let running = stage.start().await;
    let login = async |session: &Session, epoch| {
        let user = format!("a/{epoch}");
        let pending = session.login(Some(&user), Some((namespace("a"), epoch)));
        tokio::time::timeout(PATIENCE, pending)
            .await
            .unwrap()
            .unwrap()
    };
    let old = running.session(1);
    assert_eq!(login(&old, 7).await, Reply::Status("OK"));
    assert_eq!(ask(&old, hset("a", b"f", b"7")).await, Reply::Int(1));
    let new = running.session(1);
    assert_eq!(login(&new, 8).await, Reply::Status("OK"));
    tokio::time::timeout(PATIENCE, old.fenced()).await.unwrap();
    running.kill().await;

    let running = stage.start().await;
    assert!(is_fenced(&login(&running.session(1), 7).await));
    let back = running.session(1);
    assert_eq!(login(&back, 8).await, Reply::Status("OK"));
    assert_eq!(ask(&back, hget("a", b"f")).await, bulk(b"7"));
}

pub(super) async fn a_deposed_writer_appends_nothing(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    ask(&session, hset("a", b"f", b"1")).await;
    let held = writer::read(&stage.database).await.unwrap();
    assert!(
        writer::take(&stage.database, &held, "there#1", "there:1")
            .await
            .unwrap()
    );

    let refused = tokio::time::timeout(PATIENCE, session.submit(hset("a", b"f", b"2")));
    assert!(refused.await.unwrap().is_err(), "a deposed store answered");
    tokio::time::timeout(PATIENCE, session.fenced())
        .await
        .unwrap();
    let mut old = Writer::new(stage.database.clone(), held.epoch);
    assert_eq!(old.append(1, Bytes::new()).await, Err(Deposed));
    if stage.database.dialect() != gcs_sql::Dialect::Sqlite {
        let standing = running.engine.fresh_standing();
        let standing = tokio::time::timeout(PATIENCE, standing).await.unwrap();
        assert!(
            standing == Standing::Starting
                || standing
                    == Standing::Standby {
                        active: "there:1".to_owned()
                    }
        );
    }
}

pub(super) async fn an_append_that_is_tried_again_is_there_once(stage: &mut Stage) {
    let held = writer::read(&stage.database).await.unwrap();
    assert!(
        writer::take(&stage.database, &held, "here#1", "")
            .await
            .unwrap()
    );
    let payload = Bytes::from_static(b"group");
    let mut one = Writer::new(stage.database.clone(), held.epoch + 1);
    let mut again = Writer::new(stage.database.clone(), held.epoch + 1);
    let seq = one.append(1, payload.clone()).await.unwrap();
    assert_eq!(again.append(1, payload).await, Ok(seq));
    assert_eq!(stage.int("SELECT COUNT(*) FROM gcs_journal", &[]).await, 1);
    // The same number with other content is not ours.
    let mut other = Writer::new(stage.database.clone(), held.epoch + 1);
    let content = Bytes::from_static(b"other");
    assert_eq!(other.append(1, content).await, Err(Deposed));
}

/// A statement that a broken connection delivers after it was tried again, done
/// and folded.
pub(super) async fn a_late_echo_of_an_append_does_nothing(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    ask(&session, hset("a", b"f", b"old")).await;
    let rows = stage
        .database
        .fetch("SELECT seq, payload FROM gcs_journal", &[])
        .await
        .unwrap();
    let [row] = &rows[..] else {
        panic!("folded already")
    };
    let (seq, payload) = (row.int(0).unwrap(), row.bytes(1).unwrap());
    stage.folded().await;
    ask(&session, hset("a", b"f", b"new")).await;
    stage.folded().await;

    let epoch = writer::read(&stage.database).await.unwrap().epoch;
    let mut echo = Writer::echo(stage.database.clone(), epoch, seq);
    assert_eq!(echo.append(1, payload.clone()).await, Err(Deposed));
    // One that slipped in all the same is passed over.
    stage
        .database
        .execute(
            "INSERT INTO gcs_journal (seq, epoch, at_ms, payload) VALUES (?, ?, 1, ?)",
            &[seq.into(), epoch.into(), payload.into()],
        )
        .await
        .unwrap();
    running.kill().await;
    let running = stage.start().await;
    assert_eq!(
        ask(&running.session(1), hget("a", b"f")).await,
        bulk(b"new")
    );
}

/// The only one that pauses the server.
pub(super) async fn a_stop_does_not_wait_for_a_database_that_is_away(
    stage: &mut Stage,
    server: &harness::postgres::Postgres,
) {
    let running = stage.start().await;
    let session = running.session(1);
    ask(&session, hset("a", b"f", b"1")).await;
    server.pause();
    let unanswered = session.submit(hset("a", b"f", b"2"));
    let stopped = tokio::time::timeout(PATIENCE, running.stop()).await;
    server.resume();
    assert!(stopped.is_ok(), "it waited");
    let answer = tokio::time::timeout(PATIENCE, unanswered).await.unwrap();
    assert!(answer.is_err(), "answered, and not durable");
}

pub(super) async fn a_successor_goes_on_where_the_other_retired(stage: &mut Stage) {
    let running = stage.start().await;
    let (a, b) = (running.session(1), running.session(1));
    announce(&a, &b).await;
    let unanswered = a.submit(hset("a", b"f", b"1"));
    running.engine.retire();
    assert_eq!(unanswered.await.unwrap(), Reply::Int(1));
    let states = [a.export(), b.export()];
    let inherited = running.stop().await;
    let inherited: EngineState =
        serde_json::from_str(&serde_json::to_string(&inherited).unwrap()).unwrap();

    let successor = stage.start_at("here", inherited);
    let [a, b] = states.map(|state| successor.engine.import(state));
    successor.active().await;
    assert_eq!(ask(&a, hget("a", b"f")).await, bulk(b"1"));
    assert_eq!(ask(&b, hset("a", b"f", b"2")).await, Reply::Int(0));
    // It is the same head still: nobody was fenced, and a new one fences it.
    let newer = successor.session(1);
    ask(&newer, hset("a", b"gcs_pid", b"2")).await;
    tokio::time::timeout(PATIENCE, a.fenced()).await.unwrap();
    tokio::time::timeout(PATIENCE, b.fenced()).await.unwrap();
    stage.folded().await;
    let epoch = stage.int("SELECT epoch FROM gcs_namespace", &[]).await;
    assert_eq!(epoch, 2);
}

pub(super) async fn a_standby_takes_over_when_the_active_falls_silent(stage: &mut Stage) {
    let active = stage.start().await;
    ask(&active.session(1), hset("a", b"f", b"1")).await;
    let standby = stage.start_at("there", EngineState::default());
    let mut standings = standby.engine.standings();
    let by = Standing::Standby {
        active: "here:6379".to_owned(),
    };
    let waiting = standings.wait_for(|it| *it == by);
    let _ = tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap()
        .unwrap();
    let fresh = standby.engine.fresh_standing();
    assert_eq!(tokio::time::timeout(PATIENCE, fresh).await.unwrap(), by);
    active.kill().await;
    standby.active().await;
    assert_eq!(ask(&standby.session(1), hget("a", b"f")).await, bulk(b"1"));
}

/// An engine whose task does not run, as in a process that is stopped, while
/// another takes the database.
pub(super) async fn a_paused_store_does_not_answer_from_memory(stage: &mut Stage) {
    let running = stage.start().await;
    let session = running.session(1);
    ask(&session, hset("a", b"f", b"1")).await;
    let held = writer::read(&stage.database).await.unwrap();
    assert!(
        writer::take(&stage.database, &held, "there#1", "there:1")
            .await
            .unwrap()
    );
    // Nothing in this thread runs: not the engine, not its timers.
    std::thread::sleep(super::super::term::SURE + Duration::from_millis(100));
    let read = tokio::time::timeout(PATIENCE, session.submit(hget("a", b"f")));
    assert!(
        read.await.unwrap().is_err(),
        "a deposed store answered a read"
    );
}
