//! What a process says about itself at `/admin/v1/status`.
//!
//! Written by the admin listener and read by `tradewind status`, so both ends
//! share these types. Fields are only ever added.

use std::collections::BTreeMap;

use discovery_client::{Address, Application, EndpointId, Kind, Site, State};
use serde::{Deserialize, Serialize};

/// One process, as it sees itself and its surroundings now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When this was written, in UTC, such as `2026-01-31T12:00:00Z`.
    pub at: String,
    /// Of the binary.
    pub version: String,
    /// The site it belongs to.
    pub site: Site,
    /// Its name there.
    pub id: EndpointId,
    /// What it does: `gateway`, `registry`.
    pub roles: Vec<String>,
    /// How long it has run, in seconds.
    pub uptime_s: u64,
    /// Whether it takes requests.
    pub ready: bool,
    /// Why not, if it does not.
    pub reasons: Vec<String>,
    /// Where its gateway listens.
    pub gateway: Option<Address>,
    /// What it knows of the site's registry.
    pub registry: View,
    /// Every endpoint it knows, by site, kind and id.
    pub endpoints: Vec<Endpoint>,
    /// The other sites, by name. Known to a registry only.
    pub peers: Vec<Peer>,
    /// Counters and gauges of the gateway since it started.
    pub traffic: Vec<Sample>,
}

/// How far a process has followed the registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Where the registry of this process listens.
    pub listen: Option<Address>,
    /// Which history; absent before the first answer.
    pub generation: Option<u64>,
    /// How far into it.
    pub revision: Option<u64>,
    /// Hash of the content, in hexadecimal: equal for equal content everywhere.
    pub content: String,
    /// Since the registry was last heard, in milliseconds; 0 for one's own.
    pub age_ms: Option<u64>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its site.
    pub site: Site,
    /// Its name there.
    pub id: EndpointId,
    /// What answers there.
    pub kind: Kind,
    /// Where it listens.
    pub address: Address,
    /// Whether it takes work.
    pub state: State,
    /// What it serves.
    pub applications: Vec<Application>,
    /// Most requests it wants in flight.
    pub capacity: Option<u32>,
}

/// The link to another site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// The other site.
    pub site: Site,
    /// Whether it is heard.
    pub up: bool,
    /// Since it was last heard, in milliseconds; absent if it never was.
    pub age_ms: Option<u64>,
}

/// One number of the gateway, as in its metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The metric, such as `tw_http_requests_total`.
    pub name: String,
    /// Its labels, such as `outcome`.
    pub labels: BTreeMap<String, String>,
    /// How much.
    pub value: f64,
}

impl Sample {
    /// The value of a label, empty if there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}
