//! What all servers have in common: where they live, as whom, and how they are
//! held still, killed and started again.

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, geteuid, kill_process};

use crate::{family::Member, leash, process::Process, wait};

/// How long a server may take until it answers; two busy cores.
const READY: Duration = Duration::from_secs(60);

/// How long a killed server may take to be gone.
const DEATH: Duration = Duration::from_secs(10);

/// How a server is to be, beyond its defaults.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Whether what is committed survives the loss of power. Costs a sync of
    /// the disk per commit. Killed processes lose nothing either way.
    pub durable: bool,
    /// Arguments added to the command line.
    pub arguments: Vec<String>,
    /// Files in the server's folder of data, owned by it and nobody else's to
    /// read: name and content.
    pub files: Vec<(String, Vec<u8>)>,
}

/// A server's process, and how to start it again.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    folder: PathBuf,
    account: Account,
    program: PathBuf,
    arguments: Vec<String>,
    process: Process,
}

impl Server {
    pub(crate) fn start(
        name: &'static str,
        folder: &Path,
        account: Account,
        program: PathBuf,
        arguments: Vec<String>,
    ) -> Result<Self> {
        let process = spawn(name, folder, account, &program, &arguments)?;
        Ok(Self {
            name,
            folder: folder.to_owned(),
            account,
            program,
            arguments,
            process,
        })
    }

    /// Waits until `ask` gets its answer.
    pub(crate) async fn ready(&mut self, mut ask: impl AsyncFnMut() -> Result<()>) -> Result<()> {
        let Self { name, process, .. } = self;
        wait::until(name, READY, async || {
            process.check_alive()?;
            ask().await
        })
        .await
    }

    /// Starts it again, killing it first if it still runs.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.kill();
        self.process = spawn(
            self.name,
            &self.folder,
            self.account,
            &self.program,
            &self.arguments,
        )?;
        Ok(())
    }

    /// SIGKILL to all its processes; returns when they are gone.
    pub(crate) fn kill(&mut self) {
        // None is started while the others die. The leash is the last, so that
        // it has waited for the server.
        self.pause();
        self.signal(Signal::KILL);
        self.process.end_or_kill(DEATH);
    }

    /// SIGSTOP to all its processes.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        // One that was being started while the others were stopped.
        self.signal(Signal::STOP);
    }

    /// SIGCONT to all its processes.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The leash goes on running, or the server would outlive the test.
    fn signal(&self, signal: Signal) {
        for Member { pid, title } in self.process.members() {
            if !leash::holds(&title) {
                // An error means that it has gone by itself.
                let _gone = kill_process(pid, signal);
            }
        }
    }
}

fn spawn(
    name: &str,
    folder: &Path,
    account: Account,
    program: &Path,
    arguments: &[String],
) -> Result<Process> {
    let mut command = leash::command(program);
    command.args(arguments).current_dir(folder);
    account.take_on(&mut command);
    Process::start_leashed(name, command, folder)
}

/// Whom a server runs as. Servers refuse to be root, or should not be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account(Option<(u32, u32)>);

impl Account {
    /// Whoever we are, or `name` if we are root.
    pub(crate) fn find(name: &str, package: &str) -> Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self(None));
        }
        let accounts = fs::read_to_string("/etc/passwd").context("no list of accounts")?;
        let ids = accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next()? != name {
                return None;
            }
            Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
        });
        ensure!(ids.is_some(), "{}", missing(name, package));
        Ok(Self(ids))
    }

    pub(crate) fn take_on(self, command: &mut Command) {
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
    }

    /// Makes `folder/name`, which then is this account's.
    pub(crate) fn folder(self, folder: &Path, name: &str) -> Result<PathBuf> {
        let own = folder.join(name);
        fs::create_dir_all(&own).with_context(|| format!("no folder {}", own.display()))?;
        if self.0.is_some() {
            // It must pass through a folder that may be root's alone.
            fs::set_permissions(folder, fs::Permissions::from_mode(0o711))?;
        }
        self.give(&own)?;
        Ok(own)
    }

    /// Writes `folder/name` for this account only.
    pub(crate) fn file(self, folder: &Path, name: &str, content: &[u8]) -> Result<()> {
        let file = folder.join(name);
        fs::write(&file, content).with_context(|| format!("no file {}", file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        self.give(&file)
    }

    fn give(self, path: &Path) -> Result<()> {
        if let Some((user, group)) = self.0 {
            std::os::unix::fs::chown(path, Some(user), Some(group))?;
        }
        Ok(())
    }
}

/// Where `name` is: in the path, or in one of `places`.
pub(crate) fn find(name: &str, package: &str, places: &[PathBuf]) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    places
        .iter()
        .cloned()
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| missing(name, package))
}

fn missing(name: &str, package: &str) -> String {
    format!("no {name} here: it is in Debian's package {package}, which `make test-env` installs")
}

/// Runs a command to its end, and shows what it printed if it failed.
pub(crate) fn run(mut command: Command) -> Result<String> {
    let program = command.get_program().to_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed\n{said}{error}", program.display());
    }
    Ok(said)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
