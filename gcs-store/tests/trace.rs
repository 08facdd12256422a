//! What a real Ray head said to Redis, said again: the answers must be those
//! that Redis gave.

mod replay;

use anyhow::{Context, Result};
use gcs_store::{Config, Store};
use harness::{mariadb::Mariadb, postgres::Postgres, redis::Redis};
use replay::{Command, Mode, compare, recorded, replay as run};
use resp::{Client, Target};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// All of the recording but the logins, which need users.
const PARTS: [&str; 4] = ["drill", "coverage", "cleanup", "cleanup_unlink"];

async fn redis() -> (tempfile::TempDir, Redis, Target) {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path(), &[]).await.expect("a Redis");
    let target = Target::new(redis.address().to_string());
    (folder, redis, target)
}

async fn tell(target: &Target, command: &[&str]) {
    let mut client = Client::connect(target).await.expect("a connection");
    let reply = client.call(command).await.expect("an answer");
    assert_eq!(reply.as_error(), None, "{command:?}");
}

/// Compares what `target` says with what Redis said when it was recorded.
async fn check(target: &Target, commands: &[Command], mode: Mode) -> Result<()> {
    let seen = run(target, commands, mode).await?;
    for command in commands {
        let seen = seen.get(&command.seq).context("a command was left out")?;
        command.agrees(seen).with_context(|| {
            let (seq, verb) = (command.seq, command.verb());
            format!(
                "command {seq}, {verb}, {mode:?}: {:.300}",
                format!("{seen:?}")
            )
        })?;
    }
    Ok(())
}

/// The recording is whole enough to be replayed, and Redis still answers so.
#[tokio::test]
async fn redis_gives_the_recorded_replies() {
    let (_folder, _redis, target) = redis().await;
    let commands = recorded(&PARTS).unwrap();
    for mode in [Mode::AsRecorded, Mode::OnePipeline] {
        tell(&target, &["FLUSHALL"]).await;
        check(&target, &commands, mode).await.unwrap();
    }
}

#[tokio::test]
async fn redis_answers_logins_as_recorded() {
    let (_folder, _redis, target) = redis().await;
    tell(
        &target,
        &[
            "ACL",
            "SETUSER",
            "rayuser",
            "on",
            ">s3cret pass",
            "~*",
            "+@all",
        ],
    )
    .await;
    tell(&target, &["CONFIG", "SET", "requirepass", "adminpw"]).await;

    check(&target, &recorded(&["auth"]).unwrap(), Mode::AsRecorded)
        .await
        .unwrap();
}

/// Two servers are compared byte for byte, and one field more is seen.
#[tokio::test]
async fn a_difference_between_two_servers_is_seen() {
    let (_folder, _redis, one) = redis().await;
    let (_other_folder, _other_redis, other) = redis().await;
    let commands = recorded(&["coverage"]).unwrap();
    compare(&one, &other, &commands, Mode::AsRecorded)
        .await
        .unwrap();

    tell(
        &one,
        &["HSET", "RAYexpA@KV", "@namespace_cov:many:more", ""],
    )
    .await;

    let seen = compare(&one, &other, &commands, Mode::OnePipeline).await;
    assert!(seen.unwrap_err().to_string().contains("HS"));
}

/// A store of this crate on `database`, stopped when dropped.
struct Ours {
    target: Target,
    stop: CancellationToken,
    running: JoinHandle<Result<(), gcs_store::Error>>,
}

impl Ours {
    async fn start(database: String) -> Self {
        let listen = ([127, 0, 0, 1], 0).into();
        let config = Config {
            database,
            listen,
            ..Config::default()
        };
        let store = Store::open(config).await.expect("a store");
        let handle = store.handle();
        let stop = CancellationToken::new();
        let running = tokio::spawn(store.run(stop.clone()));
        handle.settled().await;
        Self {
            target: Target::new(handle.local_addr().to_string()),
            stop,
            running,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.expect("no panic").expect("a quiet end");
    }
}

/// The recording against a fresh store on each of `databases` and against Redis:
/// the same bytes, and those that were recorded.
async fn the_store_answers_as_redis_does(databases: [String; 2]) {
    let commands = recorded(&PARTS).expect("the recording");
    let (_folder, _redis, theirs) = redis().await;
    for (mode, database) in [Mode::AsRecorded, Mode::OnePipeline]
        .into_iter()
        .zip(databases)
    {
        tell(&theirs, &["FLUSHALL"]).await;
        let ours = Ours::start(database).await;
        compare(&ours.target, &theirs, &commands, mode)
            .await
            .expect("the same replies");
        ours.end().await;
    }
}

#[tokio::test]
async fn on_sqlite_the_store_answers_as_redis_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name| format!("sqlite://{}", folder.path().join(name).display());
    the_store_answers_as_redis_does([file("one.db"), file("two.db")]).await;
}

#[tokio::test]
async fn on_postgresql_the_store_answers_as_redis_does() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start(folder.path()).await.unwrap();
    let (one, two) = (
        server.database("one").await.unwrap(),
        server.database("two").await.unwrap(),
    );
    the_store_answers_as_redis_does([one, two]).await;
}

#[tokio::test]
async fn on_mariadb_the_store_answers_as_redis_does() {
    let folder = tempfile::tempdir().unwrap();
    let server = Mariadb::start(folder.path()).await.unwrap();
    let (one, two) = (
        server.database("one").await.unwrap(),
        server.database("two").await.unwrap(),
    );
    the_store_answers_as_redis_does([one, two]).await;
}
