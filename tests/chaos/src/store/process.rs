//! `tradewind store serve` as a process.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use harness::{ports, process::Process, wait};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    certificates::Certificates,
    wire::{Reply, ask},
};
use crate::binary::tradewind;

/// A store answers within this: a debug build on two busy cores, a migration.
pub const READY: Duration = Duration::from_secs(30);
/// How long one look at it may take.
const LOOK: Duration = Duration::from_secs(5);

/// How a store is started, and started again.
#[derive(Debug, Clone)]
pub struct Serve {
    database: String,
    port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// What a store says of itself to a head that connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It serves.
    Active,
    /// It sends heads to this address.
    Standby(String),
}

impl Serve {
    /// One on `database` with a port of its own; its log goes to `folder`.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn new(database: &str, folder: &Path) -> Result<Self> {
        let port = ports::lasting()?;
        Ok(Self {
            database: database.to_owned(),
            port,
            folder: folder.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
        })
    }

    /// Adds words to the command line.
    #[must_use]
    pub fn arguments(mut self, words: &[&str]) -> Self {
        self.arguments
            .extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Adds a variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// It speaks TLS only and asks for a password, which is kept in `folder`.
    ///
    /// # Errors
    /// If the password cannot be written.
    pub fn secured(self, made: &Certificates, password: &str, folder: &Path) -> Result<Self> {
        let file = folder.join("password");
        fs::write(&file, password)?;
        for secret in [&file, &made.key] {
            fs::set_permissions(secret, fs::Permissions::from_mode(0o600))?;
        }
        let text = |path: &Path| path.display().to_string();
        Ok(self.arguments(&[
            "--password-file",
            &text(&file),
            "--tls-cert",
            &text(&made.certificate),
            "--tls-key",
            &text(&made.key),
        ]))
    }

    /// It dies where the `nth` passing of the kill point `point` is; only a
    /// debug build does.
    #[must_use]
    pub fn crash_at(self, point: &str, nth: u32) -> Self {
        self.variable("TRADEWIND_CRASH_AT", &format!("{point}:{nth}"))
    }

    /// Where heads connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// If the binary has not been built.
    pub fn start(&self) -> Result<Store> {
        let mut command = self.command("serve")?;
        command.args(["--listen", &self.address().to_string(), "--admin", "off"]);
        let socket = self.folder.join(format!("{}.sock", self.port));
        command.arg("--socket").arg(&socket);
        command.args(&self.arguments);
        let process = Process::start(&format!("store-{}", self.port), command, &self.folder)?;
        Ok(Store {
            process,
            successor: None,
            address: self.address(),
            socket,
        })
    }

    /// `tradewind store <name> --database ...` with its environment.
    ///
    /// # Errors
    /// If the binary has not been built.
    pub fn command(&self, name: &str) -> Result<Command> {
        let mut command = tradewind()?;
        command.args(["store", name, "--database", &self.database]);
        let variables = self.environment.iter();
        command.envs(variables.map(|(name, value)| (name, value)));
        Ok(command)
    }
}

/// A store process.
#[derive(Debug)]
pub struct Store {
    process: Process,
    /// Who serves now, if it was handed over.
    successor: Option<Pid>,
    address: SocketAddr,
    socket: PathBuf,
}

impl Store {
    /// Where heads connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of the process that serves.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.successor.unwrap_or_else(|| self.process.pid())
    }

    /// `tradewind store handover`: a successor takes its place. Returns what
    /// the command printed.
    ///
    /// # Errors
    /// If the command fails, or leaves no successor.
    pub async fn handover(&mut self) -> Result<String> {
        let before = self.serving();
        let said = self.handover_command()?.output().await?;
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        ensure!(
            said.status.success(),
            "the handover failed: {text}\n{}",
            self.log()
        );
        let mut new = self.serving();
        new.retain(|pid| !before.contains(pid));
        self.successor = Some(*new.first().context("nobody took over")?);
        Ok(text)
    }

    /// The command that hands over; killed when dropped.
    ///
    /// # Errors
    /// If the binary has not been built.
    pub fn handover_command(&self) -> Result<tokio::process::Command> {
        let mut command = tradewind()?;
        command.args(["store", "handover", "--socket"]);
        command.arg(&self.socket);
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    /// All of this store's processes that serve, or once did and live on.
    #[must_use]
    pub fn serving(&self) -> Vec<Pid> {
        let members = self.process.members();
        let serve = members
            .iter()
            .filter(|one| one.title.contains(" store serve "));
        serve.map(|one| one.pid).collect()
    }

    /// What it has printed, and those before it on that port.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it has made up its mind.
    ///
    /// # Errors
    /// If it ends, or says nothing in time.
    pub async fn ready(&mut self) -> Result<Standing> {
        wait::until("the store's readiness", READY, async || {
            self.check_alive()?;
            standing(self.address).await
        })
        .await
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// If it ends, or does not within `within`.
    pub async fn active(&mut self, within: Duration) -> Result<()> {
        wait::until("a store that serves", within, async || {
            self.check_alive()?;
            let found = standing(self.address).await?;
            ensure!(found == Standing::Active, "{found:?}");
            Ok(())
        })
        .await
    }

    /// Waits until it says that it serves: for one that speaks TLS only.
    ///
    /// # Errors
    /// If it ends, or does not say so in time.
    pub async fn says_ready(&mut self) -> Result<()> {
        wait::until("the store's readiness", READY, async || {
            self.check_alive()?;
            let ready = self.log().lines().any(|line| line.starts_with("ready on "));
            ensure!(ready, "it has not said so");
            Ok(())
        })
        .await
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// With the end of its output.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.successor {
            None => self.process.check_alive(),
            Some(pid) if self.serving().contains(&pid) => Ok(()),
            Some(_) => Err(wait::Hopeless(format!("the successor ended\n{}", self.log())).into()),
        }
    }

    /// Waits for the end of the process that was started first.
    ///
    /// # Errors
    /// If it is still running when `within` has passed.
    pub async fn end(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.end(within).await
    }

    /// Asks it to stop (SIGTERM) and waits.
    ///
    /// # Errors
    /// If it does not within `within`.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.terminate(within).await
    }

    /// SIGKILL, to successors too.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// If it has gone.
    pub fn pause(&self) -> Result<()> {
        kill_process(self.pid(), Signal::STOP).context("cannot pause the store")
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// If it has gone.
    pub fn resume(&self) -> Result<()> {
        kill_process(self.pid(), Signal::CONT).context("cannot resume the store")
    }
}

/// Asks as a head does before it starts.
///
/// # Errors
/// If there is no answer, or another one.
pub async fn standing(address: SocketAddr) -> Result<Standing> {
    match ask(address, &[b"DEL", b"DUMMY"], LOOK).await? {
        Reply::Number(0) => Ok(Standing::Active),
        Reply::Error(text) => match text.split_ascii_whitespace().collect::<Vec<_>>()[..] {
            ["MOVED", _, to] => Ok(Standing::Standby(to.to_owned())),
            _ => bail!("DEL DUMMY was answered {text}"),
        },
        other => bail!("DEL DUMMY was answered {other:?}"),
    }
}
