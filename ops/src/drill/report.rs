//! What a drill found, as a document and as tables.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use discovery_client::Site;
use serde::Serialize;

use super::{
    latency::Phase,
    ledger::Sums,
    verdict::{BrokenStreams, Claim},
};
use crate::dev::fault::Mode;

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// The hypothesis held.
    Succeeded,
    /// It did not.
    Failed,
    /// Ended early, and the site is back.
    AbortedRestored,
    /// Ended early, and the site could not be given back; its lease will run out.
    AbortedDirty,
}

/// A moment of the drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// What happened.
    pub event: &'static str,
    /// When, since the drill began; absent if it did not happen.
    pub at_ms: Option<u64>,
    /// When, since the fault.
    pub since_fault_ms: Option<i64>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Unary requests a second.
    pub rate: f64,
    /// Streams alive at a time.
    pub streams: u32,
    /// How long the load ran before the fault.
    pub warmup_ms: u64,
    /// How long the fault was to last.
    pub for_ms: u64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Of this document; grows when something in it changes its meaning.
    pub version: u32,
    /// Names this run.
    pub id: String,
    /// Which drill.
    pub drill: &'static str,
    /// The version of this program.
    pub program: String,
    /// What decided the order of requests.
    pub seed: u64,
    /// The site taken away.
    pub site: Site,
    /// How.
    pub mode: Mode,
    /// How it went.
    pub outcome: Verdict,
    /// What was asked for.
    pub settings: Settings,
    /// Each claim, and whether it held.
    pub hypothesis: Vec<Claim>,
    /// In the order of what is to be expected.
    pub timeline: Vec<Moment>,
    /// Unary requests: sent = ok + ok after retry + typed failures + unaccounted.
    pub unary: Sums,
    /// Streams, likewise.
    pub streams: Sums,
    /// Streams cut off in the middle, and how they ended.
    pub broken_streams: BrokenStreams,
    /// Unary requests by phase.
    pub latency: Vec<Phase>,
    /// Up to this the p99 counts as back.
    pub threshold_ms: Option<u64>,
    /// The longest time in which the drill itself did not get to run. Times
    /// measured on a starved machine are as wrong as this.
    pub longest_stall_ms: u64,
    /// The command that does it again.
    pub replay: String,
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mode = match self.mode {
            Mode::Kill => "killed",
            Mode::Stop => "stopped",
        };
        let title = format!("{} ({} {mode}), seed {}", self.id, self.site, self.seed);
        let mut ledger = table([
            "",
            "sent",
            "ok",
            "ok after retry",
            "typed failures",
            "unaccounted",
        ]);
        for (name, sums) in [("unary", self.unary), ("streams", self.streams)] {
            let Sums {
                sent,
                ok,
                ok_after_retry,
                typed_failures,
                unaccounted,
            } = sums;
            let numbers =
                [sent, ok, ok_after_retry, typed_failures, unaccounted].map(|it| it.to_string());
            ledger.add_row(std::iter::once(name.to_owned()).chain(numbers));
        }
        let mut latency = table(["unary requests", "count", "p50 ms", "p99 ms", "max ms"]);
        let shown = |value: Option<u64>| value.map_or("-".to_owned(), |it| it.to_string());
        for Phase {
            phase,
            count,
            p50_ms,
            p99_ms,
            max_ms,
        } in &self.latency
        {
            let numbers = [
                count.to_string(),
                shown(*p50_ms),
                shown(*p99_ms),
                shown(*max_ms),
            ];
            latency.add_row(std::iter::once((*phase).to_owned()).chain(numbers));
        }
        let mut timeline = table(["event", "at ms", "since the fault, ms"]);
        for Moment {
            event,
            at_ms,
            since_fault_ms,
        } in &self.timeline
        {
            let since = since_fault_ms.map_or("-".to_owned(), |it| format!("{it:+}"));
            timeline.add_row([(*event).to_owned(), shown(*at_ms), since]);
        }
        let mut claims = table(["", "hypothesis", "evidence"]);
        for Claim {
            statement,
            held,
            evidence,
        } in &self.hypothesis
        {
            claims.add_row([
                if *held { "\u{2713}" } else { "\u{2717}" },
                *statement,
                evidence.as_str(),
            ]);
        }
        for nth in 1..3 {
            if let Some(column) = claims.column_mut(nth) {
                column.set_cell_alignment(CellAlignment::Left);
            }
        }
        let stall = match self.longest_stall_ms {
            ms @ STALL_MS.. => {
                format!("This machine is starved: the drill itself stood still for {ms} ms.\n\n")
            }
            _ => String::new(),
        };
        let outcome = serde_json::to_value(self.outcome).ok();
        let outcome = outcome.as_ref().and_then(|it| it.as_str()).unwrap_or("-");
        format!(
            "{title}\n\n{timeline}\n\n{ledger}\n\n{latency}\n\n{claims}\n\n{stall}{outcome}\nAgain: {}\n",
            self.replay
        )
    }
}

/// From here on a stall is worth a word.
const STALL_MS: u64 = 100;

/// A line below the header and no more.
pub const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// The first column is words, the others numbers.
fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(header);
    for nth in 1..N {
        if let Some(column) = table.column_mut(nth) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
