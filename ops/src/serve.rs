//! `tradewind serve`: one site, or some of its roles, until it is stopped.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::Exit,
    config::{self, Config, Role},
    telemetry::{self, Traces},
    wire::{Greet, Process},
};

/// Flags of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file. Absent: built-in defaults, one site `local`.
    #[arg(short, long, value_name = "FILE", env = "TRADEWIND_CONFIG")]
    config: Option<PathBuf>,
    /// What this process does, in place of the file's `roles`.
    #[arg(long = "role", value_enum, value_delimiter = ',', value_name = "ROLES")]
    roles: Option<Vec<Role>>,
    /// Takes connections and place of the store that runs behind
    /// `store.handover_socket`; `store handover` does this.
    #[arg(long, hide = true)]
    take_over: bool,
    /// Ends when the process that started it ends.
    #[arg(long, hide = true)]
    die_with_parent: bool,
}

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends at once.
///
/// # Errors
/// [`config::Error`] for a wrong file; otherwise the first part that failed.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.die_with_parent {
        crate::dev::die_with_parent()?;
    }
    let roles: Option<BTreeSet<Role>> = args.roles.map(|roles| roles.into_iter().collect());
    let mut config = match &args.config {
        Some(path) => config::load(path, roles)?,
        None => Config::built_in(roles)?,
    };
    config.store.take_over = args.take_over;
    serve(config, |_, _, _| Ok(())).await
}

/// Serves `config` as [`run`] does. `greet` is called once a store, if that is
/// one of the roles, takes part: with its settings, where it listens, and where
/// the admin listener is.
///
/// # Errors
/// The first part that failed.
pub async fn serve(config: Config, greet: Greet) -> anyhow::Result<ExitCode> {
    telemetry::log(&config.log)?;
    let mut signals = Signals::new()?;
    let traces = Traces::begin(&config)?;
    let process = Process::bind(config, traces.tracer(), greet).await?;

    let stop = CancellationToken::new();
    let running = process.run(stop.clone());
    let insisted = async {
        signals.next().await;
        stop.cancel();
        signals.next().await;
    };
    let outcome = tokio::select! {
        outcome = running => outcome,
        () = insisted => {
            tracing::warn!("told to stop twice: ending at once");
            return Ok(Exit::Findings.into());
        }
    };
    traces.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
