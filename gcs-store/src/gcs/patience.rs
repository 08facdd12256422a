//! Stall, never fail: tries until the database does it.
//!
//! A head counts refusals and ends itself after six, but waits for an answer as
//! long as it takes. So nothing here gives up; it says in the log what it waits
//! for, at once and then every ten seconds.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(500);
const REMIND: Duration = Duration::from_secs(10);

/// The pauses of one thing that is tried until it is done.
#[derive(Debug)]
pub(crate) struct Patience {
    what: &'static str,
    pause: Duration,
    since: Option<Instant>,
    told: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            pause: FIRST,
            since: None,
            told: None,
        }
    }

    /// Notes a failure and waits before the next try.
    pub(crate) async fn wait(&mut self, error: &(dyn std::error::Error + 'static)) {
        sleep(self.note(error)).await;
    }

    /// Notes a failure; how long to wait before the next try.
    pub(crate) fn note(&mut self, error: &(dyn std::error::Error + 'static)) -> Duration {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if self.told.is_none_or(|told| now >= told + REMIND) {
            self.told = Some(now);
            let chain = chain(error);
            tracing::warn!(
                error = chain,
                waiting_s = now.duration_since(since).as_secs(),
                "{}: the database does not do it; waiting",
                self.what
            );
        }
        // Spread, so that many who wait do not come back at one moment.
        let pause = self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.pause = (self.pause * 2).min(LONGEST);
        pause
    }

    /// How long it has been waited for.
    pub(crate) fn waited(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if self.told.is_some() {
            let waited_ms = u64::try_from(self.waited().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(waited_ms, "{}: over", self.what);
        }
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
