//! A MariaDB of one's own, which stands for MySQL in tests.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    ports,
    server::{Account, Server, Setup, find, run},
};

const PACKAGE: &str = "mariadb-server";

/// A running MariaDB on a free port of loopback. Killed when dropped, or when
/// this process ends.
#[derive(Debug)]
pub struct Mariadb {
    server: Server,
    client: PathBuf,
    port: u16,
}

impl Mariadb {
    /// Makes its tables in `folder` and starts it; not durable.
    ///
    /// # Errors
    /// If MariaDB is not installed (says how to get it) or does not start.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, Setup::default()).await
    }

    /// As [`Mariadb::start`], with a setup.
    ///
    /// # Errors
    /// If MariaDB is not installed (says how to get it) or does not start.
    pub async fn start_with(folder: &Path, setup: Setup) -> Result<Self> {
        // A user's path has no sbin.
        let places = [PathBuf::from("/usr/sbin")];
        let account = Account::find("mysql", PACKAGE)?;
        let program = |name| find(name, PACKAGE, &places);
        let home = account.folder(folder, "mariadb")?;
        let data = format!("--datadir={}", home.join("data").display());

        let mut install = Command::new(program("mariadb-install-db")?);
        install
            .args([
                "--no-defaults",
                &data,
                "--skip-test-db",
                "--skip-name-resolve",
            ])
            .args(["--auth-root-authentication-method=normal"])
            .args([
                "--innodb-log-file-size=16M",
                "--innodb-flush-log-at-trx-commit=0",
            ])
            .current_dir(&home);
        account.take_on(&mut install);
        run(install)?;
        for (name, content) in &setup.files {
            account.file(&home.join("data"), name, content)?;
        }

        let port = ports::lasting()?;
        let mut arguments = vec!["--no-defaults".to_owned(), data];
        arguments.extend([
            "--bind-address=127.0.0.1".to_owned(),
            format!("--port={port}"),
            format!("--socket={}", home.join("socket").display()),
            format!("--pid-file={}", home.join("pid").display()),
        ]);
        arguments.extend(
            [
                "--skip-log-bin",
                "--skip-name-resolve",
                "--innodb-buffer-pool-size=32M",
                "--innodb-log-file-size=16M",
            ]
            .map(Into::into),
        );
        if !setup.durable {
            arguments.extend(
                [
                    "--innodb-flush-log-at-trx-commit=0",
                    "--innodb-doublewrite=0",
                ]
                .map(Into::into),
            );
        }
        arguments.extend(setup.arguments);
        let server = Server::start("mariadb", &home, account, program("mariadbd")?, arguments)?;
        let mut mariadb = Self {
            server,
            client: program("mariadb")?,
            port,
        };
        mariadb.ready().await?;
        Ok(mariadb)
    }

    async fn ready(&mut self) -> Result<()> {
        let (client, port) = (self.client.clone(), self.port);
        self.server
            .ready(async || sql(&client, port, "SELECT 1").map(drop))
            .await
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where root gets in, without a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}/mysql", self.port)
    }

    /// Makes the database `name`, and returns where it is.
    ///
    /// # Errors
    /// If there is one of that name, or the server does not answer.
    pub async fn database(&self, name: &str) -> Result<String> {
        self.sql(&format!("CREATE DATABASE `{name}`"))?;
        Ok(format!("mysql://root@127.0.0.1:{}/{name}", self.port))
    }

    /// Runs one statement as root; returns what the client prints.
    ///
    /// # Errors
    /// What the client says.
    pub fn sql(&self, statement: &str) -> Result<String> {
        sql(&self.client, self.port, statement)
    }

    /// Stops it where it is (SIGSTOP).
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.server.resume();
    }

    /// Kills it.
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

fn sql(client: &Path, port: u16, statement: &str) -> Result<String> {
    let mut command = Command::new(client);
    command
        .args(["--no-defaults", "--batch", "--skip-column-names"])
        .args(["--protocol=tcp", "-h", "127.0.0.1", "-u", "root"])
        .args([
            "--connect-timeout=5",
            "-P",
            &port.to_string(),
            "-e",
            statement,
        ]);
    run(command)
}
