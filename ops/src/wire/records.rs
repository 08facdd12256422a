//! What a process says of itself in its site's registries.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use discovery_client::{
    Address, Endpoint, Key, Kind, Life, Registrar, Registration, Registry, State,
};
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Replica};

/// The lease of each record.
const LEASE: Duration = Duration::from_secs(3);

/// How long records may take to leave.
const LEAVE: Duration = Duration::from_secs(1);

/// The records this process keeps in its site's registries.
pub struct Records {
    registries: Vec<Arc<dyn Registry>>,
    registrars: JoinSet<()>,
    kept: Vec<Registration>,
}

impl Records {
    /// None yet; each will be kept in all of `registries`.
    pub fn new(registries: Vec<Arc<dyn Registry>>) -> Self {
        Self {
            registries,
            registrars: JoinSet::new(),
            kept: Vec::new(),
        }
    }

    /// Keeps `endpoint` registered until [`leave`](Self::leave); a record that
    /// is taken over by another process is left to it.
    pub fn keep(&mut self, endpoint: &Endpoint) -> Vec<Registration> {
        let mut registrations = Vec::new();
        for registry in &self.registries {
            let (registrar, registration) =
                Registrar::new(registry.clone(), endpoint.clone(), LEASE);
            let key = endpoint.key.clone();
            self.registrars.spawn(async move {
                // The end comes by `leave`, never by a token.
                if let Err(error) = registrar.run(CancellationToken::new()).await {
                    tracing::error!(endpoint = %key, %error, "an endpoint is not registered any more");
                }
            });
            registrations.push(registration);
        }
        self.kept.extend(registrations.iter().cloned());
        registrations
    }

    /// Takes all out of the registries, as far as these answer in time.
    pub async fn leave(self) {
        for left in join_all(self.kept.iter().map(|record| record.leave(LEAVE))).await {
            if let Err(error) = left {
                tracing::warn!(%error, "a record will lapse");
            }
        }
    }
}

/// The record of the process's own gateway.
pub fn gateway(config: &Config, address: Address) -> Endpoint {
    Endpoint {
        key: Key {
            site: config.site.clone(),
            id: config.id.clone(),
        },
        kind: Kind::Gateway,
        address,
        applications: Vec::new(),
        state: State::Serving,
        capacity: None,
        life: Life::begin(),
    }
}

/// The record of a replica that does not register itself.
pub fn replica(config: &Config, it: &Replica) -> Endpoint {
    let applications: BTreeSet<_> = it.applications.iter().cloned().collect();
    Endpoint {
        key: Key {
            site: config.site.clone(),
            id: it.id(),
        },
        kind: Kind::Replica,
        address: it.address.clone(),
        applications: applications.into_iter().collect(),
        state: State::Serving,
        capacity: it.capacity,
        life: Life::begin(),
    }
}
