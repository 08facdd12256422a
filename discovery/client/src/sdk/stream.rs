//! A streamed answer, event by event.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep_until};

use super::{
    Cause, Error, Event, Outcome,
    call::Prepared,
    event::{Cutter, InBand},
    proxy::Ticket,
};

/// A body of events whose first one has arrived.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
    pub(super) cutter: Cutter,
    pub(super) first: Event,
    pub(super) received: usize,
    pub(super) ticket: Ticket,
}

/// Server-sent events from a gateway. Ends with nothing after the last event,
/// or with one error. Dropping it cancels the request.
#[derive(Debug)]
pub struct EventStream {
    status: StatusCode,
    headers: HeaderMap,
    outcome: Outcome,
    body: Incoming,
    cutter: Cutter,
    first: Option<Event>,
    events: u64,
    /// Bytes of the body so far.
    received: usize,
    /// `[DONE]` was handed out, or any end will do.
    may_end: bool,
    over: bool,
    event_limit: usize,
    within: std::time::Duration,
    deadline: Pin<Box<Sleep>>,
    /// Counts the stream as in flight while it lasts.
    ticket: Option<Ticket>,
}

impl EventStream {
    pub(super) fn new(
        opened: Opened,
        outcome: Outcome,
        call: &Prepared,
        event_limit: usize,
    ) -> Self {
        let Opened {
            status,
            headers,
            body,
            cutter,
            first,
            received,
            ticket,
        } = opened;
        Self {
            status,
            headers,
            outcome,
            body,
            cutter,
            first: Some(first),
            events: 0,
            received,
            may_end: call.open_end,
            over: false,
            event_limit,
            within: call.within,
            deadline: Box::pin(sleep_until(call.deadline)),
            ticket: Some(ticket),
        }
    }

    /// The answer's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer's headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The way the stream took.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Events handed out so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The next event; nothing after the last one.
    ///
    /// # Errors
    /// [`Error::StreamBroken`], [`Error::InBand`] or [`Error::Deadline`], once;
    /// then nothing more comes.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn finish(&mut self, last: Option<Error>) -> Poll<Option<Result<Event, Error>>> {
        self.over = true;
        self.ticket = None;
        Poll::Ready(last.map(Err))
    }

    fn broken(&mut self, cause: Cause) -> Poll<Option<Result<Event, Error>>> {
        let outcome = Box::new(self.outcome.clone());
        self.finish(Some(Error::StreamBroken {
            cause,
            events: self.events,
            outcome,
        }))
    }

    fn hand_out(&mut self, event: Event) -> Poll<Option<Result<Event, Error>>> {
        if let Some(InBand { message, code }) = event.error() {
            let outcome = Box::new(self.outcome.clone());
            return self.finish(Some(Error::InBand {
                code,
                message,
                events: self.events,
                outcome,
            }));
        }
        self.may_end |= event.is_done();
        self.events += 1;
        Poll::Ready(Some(Ok(event)))
    }
}

impl Stream for EventStream {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(first) = self.first.take() {
            return self.hand_out(first);
        }
        loop {
            let limit = self.event_limit;
            match self.cutter.cut(limit) {
                Ok(Some(event)) => return self.hand_out(event),
                Ok(None) => {}
                Err(_) => return self.broken(Cause::TooLarge),
            }
            if self.deadline.as_mut().poll(cx).is_ready() {
                let (within, outcome) = (self.within, Box::new(self.outcome.clone()));
                return self.finish(Some(Error::Deadline { within, outcome }));
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.received += data.len();
                        self.cutter.push(&data);
                    }
                }
                None if self.may_end && !self.cutter.is_dirty() => return self.finish(None),
                // After its last event a stream has nothing left to lose.
                Some(Err(_)) if self.may_end && self.events > 0 && !self.cutter.is_dirty() => {
                    return self.finish(None);
                }
                None | Some(Err(_)) => {
                    let received = u64::try_from(self.received).unwrap_or(u64::MAX);
                    return self.broken(Cause::BrokenOff { received });
                }
            }
        }
    }
}
