//! The crash matrix: a store dies at a named point, and nothing is lost.
//!
//! Each hit is one life of a store process that is told where to die. What it
//! leaves is the start of the next life, so that one history goes through
//! several deaths; at its end everything is read and judged. A point that is not
//! reached is an error: a matrix whose points have gone would prove nothing.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::wait;
use rustix::process::Signal;

use super::{
    clients::Work,
    databases::{Database, Kind},
    process::{READY, Serve, Standing, Store, standing},
    trial::{Trial, Verdict},
};

/// A point must be reached within this.
const REACHED: Duration = Duration::from_secs(60);
/// Hits of one history.
const LIVES: u32 = 10;

const WORK: Work = Work {
    clients: 6,
    pause: Duration::from_millis(2),
};

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

/// Starts a store that is told nothing; what was unanswered is decided then.
async fn start(serve: &Serve, trial: &Trial) -> Result<Store> {
    let mut store = serve.start()?;
    store.active(READY).await?;
    trial.settle();
    Ok(store)
}

async fn die_at_work(serve: &Serve, trial: &mut Trial, name: &str, most: u32) -> Result<()> {
    let nth = trial.dice.u32(1..=most);
    let mut store = serve.clone().crash_at(name, nth).start()?;
    // What one life has not folded the next one folds first: it may die of that.
    let active = store.active(READY).await;
    if active.is_err() {
        return died(&mut store, name).await;
    }
    trial.settle();
    let clients = trial.clients(store.address());
    died(&mut store, name).await?;
    clients.stop().await;
    Ok(())
}

/// SIGKILL after some commands.
async fn die_at_any_moment(serve: &Serve, trial: &mut Trial) -> Result<()> {
    let mut store = start(serve, trial).await?;
    let clients = trial.clients(store.address());
    let commands = trial.dice.usize(20..200);
    trial.more(commands, REACHED).await?;
    store.kill();
    clients.stop().await;
    Ok(())
}

async fn die_at_start(serve: &Serve, name: &str, nth: u32) -> Result<()> {
    let mut store = serve.clone().crash_at(name, nth).start()?;
    died(&mut store, name).await
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

/// Kills the database server under a store at work, so often; every other time
/// the store dies with it. Where only the database dies, no client may notice.
///
/// # Errors
/// If a client notices, or something does not come back.
pub async fn database_dies(
    database: &mut Database,
    folder: &Path,
    kills: u32,
    seed: u64,
) -> Result<Tally> {
    let began = Instant::now();
    let mut tally = Tally::default();
    let url = database.empty("database_dies").await?;
    let serve = Serve::new(&url, &folder.join("database_dies"))?;
    let mut trial = Trial::new(seed ^ fingerprint("database"), WORK);
    let mut store = start(&serve, &trial).await?;
    let mut clients = trial.clients(store.address());
    for nth in 0..kills {
        let commands = trial.dice.usize(20..400);
        trial.more(commands, REACHED).await?;
        database.kill();
        if nth % 2 == 1 {
            store.kill();
            clients.stop().await;
            database.restart().await?;
            store = start(&serve, &trial).await?;
            clients = trial.clients(store.address());
        } else {
            database.restart().await?;
        }
        trial.more(100, REACHED).await?;
        ensure!(
            clients.count() == WORK.clients as usize,
            "only {} of {} connections outlived the database\n{}",
            clients.count(),
            WORK.clients,
            store.log()
        );
        tally.hits += 1;
    }
    clients.stop().await;
    let verdict = trial.verdict(store.address()).await?;
    tally.operations = verdict.operations;
    tally.unknown = verdict.unknown;
    tally.broken = verdict.broken;
    tally.took = began.elapsed();
    Ok(tally)
}

/// Hands a store at work over so often, one successor to the next; no client
/// may notice.
///
/// # Errors
/// If a client notices, or a handover fails.
pub async fn handovers(database: &Database, folder: &Path, count: u32, seed: u64) -> Result<Tally> {
    let began = Instant::now();
    let url = database.empty("handovers").await?;
    let serve = Serve::new(&url, &folder.join("handovers"))?;
    let mut trial = Trial::new(seed ^ fingerprint("handovers"), WORK);
    let mut store = start(&serve, &trial).await?;
    let mut clients = trial.clients(store.address());
    for _ in 0..count {
        let commands = trial.dice.usize(20..400);
        trial.more(commands, REACHED).await?;
        store.handover().await?;
        ensure!(
            clients.count() == WORK.clients as usize,
            "only {} of {} connections were handed over\n{}",
            clients.count(),
            WORK.clients,
            store.log()
        );
    }
    clients.stop().await;
    let verdict = trial.verdict(store.address()).await?;
    let mut broken = verdict.broken;
    if verdict.unknown > 0 {
        broken.push(format!("{} commands were not answered", verdict.unknown));
    }
    Ok(Tally {
        hits: count,
        operations: verdict.operations,
        unknown: verdict.unknown,
        broken,
        took: began.elapsed(),
    })
}

/// One of the two dies; the other goes on with the connections, or nobody does.
async fn die_at_handover(
    serve: &Serve,
    trial: &mut Trial,
    name: &str,
    survived: bool,
) -> Result<()> {
    let mut store = serve.clone().crash_at(name, 1).start()?;
    store.active(READY).await?;
    trial.settle();
    let mut clients = trial.clients(store.address());
    let commands = trial.dice.usize(20..100);
    trial.more(commands, REACHED).await?;
    let earlier = crashes(&store, name);
    // Whether the command calls it a success is not the point here.
    let mut command = store.handover_command()?;
    let _command = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    wait::until("the kill point", REACHED, async || {
        let dead = crashes(&store, name) > earlier;
        ensure!(dead, "{name} was not passed\n{}", store.log());
        Ok(())
    })
    .await?;
    let survivor = wait::until("a survivor, or none", READY, async || {
        if store.serving().is_empty() {
            return Ok(false);
        }
        let found = standing(store.address()).await?;
        ensure!(found == Standing::Active, "{found:?}");
        Ok(true)
    })
    .await?;
    ensure!(
        survivor == survived,
        "after {name} somebody should serve: {survived}, does: {survivor}\n{}",
        store.log()
    );
    if survivor {
        trial.more(100, REACHED).await?;
        ensure!(
            clients.count() == WORK.clients as usize,
            "after {name} only {} of {} connections work\n{}",
            clients.count(),
            WORK.clients,
            store.log()
        );
    }
    clients.stop().await;
    store.kill();
    Ok(())
}

fn crashes(store: &Store, name: &str) -> usize {
    let line = format!("crash point {name}: ");
    store.log().matches(&line).count()
}

async fn died(store: &mut Store, name: &str) -> Result<()> {
    let status = store
        .end(REACHED)
        .await
        .with_context(|| format!("kill point {name} was not reached"))?;
    ensure!(
        status.signal() == Some(Signal::ABORT.as_raw()),
        "at {name} the store ended with {status}\n{}",
        store.log()
    );
    Ok(())
}

fn fingerprint(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
