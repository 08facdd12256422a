//! `tradewind dev`.

mod process;

use std::process::ExitCode;

pub use process::{die_with_parent, stop_signal};

/// Flags of `dev`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
pub async fn run(_args: Args) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
