//! One of those measured, running.

use std::{
    env, fs,
    fs::File,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use resp::{Client, Reply, Target};
use rustix::process::Signal;
use tokio::{net::lookup_host, time::sleep};

use super::{
    super::{
        contender::Program,
        guard::Guard,
        proc::Family,
        process::{POLL, READY, find, free_addresses},
    },
    contender::Contender,
    postgres::Postgres,
    settings::Settings,
};

/// Redis.
pub const REDIS: Program = Program {
    name: "redis-server",
    package: "redis-server",
};

/// A contender that answers.
#[derive(Debug)]
pub struct Server {
    /// Who.
    pub contender: Contender,
    /// Where it listens.
    pub address: SocketAddr,
    /// `None`: somebody else's.
    guard: Option<Guard>,
    /// Dropped after the store that works on it.
    database: Option<Postgres>,
}

impl Server {
    /// Starts `contender` with its files below `folder` and waits until it
    /// stores a field.
    ///
    /// # Errors
    /// If it cannot be started or does not answer in time; what it printed is
    /// part of the error.
    pub async fn start(
        contender: Contender,
        settings: &Settings,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        if let (Contender::Redis, Some(redis)) = (contender, &settings.redis) {
            let address = lookup_host(redis)
                .await
                .with_context(|| format!("--redis {redis}"))?
                .next()
                .context("--redis: no such host")?;
            let mut server = Self {
                contender,
                address,
                guard: None,
                database: None,
            };
            server.answers("").await?;
            return Ok(server);
        }
        let [address] = free_addresses()?;
        let database = match contender {
            Contender::Postgres if settings.postgres.is_none() => {
                Some(Postgres::start(&folder.join("postgres")).await?)
            }
            _ => None,
        };
        let log = folder.join("output.log");
        let own = database.as_ref().map(Postgres::url);
        let mut command = match contender {
            Contender::Redis | Contender::RedisAlways => redis("always", address, folder)?,
            Contender::RedisEverysec => redis("everysec", address, folder)?,
            Contender::Sqlite => {
                let file = folder.join("store.db");
                store(&format!("sqlite://{}", file.display()), address, folder)?
            }
            Contender::Postgres => {
                let url = own.as_ref().or(settings.postgres.as_ref());
                let mut command = store(url.context("no database")?, address, folder)?;
                if let Some(file) = &settings.postgres_password_file {
                    command.arg("--database-password-file").arg(file);
                }
                command
            }
        };
        let process = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {contender}"))?;
        let mut server = Self {
            contender,
            address,
            guard: Some(Guard::new(process, Signal::TERM)),
            database,
        };
        if let Err(error) = server.answers(contender.name()).await {
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("{contender} is not ready: {error:#}\n{}", said.trim());
        }
        Ok(server)
    }

    /// Its processes, without those of its database; `None` for somebody else's.
    pub fn family(&self) -> Option<Family> {
        self.guard.as_ref()?.id().map(Family::of)
    }

    /// The processes of its database, if it has one of its own.
    pub fn database(&self) -> Option<Family> {
        self.database.as_ref()?.family()
    }

    /// Asks it to end; does not wait.
    pub fn terminate(&self) {
        if let Some(guard) = &self.guard {
            guard.terminate();
        }
    }

    async fn answers(&mut self, name: &str) -> anyhow::Result<()> {
        let target = Target::new(self.address.to_string()).deadline(Duration::from_secs(5));
        let began = Instant::now();
        loop {
            if let Some(guard) = &mut self.guard {
                guard.check()?;
            }
            let reply = async {
                let mut client = Client::connect(&target).await?;
                client.call(&["HSET", "RAYready@KV", "field", name]).await
            };
            match reply.await {
                Ok(Reply::Int(_)) => return Ok(()),
                outcome if began.elapsed() > READY => {
                    bail!("HSET was answered {outcome:?}");
                }
                _ => sleep(POLL).await,
            }
        }
    }
}

fn redis(flush: &str, address: SocketAddr, folder: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(find(REDIS)?);
    command
        .args(["--bind", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .arg("--dir")
        .arg(folder)
        // Only the log: snapshots beside it would cost, and promise nothing more.
        .args(["--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", flush, "--maxclients", "20000"]);
    Ok(command)
}

fn store(database: &str, address: SocketAddr, folder: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    let socket = folder.join("handover.sock");
    ensure!(
        socket.as_os_str().len() < 100,
        "{} is too long a path",
        folder.display()
    );
    command
        .args(["store", "serve", "--database", database])
        .args(["--listen", &address.to_string(), "--admin", "off"])
        .arg("--socket")
        .arg(socket);
    Ok(command)
}
