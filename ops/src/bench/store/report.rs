//! From rounds to rows: medians, ratios, and whether the aims are met. Pure.
//!
//! Invariants:
//! 1. A row that compares takes both sides from the same round.
//! 2. An aim is judged on the median, and one that could not be judged (one of
//!    the two left out) is neither met nor missed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    super::statistics::{Summary, ratios},
    contender::Contender::{self, Postgres, Redis, RedisAlways, Sqlite},
};

/// What is measured in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Writes a second of so many clients.
    Rate(usize),
    /// Median time of a write of so many clients, in ms.
    Write50(usize),
    /// 99th percentile of it, in ms.
    Write99(usize),
    /// CPU time of the process for each write of so many clients, in µs.
    WriteCpu(usize),
    /// Time to read a table to its end, in s.
    Scan,
    /// Share of one core that clusters at rest cost, in %.
    SteadyCpu,
    /// What they cost the database behind the store, in %.
    SteadyDatabase,
    /// Commands of theirs that were answered, of those that were due, in %.
    SteadyDone,
    /// Median time of their writes, in ms.
    Steady50,
    /// 99th percentile of it, in ms.
    Steady99,
    /// Resident memory of a connection, in kB of 1000 bytes.
    Idle,
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
    /// What it says.
    pub title: String,
    /// The unit of its numbers.
    pub unit: &'static str,
    /// A number a contender; absent where there is none to have.
    pub cells: BTreeMap<&'static str, Summary>,
    /// What some should reach.
    pub aims: Vec<Aim>,
}

/// A bound for one contender's median.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Aim {
    /// Whose.
    pub contender: &'static str,
    /// On which side of the number it should be.
    pub bound: Bound,
    /// The number.
    pub value: f64,
    /// Whether it is so; `None` if this run cannot tell.
    pub met: Option<bool>,
}

/// A side of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not below it.
    AtLeast,
    /// Not above it.
    AtMost,
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
        let mut aims = self.rows.iter().flat_map(|row| &row.aims);
        aims.any(|aim| aim.met == Some(false))
    }
}

/// Aims before they are judged.
type Aims<'a> = &'a [(Contender, Bound, f64)];

struct Line<'a> {
    title: String,
    unit: &'static str,
    measure: Measure,
    /// Divided by the same round of Redis.
    against_redis: bool,
    aims: Aims<'a>,
}

/// All rows that `contenders` have numbers for; `rows` and `clusters` were
/// scanned and at rest.
pub fn rows(
    rounds: &Rounds,
    contenders: &[Contender],
    scanned: usize,
    clusters: usize,
) -> Vec<Row> {
    use Bound::{AtLeast, AtMost};
    use Measure::{
        Idle, Rate, Scan, Steady50, Steady99, SteadyCpu, SteadyDatabase, SteadyDone, Write50,
        Write99, WriteCpu,
    };
    let redis = baseline(contenders);
    let against = redis.map_or("redis", Contender::name);
    let line = |title: String, unit, measure, aims| Line {
        title,
        unit,
        measure,
        against_redis: false,
        aims,
    };
    let ratio = |title: String, measure, aims| Line {
        against_redis: true,
        ..line(format!("{title} against {against}"), "x", measure, aims)
    };
    let mut lines = Vec::new();
    for clients in super::settings::CLIENTS {
        let of = match clients {
            1 => "1 client".to_owned(),
            more => format!("{more} clients"),
        };
        let (rate, time): (Aims<'_>, Aims<'_>) = match clients {
            1 => (&[], &[(Sqlite, AtMost, 2.0)]),
            50 => (&[(Sqlite, AtLeast, 1.0), (Postgres, AtLeast, 0.5)], &[]),
            _ => (&[], &[]),
        };
        lines.push(line(format!("HSET, {of}"), "1/s", Rate(clients), &[]));
        lines.push(ratio(format!("HSET, {of},"), Rate(clients), rate));
        lines.push(line(format!("HSET p50, {of}"), "ms", Write50(clients), &[]));
        if clients == 1 {
            lines.push(ratio(format!("HSET p50, {of},"), Write50(clients), time));
        }
        lines.push(line(format!("HSET p99, {of}"), "ms", Write99(clients), &[]));
        lines.push(line(
            format!("CPU per HSET, {of}"),
            "µs",
            WriteCpu(clients),
            &[],
        ));
    }
    let scan: Aims<'_> = &[(Sqlite, AtMost, 0.5), (Postgres, AtMost, 0.5)];
    lines.push(line(format!("scan of {scanned} rows"), "s", Scan, scan));
    // Room to spare on one core.
    let spare: Aims<'_> = &[(Sqlite, AtMost, 75.0), (Postgres, AtMost, 75.0)];
    let at_rest = |what| format!("{clusters} clusters at rest, {what}");
    lines.push(line(at_rest("CPU"), "% of a core", SteadyCpu, spare));
    lines.push(line(
        at_rest("CPU of the database"),
        "% of a core",
        SteadyDatabase,
        &[],
    ));
    lines.push(line(
        at_rest("answered of what was due"),
        "%",
        SteadyDone,
        &[],
    ));
    lines.push(line(at_rest("HSET p50"), "ms", Steady50, &[]));
    lines.push(line(at_rest("HSET p99"), "ms", Steady99, &[]));
    let small: Aims<'_> = &[(Sqlite, AtMost, 32.0), (Postgres, AtMost, 32.0)];
    lines.push(line(
        "memory of an idle connection".to_owned(),
        "kB",
        Idle,
        small,
    ));
    lines
        .into_iter()
        .filter_map(|line| row(line, rounds, contenders, redis))
        .collect()
}

