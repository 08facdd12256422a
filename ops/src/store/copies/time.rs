//! Moments on the command line.

use std::{
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub i64);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ms) = text.parse() {
            return Ok(Self(ms));
        }
        let ago = text.strip_suffix(" ago").unwrap_or(text);
        let at = match humantime::parse_rfc3339_weak(text) {
            Ok(at) => Some(at),
            Err(_) if text == "now" => Some(SystemTime::now()),
            Err(_) => humantime::parse_duration(ago)
                .ok()
                .and_then(|ago| SystemTime::now().checked_sub(ago)),
        };
        at.and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .map(Self)
            .ok_or_else(|| {
                "a time is 2026-01-31T12:00:00Z, milliseconds since 1970, or how long ago, such as 2h"
                    .to_owned()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_three_ways() {
        let read = |text: &str| text.parse::<Moment>().map(|it| it.0);
        assert_eq!(read("1970-01-01T00:00:05Z"), Ok(5000));
        assert_eq!(read("1970-01-01 00:00:05"), Ok(5000));
        assert_eq!(read("1234"), Ok(1234));
        let now = read("now").unwrap();
        let hour = now - read("1h").unwrap();
        assert!((3_599_000..3_601_000).contains(&hour), "{hour}");
        assert!(now - read("1h ago").unwrap() - hour < 1000);
        assert!(read("yesterday").is_err() && read("").is_err());
    }
}
