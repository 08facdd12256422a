//! Milliseconds since the Unix epoch.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, by the wall clock.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that never goes back.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    last: i64,
}

impl Clock {
    /// Now, or the last answer if the wall clock was set back.
    pub(crate) fn now_ms(&mut self) -> i64 {
        self.last = self.last.max(now_ms());
        self.last
    }
}
