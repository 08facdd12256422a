//! Moments, as Ray counts and people read them.

use std::{
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// A moment, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(i64);

/// The last millisecond of the year 9999: later ones are numbers, not dates.
const LAST_MS: i64 = 253_402_300_799_999;

impl Time {
    /// This many milliseconds after the epoch.
    #[must_use]
    pub fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// A field of Ray's: 0 is "never", and so is what no clock shows.
    pub(crate) fn present(ms: impl TryInto<i64>) -> Option<Self> {
        let ms = ms.try_into().ok()?;
        (ms > 0 && ms <= LAST_MS).then_some(Self(ms))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn ms(self) -> i64 {
        self.0
    }

    /// How long after it `now` is, nothing if it is not.
    #[must_use]
    pub fn age(self, now: Self) -> Duration {
        Duration::from_millis(now.0.saturating_sub(self.0).try_into().unwrap_or(0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u64::try_from(self.0) {
            Ok(ms) if self.0 <= LAST_MS => {
                let date = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms));
                write!(f, "{date}")
            }
            _ => write!(f, "{} ms", self.0),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut both = serializer.serialize_struct("Time", 2)?;
        both.serialize_field("ms", &self.0)?;
        both.serialize_field("utc", &self.to_string())?;
        both.end()
    }
}
