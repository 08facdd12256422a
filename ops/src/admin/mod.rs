//! Health, metrics and status, on a listener apart from the data plane.
//!
//! ```text
//!   /livez             the process runs; looks at nothing else
//!   /readyz            whether to send requests here, and why not
//!   /metrics           for Prometheus
//!   /admin/v1/status   for `tradewind status`
//!   /admin/v1/store    for `tradewind store status`
//! ```
//!
//! It runs on the control runtime. Everything is answered from memory and by
//! GET without a body, so a slow reader costs one connection and no more.
//!
//! Invariants:
//! 1. `/livez` answers as long as the process can answer at all: it depends on
//!    nothing outside, so that no outage elsewhere gets a process restarted
//!    (`readiness_turns_when_the_process_leaves_and_liveness_does_not`).
//! 2. At most [`CONNECTIONS`] are open; each sends its head within [`HEAD`] and
//!    ends after [`LIFETIME`] (`connections_beyond_the_bound_wait_their_turn`,
//!    `a_head_that_does_not_come_ends_its_connection`).

mod facts;
mod metrics;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use facts::Facts;

use crate::config::Presence;

/// Connections open at once; more wait unaccepted.
const CONNECTIONS: usize = 64;

/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection may last.
const LIFETIME: Duration = Duration::from_secs(300);

/// Largest request head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Most headers of a request.
const MAX_HEADERS: usize = 64;

/// How long connections may go on after a stop.
const LAST: Duration = Duration::from_secs(1);

/// The pause after `accept` failed, when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a predecessor may keep the address.
const PREDECESSOR: Duration = Duration::from_secs(30);

/// The admin listener, bound and not yet served.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    local: SocketAddr,
}

impl Admin {
    /// Listens.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let bound = TcpListener::bind(address)
            .await
            .and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (local, listener) =
            bound.with_context(|| format!("cannot listen on {address} (admin.listen)"))?;
        Ok(Self { listener, local })
    }

    /// Listens there, or on a port of the system's choice if that one is taken.
    ///
    /// # Errors
    /// If neither can be had.
    pub async fn bind_anywhere(address: SocketAddr) -> anyhow::Result<Self> {
        match Self::bind(address).await {
            Err(error) if is_taken(&error) => Self::bind((address.ip(), 0).into()).await,
            bound => bound,
        }
    }

    /// Listens as soon as a predecessor lets go of the address; `None` if that
    /// cannot be had, for a process that took over serves on without.
    pub async fn bind_when_free(address: SocketAddr, presence: Presence) -> Option<Self> {
        let deadline = Instant::now() + PREDECESSOR;
        let mut bound = Self::bind(address).await;
        while bound.as_ref().is_err_and(is_taken) && Instant::now() < deadline {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            bound = Self::bind(address).await;
        }
        if bound.is_err() && presence == Presence::Anywhere {
            bound = Self::bind_anywhere(address).await;
        }
        match bound {
            Ok(admin) => {
                tracing::info!(admin = %admin.local_addr(), "the admin listener is back");
                Some(admin)
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "going on without an admin listener"
                );
                None
            }
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Answers until `stop` fires.
    pub async fn run(self, facts: Arc<Facts>, stop: CancellationToken) {
        let service = TowerToHyperService::new(router(facts));
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let connections = TaskTracker::new();
        let accepting = async {
            loop {
                let Ok(permit) = permits.clone().acquire_owned().await else {
                    return;
                };
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        let (service, stop) = (service.clone(), stop.clone());
                        connections.spawn(async move {
                            serve(stream, service, stop).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the admin listener could not accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accepting).await;
        connections.close();
        if timeout(LAST, connections.wait()).await.is_err() {
            tracing::debug!(open = connections.len(), "admin connections were cut");
        }
    }
}

fn is_taken(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|it| it.kind() == std::io::ErrorKind::AddrInUse)
}

async fn serve(stream: TcpStream, service: TowerToHyperService<Router>, stop: CancellationToken) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let whole = async {
        tokio::select! {
            served = connection.as_mut() => served,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    match timeout(LIFETIME, whole).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection broke"),
    }
}

#[derive(Debug, Clone)]
struct Shared {
    facts: Arc<Facts>,
    metrics: Arc<Registry>,
}

fn router(facts: Arc<Facts>) -> Router {
    let metrics = Arc::new(metrics::registry(&facts));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .route("/admin/v1/status", get(status))
        .route(crate::store::status::PATH, get(store))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "try /livez /readyz /metrics /admin/v1/status /admin/v1/store\n",
            )
        })
        .with_state(Shared { facts, metrics })
}

async fn ready(State(shared): State<Shared>) -> Response {
    let reasons = shared.facts.reasons();
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({ "ready": reasons.is_empty(), "reasons": reasons })),
    )
        .into_response()
}

async fn scrape(State(shared): State<Shared>) -> Response {
    match metrics::text(&shared.metrics) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn status(State(shared): State<Shared>) -> Response {
    let traffic = metrics::text(&shared.metrics)
        .map(|text| metrics::samples(&text))
        .unwrap_or_default();
    Json(shared.facts.report(traffic)).into_response()
}

async fn store(State(shared): State<Shared>) -> Response {
    match shared.facts.store().await {
        Some(store) => Json(store).into_response(),
        None => (StatusCode::NOT_FOUND, "this process is no store\n").into_response(),
    }
}

#[cfg(test)]
mod tests;
