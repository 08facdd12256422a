//! The fault drill in all its forms: each database, head or GCS killed, plain or
//! with TLS, user and password; and the store killed together with the head.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use chaos::{
    ray_drill::{Drill, Report, Victim},
    store::{
        certificates::Certificates,
        databases::{Database, Kind},
        process::{READY, Serve},
        wire::{Reply, ask},
    },
    venv::Venv,
};
use harness::wait;

const NAMESPACE: &str = "drill";
const PASSWORD: &str = "correct horse battery staple";
/// A drill reaches its outage within this.
const OUTAGE: Duration = Duration::from_secs(180);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Secured,
    StoreKilled,
}

async fn drill(kind: Kind, victim: Victim, form: Form) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let venv = Venv::find()?;
    let database = Database::start(kind, true).await?;
    let mut serve = Serve::new(&database.empty("ray").await?, folder)?;
    let mut drill = Drill::new(serve.address(), NAMESPACE, victim);
    let hold = folder.join("hold");
    match form {
        Form::Plain => {}
        Form::Secured => {
            let made = Certificates::make(folder)?;
            serve = serve.secured(&made, PASSWORD, folder)?;
            drill = drill.secured(&made.authority, NAMESPACE, PASSWORD);
        }
        Form::StoreKilled => drill = drill.waits(&hold),
    }
    let mut store = serve.start()?;
    if form == Form::Secured {
        store.says_ready().await?;
        speaks_tls_only(&serve).await?;
    } else {
        store.active(READY).await?;
    }
    let restart = async {
        if form == Form::StoreKilled {
            wait::until("the outage", OUTAGE, async || {
                ensure!(hold.exists(), "not yet");
                Ok(())
            })
            .await?;
            store.kill();
            store = serve.start()?;
            store.active(READY).await?;
            fs::remove_file(&hold)?;
        }
        anyhow::Ok(store)
    };
    let (report, store) = tokio::join!(drill.run(&venv, folder), restart);
    let report = report?;
    let what = format!("{}, {victim:?} killed, {form:?}", kind.name());
    println!("{what}: {}", report.line());
    store?.check_alive().with_context(|| what.clone())?;
    ensure!(report.recovered, "{what}: {}", report.json);
    Ok(report)
}

/// A plain command is not answered there.
async fn speaks_tls_only(serve: &Serve) -> Result<()> {
    let plain = ask(serve.address(), &[b"PING"], Duration::from_secs(5)).await;
    ensure!(
        !matches!(plain, Ok(Reply::Status(_))),
        "a plain PING was answered {plain:?}"
    );
    Ok(())
}

/// One after the other: each is a cluster of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_recovers_in_every_way() -> Result<()> {
    let mut failed = Vec::new();
    for kind in Kind::ALL {
        for (victim, form) in [
            (Victim::Head, Form::Plain),
            (Victim::Gcs, Form::Plain),
            (Victim::Head, Form::Secured),
            (Victim::Gcs, Form::Secured),
            (Victim::Head, Form::StoreKilled),
        ] {
            if let Err(why) = drill(kind, victim, form).await {
                failed.push(format!("{kind:?} {victim:?} {form:?}: {why:#}"));
            }
        }
    }
    assert_eq!(failed, Vec::<String>::new());
    Ok(())
}
