//! Checks what the types of the configuration cannot.
//!
//! Pure, but for the secrets: each is read once, so that a missing one is found
//! before anything starts.

use std::{collections::BTreeSet, time::Duration};

use discovery_client::Site;

use super::{Config, Role};

/// A setting that parses and still cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The whole path of the setting.
    pub key: String,
    /// What was given; absent when it is the lack of something that is wrong.
    pub value: Option<String>,
    /// What would do.
    pub allowed: String,
}

impl Invalid {
    fn new(key: impl Into<String>, value: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: Some(value.into()),
            allowed: allowed.into(),
        }
    }
}

/// Most static replicas of one file.
const MAX_REPLICAS: usize = 4096;

impl Config {
    /// Checks what the types cannot.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        self.gateway
            .validate()
            .map_err(|it| Invalid::new(format!("gateway.{}", it.key), it.value, it.allowed))?;
        if self.roles.is_empty() {
            let allowed = "one or more of gateway, registry and store";
            return Err(Invalid::new("roles", "[]", allowed));
        }
        if self.follows_a_registry() && self.connect.is_empty() {
            let allowed = "at least one address of a registry, for roles lacks registry";
            return Err(Invalid {
                key: "connect".to_owned(),
                value: None,
                allowed: allowed.to_owned(),
            });
        }
        if self.plays(Role::Gateway)
            && self.advertise.is_none()
            && self.gateway.listen.ip().is_unspecified()
        {
            let allowed = format!(
                "an address others can reach, for gateway.listen is {}",
                self.gateway.listen
            );
            return Err(Invalid {
                key: "advertise".to_owned(),
                value: None,
                allowed,
            });
        }
        self.registry.validate().map_err(|error| match error {
            discovery::Error::Config {
                key,
                value,
                allowed,
            } => Invalid::new(format!("registry.{key}"), value, allowed),
            other => Invalid::new("registry", "the whole", other.to_string()),
        })?;
        self.validate_store()?;
        self.federation
            .validate(&self.site)
            .map_err(|error| self.peer_problem(&error))?;
        self.validate_replicas()?;
        if let Some(otlp) = &self.telemetry.otlp {
            if !(0.0..=1.0).contains(&otlp.sample_ratio) {
                return Err(Invalid::new(
                    "telemetry.otlp.sample_ratio",
                    otlp.sample_ratio.to_string(),
                    "0 to 1",
                ));
            }
            for (header, secret) in &otlp.headers {
                let key = format!("telemetry.otlp.headers.{header}");
                if header.parse::<tonic::metadata::AsciiMetadataKey>().is_err() {
                    return Err(Invalid::new(
                        key,
                        format!("{header:?}"),
                        "a header's name in small letters",
                    ));
                }
                secret
                    .read()
                    .map_err(|error| Invalid::new(key, secret.to_string(), error.to_string()))?;
            }
        }
        if self.drain.spread > Duration::from_secs(60) {
            let value = humantime::format_duration(self.drain.spread).to_string();
            return Err(Invalid::new("drain.spread", value, "0s to 1m"));
        }
        if tracing_subscriber::EnvFilter::builder()
            .parse(&self.log.level)
            .is_err()
        {
            let allowed = "error, warn, info, debug or trace, or a list such as info,gateway=debug";
            return Err(Invalid::new(
                "log.level",
                format!("{:?}", self.log.level),
                allowed,
            ));
        }
        Ok(())
    }

    fn validate_store(&self) -> Result<(), Invalid> {
        let store = &self.store;
        store
            .validate()
            .map_err(|it| Invalid::new(format!("store.{}", it.key), it.value, it.allowed))?;
        if let Some(socket) = &store.handover_socket
            && self.plays(Role::Store)
            && self.roles.len() > 1
        {
            return Err(Invalid::new(
                "store.handover_socket",
                format!("{:?}", socket.display()),
                "a store whose process has no other role: a successor could not listen where \
                 they do",
            ));
        }
        Ok(())
    }

    /// Where in the file the federation's problem stands.
    fn peer_problem(&self, error: &federation::Error) -> Invalid {
        use federation::Error;
        let last = |wanted: &Site| {
            let nth = self
                .federation
                .peers
                .iter()
                .rposition(|peer| peer.site == *wanted);
            format!("federation.peers[{}]", nth.unwrap_or_default())
        };
        match error {
            Error::Lease { lease } => Invalid::new(
                "federation.lease",
                humantime::format_duration(*lease).to_string(),
                "2s to 1m",
            ),
            Error::OwnSite { site } => Invalid::new(
                format!("{}.site", last(site)),
                site.to_string(),
                "a site other than this one",
            ),
            Error::Twice { site } => Invalid::new(
                format!("{}.site", last(site)),
                site.to_string(),
                "a site that stands once in the list",
            ),
            Error::NoAddress { site } => Invalid::new(
                format!("{}.registry", last(site)),
                "[]",
                "at least one address",
            ),
            Error::Address { site, source } => Invalid::new(
                format!("{}.registry", last(site)),
                "a peer",
                source.to_string(),
            ),
        }
    }

    fn validate_replicas(&self) -> Result<(), Invalid> {
        if self.replicas.len() > MAX_REPLICAS {
            let allowed = format!("at most {MAX_REPLICAS}");
            return Err(Invalid::new(
                "replicas",
                format!("a list of {}", self.replicas.len()),
                allowed,
            ));
        }
        let mut taken = BTreeSet::from([self.id.clone()]);
        for (nth, replica) in self.replicas.iter().enumerate() {
            if replica.applications.is_empty() {
                let key = format!("replicas[{nth}].applications");
                return Err(Invalid::new(key, "[]", "at least one application"));
            }
            if !taken.insert(replica.id()) {
                let key = format!("replicas[{nth}].id");
                return Err(Invalid::new(
                    key,
                    replica.id().to_string(),
                    "a name that no other endpoint of the file has",
                ));
            }
        }
        Ok(())
    }
}
