//! What the registry holds: endpoints.

use std::{fmt, num::NonZeroU32};

use serde::{Deserialize, Serialize};

use crate::{Address, Application, EndpointId, Site};

/// The identity of an endpoint across the federation: its site and its id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Where it runs.
    pub site: Site,
    /// Its name there.
    pub id: EndpointId,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.site, self.id)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What kind of process answers at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Runs an application and answers its calls.
    Replica,
    /// A gateway of this site; clients connect to it.
    Gateway,
    /// A gateway of another site, as this site sees it. `applications` is the
    /// digest of what that site can serve; the lease lapses with the link.
    Peer,
}

/// Whether an endpoint takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Takes new work.
    Serving,
    /// Finishes what it has and takes nothing new.
    Draining,
}

/// Which life of an endpoint a record speaks of, and its latest word.
///
/// A restart begins a greater incarnation; within one, each change has a
/// greater version. An older pair never overwrites a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Life {
    /// Grows with each start of the process: milliseconds since the Unix epoch
    /// will do.
    pub incarnation: u64,
    /// Grows with each change within an incarnation.
    pub version: u64,
}

impl Life {
    /// The first word of a process that started now, by the wall clock.
    #[must_use]
    pub fn begin() -> Self {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            incarnation: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            version: 0,
        }
    }

    /// The next word of the same process.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            version: self.version + 1,
            ..self
        }
    }
}

/// Most applications one endpoint may name.
pub const MAX_APPLICATIONS: usize = 4096;

/// One place that takes requests, as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Who it is.
    pub key: Key,
    /// What answers there.
    pub kind: Kind,
    /// Where it listens.
    pub address: Address,
    /// What it serves, sorted, at most [`MAX_APPLICATIONS`]. Empty for a
    /// gateway of this site.
    pub applications: Vec<Application>,
    /// Whether it takes work.
    pub state: State,
    /// Most requests it wants in flight at once. Absent: the gateway's default.
    pub capacity: Option<NonZeroU32>,
    /// Which life of it this record speaks of.
    pub life: Life,
}
