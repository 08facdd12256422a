//! A replica's answer as it comes, passed on at the client's pace.
//!
//! Under the limits between pieces and in all. A stream of events that breaks
//! ends with an error the client can read; anything else that breaks is cut,
//! so that it cannot be taken for whole. When the client goes away the flow is
//! dropped, and with it the replica's connection.
//!
//! ```text
//!            piece              end, finished
//!   open ------------> open ------------------> over
//!     |   broken, silent, or ended unfinished
//!     +----------------> last: error event ---> over
//! ```
//!
//! Invariant: a stream of events that the replica did not finish is never ended
//! as if it were (`gateway/tests/streams.rs`).

use std::{
    fmt,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    cause::Limit,
    download::Download,
    fleet::{Clock, Target},
    h1::Fault,
    pool::Pool,
    record::Record,
    render,
    sse::Framer,
    sweep::Alarm,
    upload::Upload,
};

/// Why a flow was cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The replica's answer ended early.
    #[error("the replica's answer broke")]
    Upstream(#[source] Fault),
    /// A limit passed.
    #[error("the answer was cut: {}", .0.code())]
    Limit(Limit),
}

impl Broken {
    /// The error code callers see.
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Upstream(_) => UPSTREAM_BROKEN,
            Self::Limit(limit) => limit.code(),
        }
    }
}

/// The code of a stream that its replica did not finish.
pub(crate) const UPSTREAM_BROKEN: &str = "upstream_broken";

/// A request in flight at a target, counted there until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(pub(crate) Arc<Target>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.load.leave();
    }
}

/// The replica's end of a flow.
pub(crate) struct Source {
    /// What was read while the head was held back.
    pub first: Option<Bytes>,
    /// The rest.
    pub rest: Download,
    /// Where its connection is given back to.
    pub pool: Rc<Pool>,
    /// Holds the place at the target.
    pub in_flight: InFlight,
    /// The request's body, which may still be on its way up.
    pub upload: Upload,
}

/// The limits of a flow.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Rings when a limit passes.
    pub alarm: Alarm,
    /// The limit between two pieces.
    pub between: Duration,
    /// When the whole time is over.
    pub deadline: Instant,
    /// The clock of the target's circuit.
    pub clock: Clock,
}

/// A replica's answer as it comes. See the module.
pub(crate) struct Flow {
    source: Source,
    pace: Pace,
    /// If it is a stream of events in a dialect we know.
    framer: Option<Framer>,
    record: Rc<Record>,
    phase: Phase,
    /// Which limit the alarm is set to.
    limit: Limit,
    pending_since: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Open,
    /// One last piece is due.
    Last(Bytes),
    Over,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let skipped = self.framer.as_ref().map_or(0, Framer::skipped);
        if skipped > 0 {
            self.record.skipped(skipped);
            tracing::warn!(
                target = self.source.in_flight.0.label(),
                request.id = self.record.id().to_str().unwrap_or_default(),
                skipped,
                "a replica sent events that are not JSON; they were left out"
            );
        }
    }
}

impl Flow {
    /// A flow that begins now.
    #[must_use]
    pub(crate) fn new(
        source: Source,
        pace: Pace,
        framer: Option<Framer>,
        record: Rc<Record>,
    ) -> Self {
        let mut flow = Self {
            source,
            pace,
            framer,
            record,
            phase: Phase::Open,
            limit: Limit::Total,
            pending_since: None,
        };
        flow.limit_next();
        flow
    }

    /// Whether the client has all of it.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Its length, where the replica declared it and nothing is added.
    #[must_use]
    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.framer.is_some() {
            return SizeHint::default();
        }
        let first = self
            .source
            .first
            .as_ref()
            .map_or(0, |first| first.len() as u64);
        match (self.source.rest.size_hint().exact(), &self.phase) {
            (Some(rest), Phase::Open) => SizeHint::with_exact(first + rest),
            (_, Phase::Over) => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }

