//! The supervisor's own API, on loopback.
//!
//! | | |
//! | --- | --- |
//! | `GET /v1/state` | everything: processes, addresses, the fault |
//! | `POST /v1/faults` | `{site, mode: "kill"\|"stop", lease_ms}`: begins one; 201, or 409 if refused |
//! | `PUT /v1/faults/{id}` | renews it; 404 if it is over |
//! | `DELETE /v1/faults/{id}` | ends it; 404 if it is over |

use axum::{
    Json, Router,
    extract::{Path, State as Shared, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use http::StatusCode;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{
    fault::{Refused, Wanted},
    supervisor::Command,
};

type Line = mpsc::Sender<Command>;

/// The routes; each asks the supervisor.
pub fn router(line: Line) -> Router {
    Router::new()
        .route("/v1/state", get(state))
        .route("/v1/faults", post(begin))
        .route("/v1/faults/{id}", put(renew).delete(end))
        .fallback(async || {
            problem(
                StatusCode::NOT_FOUND,
                "unknown_path",
                "there is nothing at this path",
            )
        })
        .with_state(line)
}

async fn state(Shared(line): Shared<Line>) -> Response {
    answer(ask(&line, Command::State).await.map(Some), StatusCode::OK)
}

async fn begin(
    Shared(line): Shared<Line>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Response {
    let wanted = match wanted {
        Ok(Json(wanted)) => wanted,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "invalid", &error.body_text()),
    };
    match ask(&line, |reply| Command::Begin(wanted, reply)).await {
        Some(Ok(fault)) => answer(Some(Some(fault)), StatusCode::CREATED),
        Some(Err(refused)) => {
            let status = match refused {
                Refused::UnknownSite { .. } => StatusCode::NOT_FOUND,
                Refused::Lease(_) => StatusCode::BAD_REQUEST,
                Refused::AnotherFault(_) | Refused::LastSite(_) => StatusCode::CONFLICT,
            };
            problem(status, refused.code(), &refused.to_string())
        }
        None => stopping(),
    }
}

async fn renew(Shared(line): Shared<Line>, Path(id): Path<u64>) -> Response {
    answer(
        ask(&line, |reply| Command::Renew(id, reply)).await,
        StatusCode::OK,
    )
}

async fn end(Shared(line): Shared<Line>, Path(id): Path<u64>) -> Response {
    answer(
        ask(&line, |reply| Command::End(id, reply)).await,
        StatusCode::OK,
    )
}

/// Nothing if the supervisor is stopping.
async fn ask<T>(line: &Line, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    line.send(command(reply)).await.ok()?;
    answer.await.ok()
}

fn answer<T: serde::Serialize>(found: Option<Option<T>>, status: StatusCode) -> Response {
    match found {
        Some(Some(document)) => (status, Json(document)).into_response(),
        Some(None) => problem(StatusCode::NOT_FOUND, "over", "the fault is over"),
        None => stopping(),
    }
}

fn stopping() -> Response {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "stopping",
        "the demonstration is stopping",
    )
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    (
        status,
        Json(json!({"error": {"code": code, "message": message}})),
    )
        .into_response()
}
