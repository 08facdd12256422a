//! What `bench gateway` may be told.

use std::time::Duration;

use super::{contender::Contender, table::Form};
use crate::cli::Output;

/// Connections of the load that times first tokens.
pub const TOKEN_CONNECTIONS: usize = 4;

/// Most rounds of the streams, which take long.
const STREAM_ROUNDS: usize = 3;

/// Length of the streams' window.
pub const STREAM_WINDOW: Duration = Duration::from_secs(5);

/// Flags of `bench gateway`.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Those to measure. Default: direct, tradewind, nginx, haproxy,
    /// haproxy-json.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Contender>,
    /// Rounds; 7, or 3 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Seconds of each window of the CPU rounds; 2, or 1 with --quick.
    #[arg(long)]
    seconds: Option<f64>,
    /// Timed requests a round; 2000, or 500 with --quick.
    #[arg(long)]
    samples: Option<usize>,
    /// Connections of the CPU rounds.
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// Streams at once; 0 leaves them out.
    #[arg(long, default_value_t = 500)]
    pub streams: usize,
    /// Bodies of 150 kB at once; 0 leaves memory out.
    #[arg(long, default_value_t = 1500)]
    pub burst: usize,
    /// Seconds from the burst until memory is read again; 60. With --quick 0,
    /// which leaves it out.
    #[arg(long)]
    after: Option<u64>,
    /// Turns the order of the first round.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A minute instead of five: fewer, shorter rounds and no second look at
    /// memory.
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
    /// Those to measure, each once, in the order of the columns.
    pub fn contenders(&self) -> Vec<Contender> {
        let mut contenders = self.only.clone();
        if contenders.is_empty() {
            contenders = Contender::DEFAULT.to_vec();
        }
        contenders.sort_unstable();
        contenders.dedup();
        contenders
    }

    /// How many rounds.
    pub fn rounds(&self) -> usize {
        self.rounds
            .map_or(if self.quick { 3 } else { 7 }, usize::from)
    }

    /// In how many of them streams are measured.
    pub fn stream_rounds(&self) -> usize {
        let most = if self.quick { 1 } else { STREAM_ROUNDS };
        if self.streams == 0 {
            0
        } else {
            self.rounds().min(most)
        }
    }

    /// Length of the CPU windows, in seconds.
    pub fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 1.0 } else { 2.0 })
    }

    /// Timed requests a round.
    pub fn samples(&self) -> usize {
        self.samples.unwrap_or(if self.quick { 500 } else { 2000 })
    }

    /// Time from the burst until memory is read again, if it is.
    pub fn after(&self) -> Option<Duration> {
        let seconds = self.after.unwrap_or(if self.quick { 0 } else { 60 });
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// Open files that a process needs at most: both sides of each connection,
    /// and room.
    pub fn files(&self) -> u64 {
        let connections = self.connections.max(self.streams).max(self.burst);
        2 * connections as u64 + 512
    }

    /// How this run measures, in one line.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "rounds: {}; CPU: {} connections for {} s; latency: {} requests at one connection; \
             first token: {} streams on {TOKEN_CONNECTIONS} connections",
            self.rounds(),
            self.connections,
            self.seconds(),
            self.samples(),
            self.samples() / 2,
        );
        if self.stream_rounds() > 0 {
            let (rounds, seconds) = (self.stream_rounds(), STREAM_WINDOW.as_secs());
            let streams = self.streams;
            text += &format!("; chunks: {streams} streams for {seconds} s, rounds: {rounds}");
        }
        if self.burst > 0 {
            text += &format!("; burst: {} bodies of 150 kB", self.burst);
            if let Some(after) = self.after() {
                text += &format!(", memory again after {} s at rest", after.as_secs());
            }
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