    /// The next piece for the client.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Over => return Poll::Ready(None),
            Phase::Last(piece) => {
                self.record.chunk(piece.len(), Duration::ZERO);
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            Phase::Open => self.phase = Phase::Open,
        }
        if let Some(first) = self.source.first.take() {
            self.close_if_ended();
            return self.hand_out(first, Duration::ZERO);
        }
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.source.rest).poll_frame(cx) else {
                self.pending_since.get_or_insert_with(Instant::now);
                return match self.pace.alarm.poll_due(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => self.break_off(Broken::Limit(self.limit)),
                };
            };
            match frame {
                None => return self.end(),
                Some(Err(error)) => return self.break_off(Broken::Upstream(error)),
                Some(Ok(frame)) => {
                    let waited = self
                        .pending_since
                        .take()
                        .map_or(Duration::ZERO, |since| since.elapsed());
                    let piece = match frame.into_data() {
                        Ok(piece) => piece,
                        Err(frame) => return Poll::Ready(Some(Ok(frame))),
                    };
                    self.limit_next();
                    let out = match &mut self.framer {
                        Some(framer) => framer.push(piece),
                        None => Some(piece),
                    };
                    self.close_if_ended();
                    match out {
                        Some(out) => return self.hand_out(out, waited),
                        None => self.record.waited(waited),
                    }
                }
            }
        }
    }

    fn hand_out(
        &self,
        piece: Bytes,
        waited: Duration,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.record.chunk(piece.len(), waited);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    /// Sets the alarm for the next piece.
    fn limit_next(&mut self) {
        let next = Instant::now() + self.pace.between;
        self.limit = if self.pace.deadline < next {
            Limit::Total
        } else {
            Limit::BetweenTokens
        };
        self.pace.alarm.set(next.min(self.pace.deadline));
    }

    /// Where no event can be missing, the last byte is the end.
    fn close_if_ended(&mut self) {
        if self.framer.is_none() && self.source.first.is_none() && self.source.rest.is_end_stream()
        {
            self.release();
        }
    }

    /// The replica ended its answer in good order; whether it had finished what
    /// it was saying is another question.
    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.release();
        let Some(framer) = &mut self.framer else {
            return Poll::Ready(None);
        };
        let rest = framer.rest();
        let last = if framer.is_finished() {
            framer.missing()
        } else {
            self.record.broke(UPSTREAM_BROKEN);
            let message = "the replica ended the stream before it had finished";
            (!framer.has_failed()).then(|| framer.own(render::in_band(UPSTREAM_BROKEN, message)))
        };
        match (rest, last) {
            (Some(rest), last) => {
                self.phase = last.map_or(Phase::Over, Phase::Last);
                self.hand_out(rest, Duration::ZERO)
            }
            (None, Some(last)) => self.hand_out(last, Duration::ZERO),
            (None, None) => Poll::Ready(None),
        }
    }

    fn break_off(&mut self, broken: Broken) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.phase = Phase::Over;
        self.pace.alarm.clear();
        // A stream that had said why it finished is whole, whatever came after.
        if let Some(framer) = self.framer.as_ref().filter(|framer| framer.is_finished()) {
            return match framer.missing() {
                Some(missing) => self.hand_out(missing, Duration::ZERO),
                None => Poll::Ready(None),
            };
        }
        let client_error = self.source.upload.error();
        if client_error.is_none() && !matches!(broken, Broken::Limit(Limit::Total)) {
            let target = &self.source.in_flight.0;
            target.breaker.strike(self.pace.clock.ms(Instant::now()));
            tracing::warn!(
                target = target.label(),
                request.id = self.record.id().to_str().unwrap_or_default(),
                code = broken.code(),
                "an answer broke on its way"
            );
        }
        let code = if client_error.is_some() {
            "request_body_broken"
        } else {
            broken.code()
        };
        self.record.broke(code);
        match &self.framer {
            Some(framer) if framer.has_failed() => Poll::Ready(None),
            Some(framer) => {
                let error = framer.own(render::in_band(code, &broken.to_string()));
                self.hand_out(error, Duration::ZERO)
            }
            None => Poll::Ready(Some(Err(broken))),
        }
    }

    /// Gives the connection back: the answer was read to its end.
    fn release(&mut self) {
        self.phase = Phase::Over;
        self.pace.alarm.clear();
        if let Some(line) = self.source.rest.line() {
            self.source
                .pool
                .put(self.source.in_flight.0.serial, line, Instant::now());
        }
    }
}
