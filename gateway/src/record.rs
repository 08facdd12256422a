//! What is known of one request, told once when it ends.
//!
//! A record is made when the request arrives and shared by all who handle it.
//! When the last of them lets go (the answer was sent, the stream ended, or
//! the client went away and everything was dropped), it counts the request,
//! writes the access line and ends the span.
//!
//! Invariant: every request that was read is told exactly once, whatever
//! happens to it (`each_request_has_one_access_line`).

mod line;

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use discovery_client::{Application, Site};
use federation::plan::Reason;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use line::Line;

use crate::{
    access::Access,
    fleet::Target,
    span::{Span, Tracing},
    tally::{Outcome, Series, Tally},
};

/// Names the request; ours, or the caller's if well formed.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Which site's gateway answered.
pub(crate) const SITE: HeaderName = HeaderName::from_static("x-tw-site");
/// Which replica answered.
pub(crate) const REPLICA: HeaderName = HeaderName::from_static("x-tw-replica");
/// Every attempt: target, cause, milliseconds.
pub(crate) const ATTEMPTS: HeaderName = HeaderName::from_static("x-tw-attempts");
/// The gateways' own share of the time to the head, in microseconds.
pub(crate) const OVERHEAD: HeaderName = HeaderName::from_static("x-tw-overhead-us");
/// The plan's reason.
pub(crate) const REASON: HeaderName = HeaderName::from_static("x-tw-reason");

/// Where records are told: one core's counters, log and tracer.
#[derive(Debug)]
pub(crate) struct Scribe {
    /// The site of this gateway.
    pub here: Site,
    /// The same as a header.
    pub site: HeaderValue,
    /// Counters.
    pub tally: Rc<Tally>,
    /// The access log.
    pub access: Access,
    /// The tracer, if traces are exported.
    pub tracing: Option<Tracing>,
}

/// One attempt at a target.
#[derive(Debug)]
struct Attempt {
    target: Arc<Target>,
    began: Instant,
    took: Option<Duration>,
    cause: &'static str,
    span: Option<Span>,
}

#[derive(Debug, Default)]
struct Inner {
    application: Option<Application>,
    series: Option<Arc<Series>>,
    attempts: Vec<Attempt>,
    reason: Option<Reason>,
    status: Option<StatusCode>,
    code: Option<&'static str>,
    outcome: Option<Outcome>,
    first_byte: Option<Duration>,
    /// Time that passed waiting: for the client's body or the replica.
    waited: Duration,
    bytes_in: u64,
    bytes_out: u64,
    chunks: u64,
    streaming: bool,
    span: Option<Span>,
}

