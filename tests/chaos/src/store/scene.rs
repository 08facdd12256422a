//! A real Ray cluster that serves requests, on a store, on a database; and what
//! it must live through.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::wait;
use rustix::process::Pid;
use tempfile::TempDir;

use super::{
    certificates::Certificates,
    databases::{Database, Kind},
    process::{Serve, Store},
    wire::{Reply, ask},
};
use crate::{
    ray::{Backing, Cluster},
    steady::{Seen, Steady},
    venv::Venv,
};

/// Between two requests.
const PERIOD: Duration = Duration::from_millis(50);
const PASSWORD: &str = "correct horse battery staple";
/// How long the load goes on before a fault and after it.
const AROUND: Duration = Duration::from_secs(2);
/// How long a write may take once the database is back.
const BACK: Duration = Duration::from_secs(30);
/// How long a new driver with a task and an actor may take.
const WORKS: Duration = Duration::from_secs(90);

/// What happens to what stands behind the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The database is killed and restarted after so long.
    Kill(Duration),
    /// The database is stopped and goes on after so long.
    Pause(Duration),
    /// The store hands over to a successor.
    Handover,
}

/// All of it, running.
#[derive(Debug)]
pub struct Scene {
    database: Database,
    store: Store,
    cluster: Cluster,
    venv: Venv,
    secured: bool,
    folder: PathBuf,
    _temporary: TempDir,
}

/// What a fault did.
#[derive(Debug)]
pub struct Outcome {
    /// How long the fault lasted, until a write was answered.
    pub lasted: Duration,
    /// The process that held the cluster's state before and after.
    pub heads: (Option<Pid>, Option<Pid>),
    /// What users saw.
    pub seen: Seen,
}

impl Scene {
    /// Starts a durable database of `kind`, a store and a cluster, and deploys
    /// an application.
    ///
    /// # Errors
    /// If any of them does not come up.
    pub async fn start(kind: Kind) -> Result<Self> {
        Self::start_with(kind, false).await
    }

    /// As [`Scene::start`]; if `secured`, with TLS, a user and a password.
    ///
    /// # Errors
    /// If any of them does not come up.
    pub async fn start_with(kind: Kind, secured: bool) -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let folder = temporary.path().to_owned();
        let venv = Venv::find()?;
        let database = Database::start(kind, true).await?;
        let mut serve = Serve::new(&database.empty("ray").await?, &folder)?;
        let mut backing = Backing::from(serve.address());
        if secured {
            let made = Certificates::make(&folder)?;
            serve = serve.secured(&made, PASSWORD, &folder)?;
            backing.secured = Some((made.authority, PASSWORD.to_owned()));
        }
        let mut store = serve.start()?;
        store.says_ready().await?;
        let site = kind.name().to_lowercase();
        let mut cluster = Cluster::start_on(&venv, &site, &folder, Some(&backing)).await?;
        cluster.deploy(&venv, &folder).await?;
        Ok(Self {
            database,
            store,
            cluster,
            venv,
            secured,
            folder,
            _temporary: temporary,
        })
    }

    /// Goes through `fault` under load. A driver that was started while the
    /// database was away must have worked at the end, and so must a new one.
    ///
    /// # Errors
    /// If a driver fails, or writes are not answered again.
    pub async fn go_through(&mut self, fault: Fault) -> Result<Outcome> {
        let before = self.cluster.gcs_server();
        ensure!(before.is_some(), "there is no gcs_server");
        let load = Steady::start(&self.cluster.page(), PERIOD);
        tokio::time::sleep(AROUND).await;
        let began = Instant::now();
        let mut meanwhile = None;
        match fault {
            Fault::Kill(away) => {
                self.database.kill();
                meanwhile = Some(self.cluster.driver(&self.venv, &self.folder)?);
                tokio::time::sleep(away).await;
                self.database.restart().await?;
            }
            Fault::Pause(away) => {
                self.database.pause();
                meanwhile = Some(self.cluster.driver(&self.venv, &self.folder)?);
                tokio::time::sleep(away).await;
                self.database.resume();
            }
            Fault::Handover => {
                let old = self.store.pid();
                println!("{}", self.store.handover().await?.trim_end());
                let new = self.store.pid();
                ensure!(old != new, "the same process {old:?} serves");
            }
        }
        self.writes().await?;
        let lasted = began.elapsed();
        if let Some(mut driver) = meanwhile {
            let status = driver.end(WORKS).await?;
            ensure!(
                status.success(),
                "a driver started meanwhile: {}",
                driver.log()
            );
        }
        self.cluster.works(&self.venv, &self.folder, WORKS).await?;
        tokio::time::sleep(AROUND).await;
        Ok(Outcome {
            lasted,
            heads: (before, self.cluster.gcs_server()),
            seen: load.finish().await?,
        })
    }

    /// Waits until the store answers a write of another namespace.
    async fn writes(&self) -> Result<()> {
        if self.secured {
            // The drivers that follow write.
            return Ok(());
        }
        let write: [&[u8]; 4] = [b"HSET", b"RAYprobe@KV", b"probe", b"1"];
        wait::until("an answered write", BACK, async || {
            let reply = ask(self.store.address(), &write, BACK).await?;
            ensure!(matches!(reply, Reply::Number(_)), "{reply:?}");
            Ok(())
        })
        .await
        .with_context(|| self.store.log())
    }

    /// The store.
    pub fn store(&mut self) -> &mut Store {
        &mut self.store
    }
}

impl Outcome {
    /// Fails unless the head lived on and no user noticed.
    ///
    /// # Errors
    /// What happened instead.
    pub fn unnoticed(&self, what: &str) -> Result<()> {
        let (before, after) = self.heads;
        let Seen {
            fine,
            failed,
            longest,
        } = &self.seen;
        println!(
            "{what}: {:.1?} until writes were answered; gcs_server {:?} before, {:?} after; \
             {fine} requests fine, {} failed, the longest took {longest:.0?}",
            self.lasted,
            before.map(Pid::as_raw_nonzero),
            after.map(Pid::as_raw_nonzero),
            failed.len(),
        );
        ensure!(before == after, "{what}: the head died");
        ensure!(failed.is_empty(), "{what}: requests failed: {failed:?}");
        ensure!(*fine > 50, "{what}: hardly any load");
        Ok(())
    }
}
