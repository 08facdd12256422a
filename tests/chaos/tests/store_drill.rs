//! The fault drill of a real Ray cluster, once on each database, and once with
//! the state taken away meanwhile: then it must fail.
//!
//! `make test-long` runs all other combinations (`long_store_drill`).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaos::{
    ray_drill::{Drill, Report, Victim},
    store::{
        databases::{Database, Kind},
        process::{READY, Serve},
    },
    venv::Venv,
};

const NAMESPACE: &str = "drill";

async fn drill(kind: Kind, victim: Victim, cleaned: bool) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let venv = Venv::find()?;
    let database = Database::start(kind, true).await?;
    let serve = Serve::new(&database.empty("ray").await?, folder.path())?;
    let mut store = serve.start()?;
    store.active(READY).await?;
    let mut drill = Drill::new(store.address(), NAMESPACE, victim);
    if cleaned {
        drill = drill
            .cleaned(&venv)
            .recovers_within(Duration::from_secs(15));
    }
    let report = drill.run(&venv, folder.path()).await?;
    let name = kind.name();
    println!(
        "{name}, {victim:?} killed, cleaned {cleaned}: {}",
        report.line()
    );
    store.check_alive().with_context(|| name)?;
    Ok(report)
}

/// One after the other: the drill measures, and two would be slow for want of
/// cores.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_recovers_on_every_database_and_not_without_its_state() -> Result<()> {
    for (kind, victim) in [
        (Kind::Sqlite, Victim::Head),
        (Kind::Postgres, Victim::Gcs),
        (Kind::Mariadb, Victim::Head),
    ] {
        let report = drill(kind, victim, false).await?;
        ensure!(report.recovered, "{kind:?}: {}", report.json);
    }
    let report = drill(Kind::Sqlite, Victim::Head, true).await?;
    ensure!(
        !report.recovered && report.json["between_rc"] == 0,
        "the drill finds all well without the state: {}",
        report.json
    );
    Ok(())
}