/// One request. See the module.
pub(crate) struct Record {
    scribe: Rc<Scribe>,
    /// When its head had been read.
    pub arrived: Instant,
    id: HeaderValue,
    method: Method,
    uri: Uri,
    /// What earlier gateways on the way spent, in microseconds.
    remote_overhead_us: Cell<u64>,
    inner: RefCell<Inner>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Record {
    /// Begins the record of a request that has just arrived.
    #[must_use]
    pub(crate) fn begin(
        scribe: &Rc<Scribe>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Rc<Self> {
        scribe.tally.in_flight.fetch_add(1, Ordering::Relaxed);
        Rc::new(Self {
            scribe: Rc::clone(scribe),
            arrived: Instant::now(),
            id: headers
                .get(&REQUEST_ID)
                .filter(|id| well_formed(id))
                .cloned()
                .unwrap_or_else(new_id),
            method: method.clone(),
            uri: uri.clone(),
            remote_overhead_us: Cell::new(0),
            inner: RefCell::default(),
        })
    }

    /// The request's name.
    #[must_use]
    pub(crate) fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// Begins the request's span, if traces are exported.
    pub(crate) fn trace(&self, headers: &HeaderMap) {
        if let Some(tracing) = &self.scribe.tracing {
            let span = tracing.request(&self.method, self.uri.path(), &self.id, headers);
            self.inner.borrow_mut().span = Some(span);
        }
    }

    /// Whose replicas are asked. Only names that somebody serves, for they
    /// become labels.
    pub(crate) fn application(&self, application: &Application) {
        let mut inner = self.inner.borrow_mut();
        inner.series = Some(self.scribe.tally.of(Some(application)));
        inner.application = Some(application.clone());
    }

    /// Time spent waiting for somebody else.
    pub(crate) fn waited(&self, time: Duration) {
        self.inner.borrow_mut().waited += time;
    }

    /// The plan chose `target` and the attempt begins now. Returns the context
    /// to pass on, if the request is traced.
    pub(crate) fn attempt(
        &self,
        target: &Arc<Target>,
        reason: Reason,
        began: Instant,
    ) -> Option<HeaderValue> {
        let mut inner = self.inner.borrow_mut();
        inner.reason = Some(reason);
        let tracing = self.scribe.tracing.as_ref();
        let span = tracing
            .zip(inner.span.as_ref())
            .map(|(tracing, parent)| tracing.attempt(parent, target.label()));
        let context = span.as_ref().and_then(Span::traceparent);
        inner.attempts.push(Attempt {
            target: Arc::clone(target),
            began,
            took: None,
            cause: "ok",
            span,
        });
        if let Some(series) = &inner.series {
            series.reason(reason);
        }
        context
    }

    /// The present attempt ended with `cause`, or `ok` and its answer begins.
    pub(crate) fn attempted(&self, cause: &'static str, now: Instant) {
        let mut inner = self.inner.borrow_mut();
        let Some(attempt) = inner.attempts.last_mut() else {
            return;
        };
        let took = now.saturating_duration_since(attempt.began);
        attempt.took = Some(took);
        attempt.cause = cause;
        if let Some(span) = attempt.span.take() {
            span.end(cause);
        }
        inner.waited += took;
        if let Some(series) = &inner.series {
            series.attempt(cause);
        }
    }

    /// How many attempts there were.
    #[must_use]
    pub(crate) fn attempts(&self) -> usize {
        self.inner.borrow().attempts.len()
    }

    /// Events that no client could read were left out of the answer.
    pub(crate) fn skipped(&self, events: u64) {
        if let Some(series) = &self.inner.borrow().series {
            series.skipped.add(events);
        }
    }

    /// A retry was due and the budget had none.
    pub(crate) fn over_budget(&self) {
        if let Some(series) = &self.inner.borrow().series {
            series.over_budget.add(1);
        }
    }

    /// The answer's head goes out.
    pub(crate) fn answers(&self, status: StatusCode, outcome: Outcome, streaming: bool) {
        let mut inner = self.inner.borrow_mut();
        inner.status = Some(status);
        inner.outcome = Some(outcome);
        inner.streaming = streaming;
        inner.first_byte = Some(self.arrived.elapsed());
    }

    /// The error code that the client was told.
    pub(crate) fn refused(&self, code: &'static str) {
        self.inner.borrow_mut().code = Some(code);
    }

    /// The answer broke after its head.
    pub(crate) fn broke(&self, code: &'static str) {
        let mut inner = self.inner.borrow_mut();
        inner.code = Some(code);
        inner.outcome = Some(Outcome::Broken);
    }

    /// The client took only a part of the answer.
    pub(crate) fn abandoned(&self) {
        // An answer to HEAD is whole without its body.
        if self.method == Method::HEAD {
            return;
        }
        self.inner.borrow_mut().outcome = Some(Outcome::ClientGone);
    }

    /// A piece of the answer of `bytes` went out, after `waited` for it.
    pub(crate) fn chunk(&self, bytes: usize, waited: Duration) {
        let mut inner = self.inner.borrow_mut();
        inner.bytes_out += bytes as u64;
        inner.chunks += 1;
        inner.waited += waited;
    }

    /// The request's body had `bytes`.
    pub(crate) fn uploaded(&self, bytes: u64) {
        self.inner.borrow_mut().bytes_in = bytes;
    }

    /// Puts what the caller is told of the request into the answer's `headers`.
    ///
    /// What a peer's gateway says there is kept and added to; what a replica
    /// says is not believed.
    pub(crate) fn stamp(&self, headers: &mut HeaderMap) {
        let inner = self.inner.borrow();
        let last = inner.attempts.last();
        let peer = last.is_some_and(|last| last.target.is_peer());
        let said = |name: HeaderName| headers.get(name).filter(|_| peer)?.to_str().ok();
        let remote = said(OVERHEAD).and_then(|us| us.parse().ok()).unwrap_or(0);
        let mut list = inner.attempts_so_far();
        if let Some(theirs) = said(ATTEMPTS) {
            list.push_str(", ");
            list.push_str(theirs);
        }
        self.remote_overhead_us.set(remote);
        let first_byte = inner.first_byte.unwrap_or_default();
        let own = first_byte.saturating_sub(inner.waited);
        let own_us = u64::try_from(own.as_micros()).unwrap_or(u64::MAX);
        headers.reserve(6);
        headers.insert(REQUEST_ID, self.id.clone());
        headers.insert(OVERHEAD, HeaderValue::from(own_us.saturating_add(remote)));
        if !(peer && headers.contains_key(&SITE)) {
            headers.insert(SITE, self.scribe.site.clone());
        }
        let Some(last) = last else { return };
        if last.cause != "ok" {
            headers.remove(&REPLICA);
        } else if !(peer && headers.contains_key(&REPLICA)) {
            headers.insert(REPLICA, last.target.label.clone());
        }
        if let Some(reason) = inner.reason {
            headers.insert(REASON, HeaderValue::from_static(reason.as_str()));
        }
        if let Ok(list) = HeaderValue::try_from(list) {
            headers.insert(ATTEMPTS, list);
        }
    }
}

impl Inner {
    /// Each attempt as `site/id;cause;ms`.
    fn attempts_so_far(&self) -> String {
        let mut list = String::with_capacity(64);
        for attempt in &self.attempts {
            let mut digits = itoa::Buffer::new();
            let ms = digits.format(attempt.took.unwrap_or_default().as_millis());
            let separator = if list.is_empty() { "" } else { ", " };
            for part in [
                separator,
                attempt.target.label(),
                ";",
                attempt.cause,
                ";",
                ms,
            ] {
                list.push_str(part);
            }
        }
        list
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.arrived.elapsed();
        let inner = self.inner.get_mut();
        let status = inner.status.map_or(0, |status| status.as_u16());
        let outcome = inner.outcome.unwrap_or(Outcome::ClientGone);
        let overhead = took.saturating_sub(inner.waited);
        let tally = &self.scribe.tally;
        tally.in_flight.fetch_sub(1, Ordering::Relaxed);
        let series = inner.series.take().unwrap_or_else(|| tally.of(None));
        series.request(outcome, status);
        series.duration.observe(took);
        series.bytes_in.add(inner.bytes_in);
        series.bytes_out.add(inner.bytes_out);
        if let Some(first_byte) = inner.first_byte {
            series.first_byte.observe(first_byte);
            series.overhead.observe(overhead);
        }
        if inner.streaming {
            series.chunks.add(inner.chunks);
        }
        if let Some(span) = inner.span.take() {
            let attributes = (
                inner.application.as_ref().map_or("", Application::as_str),
                status,
                inner.code,
            );
            span.end_request(outcome.as_str(), attributes.0, attributes.1, attributes.2);
        }
        let line = Line {
            record_id: &self.id,
            method: &self.method,
            uri: &self.uri,
            took,
            overhead,
            status,
            outcome,
        };
        self.scribe
            .access
            .line(|out| line.write(out, &self.scribe.here, inner, self.remote_overhead_us.get()));
    }
}

/// 1 to 128 characters of a safe alphabet.
fn well_formed(id: &HeaderValue) -> bool {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(safe)
}

/// 32 random hexadecimal digits.
fn new_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random = fastrand::u128(..).to_be_bytes();
    let mut id = [0; 32];
    for (pair, byte) in id.chunks_exact_mut(2).zip(random) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_name_that_could_break_a_log_is_replaced() {
        let name = |text: &'static str| well_formed(&HeaderValue::from_static(text));
        assert!(name("req-1.a:b/c_d+e="));
        assert!(!name("a b") && !name("a\"b") && !name("") && !name("a,b"));
        let id = new_id();
        assert!(well_formed(&id) && id.len() == 32 && id != new_id());
    }
}
