//! `tradewind dev`, as `make dev` runs it: what it prints works, a killed
//! gateway loses nothing and comes back, and a stop leaves nothing behind.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use chaos::{
    dev::Dev,
    ledger::{self, Line, Promise},
    load::{Load, Running, demo_chat},
    venv::Venv,
};
use discovery_client::{
    Address,
    sdk::{Client, Config},
};
use harness::{process::Process, wait};
use serde_json::Value;

const RATE: u32 = 100;
const DEADLINE: Duration = Duration::from_secs(20);

/// A client that tries once: what the gateway does not absorb shows.
fn blunt(gateway: &Address) -> Result<Client> {
    let config = Config {
        attempts: 1,
        timeout: DEADLINE,
        ..Config::default()
    };
    Ok(Client::new(config, [(gateway.clone(), None)])?)
}

fn load(client: Client) -> Running {
    let (unary, stream) = (
        |nth| demo_chat(nth, false, 16),
        |nth| demo_chat(nth, true, 16),
    );
    Load {
        rate: RATE,
        unary,
        streams: 4,
        stream,
    }
    .start(client)
}

/// The promises but for streams, which a client that tries once sees break.
fn unary_only(what: &str, history: &[Line]) -> Vec<String> {
    let verdict = ledger::check(history, Promise::default());
    println!("{what}: {:?}", verdict.sums);
    verdict
        .broken
        .into_iter()
        .filter(|line| !line.starts_with("stream "))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_survives_kill_9_and_stops_clean() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let mut dev = Dev::start(folder).await?;
    let printed = dev.printed();
    curl_works(&printed, folder).await?;
    python_works(&printed, folder).await?;

    let state = dev.state()?;
    let front = load(blunt(&state.front)?);
    let east = load(blunt(&state.site("east")?.gateway)?);
    front.run_until(Duration::from_secs(4)).await;
    let kill = printed_command(&printed, "kill -9 ")?;
    let mut killed = front.fault(|| shell("kill", &kill, folder)).await?;
    ensure!(killed.end(DEADLINE).await?.success(), "{}", killed.log());
    running_again(&dev, ["gateway", "r1", "r2"]).await?;
    front.run_until(Duration::from_secs(15)).await;
    let (front, east) = (front.finish(DEADLINE).await?, east.finish(DEADLINE).await?);
    assert_eq!(unary_only("a site killed", &front), Vec::<String>::new());
    // The same load straight at the killed gateway must have lost something,
    // or neither load would prove anything.
    assert_ne!(unary_only("asked alone", &east), Vec::<String>::new());

    let front = load(blunt(&state.front)?);
    front.run_until(Duration::from_secs(4)).await;
    front.fault(|| dev.kill("west", "gateway")).await?;
    front.run_until(Duration::from_secs(12)).await;
    let front = front.finish(DEADLINE).await?;
    assert_eq!(unary_only("a gateway killed", &front), Vec::<String>::new());

    let members = dev.members();
    assert!(
        members.len() >= 8,
        "a supervisor, three gateways, four replicas: {members:?}"
    );
    let status = dev.stop(Duration::from_secs(20)).await?;
    assert!(status.success(), "it ended with {status}");
    assert_eq!(dev.members(), []);
    Ok(())
}

async fn running_again<const N: usize>(dev: &Dev, names: [&str; N]) -> Result<()> {
    wait::until(
        "the restart of site east",
        Duration::from_secs(20),
        async || {
            let state = dev.state()?;
            for name in names {
                let process = state.site("east")?.process(name)?;
                ensure!(
                    process.status == "running" && process.restarts == 1,
                    "{process:?}"
                );
            }
            Ok(())
        },
    )
    .await
}

async fn curl_works(printed: &str, folder: &Path) -> Result<()> {
    let mut curl = shell("curl", &printed_command(printed, "curl ")?, folder)?;
    ensure!(curl.end(DEADLINE).await?.success(), "{}", curl.log());
    let said = curl.log();
    // Before its answer curl shows its progress.
    let answer = said.find("{\"").map(|at| &said[at..]).context("no JSON")?;
    let answer: Value = serde_json::from_str(answer.trim()).with_context(|| said.clone())?;
    ensure!(
        answer["choices"][0]["message"]["content"].is_string(),
        "{answer}"
    );
    Ok(())
}

async fn python_works(printed: &str, folder: &Path) -> Result<()> {
    let mut python = shell("python", &printed_command(printed, "python3 ")?, folder)?;
    ensure!(python.end(DEADLINE).await?.success(), "{}", python.log());
    ensure!(
        python.log().split_whitespace().count() > 3,
        "hardly an answer: {}",
        python.log()
    );
    Ok(())
}

/// Runs `command` as a user would who pasted it.
fn shell(name: &str, command: &str, folder: &Path) -> Result<Process> {
    let mut shell = Venv::find()?.activated("sh")?;
    shell.args(["-euc", command]);
    Process::start(name, shell, folder)
}

/// The first printed command that begins so, with the lines that belong to it:
/// those after a backslash and those of a here-document.
fn printed_command(printed: &str, beginning: &str) -> Result<String> {
    let mut lines = printed
        .lines()
        .skip_while(|line| !line.starts_with(beginning));
    let first = lines
        .next()
        .with_context(|| format!("no `{beginning}` in\n{printed}"))?;
    let mut command = first.to_owned();
    let here_document = first
        .split_once("<<'")
        .and_then(|(_, end)| end.strip_suffix('\''));
    for line in lines {
        let done = match here_document {
            Some(end) => command.ends_with(&format!("\n{end}")),
            None => !command.ends_with('\\'),
        };
        if done {
            break;
        }
        command = format!("{command}\n{line}");
    }
    Ok(command)
}
