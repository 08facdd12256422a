//! What an operator may set: one YAML file for one site.
//!
//! Each room describes its own part; this module puts the parts together, adds
//! what belongs to the process (roles, admin listener, logs, traces) and turns
//! whatever is wrong into one [`Error`] with place, key, value and what is
//! allowed.
//!
//! ```text
//!   file --> tree (what stands where) --+
//!     |                                 +--> Error with place and value
//!     +----> Config (typed) --validate--+
//! ```
//!
//! Invariants:
//! 1. A `Config` that came out of [`load()`] or [`parse`] has been validated.
//! 2. No error, and nothing a `Config` prints, holds the text of a secret.
//! 3. Every key has a default that suits a laptop, but for the entries of lists.

mod bounds;
pub mod command;
mod load;
mod secret;
mod tree;
#[cfg(test)]
mod wrong;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    time::Duration,
};

use discovery_client::{Address, Application, EndpointId, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use load::{Error, load, parse};
pub use secret::Secret;

/// The configuration file of one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Configuration of tradewind", rename = "Process")]
pub struct Config {
    /// The site this process belongs to, such as `east`.
    pub site: Site,
    /// The name of this process's gateway; it stands once in a site.
    pub id: EndpointId,
    /// What this process does.
    pub roles: BTreeSet<Role>,
    /// The data plane, with the role `gateway`.
    pub gateway: gateway::Config,
    /// Where other processes reach the gateway. Absent: `gateway.listen`.
    pub advertise: Option<Address>,
    /// The registry, with the role `registry`.
    pub registry: discovery::Config,
    /// Registries of this site, used when this process has not the role
    /// `registry`: the first that answers.
    pub connect: Vec<Address>,
    /// The other sites, with the role `registry`.
    pub federation: federation::Config,
    /// The store of Ray clusters' state, with the role `store`.
    pub store: gcs_store::config::Config,
    /// Replicas that do not register themselves.
    pub replicas: Vec<Replica>,
    /// Health, metrics and status.
    pub admin: Admin,
    /// What is logged, and how.
    pub log: Log,
    /// Where traces go.
    pub telemetry: Telemetry,
    /// How a stop proceeds.
    pub drain: Drain,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            site: name("local"),
            id: name("gateway"),
            roles: BTreeSet::from([Role::Gateway, Role::Registry]),
            gateway: gateway::Config::default(),
            advertise: None,
            registry: discovery::Config::default(),
            connect: Vec::new(),
            federation: federation::Config::default(),
            store: gcs_store::config::Config::default(),
            replicas: Vec::new(),
            admin: Admin::default(),
            log: Log::default(),
            telemetry: Telemetry::default(),
            drain: Drain::default(),
        }
    }
}

fn name<T: std::str::FromStr<Err = discovery_client::NameError>>(text: &'static str) -> T {
    text.parse().expect("the built-in names are names")
}

/// A part that a process can play.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes requests and sends them to replicas.
    Gateway,
    /// Knows the site's endpoints and hears of the peers'.
    Registry,
    /// Keeps the state of Ray clusters in SQL.
    Store,
}

impl Role {
    /// As it stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Registry => "registry",
            Self::Store => "store",
        }
    }
}

/// One of `replicas`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// Its name in the site. Absent: its host and port.
    #[serde(default)]
    pub id: Option<EndpointId>,
    /// Where it listens.
    pub address: Address,
    /// What it serves; at least one.
    pub applications: Vec<Application>,
    /// Most requests it wants in flight at once. Absent: `gateway.in_flight`.
    #[serde(default)]
    pub capacity: Option<NonZeroU32>,
}

impl Replica {
    /// Its name in the site.
    pub fn id(&self) -> EndpointId {
        self.id.clone().unwrap_or_else(|| {
            let text: String = self
                .address
                .authority()
                .chars()
                .filter(|c| !"[]".contains(*c))
                .collect();
            EndpointId::new(text).unwrap_or_else(|_| name("replica"))
        })
    }
}

/// `admin:` in the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where health, metrics and status are read. Not for the public: it tells
    /// what runs where. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// How much `listen` matters. For the command line only.
    #[serde(skip)]
    pub presence: Presence,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            presence: Presence::default(),
        }
    }
}

/// Whether there is an admin listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// Where it was said, or the process does not start.
    #[default]
    There,
    /// There, or on a port of the system's choice if that one is taken.
    Anywhere,
    /// None.
    Off,
}

/// `log:` in the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How a line looks.
    pub format: Format,
    /// The least severe level that is written, such as `info`, or a list by
    /// module, such as `info,gateway=debug`. `TRADEWIND_LOG` overrides it.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: Format::default(),
            level: "info".to_owned(),
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For a person at a terminal.
    #[default]
    Human,
}

/// `telemetry:` in the configuration file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Sends traces by OTLP over gRPC. Absent: no traces.
    pub otlp: Option<Otlp>,
}

/// `telemetry.otlp`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// Where the collector listens, such as `http://127.0.0.1:4317`.
    pub endpoint: Address,
    /// The part of the requests without a `traceparent` that is traced: 0 to
    /// 1. Requests that bring one follow its flag.
    #[serde(default = "everything")]
    pub sample_ratio: f64,
    /// Headers of each export, such as `authorization`.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

fn everything() -> f64 {
    1.0
}

/// `drain:` in the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long the news that this gateway leaves may take to reach everybody;
    /// until then it takes new requests as before: up to 1 minute.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub spread: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            spread: Duration::from_secs(1),
        }
    }
}

impl Config {
    /// The defaults, with `roles` in place of theirs.
    ///
    /// # Errors
    /// [`Error`] if the defaults do not suit the roles.
    pub fn built_in(roles: Option<BTreeSet<Role>>) -> Result<Self, Error> {
        parse("", "(built-in defaults)", roles)
    }

    /// Whether this process plays `role`.
    pub fn plays(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether this process needs a registry that is another process.
    pub fn follows_a_registry(&self) -> bool {
        !self.plays(Role::Registry) && (self.plays(Role::Gateway) || !self.replicas.is_empty())
    }
}
