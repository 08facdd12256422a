//! A PostgreSQL of one's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    ports,
    server::{Account, Server, Setup, find, run},
};

const PACKAGE: &str = "postgresql";

/// A running PostgreSQL on a free port of loopback. Killed when dropped, or
/// when this process ends.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    psql: PathBuf,
    port: u16,
}

impl Postgres {
    /// Makes a cluster in `folder` and starts it; not durable.
    ///
    /// # Errors
    /// If PostgreSQL is not installed (says how to get it) or does not start.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, Setup::default()).await
    }

    /// As [`Postgres::start`], with a setup.
    ///
    /// # Errors
    /// If PostgreSQL is not installed (says how to get it) or does not start.
    pub async fn start_with(folder: &Path, setup: Setup) -> Result<Self> {
        let places = places();
        let account = Account::find("postgres", PACKAGE)?;
        let program = |name| find(name, PACKAGE, &places);
        let home = account.folder(folder, "postgres")?;
        let data = home.join("data");

        let mut initdb = Command::new(program("initdb")?);
        initdb
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])
            .args(["--no-sync", "-D"])
            .arg(&data)
            .current_dir(&home);
        account.take_on(&mut initdb);
        run(initdb)?;
        for (name, content) in &setup.files {
            account.file(&data, name, content)?;
        }

        let port = ports::lasting()?;
        let mut arguments = vec!["-D".into(), data.display().to_string()];
        arguments.extend([
            "-h".into(),
            "127.0.0.1".into(),
            "-p".into(),
            port.to_string(),
        ]);
        arguments.extend(["-k".into(), home.display().to_string()]);
        arguments.extend(["-c".into(), "shared_buffers=32MB".into()]);
        if !setup.durable {
            arguments.push("-F".into());
        }
        arguments.extend(setup.arguments);
        let server = Server::start("postgres", &home, account, program("postgres")?, arguments)?;
        let mut postgres = Self {
            server,
            psql: program("psql")?,
            port,
        };
        postgres.ready().await?;
        Ok(postgres)
    }

    async fn ready(&mut self) -> Result<()> {
        let (psql, port) = (self.psql.clone(), self.port);
        self.server
            .ready(async || sql(&psql, port, "SELECT 1").map(drop))
            .await
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its superuser gets in, without a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Makes the database `name`, and returns where it is.
    ///
    /// # Errors
    /// If there is one of that name, or the server does not answer.
    pub async fn database(&self, name: &str) -> Result<String> {
        self.sql(&format!("CREATE DATABASE \"{name}\""))?;
        Ok(format!(
            "postgres://postgres@127.0.0.1:{}/{name}",
            self.port
        ))
    }

    /// Runs one statement as the superuser; returns what psql prints.
    ///
    /// # Errors
    /// What psql says.
    pub fn sql(&self, statement: &str) -> Result<String> {
        sql(&self.psql, self.port, statement)
    }

    /// Stops all its processes where they are (SIGSTOP).
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Lets them go on.
    pub fn resume(&self) {
        self.server.resume();
    }

    /// Kills all its processes.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on the same port and data, killing it first if it runs.
    ///
    /// # Errors
    /// If it does not come back.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.restart()?;
        self.ready().await
    }
}

fn sql(psql: &Path, port: u16, statement: &str) -> Result<String> {
    let mut command = Command::new(psql);
    command
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres"])
        .args(["-d", "postgres", "-c", statement])
        .env("PGCONNECT_TIMEOUT", "5");
    run(command)
}

/// Debian keeps each release's programs in a folder of their own; the newest
/// release first.
fn places() -> Vec<PathBuf> {
    let mut releases: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let release = entry.file_name().to_str()?.parse().ok()?;
            Some((release, entry.path().join("bin")))
        })
        .collect();
    releases.sort();
    releases.into_iter().rev().map(|(_, bin)| bin).collect()
}
