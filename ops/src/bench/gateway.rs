//! The run of `tradewind bench gateway`.
//!
//! Memory comes first, on instances of their own, which then idle until they
//! are looked at again; meanwhile the rounds run on fresh instances:
//!
//! ```text
//!   memory   idle, burst (each contender) ............ after
//!   rounds             [CPU: A B C D][latency: A B C D][...] x rounds
//! ```
//!
//! Invariants:
//! 1. No process and no file of a run outlives it, also if it is interrupted.
//! 2. An answer that fails makes the run fail, after the table was printed.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::time::sleep_until;

use super::{
    contender::Contender,
    guard::{Scratch, raise_file_limit},
    notes,
    process::{Backend, Proxy, find},
    report::{Measure, Report, rows},
    rounds::{Bench, mebibytes},
    settings::Settings,
    table,
};
use crate::cli::print;

/// Measures, prints, and says by its code whether all went well.
///
/// # Errors
/// If a program is missing, a process cannot be started, or one breaks down.
pub async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let seconds = settings.seconds();
    ensure!(
        (0.05..=3600.0).contains(&seconds),
        "--seconds {seconds}: must be 0.05 to 3600"
    );
    ensure!(
        settings.connections > 0 && settings.samples() > 0,
        "nothing to measure with"
    );
    for program in settings
        .contenders()
        .into_iter()
        .filter_map(Contender::program)
    {
        find(program)?;
    }
    raise_file_limit(settings.files())?;
    let report = tokio::select! {
        report = measure(&settings) => report?,
        signal = tokio::signal::ctrl_c() => {
            signal?;
            anyhow::bail!("interrupted; all processes of the benchmark were ended");
        }
    };
    print(&table::render(&report, settings.form())?)?;
    let failed = !report.errors.is_empty() || (settings.strict && report.missed());
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn measure(settings: &Settings) -> anyhow::Result<Report> {
    let contenders = settings.contenders();
    let began = Instant::now();
    let scratch = Scratch::new(None)?;
    let backend = Backend::start().await?;
    let mut bench = Bench::new(settings);

    let mut resting = Vec::new();
    if settings.burst > 0 {
        for &contender in contenders
            .iter()
            .filter(|&&contender| contender != Contender::Direct)
        {
            let directory = scratch.path().join(format!("memory-{contender}"));
            let proxy = Proxy::start(contender, backend.address, &directory).await?;
            bench.memory(&proxy).await?;
            resting.push((proxy, Instant::now()));
        }
    }
    let mut proxies = Vec::new();
    for &contender in &contenders {
        let directory = scratch.path().join(contender.name());
        proxies.push(Proxy::start(contender, backend.address, &directory).await?);
    }
    // Memory is read again when its time has come, whatever the rounds are at.
    let looked = look_again(&resting, settings.after());
    let (measured, looked) = tokio::join!(bench.all_rounds(&proxies), looked);
    measured?;
    for (contender, value) in looked? {
        bench.rounds.push(Measure::MemoryAfter, contender, value);
    }
    // All are asked before the first is waited for.
    for proxy in proxies.iter().chain(resting.iter().map(|(proxy, _)| proxy)) {
        proxy.terminate();
    }
    bench.end();
    Ok(Report {
        version: 1,
        contenders: contenders
            .iter()
            .map(|contender| contender.name())
            .collect(),
        rows: rows(&bench.rounds, &contenders),
        errors: bench.errors,
        notes: notes::of(settings, &contenders, began.elapsed()),
    })
}

/// Memory of each of `resting` once it has rested for `after`, in MiB.
async fn look_again(
    resting: &[(Proxy, Instant)],
    after: Option<Duration>,
) -> anyhow::Result<Vec<(Contender, f64)>> {
    let mut seen = Vec::new();
    let Some(after) = after else { return Ok(seen) };
    for (proxy, since) in resting {
        sleep_until((*since + after).into()).await;
        let family = proxy.family().context("a proxy without a process")?;
        seen.push((proxy.contender, mebibytes(family.resident_bytes()?)));
    }
    Ok(seen)
}
