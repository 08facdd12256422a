//! `tradewind store handover`: a new process for an old one, under open
//! connections.
//!
//! ```text
//!   this command          the running store            its successor
//!     | SIGUSR2 ---------------> | starts it -----------------> |
//!     | how do things stand?     | <---- connections, database ---> |
//!     |   (control socket)       | ends, or relays TLS          | serves
//!     | who answers now? --------------------------------------->|
//! ```

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use gcs_store::handover_status;
use rustix::process::{Pid, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{socket, successor};
use crate::cli::{Exit, Output, print};

/// The longest a handover can take: standing still, moving everything, taking
/// the database.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long the running store may take to start its successor.
const START: Duration = Duration::from_secs(10);

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(50);

/// Flags of `store handover`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The store of this machine that listens there.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6379")]
    listen: SocketAddr,
    /// Its control socket, where that is not in the usual place.
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    predecessor: u32,
    successor: u32,
    /// Absent if the successor found nobody to take over from.
    #[serde(flatten)]
    inherited: Option<Inherited>,
}

/// How a store stands, as its control socket says.
#[derive(Debug, Deserialize)]
struct Report {
    pid: u32,
    inherited: Option<Inherited>,
}

/// What a successor was given.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Inherited {
    /// Connections that moved.
    connections: u64,
    /// Of these, TLS connections whose bytes the process that took them passes on.
    relayed: u64,
    /// Milliseconds in which no command was run.
    silent_ms: u64,
}

/// Hands over, and prints how it went.
///
/// # Errors
/// If the store cannot be asked, or goes on as before.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let found = match args.socket {
        Some(path) => Ok(path),
        None => socket::to_find(args.listen.port()),
    };
    let path = match found {
        Ok(path) => path,
        Err(places) => {
            let places: Vec<_> = places.iter().map(|it| it.display().to_string()).collect();
            eprintln!("no store: there is no socket {}", places.join(", nor "));
            return Ok(Exit::Unreachable.into());
        }
    };
    let Some(before) = report(&path).await? else {
        eprintln!("no store answers at {}", path.display());
        return Ok(Exit::Unreachable.into());
    };
    let store = i32::try_from(before.pid).ok().and_then(Pid::from_raw);
    let store = store.context("the store tells no process")?;
    kill_process(store, successor::ASK)
        .with_context(|| format!("the store, process {}, cannot be asked", before.pid))?;
    let after = await_successor(&path, before.pid).await?;
    let done = Done {
        predecessor: before.pid,
        successor: after.pid,
        inherited: after.inherited,
    };
    if args.output.json() {
        return print(&format!("{}\n", serde_json::to_string_pretty(&done)?));
    }
    print(&words(&done))
}

async fn report(path: &Path) -> anyhow::Result<Option<Report>> {
    let report = handover_status(path).await?;
    Ok(report.map(serde_json::from_value).transpose()?)
}

/// Waits until another process than `old` answers at the socket.
async fn await_successor(path: &Path, old: u32) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut started = None;
    loop {
        // In the middle of it nobody may answer for a moment.
        if let Ok(Some(report)) = report(path).await
            && report.pid != old
        {
            return Ok(report);
        }
        // It is no longer the store's child once that one has ended.
        started = started.or_else(|| child(old));
        match started {
            Some(pid) if parent(pid).is_none() => bail!(
                "the successor, process {pid}, ended; the store goes on as before, and its log \
                 says why"
            ),
            None if began.elapsed() > START => {
                bail!("the store, process {old}, started no successor; its log says why")
            }
            _ => {}
        }
        if began.elapsed() > PATIENCE {
            bail!("no successor serves after {PATIENCE:?}; see the log of the store");
        }
        sleep(PERIOD).await;
    }
}

/// The living child of `parent` that was started to take its place.
fn child(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?;
    let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.find(|pid| is_successor(*pid, parent))
}

fn is_successor(pid: u32, parent: u32) -> bool {
    let line = || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    self::parent(pid) == Some(parent)
        && line()
            .split(|byte| *byte == 0)
            .any(|word| word == successor::TAKE_OVER.as_bytes())
}

/// The parent of the process, if it lives.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; then state and parent.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z").then_some(parent)
}

fn words(done: &Done) -> String {
    let Done {
        predecessor,
        successor,
        inherited,
    } = done;
    let mut text = format!("process {successor} serves in place of {predecessor}\n");
    let Some(it) = inherited else {
        return text;
    };
    text.push_str(&format!("connections moved     {}\n", it.connections));
    text.push_str(&format!("without service       {} ms\n", it.silent_ms));
    if it.relayed > 0 {
        text.push_str(&format!(
            "of them TLS           {} (the process that took them passes their bytes on)\n",
            it.relayed
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handover_is_told_in_three_lines() {
        let done = Done {
            predecessor: 17,
            successor: 18,
            inherited: Some(Inherited {
                connections: 12,
                relayed: 4,
                silent_ms: 87,
            }),
        };
        insta::assert_snapshot!(words(&done), @r"
        process 18 serves in place of 17
        connections moved     12
        without service       87 ms
        of them TLS           4 (the process that took them passes their bytes on)
        ");
        let json = serde_json::to_value(&done).unwrap();
        assert_eq!(json["connections"], 12);
        assert_eq!(json["silent_ms"], 87);
    }

    #[test]
    fn only_a_child_that_takes_over_is_a_successor() {
        let mut other = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let mut one = std::process::Command::new("sh")
            .args(["-c", "read never", successor::TAKE_OVER])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let found = child(std::process::id());
        assert_eq!(found, Some(one.id()));
        one.kill().unwrap();
        one.wait().unwrap();
        assert_eq!(child(std::process::id()), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
