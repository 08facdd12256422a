//! What `bench store` may be told.

use std::path::PathBuf;

use super::{super::table::Form, contender::Contender};
use crate::cli::Output;

/// Clients of the writes flat out, a line of the table each.
pub const CLIENTS: [usize; 3] = [1, 8, 50];

/// Flags of `bench store`.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// The host:port of a real Redis to compare with, as it is set up. Absent:
    /// redis-server is started, with `appendfsync always` and `everysec`.
    #[arg(long, value_name = "ADDRESS")]
    pub redis: Option<String>,
    /// An empty database on a PostgreSQL that flushes to disk, such as
    /// postgres://user@host/bench. Absent: PostgreSQL is started if it is
    /// installed.
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
    /// The file with that database's password.
    #[arg(long, value_name = "FILE", requires = "postgres")]
    pub postgres_password_file: Option<PathBuf>,
    /// Those to measure. Default: all that can be.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Contender>,
    /// The folder on the disk to measure; all leave their data in a folder
    /// below it, which is removed at the end. Default: the one for temporary
    /// files.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Rounds; 7, or 3 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Seconds of each window of writes; 2, or 1 with --quick.
    #[arg(long)]
    seconds: Option<f64>,
    /// Rows of the table that is scanned; 0 leaves it out.
    #[arg(long, default_value_t = 20_000)]
    pub rows: usize,
    /// Clusters at their steady rate; 0 leaves them out.
    #[arg(long, default_value_t = 1000)]
    pub clusters: usize,
    /// Seconds of the clusters' window; 20, or 5 with --quick.
    #[arg(long)]
    steady: Option<f64>,
    /// Idle connections; 0 leaves them out.
    #[arg(long, default_value_t = 10_000)]
    pub idle: usize,
    /// Two minutes instead of six: fewer, shorter rounds.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    output: Output,
    /// The table in Markdown.
    #[arg(long, conflicts_with = "form")]
    markdown: bool,
    /// Exit code 1 if an aim is missed.
    #[arg(long)]
    pub strict: bool,
}

impl Settings {
    /// How many rounds.
    pub fn rounds(&self) -> usize {
        self.rounds
            .map_or(if self.quick { 3 } else { 7 }, usize::from)
    }

    /// Length of the windows of writes, in seconds.
    pub fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 1.0 } else { 2.0 })
    }

    /// Length of the clusters' window, in seconds.
    pub fn steady(&self) -> f64 {
        self.steady.unwrap_or(if self.quick { 5.0 } else { 20.0 })
    }

    /// Open files that a process needs at most.
    pub fn files(&self) -> u64 {
        self.idle.max(2 * self.clusters) as u64 + 512
    }

    /// How this run measures, in one line.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "rounds: {}; writes: HSET of 300 B, each client overwrites 8 fields of its own table \
             in turn and waits for each answer, {} s",
            self.rounds(),
            self.seconds(),
        );
        if self.rows > 0 {
            text += &format!("; scan: {} rows of 400 B, HSCAN COUNT 1000", self.rows);
        }
        if self.clusters > 0 {
            text += &format!(
                "; clusters: {}, each with 2 connections, 10 PING and 2.6 HSET of 300 B a second, \
                 {} s",
                self.clusters,
                self.steady()
            );
        }
        if self.idle > 0 {
            text += &format!(
                "; idle: {} connections after a PING and an HGET, resident memory of the process",
                self.idle
            );
        }
        text
    }

    /// How to print the result.
    pub fn form(&self) -> Form {
        match (self.output.json(), self.markdown) {
            (true, _) => Form::Json,
            (false, true) => Form::Markdown,
            (false, false) => Form::Table,
        }
    }
}
