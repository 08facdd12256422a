//! A live Ray head through everything its database and its store can do, one
//! after the other, on PostgreSQL and on MariaDB.

use std::time::Duration;

use anyhow::Result;
use chaos::store::{
    databases::Kind,
    scene::{Fault, Scene},
};

async fn nobody_notices(kind: Kind) -> Result<()> {
    let name = kind.name();
    let mut scene = Scene::start(kind).await?;
    for (what, fault) in [
        ("killed for 30 s", Fault::Kill(Duration::from_secs(30))),
        ("stopped for 40 s", Fault::Pause(Duration::from_secs(40))),
        ("killed for 2 s", Fault::Kill(Duration::from_secs(2))),
        ("there, the store handed over", Fault::Handover),
        ("there, the store handed over again", Fault::Handover),
        ("killed once more", Fault::Kill(Duration::from_secs(5))),
    ] {
        let outcome = scene.go_through(fault).await?;
        outcome.unnoticed(&format!("{name} {what}"))?;
    }
    Ok(())
}

/// TLS cannot move to another process: the old one passes its bytes on.
async fn nobody_notices_behind_tls() -> Result<()> {
    let mut scene = Scene::start_with(Kind::Sqlite, true).await?;
    for what in ["handed over", "handed over again"] {
        let outcome = scene.go_through(Fault::Handover).await?;
        outcome.unnoticed(&format!("store behind TLS {what}"))?;
    }
    Ok(())
}

/// One after the other: two clusters at once would be slow for want of cores.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_what_happens_behind_the_head() -> Result<()> {
    nobody_notices_behind_tls().await?;
    nobody_notices(Kind::Postgres).await?;
    nobody_notices(Kind::Mariadb).await
}
