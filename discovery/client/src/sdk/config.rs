//! What a program may set about its client.

use std::{num::NonZeroUsize, time::Duration};

use crate::Site;

/// Settings of a [`Client`](super::Client). The defaults suit a program beside
/// its gateways; all times are upper bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The site this program runs in: its gateways are asked first. Absent:
    /// all are equally near.
    pub site: Option<Site>,
    /// HTTP/2 connections to each gateway.
    pub connections: NonZeroUsize,
    /// To connect to a gateway, and again to have its first answer.
    pub connect: Duration,
    /// How long a connection may be quiet before it is pinged.
    pub ping_interval: Duration,
    /// How long the answer to a ping may take; then the connection is dead.
    pub ping_timeout: Duration,
    /// What a new connection is asked before calls use it. Any answer will do.
    pub probe_path: &'static str,
    /// How long a failed gateway is left alone at first; doubles each time.
    pub backoff: Duration,
    /// The longest it is left alone.
    pub backoff_max: Duration,
    /// Answers in a row that blame the gateway (502, 503, 504) before it is
    /// left alone. A lost connection does so at once.
    pub failures: u32,
    /// Most attempts at one call, the first one counted.
    pub attempts: u32,
    /// Retries allowed for each call, in the long run: 0 to 1.
    pub retry_ratio: f64,
    /// Retries that may be saved up, so that the loss of a gateway with many
    /// calls in flight is absorbed at once.
    pub retry_reserve: u32,
    /// How long a call waits while no gateway at all can be reached.
    pub patience: Duration,
    /// Deadline of a call that names none.
    pub timeout: Duration,
    /// Largest unary answer, in bytes.
    pub answer_limit: usize,
    /// Largest event of a stream, in bytes.
    pub event_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            site: None,
            connections: NonZeroUsize::MIN,
            connect: Duration::from_millis(600),
            ping_interval: Duration::from_millis(250),
            ping_timeout: Duration::from_millis(500),
            probe_path: "/v1/models",
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            failures: 3,
            attempts: 4,
            retry_ratio: 0.1,
            retry_reserve: 100,
            patience: Duration::from_secs(3),
            timeout: Duration::from_secs(600),
            answer_limit: 64 << 20,
            event_limit: 1 << 20,
        }
    }
}

/// A setting out of its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is not allowed to be {value}: {allowed}")]
pub struct Invalid {
    /// The field's name.
    pub key: &'static str,
    /// What was given.
    pub value: String,
    /// What would do.
    pub allowed: &'static str,
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// [`Invalid`] for the first setting out of its bounds.
    pub fn validate(&self) -> Result<(), Invalid> {
        let refuse = |key, value: String, allowed| {
            Err(Invalid {
                key,
                value,
                allowed,
            })
        };
        for (key, value) in [
            ("connect", self.connect),
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
            ("backoff", self.backoff),
            ("timeout", self.timeout),
        ] {
            if value.is_zero() {
                return refuse(key, "0s".to_owned(), "more than 0s");
            }
        }
        if self.backoff_max < self.backoff {
            return refuse(
                "backoff_max",
                format!("{:?}", self.backoff_max),
                "backoff or more",
            );
        }
        if self.connections.get() > 64 {
            return refuse("connections", self.connections.to_string(), "1 to 64");
        }
        if !(1..=10).contains(&self.attempts) {
            return refuse("attempts", self.attempts.to_string(), "1 to 10");
        }
        if self.failures == 0 {
            return refuse("failures", "0".to_owned(), "1 or more");
        }
        if !(0.0..=1.0).contains(&self.retry_ratio) {
            return refuse("retry_ratio", self.retry_ratio.to_string(), "0 to 1");
        }
        if !self.probe_path.starts_with('/')
            || self.probe_path.parse::<http::uri::PathAndQuery>().is_err()
        {
            return refuse(
                "probe_path",
                self.probe_path.to_owned(),
                "a path that begins with /",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed_and_notice_silence_within_a_second() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        assert!(config.ping_interval + config.ping_timeout < Duration::from_secs(1));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let refused = |config: Config| config.validate().unwrap_err().key;
        assert_eq!(
            refused(Config {
                attempts: 0,
                ..Config::default()
            }),
            "attempts"
        );
        assert_eq!(
            refused(Config {
                retry_ratio: 1.5,
                ..Config::default()
            }),
            "retry_ratio"
        );
        assert_eq!(
            refused(Config {
                backoff_max: Duration::ZERO,
                ..Config::default()
            }),
            "backoff_max"
        );
        assert_eq!(
            refused(Config {
                probe_path: "x",
                ..Config::default()
            }),
            "probe_path"
        );
    }
}
