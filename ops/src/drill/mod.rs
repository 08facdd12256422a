//! `tradewind drill`: breaks something on purpose and says what happened.
//!
//! A drill makes its own load through the client SDK, accounts for every
//! request, and judges a hypothesis. It changes nothing but through the
//! supervisor of `tradewind dev`, whose faults are leases.

mod dc_loss;
mod latency;
mod ledger;
mod load;
mod reading;
mod record;
mod report;
mod site;
mod verdict;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use comfy_table::Table;
use discovery_client::{Address, Site};
use tokio_util::sync::CancellationToken;

use self::{
    dc_loss::{Broken, DcLoss},
    record::Record,
    report::Verdict,
    site::{Refusal, Supervisor},
};
use crate::{
    cli::{Exit, Output, print},
    dev::{
        fault::Mode,
        state::{State, Status},
    },
};

/// Flags of `drill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print which drills there are.
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Run a drill against a running `tradewind dev`.
    #[command(after_help = "\
Exit codes:
  0  the hypothesis held      4  refused by a safety rule
  1  it did not               5  aborted, the site is back
  3  cannot reach a process   6  aborted, the site comes back when its lease ends

Examples:
  tradewind drill run dc-loss --site east
  tradewind drill run dc-loss --site west --mode stop --for 5s -o json")]
    Run(Run),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Drill {
    /// A site goes away in the middle of load and comes back.
    DcLoss,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Which drill.
    drill: Drill,
    /// The site to take away. Absent: the seed chooses.
    #[arg(long)]
    site: Option<Site>,
    /// How it goes away.
    #[arg(long, value_enum, default_value_t = Mode::Kill)]
    mode: Mode,
    /// How long it stays away.
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    lasts: Duration,
    /// Unary requests a second, 1 to 5000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5000))]
    rate: u32,
    /// Streams alive at a time, at most 1000.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    streams: u32,
    /// How long the load runs before the fault; at least 2s.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// The control API of `tradewind dev`.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7702")]
    dev: Address,
    /// Decides what is asked in which order. Absent: a new one.
    #[arg(long)]
    seed: Option<u64>,
    /// Appends a JSON line to this file for every intent, send and outcome.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Exit codes of drills alone.
const REFUSED: u8 = 4;
const ABORTED_RESTORED: u8 = 5;
const ABORTED_DIRTY: u8 = 6;

/// Runs it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List { output } => list(output),
        Command::Run(run) => start(run).await,
    }
}

fn list(output: Output) -> anyhow::Result<ExitCode> {
    let (name, about) = (
        "dc-loss",
        "a site goes away in the middle of load and comes back",
    );
    if output.json() {
        let drills = serde_json::json!([{"name": name, "about": about, "modes": ["kill", "stop"]}]);
        return print(&format!("{drills:#}\n"));
    }
    let mut table = Table::new();
    table.load_style(report::STYLE);
    table.set_header(["drill", "what happens", "modes"]);
    table.add_row([name, about, "kill stop"]);
    print(&format!("{table}\n"))
}

async fn start(run: Run) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        run.warmup >= Duration::from_secs(2),
        "--warmup is too short for a baseline: 2s or more"
    );
    let supervisor = Supervisor(run.dev.clone());
    let state = match supervisor.state().await {
        Ok(state) => state,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    let seed = run.seed.unwrap_or_else(|| fastrand::u64(..));
    let site = match choose(&state, run.site.as_ref(), seed) {
        Ok(site) => site,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    let drill = DcLoss {
        supervisor,
        state,
        site,
        mode: run.mode,
        lasts: run.lasts,
        rate: f64::from(run.rate),
        streams: run.streams,
        warmup: run.warmup,
        seed,
    };
    let record = Record::begin(run.ledger.as_deref())?;
    let abort = CancellationToken::new();
    let watching = tokio::spawn({
        let abort = abort.clone();
        async move {
            let outcome = crate::dev::stop_signal().await;
            abort.cancel();
            outcome
        }
    });
    let outcome = drill.run(&record, &abort).await;
    watching.abort();
    record.check()?;
    let report = match outcome {
        Ok(report) => report,
        Err(Broken::Supervisor(refusal)) => return Ok(refused(&refusal)),
        Err(error @ Broken::Gateways(_)) => {
            eprintln!("error: {error}");
            return Ok(Exit::Unreachable.into());
        }
        Err(error) => return Err(error).context("the drill could not run"),
    };
    if run.output.json() {
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        print(&report.text())?;
    }
    Ok(match report.outcome {
        Verdict::Succeeded => ExitCode::SUCCESS,
        Verdict::Failed => Exit::Findings.into(),
        Verdict::AbortedRestored => ABORTED_RESTORED.into(),
        Verdict::AbortedDirty => ABORTED_DIRTY.into(),
    })
}

fn refused(refusal: &Refusal) -> ExitCode {
    eprintln!("error: {refusal}");
    match refusal {
        Refusal::Unreachable(_) => {
            eprintln!(
                "Is `tradewind dev` running? Its control API is the port after its front's admin; see --dev."
            );
            Exit::Unreachable.into()
        }
        Refusal::Refused(_) => REFUSED.into(),
        Refusal::Over | Refusal::Unusable(_) => Exit::Findings.into(),
    }
}

/// The wanted site, or one that the seed chooses; refuses at once what the
/// supervisor would refuse after the warm-up.
fn choose(state: &State, wanted: Option<&Site>, seed: u64) -> Result<Site, Refusal> {
    let sites: Vec<_> = state.sites.iter().filter(|site| !site.edge).collect();
    let nth = fastrand::Rng::with_seed(seed).usize(0..sites.len().max(1));
    let site = wanted.or(sites.get(nth).map(|site| &site.name));
    let known = || {
        sites
            .iter()
            .map(|site| site.name.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let Some(site) = site.filter(|site| sites.iter().any(|it| it.name == **site)) else {
        return Err(Refusal::Refused(format!(
            "there is no such site; there are {}",
            known()
        )));
    };
    if !state.ready {
        return Err(Refusal::Refused(
            "the demonstration is still starting".to_owned(),
        ));
    }
    if let Some(fault) = &state.fault {
        return Err(Refusal::Refused(format!(
            "another fault is on: {} is away",
            fault.site
        )));
    }
    let runs = |it: &crate::dev::state::ProcessState| it.status == Status::Running;
    let others = sites.iter().filter(|it| it.name != *site);
    if !others.into_iter().any(|it| it.processes.iter().all(runs)) {
        return Err(Refusal::Refused(format!(
            "{site} is the last live site; it is never taken away"
        )));
    }
    Ok(site.clone())
}
