//! The supervisor's API as a drill uses it: look, take a site away, go on, give
//! it back.

use anyhow::Context as _;
use bytes::Bytes;
use discovery_client::{Address, Site};
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use crate::dev::{
    fault::{Mode, Wanted},
    http::{Unreachable, ask},
    state::{FaultState, State},
};

/// Why the supervisor did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// A safety rule forbids it.
    #[error("refused: {0}")]
    Refused(String),
    /// The fault is over already.
    #[error("the fault was over before the drill ended it")]
    Over,
    /// It answered what a drill cannot use.
    #[error("the supervisor answered {0}")]
    Unusable(String),
}

/// The supervisor at its address.
#[derive(Debug, Clone)]
pub struct Supervisor(pub Address);

impl Supervisor {
    /// Everything it knows.
    pub async fn state(&self) -> Result<State, Refusal> {
        self.ask(Method::GET, "/v1/state", None).await
    }

    /// Takes a site away, until the lease runs out.
    pub async fn begin(
        &self,
        site: &Site,
        mode: Mode,
        lease_ms: u64,
    ) -> Result<FaultState, Refusal> {
        let wanted = serde_json::to_value(Wanted {
            site: site.clone(),
            mode,
            lease_ms,
        });
        let wanted = wanted.map_err(|error| Refusal::Unusable(error.to_string()))?;
        self.ask(Method::POST, "/v1/faults", Some(&wanted)).await
    }

    /// Lets the lease run again.
    pub async fn renew(&self, id: u64) -> Result<FaultState, Refusal> {
        self.ask(Method::PUT, &format!("/v1/faults/{id}"), None)
            .await
    }

    /// Gives the site back.
    pub async fn end(&self, id: u64) -> Result<FaultState, Refusal> {
        self.ask(Method::DELETE, &format!("/v1/faults/{id}"), None)
            .await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<T, Refusal> {
        let (status, body) = ask(&self.0, method, path, body).await?;
        match status {
            StatusCode::OK | StatusCode::CREATED => {
                let read = serde_json::from_slice(&body).context("its answer cannot be read");
                read.map_err(|error| Refusal::Unusable(format!("{error:#}")))
            }
            StatusCode::CONFLICT => Err(Refusal::Refused(message(&body))),
            StatusCode::NOT_FOUND if path != "/v1/faults" => Err(Refusal::Over),
            status => Err(Refusal::Unusable(format!("{status}: {}", message(&body)))),
        }
    }
}

fn message(body: &Bytes) -> String {
    let read: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = read
        .as_ref()
        .and_then(|read| read.pointer("/error/message")?.as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}
