//! `tradewind status`: what runs where, on one screen.
//!
//! Asks the admin listener of each process and puts the answers side by side.
//! A process that does not answer is a line too: what cannot be seen is part of
//! the picture.

pub mod fetch;
pub mod report;
mod table;

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use discovery_client::Address;
use futures_util::future::join_all;
use serde::Serialize;

use crate::cli::{Exit, Output, print};
use report::Report;

/// Between two pictures of `--watch`.
const PERIOD: Duration = Duration::from_secs(1);

/// Largest description of a running `dev`, in bytes.
const MAX_DESCRIPTION: u64 = 1024 * 1024;

/// Most processes that are asked.
const MAX_PROCESSES: usize = 256;

/// Flags of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The admin listener of a process; may be repeated. Absent: those of a
    /// running `tradewind dev`, or http://127.0.0.1:8081.
    #[arg(long, value_name = "URL")]
    admin: Vec<Address>,
    /// Where `tradewind dev` keeps its state.
    #[arg(long, value_name = "DIR", default_value = ".tradewind/dev")]
    state_dir: PathBuf,
    /// Draw again every second, until interrupted.
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    output: Output,
}

/// All that was asked.
#[derive(Debug, Serialize)]
struct Picture {
    /// When, in UTC.
    at: String,
    processes: Vec<Process>,
}

/// One that was asked.
#[derive(Debug, Serialize)]
struct Process {
    admin: Address,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
    /// Why there is no report.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Shows the picture once, or again and again.
///
/// # Errors
/// If the result cannot be printed. Exit code 3 if a process did not answer.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !args.watch {
        let picture = look(&args).await;
        print(&shown(&picture, args.output)?)?;
        let silent: Vec<_> = picture
            .processes
            .iter()
            .filter(|process| process.report.is_none())
            .collect();
        for process in &silent {
            eprintln!(
                "{}: {}",
                process.admin,
                process.error.as_deref().unwrap_or("no answer")
            );
        }
        return Ok(if silent.is_empty() {
            ExitCode::SUCCESS
        } else {
            Exit::Unreachable.into()
        });
    }
    let clear = if std::io::stdout().is_terminal() && !args.output.json() {
        "\u{1b}[2J\u{1b}[H"
    } else {
        ""
    };
    let mut period = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            _ = period.tick() => {}
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted.map(|()| ExitCode::SUCCESS)?),
        }
        print(&format!(
            "{clear}{}",
            shown(&look(&args).await, args.output)?
        ))?;
    }
}

async fn look(args: &Args) -> Picture {
    let addresses = if args.admin.is_empty() {
        found(&args.state_dir)
    } else {
        args.admin.clone()
    };
    let processes = join_all(addresses.into_iter().take(MAX_PROCESSES).map(ask)).await;
    Picture {
        at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        processes,
    }
}

async fn ask(admin: Address) -> Process {
    match fetch::report(&admin).await {
        Ok(report) => Process {
            admin,
            report: Some(report),
            error: None,
        },
        Err(error) => Process {
            admin,
            report: None,
            error: Some(format!("{error:#}")),
        },
    }
}

fn shown(picture: &Picture, output: Output) -> anyhow::Result<String> {
    if output.json() {
        return Ok(format!("{}\n", serde_json::to_string(picture)?));
    }
    Ok(table::draw(picture))
}

/// The admin listeners of a running `dev`, or of one process by its defaults.
fn found(state_dir: &Path) -> Vec<Address> {
    let mut all = Vec::new();
    if let Some(description) = read(&state_dir.join("dev.json")) {
        admins(&description, &mut all);
    }
    if all.is_empty() {
        all.push(crate::config::Admin::default().listen.into());
    }
    all
}

fn read(path: &Path) -> Option<serde_json::Value> {
    use std::io::Read;
    let file = std::fs::File::open(path).ok()?;
    serde_json::from_reader(file.take(MAX_DESCRIPTION)).ok()
}

/// Every `admin: address` of the description, in its order.
fn admins(value: &serde_json::Value, all: &mut Vec<Address>) {
    match value {
        serde_json::Value::Object(entries) => {
            for (key, value) in entries {
                match value.as_str().map(Address::new) {
                    Some(Ok(address)) if key == "admin" && !all.contains(&address) => {
                        all.push(address);
                    }
                    _ => admins(value, all),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| admins(item, all)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listeners_of_a_running_dev_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"front": {"admin": "http://127.0.0.1:7701"},
                       "sites": [{"name": "east", "admin": "127.0.0.1:7721"}, {"admin": "http://127.0.0.1:7721"}]}"#;
        std::fs::write(dir.path().join("dev.json"), text).unwrap();
        let found: Vec<_> = found(dir.path()).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["http://127.0.0.1:7701", "http://127.0.0.1:7721"]);
    }

    #[test]
    fn without_dev_the_default_listener_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(found(dir.path())[0].as_str(), "http://127.0.0.1:8081");
    }
}
