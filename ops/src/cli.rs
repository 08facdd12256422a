//! The command line: every command, its flags, examples and exit codes.
//!
//! Commands print results on standard output and everything else on standard
//! error. Tables are for people; `-o json` prints the same data.

use std::{io::IsTerminal, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum, builder::styling};

use crate::{bench, config, dev, drill, replica, serve, status, store};

const STYLES: styling::Styles = styling::Styles::styled()
    .header(styling::AnsiColor::Green.on_default().bold())
    .usage(styling::AnsiColor::Green.on_default().bold())
    .literal(styling::AnsiColor::Cyan.on_default().bold())
    .placeholder(styling::AnsiColor::Cyan.on_default());

const EXIT_CODES: &str = "\
Exit codes:
  0  ok
  1  findings, a failed hypothesis or a part that failed
  2  usage: wrong flags or a wrong configuration
  3  cannot reach a process (which were tried is printed)
  4  refused by a safety rule
  5  aborted, restored
  6  aborted, not yet restored

Examples:
  tradewind dev                          two sites on this machine, at once
  tradewind serve -c site.yaml           one site
  tradewind status                       what runs where
  tradewind drill run dc-loss            take a site away and see";

/// Serves models from several data centres as one.
#[derive(Debug, Parser)]
#[command(name = "tradewind", version, after_help = EXIT_CODES, styles = STYLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole demonstration on this machine: sites, gateways, replicas.
    #[command(after_help = "\
Examples:
  tradewind dev
  tradewind dev --sites 3 --replicas 4
  tradewind dev --base-port 0")]
    Dev(dev::Args),
    /// Run one site, or some of its roles.
    #[command(after_help = "\
Examples:
  tradewind serve                                 one site, built-in defaults
  tradewind serve -c site.yaml
  tradewind serve -c site.yaml --role gateway")]
    Serve(serve::Args),
    /// Run a demo replica: an OpenAI-compatible server without a model.
    Replica(replica::Args),
    /// Check a configuration file, or print the schema of one.
    #[command(subcommand)]
    Config(config::command::Command),
    /// Show sites, replicas, links and traffic of running processes.
    #[command(after_help = "\
Examples:
  tradewind status                                a running `tradewind dev`, or this machine
  tradewind status --admin http://10.0.0.1:8081 --admin http://10.1.0.1:8081
  tradewind status -o json
  tradewind status --watch")]
    Status(status::Args),
    /// Take something away from a running system and print what happened.
    #[command(after_help = "\
Examples:
  tradewind drill run dc-loss
  tradewind drill run --help")]
    Drill(drill::Args),
    /// Keep the state of Ray clusters in SQL, and look after it.
    #[command(subcommand)]
    Store(store::Command),
    /// Measure, and compare with other proxies.
    #[command(after_help = "\
Examples:
  tradewind bench gateway")]
    Bench(bench::Args),
    /// Print the version.
    #[command(after_help = "\
Examples:
  tradewind version
  tradewind version -o json")]
    Version {
        #[command(flatten)]
        output: Output,
    },
    /// Print a completion script.
    #[command(after_help = "\
Examples:
  tradewind completion bash > /etc/bash_completion.d/tradewind
  tradewind completion zsh > ~/.zfunc/_tradewind
  tradewind completion fish > ~/.config/fish/completions/tradewind.fish")]
    Completion {
        /// Of which shell.
        shell: clap_complete::Shell,
    },
}

/// How a command prints its result.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Output {
    /// How to print the result.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Form::Table, value_name = "FORM")]
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
}

impl Output {
    /// Whether a program reads the result.
    pub fn json(self) -> bool {
        self.form == Form::Json
    }
}

/// How a command ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Something was found wrong, or a part failed.
    Findings = 1,
    /// The flags or the configuration are wrong.
    Usage = 2,
    /// Another process cannot be reached.
    Unreachable = 3,
    /// A safety rule forbids it, and nothing was changed.
    Refused = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A flag that parses and still cannot be; ends with [`Exit::Usage`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongFlag(pub String);

/// Runs the command.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Dev(args) => dev::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Replica(args) => replica::run(args).await,
        Command::Config(command) => config::command::run(command),
        Command::Status(args) => status::run(args).await,
        Command::Drill(args) => drill::run(args).await,
        Command::Store(command) => store::run(command).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Version { output } => version(output),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tradewind", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

fn version(output: Output) -> anyhow::Result<ExitCode> {
    let build = crate::build::BUILD;
    if output.json() {
        return print(&format!("{}\n", serde_json::to_string_pretty(&build)?));
    }
    print(&format!(
        "tradewind {} ({}-{}, {})\n",
        build.version, build.arch, build.os, build.profile
    ))
}

/// Prints a result. A reader that has gone away is no failure.
pub fn print(text: &str) -> anyhow::Result<ExitCode> {
    use std::io::{ErrorKind, Write, stdout};
    match stdout()
        .write_all(text.as_bytes())
        .and_then(|()| stdout().flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Prints an error with its causes, once, and chooses the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let red = if std::io::stderr().is_terminal() {
        ("\u{1b}[1;31m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    eprintln!("{}error{}: {error:#}", red.0, red.1);
    if error.is::<config::Error>() || error.is::<WrongFlag>() {
        return Exit::Usage.into();
    }
    store::exit(error).unwrap_or(Exit::Findings).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }
}
