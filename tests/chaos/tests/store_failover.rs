//! The database behind a live Ray head goes away and comes back, the store
//! itself is replaced, and neither the head nor a user notices. Beside it a head
//! on real Redis, which does not survive its restart.
//!
//! `make test-long` takes longer outages, stopped processes and MariaDB
//! (`long_store_failover`).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chaos::{
    ray::Cluster,
    steady::Steady,
    store::{
        databases::Kind,
        scene::{Fault, Scene},
    },
    venv::Venv,
};
use harness::{redis::Redis, wait};

const AWAY: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_head_outlives_the_loss_of_postgresql_and_a_new_store_but_not_of_redis() -> Result<()> {
    let mut scene = Scene::start(Kind::Postgres).await?;
    let outcome = scene.go_through(Fault::Kill(AWAY)).await?;
    outcome.unnoticed("PostgreSQL killed for 10 s")?;
    let outcome = scene.go_through(Fault::Handover).await?;
    outcome.unnoticed("store handed over")?;
    drop(scene);
    a_head_on_redis_dies().await
}

async fn a_head_on_redis_dies() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let venv = Venv::find()?;
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut redis = Redis::start(folder, &arguments).await?;
    let mut cluster =
        Cluster::start_on(&venv, "redis", folder, Some(&redis.address().into())).await?;
    cluster.deploy(&venv, folder).await?;
    let before = cluster.gcs_server().context("no gcs_server")?;
    let load = Steady::start(&cluster.page(), Duration::from_millis(50));

    let killed = Instant::now();
    redis.restart().await?;
    let away = killed.elapsed();
    wait::until("the head's end", Duration::from_secs(20), async || {
        let now = cluster.gcs_server();
        ensure!(now != Some(before), "gcs_server lives on");
        Ok(())
    })
    .await?;

    println!(
        "real Redis restarted, away for {away:.1?}: gcs_server {} died after {:.1?}",
        before.as_raw_nonzero(),
        killed.elapsed()
    );
    load.finish().await?;
    Ok(())
}
