//! `tradewind bench`: measurements that anybody can repeat on their own
//! machine, offline.
//!
//! ```text
//!   gateway.rs, settings.rs, rounds.rs     the run: who, when, in which order
//!     contender.rs   configurations of those measured
//!     process.rs, guard.rs   start and end processes
//!     proc.rs        CPU and memory of a process, from /proc
//!     load/          the load generator   \  processes of their own, so that
//!     backend.rs     the fast backend     /  their CPU is not counted
//!       payload.rs, wire.rs   what these two say to each other
//!     statistics.rs, report.rs, notes.rs, table.rs   rounds -> medians -> rows -> text
//!
//!   store/   the same for the store; shares process.rs, guard.rs, proc.rs,
//!            statistics.rs and the conversation with the load
//! ```

use std::{io, process::ExitCode};

use clap::Subcommand;

use crate::cli::print;

mod backend;
mod contender;
mod gateway;
mod guard;
mod load;
mod notes;
mod payload;
mod proc;
mod process;
mod report;
mod rounds;
mod settings;
mod statistics;
mod store;
mod table;
mod wire;

const LIST: &str = "\
gateway   the gateway beside nginx, HAProxy and no proxy at all; takes 5 minutes
store     the store on SQLite and PostgreSQL beside Redis; takes 6 minutes

Run one with `tradewind bench <name>`; its flags: `tradewind bench <name> --help`.
";

/// Flags of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which benchmark; none lists them.
    #[command(subcommand)]
    benchmark: Option<Benchmark>,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// The gateway beside nginx, HAProxy and no proxy at all: CPU a request,
    /// throughput, added latency, memory, streams.
    Gateway(settings::Settings),
    /// The store on SQLite and PostgreSQL beside Redis: durable writes, scans,
    /// clusters at rest, memory.
    Store(store::settings::Settings),
    /// The backend behind those measured.
    #[command(hide = true)]
    Backend,
    /// The load before those measured.
    #[command(hide = true)]
    Load(load::Load),
    /// The load before the stores measured.
    #[command(hide = true)]
    StoreLoad(store::load::Load),
}

/// Runs a benchmark, or lists them.
///
/// # Errors
/// If it cannot be run to its end.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.benchmark {
        None => print(LIST),
        Some(Benchmark::Gateway(settings)) => gateway::run(settings).await,
        Some(Benchmark::Store(settings)) => store::run(settings).await,
        Some(Benchmark::Backend) => alone(backend::serve).await,
        Some(Benchmark::Load(load)) => alone(move || async move { load.serve().await }).await,
        Some(Benchmark::StoreLoad(load)) => alone(move || async move { load.serve().await }).await,
    }
}

/// Runs a worker on an event loop of its own, in one thread: the control
/// runtime's threads would pass its sockets around between them.
async fn alone<F>(worker: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<ExitCode>
where
    F: Future<Output = io::Result<()>>,
{
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(worker());
        // A read of standard input may still be under way in a helper thread.
        runtime.shutdown_background();
        outcome
    })
    .await??;
    Ok(ExitCode::SUCCESS)
}
