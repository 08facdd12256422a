//! One history: clients at work, a server that dies and comes back, a verdict.

use std::{env, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::wait;

use super::{
    clients::{Clients, Work, read_all},
    history::History,
    linear,
};

/// The variable that repeats a draw.
pub const SEED: &str = "CHAOS_SEED";

/// The seed of this run: [`SEED`] if it is set, else a new one. Printed.
///
/// # Errors
/// If the variable holds no number.
pub fn seed() -> Result<u64> {
    let seed = match env::var(SEED) {
        Ok(text) => text.parse().context("CHAOS_SEED is no number")?,
        Err(_) => fastrand::u64(..1_000_000_000),
    };
    println!("{SEED}={seed} repeats the draw");
    Ok(seed)
}

/// A history being made.
#[derive(Debug)]
pub struct Trial {
    history: Arc<History>,
    work: Work,
    /// The draws of this history; the first one seeds the first clients.
    pub dice: fastrand::Rng,
}

/// What is to be said of a history.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Commands.
    pub operations: usize,
    /// Those without an answer.
    pub unknown: usize,
    /// What no order of operations explains.
    pub broken: Vec<String>,
}

impl Trial {
    /// An empty one.
    #[must_use]
    pub fn new(seed: u64, work: Work) -> Self {
        Self {
            history: Arc::default(),
            work,
            dice: fastrand::Rng::with_seed(seed),
        }
    }

    /// Starts the clients.
    #[must_use]
    pub fn clients(&mut self, address: SocketAddr) -> Clients {
        Clients::start(&self.history, address, self.dice.u64(..), self.work)
    }

    /// How many commands were sent so far.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.history.recorded().0.len()
    }

    /// Waits until so many more commands have been sent.
    ///
    /// # Errors
    /// If they have not within `within`.
    pub async fn more(&self, commands: usize, within: Duration) -> Result<()> {
        let enough = self.sent() + commands;
        wait::until("commands of the clients", within, async || {
            let sent = self.sent();
            ensure!(sent >= enough, "{sent} of {enough} sent");
            Ok(())
        })
        .await
    }

    /// Whatever is unanswered is decided: its server is dead and the next one
    /// serves.
    pub fn settle(&self) {
        self.history.settle();
    }

    /// Reads all that is there, and judges.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn verdict(self, address: SocketAddr) -> Result<Verdict> {
        read_all(&self.history, address).await?;
        let (operations, faults) = self.history.recorded();
        let unknown = operations.iter().filter(|one| one.answer.is_none());
        let unknown = unknown.count();
        let count = operations.len();
        let broken = tokio::task::spawn_blocking(move || {
            let mut broken = linear::check(&operations);
            broken.extend(faults);
            broken
        })
        .await?;
        Ok(Verdict {
            operations: count,
            unknown,
            broken,
        })
    }
}
