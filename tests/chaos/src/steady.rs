//! A steady load of plain HTTP requests, each on a connection of its own.
//!
//! No retry, no second address: what one user sees. `load` is for what a client
//! of the SDK sees.

use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::http;

/// A load that goes on until it is finished.
#[derive(Debug)]
pub struct Steady {
    stop: CancellationToken,
    task: JoinHandle<Seen>,
}

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Answered 200.
    pub fine: u64,
    /// Why the others failed.
    pub failed: Vec<String>,
    /// The longest that one took.
    pub longest: Duration,
}

impl Steady {
    /// One GET of `url` every `period`, whether or not earlier ones are
    /// answered.
    #[must_use]
    pub fn start(url: &str, period: Duration) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(url.to_owned(), period, stop.clone()));
        Self { stop, task }
    }

    /// Sends no more, waits for the answers under way.
    ///
    /// # Errors
    /// Never, unless it panicked.
    pub async fn finish(self) -> anyhow::Result<Seen> {
        self.stop.cancel();
        Ok(self.task.await?)
    }
}

async fn run(url: String, period: Duration, stop: CancellationToken) -> Seen {
    let mut ticks = tokio::time::interval(period);
    let mut asked = JoinSet::new();
    let mut seen = Seen::default();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let url = url.clone();
        asked.spawn(async move {
            let began = Instant::now();
            (http::get(&url).await, began.elapsed())
        });
        while let Some(Ok(one)) = asked.try_join_next() {
            seen.count(one);
        }
    }
    while let Some(Ok(one)) = asked.join_next().await {
        seen.count(one);
    }
    seen
}

impl Seen {
    fn count<T>(&mut self, (answer, took): (anyhow::Result<T>, Duration)) {
        match answer {
            Ok(_) => self.fine += 1,
            Err(why) => self.failed.push(format!("{why:#}")),
        }
        self.longest = self.longest.max(took);
    }
}
