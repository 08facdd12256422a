//! `tradewind drill run dc-loss` against a running demonstration.
//!
//! The drill judges itself; here its ledger is read again by a checker that
//! shares no code with it, and both must agree.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use chaos::{
    binary::tradewind,
    dev::Dev,
    ledger::{self, Promise, Sums},
};
use harness::{process::Process, wait};
use serde_json::Value;

/// Warm-up, ten seconds without the site, its return.
const DRILL: Duration = Duration::from_secs(90);
/// A fault's lease, the restart of three processes, and their way into every
/// registry.
const LAPSE: Duration = Duration::from_secs(20);

fn drill(dev: &Dev, mode: &str, ledger: &Path) -> Result<Command> {
    let mut command = tradewind()?;
    command.args(["drill", "run", "dc-loss", "--site", "east", "--mode", mode]);
    command.args(["--for", "10s", "--rate", "200", "--streams", "20"]);
    command.args(["--dev", dev.state()?.control.as_str()]);
    command.arg("--ledger").arg(ledger).args(["-o", "json"]);
    Ok(command)
}

fn count(sums: &Value, name: &str) -> Result<usize> {
    let count = sums[name]
        .as_u64()
        .with_context(|| format!("no {name} in {sums}"))?;
    Ok(usize::try_from(count)?)
}

/// The report's sums of unary requests and streams together.
fn reported(report: &Value) -> Result<Sums> {
    let both = |name| {
        Ok::<_, anyhow::Error>(count(&report["unary"], name)? + count(&report["streams"], name)?)
    };
    Ok(Sums {
        sent: both("sent")?,
        ok: both("ok")?,
        retried: both("ok_after_retry")?,
        typed: both("typed_failures")?,
        silent: 0,
        unaccounted: both("unaccounted")?,
    })
}

/// Runs a drill to its end and reads what it left.
async fn run(dev: &Dev, mode: &str, folder: &Path) -> Result<()> {
    let file = folder.join(format!("{mode}.jsonl"));
    let mut process = Process::start(&format!("drill-{mode}"), drill(dev, mode, &file)?, folder)?;
    let status = process.end(DRILL).await.with_context(|| process.log())?;
    let said = process.log();
    ensure!(status.success(), "{mode}: {status}\n{said}");

    // Progress comes first, line by line; the report begins at the margin.
    let report = said
        .find("\n{\n")
        .with_context(|| format!("no report in {said}"))?;
    let report: Value = serde_json::from_str(&said[report..])?;
    assert_eq!(report["outcome"], "SUCCEEDED");
    assert_eq!(report["mode"], mode);

    let verdict = ledger::check(
        &ledger::parse(&std::fs::read_to_string(&file)?)?,
        Promise::default(),
    );
    println!("{mode}: {:?}", verdict.sums);
    assert_eq!(verdict.broken, Vec::<String>::new(), "{mode}");
    assert_eq!(
        verdict.sums,
        reported(&report)?,
        "{mode}: the report and its ledger disagree"
    );
    assert!(verdict.sums.sent > 3_000, "{mode}: hardly any load");
    assert!(
        verdict.sums.retried + verdict.sums.typed > 0,
        "{mode}: was there a fault?"
    );
    all_is_well(dev).await
}

async fn all_is_well(dev: &Dev) -> Result<()> {
    wait::until("the return of site east", LAPSE, async || {
        let state = dev.state()?;
        ensure!(state.fault.is_none(), "a fault is on: {state:?}");
        let mut all = state.sites.iter().flat_map(|site| &site.processes);
        ensure!(
            all.all(|process| process.status == "running"),
            "not all runs: {state:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_hypothesis_holds_and_a_killed_drill_leaves_nothing_broken() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let dev = Dev::start(folder).await?;
    for mode in ["kill", "stop"] {
        run(&dev, mode, folder).await?;
    }

    let killed = drill(&dev, "stop", &folder.join("killed.jsonl"))?;
    let mut killed = Process::start("drill-killed", killed, folder)?;
    wait::until("the fault", Duration::from_secs(20), async || {
        killed.check_alive()?;
        let fault = dev.state()?.fault.context("no fault yet")?;
        ensure!(fault.site == "east", "{fault:?}");
        Ok(())
    })
    .await?;
    killed.kill();
    all_is_well(&dev).await
}
