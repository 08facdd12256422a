//! What an operator may set.

use std::{collections::BTreeSet, time::Duration};

use discovery_client::{Address, Site};
use serde::{Deserialize, Serialize};

use crate::Error;

/// `federation:` in the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The other sites. Empty: this site works alone.
    pub peers: Vec<PeerConfig>,
    /// How long a peer counts as there after its last word: 2 s to 1 min. A
    /// peer says something every second.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lease: Duration,
}

/// Another site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its name, as it calls itself.
    pub site: Site,
    /// Where its registry listens: at least one address; the first that
    /// answers is followed.
    pub registry: Vec<Address>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            lease: Duration::from_secs(3),
        }
    }
}

impl Config {
    /// Checks what the types cannot. `here` is the site that is configured.
    ///
    /// # Errors
    /// [`Error::Lease`], [`Error::OwnSite`], [`Error::Twice`],
    /// [`Error::NoAddress`]; the first that applies.
    pub fn validate(&self, here: &Site) -> Result<(), Error> {
        let allowed = Duration::from_secs(2)..=Duration::from_secs(60);
        if !allowed.contains(&self.lease) {
            return Err(Error::Lease { lease: self.lease });
        }
        let mut seen = BTreeSet::new();
        for PeerConfig { site, registry } in &self.peers {
            let site = site.clone();
            if site == *here {
                return Err(Error::OwnSite { site });
            }
            if registry.is_empty() {
                return Err(Error::NoAddress { site });
            }
            if !seen.insert(site.clone()) {
                return Err(Error::Twice { site });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str) -> Site {
        Site::new(name).unwrap()
    }

    fn peer(name: &str, addresses: &[&str]) -> PeerConfig {
        let registry = addresses
            .iter()
            .map(|address| Address::new(address).unwrap())
            .collect();
        PeerConfig {
            site: site(name),
            registry,
        }
    }

    fn problem(peers: Vec<PeerConfig>) -> String {
        Config {
            peers,
            ..Config::default()
        }
        .validate(&site("east"))
        .unwrap_err()
        .to_string()
    }

    #[test]
    fn a_site_alone_and_a_site_with_peers_are_valid() {
        assert!(Config::default().validate(&site("east")).is_ok());
        let peers = vec![peer("west", &["h:1"]), peer("north", &["h:2", "h:3"])];
        assert!(
            Config {
                peers,
                ..Config::default()
            }
            .validate(&site("east"))
            .is_ok()
        );
    }

    #[test]
    fn each_mistake_is_named() {
        assert_eq!(
            problem(vec![peer("east", &["h:1"])]),
            "`peers` names east, which is this site"
        );
        assert_eq!(
            problem(vec![peer("west", &[])]),
            "peer west has no registry address"
        );
        assert_eq!(
            problem(vec![peer("west", &["h:1"]), peer("west", &["h:2"])]),
            "`peers` names west more than once"
        );
        let config = Config {
            lease: Duration::from_secs(1),
            ..Config::default()
        };
        assert_eq!(
            config.validate(&site("east")).unwrap_err().to_string(),
            "`lease` is 1s, allowed is 2s to 1min"
        );
    }
}
