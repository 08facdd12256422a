//! The judge of histories before real servers: it believes Redis that syncs
//! every write through its death, and sees what one without a log has lost.

use std::time::Duration;

use anyhow::Result;
use chaos::store::{
    clients::Work,
    trial::{Trial, Verdict, seed},
};
use harness::redis::Redis;

const LIMIT: Duration = Duration::from_secs(20);
const WORK: Work = Work {
    clients: 6,
    pause: Duration::from_millis(1),
};

/// Kills Redis three times under load.
async fn killed_thrice(log: &str) -> Result<Verdict> {
    let folder = tempfile::tempdir()?;
    let arguments = ["--appendonly", log, "--appendfsync", "always"];
    let mut server = Redis::start(folder.path(), &arguments).await?;
    let mut trial = Trial::new(seed()?, WORK);
    for _ in 0..3 {
        let clients = trial.clients(server.address());
        trial.more(400, LIMIT).await?;
        server.kill();
        clients.stop().await;
        server.restart().await?;
        trial.settle();
    }
    trial.verdict(server.address()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_syncs_each_write_is_believed() -> Result<()> {
    let verdict = killed_thrice("yes").await?;
    assert_eq!(verdict.broken, Vec::<String>::new());
    assert!(
        verdict.operations > 1_000 && verdict.unknown > 0,
        "{verdict:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_without_a_log_is_caught() -> Result<()> {
    let verdict = killed_thrice("no").await?;
    assert!(!verdict.broken.is_empty(), "{verdict:?}");
    Ok(())
}
