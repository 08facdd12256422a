//! Asks one admin listener.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use discovery_client::Address;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::report::Report;

/// How long a process has to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Largest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// What the process behind `admin` says of itself.
///
/// # Errors
/// If it does not answer in time, or with anything but a report.
pub async fn report(admin: &Address) -> anyhow::Result<Report> {
    json(admin, "/admin/v1/status").await
}

/// What an admin listener has at `path`.
///
/// # Errors
/// If it does not answer in time, or with anything else.
pub async fn json<T: DeserializeOwned>(admin: &Address, path: &str) -> anyhow::Result<T> {
    timeout(DEADLINE, ask(admin, path))
        .await
        .with_context(|| format!("no answer within {DEADLINE:?}"))?
}

async fn ask<T: DeserializeOwned>(admin: &Address, path: &str) -> anyhow::Result<T> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client
        .get(format!("{admin}{path}").parse()?)
        .await
        .map_err(cause)?;
    let status = answer.status();
    if !status.is_success() {
        bail!("answered {status}; is this an admin listener?");
    }
    let body = Limited::new(answer.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(anyhow::Error::from_boxed)?;
    serde_json::from_slice(&body.to_bytes()).context("answered something else than a report")
}

/// The root of a connection's failure, which is the part that says something.
fn cause(error: hyper_util::client::legacy::Error) -> anyhow::Error {
    let error = anyhow::Error::new(error);
    anyhow::anyhow!("{}", error.root_cause())
}
