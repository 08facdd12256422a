//! What a call brought back, and on which way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::Cause;
use crate::{Address, Site};

/// One try at one gateway.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The gateway.
    pub proxy: Address,
    /// Its site, if known.
    pub site: Option<Site>,
    /// Why it was not the last one; nothing if it answered.
    pub cause: Option<Cause>,
    /// When it was sent.
    pub began: Instant,
    /// Until the whole answer, a stream's first event, or the failure.
    pub took: Duration,
}

/// The way a call took.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// `x-request-id`, the same in every attempt.
    pub request_id: Arc<str>,
    /// In order; the last one answered, unless the call failed.
    pub attempts: Vec<Attempt>,
    /// `x-tw-site`: the site of the gateway that answered, by its own word.
    pub site: Option<String>,
    /// `x-tw-replica`: the replica that answered, `site/id`.
    pub replica: Option<String>,
    /// `x-tw-attempts`: what that gateway tried in turn.
    pub gateway_attempts: Option<String>,
}

impl Outcome {
    pub(super) fn new(request_id: Arc<str>, attempts: Vec<Attempt>) -> Self {
        Self {
            request_id,
            attempts,
            site: None,
            replica: None,
            gateway_attempts: None,
        }
    }

    pub(super) fn answered(mut self, headers: &HeaderMap) -> Self {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        self.site = text("x-tw-site");
        self.replica = text("x-tw-replica");
        self.gateway_attempts = text("x-tw-attempts");
        self
    }

    /// The gateway that was asked last.
    #[must_use]
    pub fn proxy(&self) -> Option<&Address> {
        self.attempts.last().map(|attempt| &attempt.proxy)
    }
}

/// A whole answer, of whatever status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status; 4xx and 5xx are answers too.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, complete.
    pub body: Bytes,
    /// The way it took.
    pub outcome: Outcome,
}
