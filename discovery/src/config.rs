//! What an operator may set.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Error;

/// `registry:` in the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the registry listens for replicas, gateways and other sites.
    pub listen: SocketAddr,
    /// The longest lease anybody may ask for: 1 s to 1 h.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lease_max: Duration,
    /// Most endpoints registered at once.
    pub records_max: NonZeroUsize,
    /// How many of the latest changes are kept for subscribers that come back.
    /// One who missed more gets the whole list.
    pub history_max: NonZeroUsize,
    /// Most subscribers at once.
    pub subscribers_max: NonZeroUsize,
    /// Keeps the records in the database of `store.database`, so that a
    /// registry that was restarted knows its endpoints at once. One registry
    /// of a site at a time: a second one takes over and the first ends.
    pub durable: bool,
}

impl Default for Config {
    fn default() -> Self {
        let count = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8082)),
            lease_max: Duration::from_secs(60),
            records_max: count(65_536),
            history_max: count(16_384),
            subscribers_max: count(4096),
            durable: false,
        }
    }
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// [`Error::Config`] names the key, its value and what is allowed.
    pub fn validate(&self) -> Result<(), Error> {
        let allowed = Duration::from_secs(1)..=Duration::from_secs(3600);
        if allowed.contains(&self.lease_max) {
            return Ok(());
        }
        Err(Error::Config {
            key: "lease_max",
            value: format!("{:?}", self.lease_max),
            allowed: "1s to 1h",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_a_bad_lease_is_named() {
        assert!(Config::default().validate().is_ok());
        let config = Config {
            lease_max: Duration::from_millis(10),
            ..Config::default()
        };
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(error, "`lease_max` is 10ms, allowed is 1s to 1h");
    }
}
