//! `tradewind store backup` and its kin: history and copies of namespaces.

use std::process::ExitCode;

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {}

/// Runs it.
///
/// # Errors
/// Those of the command.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {}
}
