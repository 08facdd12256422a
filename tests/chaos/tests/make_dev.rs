//! `tradewind dev`, as `make dev` runs it: what it prints works, a killed
//! gateway loses nothing and comes back, and a stop leaves nothing behind.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use chaos::{
    dev::Dev,
    ledger::{self, Line, Promise},
    load::Load,
    process::Process,
    wait,
};
use discovery_client::{
    Address,
    sdk::{Call, Client, Config},
};
use http::Request;
use serde_json::{Value, json};

const RATE: u32 = 100;
const DEADLINE: Duration = Duration::from_secs(20);

fn chat(nth: u64, stream: bool) -> Call {
    let said = format!("call {nth}");
    let body = json!({
        "model": "demo-chat",
        "stream": stream,
        "max_tokens": 16,
        "messages": [{ "role": "user", "content": said }],
    });
    let request = Request::post("/v1/chat/completions").header("content-type", "application/json");
    Call::new(
        request
            .body(body.to_string().into())
            .expect("a request of the test"),
    )
}

/// A client that tries once: what the gateway does not absorb shows.
fn blunt(gateway: &Address) -> Result<Client> {
    let config = Config {
        attempts: 1,
        timeout: DEADLINE,
        ..Config::default()
    };
    Ok(Client::new(config, [(gateway.clone(), None)])?)
}

fn load(client: Client) -> chaos::load::Running {
    Load {
        rate: RATE,
        unary: |nth| chat(nth, false),
        streams: 4,
        stream: |nth| chat(nth, true),
    }
    .start(client)
}

/// The promises but for streams, which a client that tries once sees break.
fn unary_only(history: &[Line]) -> Vec<String> {
    let verdict = ledger::check(history, Promise::default());
    println!("{:?}", verdict.sums);
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
    printed_commands_work(&dev, folder).await?;

    let state = dev.state()?;
    let front = load(blunt(&state.front)?);
    let east = load(blunt(&state.site("east")?.gateway)?);
    front.run_until(Duration::from_secs(4)).await;
    front.fault(|| dev.kill("east", "gateway")).await?;
    wait::until(
        "the gateway's restart",
        Duration::from_secs(20),
        async || {
            let state = dev.state()?;
            let gateway = state.site("east")?.process("gateway")?;
            ensure!(
                gateway.status == "running" && gateway.restarts == 1,
                "{gateway:?}"
            );
            Ok(())
        },
    )
    .await?;
    front.run_until(Duration::from_secs(14)).await;
    assert_eq!(
        unary_only(&front.finish(DEADLINE).await?),
        Vec::<String>::new()
    );
    // The same load straight at the killed gateway must have lost something,
    // or neither load would prove anything.
    assert_ne!(
        unary_only(&east.finish(DEADLINE).await?),
        Vec::<String>::new()
    );

    assert!(
        dev.members().len() >= 8,
        "a supervisor, three gateways and four replicas: {:?}",
        dev.members()
    );
    let status = dev.stop(Duration::from_secs(20)).await?;
    assert!(status.success(), "it ended with {status}");
    assert_eq!(dev.members(), []);
    Ok(())
}

async fn printed_commands_work(dev: &Dev, folder: &Path) -> Result<()> {
    let printed = dev.printed();
    let mut command = Command::new("sh");
    command
        .arg("-euc")
        .arg(printed_curl(&printed).with_context(|| format!("no curl in\n{printed}"))?);
    let mut curl = Process::start("curl", command, folder)?;
    ensure!(
        curl.end(DEADLINE).await?.success(),
        "the printed curl failed: {}",
        curl.log()
    );
    let said = curl.log();
    let answer = said.find("{\"").map(|at| &said[at..]).context("no JSON")?;
    let answer: Value = serde_json::from_str(answer.trim()).with_context(|| said.clone())?;
    ensure!(
        answer["choices"][0]["message"]["content"].is_string(),
        "{answer}"
    );
    Ok(())
}

/// The first command that begins with `curl`, lines joined that end with a
/// backslash.
fn printed_curl(printed: &str) -> Option<String> {
    let mut lines = printed
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("curl "));
    let mut command = lines.next()?.to_owned();
    while command.trim_end().ends_with('\\') {
        command = format!("{command}\n{}", lines.next()?);
    }
    Some(command)
}