/// The Redis that others are compared with.
pub fn baseline(contenders: &[Contender]) -> Option<Contender> {
    let durable = |it: &&Contender| matches!(it, Redis | RedisAlways);
    contenders.iter().find(durable).copied()
}

fn row(
    line: Line<'_>,
    rounds: &Rounds,
    contenders: &[Contender],
    redis: Option<Contender>,
) -> Option<Row> {
    let value = |contender| {
        let own = rounds.of(line.measure, contender);
        match (line.against_redis, redis) {
            (false, _) => Summary::of(own),
            (true, Some(redis)) if redis != contender => {
                Summary::of(&ratios(own, rounds.of(line.measure, redis)))
            }
            (true, _) => None,
        }
    };
    let cells: BTreeMap<_, _> = contenders
        .iter()
        .filter_map(|&contender| Some((contender.name(), value(contender)?)))
        .collect();
    let judged = line.aims.iter().map(|&(contender, bound, value)| {
        let seen = cells.get(contender.name()).map(|summary| summary.median);
        Aim {
            contender: contender.name(),
            bound,
            value,
            met: seen.map(|seen| match bound {
                Bound::AtLeast => seen >= value,
                Bound::AtMost => seen <= value,
            }),
        }
    });
    let aims = judged.collect();
    (!cells.is_empty()).then_some(Row {
        title: line.title,
        unit: line.unit,
        cells,
        aims,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(values: &[(Measure, Contender, &[f64])]) -> Vec<Row> {
        let mut rounds = Rounds::default();
        for (measure, contender, values) in values {
            for value in *values {
                rounds.push(*measure, *contender, *value);
            }
        }
        rows(&rounds, &[RedisAlways, Sqlite, Postgres], 20_000, 1000)
    }

    fn find<'a>(rows: &'a [Row], title: &str) -> &'a Row {
        let row = rows.iter().find(|row| row.title == title);
        row.unwrap_or_else(|| panic!("{title}: not in {rows:?}"))
    }

    #[test]
    fn a_ratio_is_taken_within_a_round_and_judged() {
        let rows = measured(&[
            (Measure::Rate(50), RedisAlways, &[100.0, 1000.0, 100.0]),
            (Measure::Rate(50), Sqlite, &[110.0, 1100.0, 120.0]),
            (Measure::Rate(50), Postgres, &[40.0, 400.0, 60.0]),
        ]);
        let row = find(&rows, "HSET, 50 clients, against redis-always");
        assert_eq!(row.cells["sqlite"].median, 1.1);
        assert!(!row.cells.contains_key("redis-always"));
        assert_eq!(
            (row.aims[0].contender, row.aims[0].met),
            ("sqlite", Some(true))
        );
        assert_eq!(
            (row.aims[1].contender, row.aims[1].met),
            ("postgres", Some(false))
        );
    }

    #[test]
    fn an_aim_without_numbers_is_not_judged() {
        let rows = measured(&[(Measure::Idle, RedisAlways, &[5.0])]);
        assert_eq!(rows.len(), 1);
        assert!(rows[0].aims.iter().all(|aim| aim.met.is_none()));
    }
}
