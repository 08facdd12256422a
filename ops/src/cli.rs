//! The command line: every command, flag and exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{bench, dev, drill, replica};

/// Serves models from several data centres as one.
#[derive(Debug, Parser)]
#[command(name = "tradewind", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the demonstration.
    Dev(dev::Args),
    /// Runs a demo replica.
    Replica(replica::Args),
    /// Takes things away and measures.
    Drill(drill::Args),
    /// Measures the gateway.
    Bench(bench::Args),
}

/// Runs the command.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Dev(args) => dev::run(args).await,
        Command::Replica(args) => replica::run(args).await,
        Command::Drill(args) => drill::run(args).await,
        Command::Bench(args) => bench::run(args).await,
    }
}

/// Prints the error and its causes.
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("tradewind: {error:#}");
    ExitCode::from(2)
}
