//! The official OpenAI client for Python, unmodified.
//!
//! The checks themselves are in `python/openai_client.py`, one line each in
//! this test's output. Half of them ask a demonstration; the other half asks a
//! site whose replicas misbehave on request (`python/scripted_replica.py`).

use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use chaos::{dev::Dev, site::Site, venv::Venv};
use discovery_client::Address;
use harness::{process::Process, wait};
use serde_json::json;
use tokio::sync::Mutex;

/// Some checks measure a tenth of a second: nothing runs beside them.
static ALONE: Mutex<()> = Mutex::const_new(());

const CHECKS: Duration = Duration::from_secs(120);

const MODELS: [&str; 20] = [
    "steady",
    "once-500",
    "fault-400",
    "fault-401",
    "fault-403",
    "fault-404",
    "fault-409",
    "fault-422",
    "fault-429",
    "fault-500",
    "fault-503",
    "silence",
    "no-token",
    "cut",
    "short",
    "drip",
    "first-byte/silence",
    "first-token/no-token",
    "between-tokens/stall",
    "total/silence",
];

#[tokio::test]
async fn the_demonstration_is_all_that_the_official_client_expects() -> Result<()> {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir()?;
    let dev = Dev::start(folder.path()).await?;
    let state = dev.state()?;
    let mut command = Venv::find()?.script("openai_client.py");
    command
        .args(["--dev", state.front.as_str(), "--models"])
        .args(&state.models);
    pass(command, folder.path()).await
}

#[tokio::test]
async fn faults_limits_and_cancellation_reach_the_official_client_and_the_replica() -> Result<()> {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let venv = Venv::find()?;
    let log = folder.join("replicas.jsonl");
    let mut command = venv.script("scripted_replica.py");
    command.arg("--log").arg(&log).args(MODELS);
    let mut replicas = Process::start("scripted", command, folder)?;
    let ports: BTreeMap<String, u16> = wait::until(
        "the scripted replicas",
        Duration::from_secs(10),
        async || {
            replicas.check_alive()?;
            Ok(serde_json::from_str(&replicas.log())?)
        },
    )
    .await?;

    let mut site = Site::new("solo")?;
    for (nth, (model, port)) in ports.iter().enumerate() {
        site = site.replica(
            &format!("r{nth}"),
            &Address::new(format!("127.0.0.1:{port}"))?,
            &[model],
        );
    }
    for (model, limit) in [
        ("first-byte/silence", "first_byte"),
        ("first-token/no-token", "first_token"),
        ("between-tokens/stall", "between_tokens"),
        ("total/silence", "total"),
    ] {
        site = site.application(json!({ "name": model, "limits": { limit: "300ms" } }));
    }
    site.start(folder).await?;

    let mut command = venv.script("openai_client.py");
    command
        .args(["--site", site.gateway()?.as_str(), "--log"])
        .arg(&log);
    pass(command, folder).await
}

async fn pass(command: Command, folder: &std::path::Path) -> Result<()> {
    let mut checks = Process::start("checks", command, folder)?;
    let status = checks.end(CHECKS).await.with_context(|| checks.log())?;
    println!("{}", checks.log());
    ensure!(status.success(), "some checks failed");
    Ok(())
}
