//! The crash matrix: a store dies at a named point, and nothing is lost.
//!
//! Each hit is one life of a store process that is told where to die. What it
//! leaves is the start of the next life, so that one history goes through
//! several deaths; at its end everything is read and judged. A point that is not
//! reached is an error: a matrix whose points have gone would prove nothing.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    databases::{Database, Kind},
    endurance::{database_dies, handovers},
    lives::{WORK, die_at_any_moment, die_at_handover, die_at_start, die_at_work, start},
    process::Serve,
    trial::{Trial, Verdict},
};

/// Hits of one history.
const LIVES: u32 = 10;

/// A kill point, and when it is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// While clients work; it dies at one of the first so many passings.
    Work(&'static str, u32),
    /// While it starts on a database that was left by another death.
    Start(&'static str),
    /// While it makes its tables; a fresh database each time.
    Migration(&'static str, u32),
    /// While it hands over to a successor, or takes over; whether the other one
    /// goes on with all connections.
    Handover(&'static str, bool),
}

/// Every kill point of the store.
pub const POINTS: [Point; 14] = [
    Point::Work("before-commit", 60),
    Point::Work("after-commit", 60),
    Point::Work("mid-group", 60),
    Point::Work("blob-staged", 8),
    Point::Work("fold-begin", 3),
    Point::Work("fold-before-commit", 3),
    Point::Work("fold-after-commit", 3),
    Point::Start("startup-taken"),
    Point::Migration("migration", 8),
    Point::Handover("handover-before-send", false),
    Point::Handover("handover-after-send", true),
    Point::Handover("handover-retired", true),
    Point::Handover("handover-ready", true),
    Point::Handover("handover-taken", true),
];

impl Point {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Work(name, _)
            | Self::Start(name)
            | Self::Migration(name, _)
            | Self::Handover(name, _) => name,
        }
    }
}

/// What came of the hits of one point on one database.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Deaths.
    pub hits: u32,
    /// Commands sent.
    pub operations: usize,
    /// Those without an answer.
    pub unknown: usize,
    /// What must not be, with the seed of its history.
    pub broken: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Tally {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let Self {
            hits,
            operations,
            unknown,
            broken,
            took,
        } = self;
        format!(
            "{hits:>4} hits, {operations:>7} commands, {unknown:>5} without an answer, \
             {} violations, {took:.1?}",
            broken.len()
        )
    }
}

/// Hits `point` so often on `database`.
///
/// # Errors
/// If the point is not reached, or a store does not come back.
pub async fn hit(
    database: &Database,
    folder: &Path,
    point: Point,
    hits: u32,
    seed: u64,
) -> Result<Tally> {
    let began = Instant::now();
    let mut dice = fastrand::Rng::with_seed(seed ^ fingerprint(point.name()));
    let mut tally = Tally::default();
    while tally.hits < hits {
        let lives = match point {
            Point::Migration(..) => 1,
            _ => LIVES.min(hits - tally.hits),
        };
        let history = dice.u64(..);
        let name = format!("{}_{}", point.name().replace('-', "_"), dice.u32(..));
        let told = || {
            let kind = database.kind().name();
            format!("{} on {kind}, history {history}", point.name())
        };
        let url = database.empty(&name).await?;
        let own = folder.join(&name);
        let verdict = one_history(&url, &own, point, lives, history)
            .await
            .with_context(told)?;
        tally.hits += lives;
        tally.operations += verdict.operations;
        tally.unknown += verdict.unknown;
        let broken = verdict.broken.into_iter();
        tally
            .broken
            .extend(broken.map(|what| format!("{}: {what}", told())));
    }
    tally.took = began.elapsed();
    Ok(tally)
}

async fn one_history(
    url: &str,
    folder: &Path,
    point: Point,
    lives: u32,
    seed: u64,
) -> Result<Verdict> {
    let serve = Serve::new(url, folder)?;
    let mut work = WORK;
    if point.name().starts_with("fold") {
        // Folds come every two seconds.
        work.pause *= 5;
    }
    let mut trial = Trial::new(seed, work);
    for _ in 0..lives {
        match point {
            Point::Work(name, most) => die_at_work(&serve, &mut trial, name, most).await?,
            Point::Start(name) => {
                die_at_any_moment(&serve, &mut trial).await?;
                die_at_start(&serve, name, 1).await?;
            }
            Point::Migration(name, most) => {
                let nth = trial.dice.u32(1..=most);
                die_at_start(&serve, name, nth).await?;
                die_at_any_moment(&serve, &mut trial).await?;
            }
            Point::Handover(name, survived) => {
                die_at_handover(&serve, &mut trial, name, survived).await?;
            }
        }
    }
    let last = start(&serve, &trial).await?;
    let verdict = trial.verdict(last.address()).await?;
    Ok(verdict)
}

/// Hits every point so often on a database of `kind`, then kills the database
/// itself `kills` times; prints a line for each and returns what was broken.
///
/// # Errors
/// As [`hit`] and [`database_dies`].
pub async fn matrix(kind: Kind, hits: u32, kills: u32, seed: u64) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let mut broken = Vec::new();
    let mut note = |what: &str, tally: Tally| {
        println!("{:<10} {what:<22} {}", kind.name(), tally.line());
        broken.extend(tally.broken);
    };
    let quick = Database::start(kind, false).await?;
    for point in POINTS {
        let tally = hit(&quick, folder.path(), point, hits, seed).await?;
        note(point.name(), tally);
    }
    let tally = handovers(&quick, folder.path(), kills.max(5), seed).await?;
    note("handed over, no death", tally);
    drop(quick);
    if kind != Kind::Sqlite {
        let mut durable = Database::start(kind, true).await?;
        let tally = database_dies(&mut durable, folder.path(), kills, seed).await?;
        note("the database itself", tally);
    }
    Ok(broken)
}

/// A number for a name, to give each its own draws.
pub(super) fn fingerprint(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
