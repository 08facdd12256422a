//! A record as a line of the access log.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use discovery_client::{Application, Site};
use federation::plan::Reason;
use http::{HeaderValue, Method, Uri};

use super::Inner;
use crate::tally::Outcome;

/// What an access line says beside the record's inside.
pub(super) struct Line<'a> {
    pub(super) record_id: &'a HeaderValue,
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) took: Duration,
    pub(super) overhead: Duration,
    pub(super) status: u16,
    pub(super) outcome: Outcome,
}

impl Line<'_> {
    /// One JSON object, written by hand: it is the most frequent thing a gateway
    /// writes. Names and labels are of an alphabet that needs no quoting.
    pub(super) fn write(&self, out: &mut Vec<u8>, here: &Site, inner: &Inner, remote_us: u64) {
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let last = inner.attempts.last();
        let mut object = Object { out, begun: false };
        object.number("at_ms", micros(at) / 1000);
        object.word("request_id", self.record_id.as_bytes());
        object.word("site", here.as_str());
        object.word(
            "application",
            inner.application.as_ref().map_or("", Application::as_str),
        );
        object.word("method", self.method.as_str());
        object.text("path", self.uri.path());
        object.number("status", u64::from(self.status));
        object.word("outcome", self.outcome.as_str());
        object.raw("stream", if inner.streaming { "true" } else { "false" });
        object.number("attempts", inner.attempts.len() as u64);
        object.word("replica", last.map_or("", |last| last.target.label()));
        object.word("cause", last.map_or("", |last| last.cause));
        object.word("reason", inner.reason.map_or("", Reason::as_str));
        object.word("code", inner.code.unwrap_or_default());
        object.number("duration_us", micros(self.took));
        object.number(
            "first_byte_us",
            micros(inner.first_byte.unwrap_or_default()),
        );
        object.number("overhead_us", micros(self.overhead));
        object.number("remote_overhead_us", remote_us);
        object.number("bytes_in", inner.bytes_in);
        object.number("bytes_out", inner.bytes_out);
        object.out.push(b'}');
    }
}

/// Whole microseconds, without the wide arithmetic of `as_micros`.
fn micros(time: Duration) -> u64 {
    time.as_secs() * 1_000_000 + u64::from(time.subsec_micros())
}

/// A JSON object as it is written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    begun: bool,
}

impl Object<'_> {
    fn key(&mut self, key: &str) {
        let open: &[u8] = if self.begun { b",\"" } else { b"{\"" };
        self.begun = true;
        self.out.extend_from_slice(open);
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn raw(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.extend_from_slice(value.as_bytes());
    }

    fn number(&mut self, key: &str, value: u64) {
        self.raw(key, itoa::Buffer::new().format(value));
    }

    /// A string that needs no quoting.
    fn word(&mut self, key: &str, value: impl AsRef<[u8]>) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_ref());
        self.out.push(b'"');
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        // Strings always serialise, and a vector takes everything.
        let _ = serde_json::to_writer(&mut *self.out, value);
    }
}
