//! `tradewind store`: the store of Ray clusters' state, and what is in it.
//!
//! `serve` and `handover` run it; `status` asks a running one, or its database.
//! All else works on the database alone, beside a running store or without one.

mod copies;
pub mod database;
mod handover;
mod namespace;
pub mod notify;
mod ray;
mod serve;
mod socket;
pub mod status;
pub mod successor;
mod welcome;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use clap::Subcommand;

pub use copies::exit;

/// Where health, numbers and status of a store are read, unless somebody says.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8083);

/// Subcommands of `store`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve Ray heads, without a configuration file.
    #[command(after_help = "\
Prints where it listens and what to set on the side of Ray, once it takes part.
SIGTERM or Ctrl-C stops it; `tradewind store handover` replaces it.

Examples:
  tradewind store serve --database sqlite:///var/lib/tradewind/ray.db
  tradewind store serve --database postgres://ray@db/ray --database-password-file /etc/tw/db \\
      --listen 10.0.0.5:6379 --password-file /etc/tw/heads --tls-cert c.pem --tls-key k.pem")]
    Serve(Box<serve::Args>),
    /// Put a new process in the place of a running store, under its connections.
    #[command(after_help = "\
The running store starts its successor: the program it was started as, as it is
on the disk now, with the same arguments. Exit code 1 if that one does not come
up; then the running store goes on.

Examples:
  tradewind store handover
  tradewind store handover --listen 127.0.0.1:6380
  tradewind store handover --socket /run/tradewind/store-6379.sock -o json")]
    Handover(handover::Args),
    /// Show who is active, how the database does and what waits.
    #[command(after_help = "\
Examples:
  tradewind store status
  tradewind store status --admin http://10.0.0.5:8083 --admin http://10.0.0.6:8083
  tradewind store status --database sqlite:///var/lib/tradewind/ray.db -o json")]
    Status(status::Args),
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
        Command::Serve(args) => serve::run(*args).await,
        Command::Handover(args) => handover::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Namespace(command) => namespace::run(command).await,
        Command::Copies(command) => copies::run(command).await,
        Command::Ray(command) => ray::run(command).await,
    }
}
