//! Two real `gcs_server` processes on one namespace. Redis lets both write; this
//! store fences the older one, which then dies.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use chaos::{
    binary::tradewind,
    ray::Cluster,
    store::{
        databases::{Database, Kind},
        process::{READY, Serve},
        tap::{Exchange, Tap, late_writes},
    },
    venv::Venv,
};
use harness::{redis::Redis, wait};
use serde_json::Value;
use tokio::time::Instant;

const NAMESPACE: &str = "two-heads";
/// The older head dies 3.5 s after its connections are closed.
const DEATH: Duration = Duration::from_secs(10);

/// What the two heads said, and when the older one died, if it did.
struct Seen {
    older: Vec<Exchange>,
    newer: Vec<Exchange>,
    death: Option<Duration>,
}

async fn two_heads(store: SocketAddr) -> Result<Seen> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let venv = Venv::find()?;
    let (older, newer) = (Tap::start(store).await?, Tap::start(store).await?);
    let cluster =
        Cluster::start_on(&venv, NAMESPACE, folder, Some(&older.address().into())).await?;
    cluster
        .works(&venv, folder, Duration::from_secs(60))
        .await?;
    let first = cluster.gcs_server();
    ensure!(first.is_some(), "there is no gcs_server");

    let mut second = cluster.second_gcs_server(newer.address(), folder)?;
    wait::until("a write of the newer head", READY, async || {
        second.check_alive()?;
        let all = newer.exchanges();
        ensure!(all.iter().any(|one| one.is_write() && one.done().is_some()));
        Ok(())
    })
    .await?;
    let began = Instant::now();
    let died = wait::until("the older head's death", DEATH, async || {
        ensure!(cluster.gcs_server() != first, "it lives");
        Ok(began.elapsed())
    });
    let death = died.await.ok();
    // The newer one has not been hit: it goes on asking and is answered.
    let asked = newer.exchanges().len();
    wait::until("an answer to the newer head", READY, async || {
        second.check_alive()?;
        let all = newer.exchanges();
        ensure!(all.iter().skip(asked).any(|one| one.reply.is_some()));
        Ok(())
    })
    .await?;
    Ok(Seen {
        older: older.exchanges(),
        newer: newer.exchanges(),
        death,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_head_dies_and_writes_no_more_but_not_on_redis() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // What this test must be able to see.
    let redis = Redis::start(folder.path(), &[]).await?;
    let seen = two_heads(redis.address()).await?;
    let late = late_writes(&seen.older, &seen.newer).map(|late| late.len());
    println!(
        "Redis: the older head died after {:?}, late writes: {late:?}",
        seen.death
    );
    assert!(seen.death.is_none() && late.is_some_and(|late| late > 0));

    let database = Database::start(Kind::Sqlite, false).await?;
    let url = database.empty("heads").await?;
    let mut store = Serve::new(&url, folder.path())?.start()?;
    store.active(READY).await?;

    let seen = two_heads(store.address()).await?;

    let late = late_writes(&seen.older, &seen.newer);
    let death = seen.death;
    println!("tradewind: the older head died after {death:.1?}, late writes: {late:?}");
    assert!(death.is_some(), "two heads live on one namespace");
    assert!(late.is_some_and(|late| late.is_empty()));
    let heads = heads(&url)?;
    let on_record = heads["incarnations"].as_array().map(Vec::as_slice);
    let Some([newer, older]) = on_record else {
        panic!("not two heads are on record: {heads}");
    };
    println!("on record: {older} and then {newer}");
    assert_eq!(older["fenced_by"], newer["epoch"]);
    assert!(!older["fenced"].is_null() && newer["fenced"].is_null());

    Ok(())
}

fn heads(database: &str) -> Result<Value> {
    let mut command = tradewind()?;
    command.args(["store", "ray", "heads", NAMESPACE, "-o", "json"]);
    command.args(["--database", database]);
    let output = command.output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "store ray heads: {error}");
    Ok(serde_json::from_slice(&output.stdout)?)
}
