//! What a store must go through without a client's noticing, and what the matrix
//! must notice.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};

use super::{
    crash::{Tally, fingerprint},
    databases::Database,
    lives::{REACHED, WORK, start},
    process::Serve,
    trial::{Trial, Verdict},
};
use crate::venv::Venv;

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

/// Takes the last commits out of the database of a store that was killed: what
/// a database that breaks its word would do. The matrix must see it.
///
/// # Errors
/// If something does not work as it should otherwise.
pub async fn lose_commits(folder: &Path, venv: &Venv, seed: u64) -> Result<Verdict> {
    const LOST: &str = "5";
    let file = folder.join("lossy.db");
    let serve = Serve::new(&format!("sqlite://{}", file.display()), folder)?;
    let mut trial = Trial::new(seed, WORK);
    loop {
        let mut store = start(&serve, &trial).await?;
        let clients = trial.clients(store.address());
        trial.more(200, REACHED).await?;
        // Nothing is unanswered: what is lost was promised.
        clients.stop().await;
        store.kill();
        let mut command = venv.script("lose_commits.py");
        let said = command.arg(&file).arg(LOST).output()?;
        let error = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.success(), "lose_commits.py: {error}");
        // Unless a fold came just before and left fewer.
        if said.stdout.trim_ascii() == LOST.as_bytes() {
            break;
        }
    }
    let last = start(&serve, &trial).await?;
    trial.verdict(last.address()).await
}
