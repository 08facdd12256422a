//! `tradewind status`.

pub mod report;

use std::process::ExitCode;

/// Flags of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
pub async fn run(_args: Args) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
