//! From rounds to rows: medians, differences and ratios, and whether the aims
//! are met. Pure.
//!
//! Invariants:
//! 1. A row that compares takes both sides from the same round.
//! 2. An aim is judged on tradewind's median alone, and one that could not be
//!    judged (tradewind or the other side left out) is neither met nor missed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    contender::Contender,
    statistics::{Summary, differences, ratios},
};

/// What is measured in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// CPU time of the proxy for each plain request, in µs.
    CpuPerRequest,
    /// Plain requests a second, all connections flat out.
    RequestsPerSecond,
    /// Median time of a plain request at one connection, in µs.
    Latency50,
    /// 99th percentile of it, in µs.
    Latency99,
    /// Median time to the first event less the backend's own, in µs.
    FirstToken50,
    /// 99th percentile of it, in µs.
    FirstToken99,
    /// CPU time of the proxy for each streamed event, in µs.
    CpuPerChunk,
    /// Resident memory before any load, in MiB.
    MemoryIdle,
    /// Highest resident memory in the burst, in MiB.
    MemoryBurst,
    /// Resident memory some time after the burst, in MiB.
    MemoryAfter,
}

/// All rounds of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rounds(BTreeMap<(Measure, Contender), Vec<f64>>);

impl Rounds {
    /// Adds one round's value.
    pub fn push(&mut self, measure: Measure, contender: Contender, value: f64) {
        self.0.entry((measure, contender)).or_default().push(value);
    }

    fn of(&self, measure: Measure, contender: Contender) -> &[f64] {
        self.0.get(&(measure, contender)).map_or(&[], Vec::as_slice)
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What it says, such as `added p99 at one connection`.
    pub title: &'static str,
    /// The unit of its numbers.
    pub unit: &'static str,
    /// A number a contender; absent where there is none to have.
    pub cells: BTreeMap<&'static str, Summary>,
    /// What tradewind should reach, if anything is aimed at.
    pub aim: Option<Aim>,
}

/// An upper bound for tradewind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Aim {
    /// The median should not be above it.
    pub at_most: f64,
    /// Whether it is so; `None` if this run cannot tell.
    pub met: Option<bool>,
}

/// How a row comes from the rounds.
#[derive(Debug, Clone, Copy)]
enum Relation {
    /// As measured.
    Plain,
    /// Less the same round of the other.
    Above(Contender),
    /// Divided by the same round of the other.
    Times(Contender),
}

type Line = (&'static str, &'static str, Measure, Relation, Option<f64>);

const LINES: [Line; 15] = {
    use Contender::{Direct, HaproxyJson, Nginx};
    use Measure::*;
    use Relation::{Above, Plain, Times};
    [
        ("CPU per request", "µs", CpuPerRequest, Plain, None),
        (
            "CPU per request against nginx",
            "x",
            CpuPerRequest,
            Times(Nginx),
            None,
        ),
        (
            "CPU per request against haproxy-json",
            "x",
            CpuPerRequest,
            Times(HaproxyJson),
            Some(1.15),
        ),
        ("requests a second", "1/s", RequestsPerSecond, Plain, None),
        ("p50 at one connection", "µs", Latency50, Plain, None),
        ("p99 at one connection", "µs", Latency99, Plain, None),
        (
            "added p50 at one connection",
            "µs",
            Latency50,
            Above(Direct),
            None,
        ),
        (
            "added p99 at one connection",
            "µs",
            Latency99,
            Above(Direct),
            Some(150.0),
        ),
        (
            "added time to first token, p50",
            "µs",
            FirstToken50,
            Above(Direct),
            Some(500.0),
        ),
        (
            "added time to first token, p99",
            "µs",
            FirstToken99,
            Above(Direct),
            None,
        ),
        ("CPU per streamed chunk", "µs", CpuPerChunk, Plain, None),
        (
            "CPU per streamed chunk against nginx",
            "x",
            CpuPerChunk,
            Times(Nginx),
            None,
        ),
        ("memory idle", "MiB", MemoryIdle, Plain, Some(30.0)),
        (
            "memory in the burst",
            "MiB",
            MemoryBurst,
            Plain,
            Some(320.0),
        ),
        (
            "memory after the burst",
            "MiB",
            MemoryAfter,
            Plain,
            Some(60.0),
        ),
    ]
};

