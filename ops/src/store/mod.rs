//! `tradewind store`: the store of Ray clusters' state, and what is in it.
//!
//! `serve` and `handover` run it; `status` asks a running one, or its database.
//! All else works on the database alone, beside a running store or without one.

mod copies;
pub mod database;
mod namespace;
pub mod notify;
mod ray;
mod socket;
mod welcome;

use std::process::ExitCode;

use clap::Subcommand;

/// Subcommands of `store`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list, protect and delete the namespaces of clusters.
    #[command(subcommand)]
    Namespace(namespace::Command),
    #[command(flatten)]
    Copies(copies::Command),
    /// Look into the state of a cluster.
    #[command(subcommand)]
    Ray(ray::Command),
}

/// Runs it.
///
/// # Errors
/// Those of the command.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Namespace(command) => namespace::run(command).await,
        Command::Copies(command) => copies::run(command).await,
        Command::Ray(command) => ray::run(command).await,
    }
}
