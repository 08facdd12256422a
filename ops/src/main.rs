//! The binary `tradewind`: reads the command line and hands over to the module
//! of the command.
//!
//! The control runtime is built here and is small on purpose: the data plane
//! has threads and event loops of its own, so that nothing that happens here
//! can delay a request.

#![expect(
    unreachable_pub,
    reason = "a binary exports nothing; `pub` marks what other modules use"
)]

use std::process::ExitCode;

use clap::Parser;

mod admin;
mod bench;
mod build;
mod cli;
mod config;
mod dev;
mod drill;
mod memory;
mod replica;
mod serve;
mod status;
mod store;
mod telemetry;
mod wire;

/// Threads of the control runtime: registry, subscriptions, admin listener.
const CONTROL_THREADS: usize = 2;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("tw-control")
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(cli::run(cli));
            // Nothing that is still blocked may keep the process from ending.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(anyhow::Error::new(error).context("cannot start the control runtime")),
    };
    outcome.unwrap_or_else(|error| cli::report(&error))
}