/// All rows that `contenders` have numbers for.
pub fn rows(rounds: &Rounds, contenders: &[Contender]) -> Vec<Row> {
    LINES
        .iter()
        .filter_map(|line| row(line, rounds, contenders))
        .collect()
}

fn row(line: &Line, rounds: &Rounds, contenders: &[Contender]) -> Option<Row> {
    let &(title, unit, measure, relation, at_most) = line;
    let value = |contender| {
        let own = rounds.of(measure, contender);
        match relation {
            Relation::Plain => Summary::of(own),
            Relation::Above(other) if other == contender => None,
            Relation::Above(other) => Summary::of(&differences(own, rounds.of(measure, other))),
            Relation::Times(other) => Summary::of(&ratios(own, rounds.of(measure, other))),
        }
    };
    let cells: BTreeMap<_, _> = contenders
        .iter()
        .filter_map(|&contender| Some((contender.name(), value(contender)?)))
        .collect();
    let ours = cells.get(Contender::Tradewind.name());
    let aim = at_most.map(|at_most| Aim {
        at_most,
        met: ours.map(|summary| summary.median <= at_most),
    });
    (!cells.is_empty()).then_some(Row {
        title,
        unit,
        cells,
        aim,
    })
}

/// Everything a run found, as it is printed and as `-o json` gives it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of this form; a field may be added without a new one.
    pub version: u32,
    /// Those measured, in the order of the columns.
    pub contenders: Vec<&'static str>,
    /// The measures.
    pub rows: Vec<Row>,
    /// What failed; a run with any is not to be trusted.
    pub errors: Vec<String>,
    /// On what and how it was measured, a line each.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether an aim was judged and missed.
    pub fn missed(&self) -> bool {
        self.rows
            .iter()
            .any(|row| row.aim.is_some_and(|aim| aim.met == Some(false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Contender::{Direct, HaproxyJson, Nginx, Tradewind};

    fn rounds(measure: Measure, values: &[(Contender, &[f64])]) -> Rounds {
        let mut rounds = Rounds::default();
        for (contender, values) in values {
            for value in *values {
                rounds.push(measure, *contender, *value);
            }
        }
        rounds
    }

    fn find<'a>(rows: &'a [Row], title: &str) -> &'a Row {
        rows.iter().find(|row| row.title == title).unwrap()
    }

    #[test]
    fn added_time_is_against_direct_in_the_same_round() {
        let rounds = rounds(
            Measure::Latency99,
            &[
                (Direct, &[100.0, 500.0, 110.0]),
                (Tradewind, &[180.0, 590.0, 180.0]),
            ],
        );
        let rows = rows(&rounds, &[Direct, Tradewind]);
        let added = find(&rows, "added p99 at one connection");
        assert_eq!(added.cells["tradewind"].median, 80.0);
        assert!(!added.cells.contains_key("direct"));
        assert_eq!(added.aim.unwrap().met, Some(true));
    }

    #[test]
    fn a_ratio_above_its_aim_is_missed() {
        let rounds = rounds(
            Measure::CpuPerRequest,
            &[
                (Tradewind, &[12.0, 12.0]),
                (HaproxyJson, &[10.0, 10.0]),
                (Nginx, &[10.0, 10.0]),
            ],
        );
        let rows = rows(&rounds, &[Tradewind, Nginx, HaproxyJson]);
        let aim = find(&rows, "CPU per request against haproxy-json")
            .aim
            .unwrap();
        assert_eq!((aim.at_most, aim.met), (1.15, Some(false)));
        assert_eq!(find(&rows, "CPU per request against nginx").aim, None);
        let report = Report {
            version: 1,
            contenders: vec![],
            rows,
            errors: vec![],
            notes: vec![],
        };
        assert!(report.missed());
    }

    #[test]
    fn an_aim_without_tradewind_is_not_judged() {
        let rows = rows(&rounds(Measure::MemoryIdle, &[(Nginx, &[6.0])]), &[Nginx]);
        assert_eq!(
            find(&rows, "memory idle").aim,
            Some(Aim {
                at_most: 30.0,
                met: None
            })
        );
    }

    #[test]
    fn rows_without_numbers_are_left_out() {
        let rounds = rounds(Measure::CpuPerRequest, &[(Nginx, &[6.0])]);
        let rows = rows(&rounds, &[Nginx]);
        let titles: Vec<_> = rows.iter().map(|row| row.title).collect();
        assert_eq!(titles, ["CPU per request", "CPU per request against nginx"]);
    }
}
