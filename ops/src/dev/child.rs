//! One process of the demonstration.

use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::Context as _;
use discovery_client::Address;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// How to start a process, again and again.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// `gateway`, `r1`, …
    pub name: String,
    /// Arguments of this same program.
    pub args: Vec<OsString>,
    /// Where it listens.
    pub address: Address,
    /// Standard output and error go there.
    pub log: PathBuf,
    /// Its own record of requests.
    pub journal: PathBuf,
}

impl Recipe {
    /// Starts it. Must be called on a thread that lives as long as the
    /// supervisor: the kernel kills the child when that thread ends.
    pub fn start(&self, program: &Path) -> anyhow::Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let errors = log.try_clone().context("cannot share a log file")?;
        Command::new(program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C at the terminal is for the supervisor alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))
    }
}

/// Sends a signal to a child that has not been waited for. One that is just
/// gone is no error: its end is on its way to the supervisor.
pub fn send(pid: u32, signal: Signal) {
    let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = known
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::debug!(%error, pid = pid.as_raw_nonzero(), "a signal found nobody");
    }
}

/// How a process ended, in words.
pub fn ending(status: std::io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status {
        Err(error) => format!("was lost: {error}"),
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("died by {}", signal_name(signal)),
            (None, Some(0)) => "ended".to_owned(),
            (None, code) => format!("ended with code {}", code.unwrap_or(-1)),
        },
    }
}

fn signal_name(number: i32) -> String {
    match number {
        1 => "SIGHUP".to_owned(),
        2 => "SIGINT".to_owned(),
        3 => "SIGQUIT".to_owned(),
        4 => "SIGILL".to_owned(),
        6 => "SIGABRT".to_owned(),
        7 => "SIGBUS".to_owned(),
        9 => "SIGKILL".to_owned(),
        11 => "SIGSEGV".to_owned(),
        13 => "SIGPIPE".to_owned(),
        15 => "SIGTERM".to_owned(),
        other => format!("signal {other}"),
    }
}
