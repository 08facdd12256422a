//! `tradewind bench store`: this store beside a real Redis, in the same run and
//! on the same disk.
//!
//! ```text
//!   idle     fresh processes: memory of idle connections
//!   rounds   [1 client: A B C D][8 clients: ...][50 clients: ...][scan] x rounds
//!   steady   clusters at rest: A, B, C, D
//!
//!   settings.rs, contender.rs      what, and who
//!   server.rs, postgres.rs         start and end those measured
//!   load/                          the load generator, a process of its own
//!   rounds.rs, report.rs, notes.rs, table.rs   windows -> medians -> rows -> text
//! ```
//!
//! Invariants:
//! 1. No process and no file of a run outlives it, also if it is interrupted.
//! 2. A reply that is wrong makes the run fail, after the table was printed.

use std::{process::ExitCode, time::Instant};

use anyhow::ensure;

mod contender;
pub mod load;
mod notes;
mod postgres;
mod report;
mod rounds;
mod server;
pub mod settings;
mod table;

use contender::Contender;
use report::{Report, rows};
use rounds::Bench;
use server::Server;
use settings::Settings;

use super::{
    guard::{Scratch, raise_file_limit},
    process::find,
};
use crate::cli::print;

/// Measures, prints, and says by its code whether all went well.
///
/// # Errors
/// If a program is missing, a process cannot be started, or one breaks down.
pub async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    for seconds in [settings.seconds(), settings.steady()] {
        ensure!(
            (0.05..=3600.0).contains(&seconds),
            "{seconds} seconds: must be 0.05 to 3600"
        );
    }
    let (contenders, missing) = contenders(&settings)?;
    raise_file_limit(settings.files())?;
    let report = tokio::select! {
        report = measure(&settings, &contenders) => report?,
        signal = tokio::signal::ctrl_c() => {
            signal?;
            anyhow::bail!("interrupted; all processes of the benchmark were ended");
        }
    };
    let report = Report {
        notes: report.notes.into_iter().chain(missing).collect(),
        ..report
    };
    print(&table::render(&report, settings.form())?)?;
    let failed = !report.errors.is_empty() || (settings.strict && report.missed());
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Those to measure, in the order of the columns; and who is missing, in words.
fn contenders(settings: &Settings) -> anyhow::Result<(Vec<Contender>, Option<String>)> {
    use Contender::{Postgres, Redis, RedisAlways, RedisEverysec, Sqlite};
    let has_postgres = settings.postgres.is_some() || postgres::programs().is_some();
    let mut missing = None;
    let mut chosen = settings.only.clone();
    if chosen.is_empty() {
        chosen = match settings.redis {
            Some(_) => vec![Redis, Sqlite],
            None => vec![RedisAlways, RedisEverysec, Sqlite],
        };
        if has_postgres {
            chosen.push(Postgres);
        } else {
            let note = "PostgreSQL was left out: not installed (apt-get install postgresql), and \
                        no --postgres";
            missing = Some(note.to_owned());
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    if chosen
        .iter()
        .any(|it| matches!(it, RedisAlways | RedisEverysec))
    {
        find(server::REDIS)?;
    }
    ensure!(
        !chosen.contains(&Redis) || settings.redis.is_some(),
        "redis among --only needs --redis"
    );
    ensure!(
        !chosen.contains(&Postgres) || has_postgres,
        "PostgreSQL is not installed: apt-get install postgresql (or --postgres, or leave it out)"
    );
    Ok((chosen, missing))
}

async fn measure(settings: &Settings, contenders: &[Contender]) -> anyhow::Result<Report> {
    let began = Instant::now();
    let scratch = Scratch::new(settings.folder.as_deref())?;
    let disk = notes::disk(scratch.path())?;
    let mut servers = Vec::new();
    for &contender in contenders {
        let folder = scratch.path().join(contender.name());
        servers.push(Server::start(contender, settings, &folder).await?);
    }
    let mut bench = Bench::new(settings, contenders.len());
    bench.idle(&servers).await?;
    bench.all_rounds(&servers).await?;
    bench.steady(&servers).await?;
    // All are asked before the first is waited for.
    servers.iter().for_each(Server::terminate);
    bench.end();
    let mut notes = notes::of(settings, contenders, began.elapsed());
    notes.insert(1, disk);
    Ok(Report {
        version: 1,
        contenders: contenders.iter().map(|it| it.name()).collect(),
        rows: rows(&bench.rounds, contenders, settings.rows, settings.clusters),
        errors: bench.errors,
        notes,
    })
}
