//! Sends one attempt to one target and waits until its answer can be trusted
//! to begin.
//!
//! A short answer is held until it is whole, and a stream until its first
//! event: so long nothing has gone to the client, and whatever happens costs a
//! retry instead of an error.

use std::{
    fmt,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use discovery_client::Site;
use federation::plan::Reason;
use futures_util::FutureExt as _;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Version,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, VIA},
    uri::PathAndQuery,
};
use http_body::Body;
use http_body_util::BodyExt;

use crate::{
    body::ReplyBody,
    call::{Call, Reply},
    cause::{Cause, Limit, retry_after},
    deadline::TIMEOUT,
    dialect::Dialect,
    download::Download,
    fleet::{Clock, Target},
    flow::{Flow, InFlight, Pace, Source},
    h1::{self, Fault, Line, Reading},
    hop,
    pool::{Connection, Pool},
    render::{REFUSED, SHOULD_RETRY},
    span::TRACEPARENT,
    sse::Framer,
    sweep::Sweep,
    upload::UploadBody,
};

/// Longest answer that is held until it is whole, in bytes.
pub(crate) const MAX_HELD: usize = 64 * 1024;

/// How long a failed attempt's own words are waited for.
const FAILURE_BODY: Duration = Duration::from_secs(1);

/// An attempt that did not become the client's answer.
#[derive(Debug)]
pub(crate) struct Failed {
    /// How it failed.
    pub cause: Cause,
    /// When the replica wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The replica's own answer, if it gave one.
    pub reply: Option<Reply>,
}

impl From<Cause> for Failed {
    fn from(cause: Cause) -> Self {
        Self {
            cause,
            retry_after: None,
            reply: None,
        }
    }
}

/// Sends attempts over one core's connections.
pub(crate) struct Dispatch {
    /// The core's connections.
    pub pool: Rc<Pool>,
    /// The core's alarms.
    pub sweep: Rc<Sweep>,
    /// The clock of circuits.
    pub clock: Clock,
    /// What a forwarded request says of the way it came.
    via: HeaderValue,
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dispatch")
    }
}

impl Dispatch {
    /// Sends over `pool` in the name of site `here`.
    #[must_use]
    pub(crate) fn new(pool: Rc<Pool>, sweep: Rc<Sweep>, clock: Clock, here: &Site) -> Self {
        Self {
            pool,
            sweep,
            clock,
            via: hop::mark(here),
        }
    }

    /// One attempt at `call`.
    ///
    /// # Errors
    /// [`Failed`]; the attempt has been counted and recorded then.
    pub(crate) async fn send(
        &self,
        call: &Call,
        target: &Arc<Target>,
        in_flight: InFlight,
        reason: Reason,
        deadline: Instant,
        fresh: bool,
    ) -> Result<Reply, Failed> {
        let began = Instant::now();
        let context = call.record.attempt(target, reason, began);
        let attempt = Attempt {
            dispatch: self,
            call,
            target,
            began,
            deadline,
        };
        match attempt.run(in_flight, context, fresh).await {
            Ok(reply) => Ok(reply),
            Err(failed) => {
                let now = Instant::now();
                call.record.attempted(failed.cause.as_str(), now);
                let waited = matches!(
                    failed.cause,
                    Cause::Silent(Limit::FirstByte | Limit::FirstToken)
                );
                let blameless = call.body.error().is_some() || (waited && call.hurried);
                if failed.cause.action().strike && !blameless {
                    attempt.strike(now, failed.cause);
                }
                Err(failed)
            }
        }
    }
}

/// One attempt under way.
struct Attempt<'a> {
    dispatch: &'a Dispatch,
    call: &'a Call,
    target: &'a Arc<Target>,
    began: Instant,
    deadline: Instant,
}

/// An answer that goes out as it comes.
struct Begun {
    first: Option<Bytes>,
    rest: Download,
    framer: Option<Framer>,
}

/// An answer as far as it was held back.
enum Held {
    /// All of it.
    Whole(Bytes, Option<Line>),
    /// The beginning, and the rest to come.
    Begun(Box<Begun>),
}

impl Attempt<'_> {
    async fn run(
        &self,
        in_flight: InFlight,
        context: Option<HeaderValue>,
        fresh: bool,
    ) -> Result<Reply, Failed> {
        let Self {
            dispatch,
            call,
            target,
            ..
        } = self;
        let limits = &call.limits;
        let connecting = dispatch.pool.connect(target, fresh);
        let connection = self
            .within(limits.connect, Limit::Connect, connecting)
            .await??;
        call.body.watch_idle(&dispatch.sweep);
        let exchange = self.exchange(connection, context);
        let (status, mut headers, body) = self.answered(exchange).await??;
        hop::strip(&mut headers);
        let peer_refused = target.is_peer() && headers.contains_key(&REFUSED);
        if let Some(cause) = Cause::of_status(status, peer_refused) {
            return Err(self.failed(cause, status, headers, body).await);
        }
        let held = self.hold(&headers, body).await?;
        let now = Instant::now();
        let body = match held {
            Held::Whole(bytes, line) => {
                if let Some(line) = line {
                    dispatch.pool.put(target.serial, line, now);
                }
                ReplyBody::whole(bytes)
            }
            Held::Begun(begun) => {
                let Begun {
                    first,
                    rest,
                    framer,
                } = *begun;
                if framer.is_some() {
                    // An event of ours may follow.
                    headers.remove(CONTENT_LENGTH);
                }
                let pool = Rc::clone(&dispatch.pool);
                let source = Source {
                    first,
                    rest,
                    pool,
                    in_flight,
                    upload: call.body.clone(),
                };
                let record = Rc::clone(&call.record);
                ReplyBody::flow(Flow::new(source, self.pace(), framer, record))
            }
        };
        let mut reply = Response::new(body);
        *reply.status_mut() = status;
        *reply.headers_mut() = headers;
        call.record.attempted("ok", now);
        let now_ms = dispatch.clock.ms(now);
        target.breaker.success(now_ms);
        let took = now.duration_since(self.began);
        target.load.observe(took.as_secs_f64() * 1e6, now_ms);
        Ok(reply)
    }

    /// The answer's head, within the limit to the first byte. The limit begins
    /// anew while the client is still sending: its pace is not the replica's.
    async fn answered<F: Future>(&self, exchange: F) -> Result<F::Output, Cause> {
        let mut exchange = pin!(exchange);
        let limit = self.call.limits.first_byte;
        let mut from = self.began;
        loop {
            let waiting = self.until(from + limit, Limit::FirstByte, exchange.as_mut());
            match waiting.await {
                Err(Cause::Silent(Limit::FirstByte)) if !self.call.body.is_whole() => {
                    from = Instant::now();
                }
                done => return done,
            }
        }
    }

    /// An answer that counts as a failed attempt, with its body if that is short
    /// and soon there: it may become the client's answer, and holds nothing at
    /// the target until then.
    async fn failed(
        &self,
        cause: Cause,
        status: StatusCode,
        headers: HeaderMap,
        body: Download,
    ) -> Failed {
        let retry_after = retry_after(&headers);
        let due = Instant::now() + FAILURE_BODY;
        let reply = match self.whole(body, due).await {
            Ok(Held::Whole(bytes, line)) => {
                if let Some(line) = line {
                    let now = Instant::now();
                    self.dispatch.pool.put(self.target.serial, line, now);
                }
                let mut reply = Response::new(ReplyBody::whole(bytes));
                *reply.status_mut() = status;
                *reply.headers_mut() = headers;
                Some(reply)
            }
            _ => None,
        };
        Failed {
            cause,
            retry_after,
            reply,
        }
    }

    /// Sends the request and reads the answer's head.
    async fn exchange(
        &self,
        connection: Connection,
        context: Option<HeaderValue>,
    ) -> Result<(StatusCode, HeaderMap, Download), Cause> {
        let Self { call, target, .. } = self;
        match connection {
            Connection::Replica(line) => {
                let used = line.was_used();
                let context = context.map(|context| (TRACEPARENT, context));
                let request = h1::Target {
                    method: &call.method,
                    path: call.uri.path_and_query().map_or("/", PathAndQuery::as_str),
                    host: &target.authority,
                    headers: &call.headers,
                    added: &call.added,
                    context: context.as_ref(),
                };
                let reading = line.exchange(request, call.body.attempt()).await;
                let Reading {
                    status,
                    mut headers,
                    answer,
                } = reading.map_err(|fault| match fault {
                    Fault::Closed if used => Cause::Stale,
                    Fault::Closed | Fault::Cut => Cause::Reset,
                    Fault::Garbage => Cause::Garbage,
                })?;
                // These are for gateways to say.
                headers.remove(&REFUSED);
                headers.remove(&SHOULD_RETRY);
                Ok((status, headers, Download::Replica(answer)))
            }
            Connection::Peer(mut peer) => {
                peer.ready().await.map_err(|_| Cause::Reset)?;
                let sent = peer.send_request(self.forwarded(context)).await;
                let (head, body) = sent.map_err(|_| Cause::Reset)?.into_parts();
                Ok((head.status, head.headers, Download::Peer(body)))
            }
        }
    }

    /// `work`, or the limit that passed first, counted from the attempt's
    /// beginning.
    fn within<F: Future>(
        &self,
        limit: Duration,
        kind: Limit,
        work: F,
    ) -> impl Future<Output = Result<F::Output, Cause>> {
        self.until(self.began + limit, kind, work)
    }

    /// `work`, or the limit that passed first.
    fn until<F: Future>(
        &self,
        due: Instant,
        kind: Limit,
        work: F,
    ) -> impl Future<Output = Result<F::Output, Cause>> {
        let kind = if self.deadline <= due {
            Limit::Total
        } else {
            kind
        };
        self.call.alarm.set(due.min(self.deadline));
        let rung = Cause::Silent(kind);
        self.call.alarm.or(work).map(move |done| done.ok_or(rung))
    }

    /// The request as a peer's gateway gets it.
    fn forwarded(&self, context: Option<HeaderValue>) -> Request<UploadBody> {
        let Self {
            dispatch,
            call,
            target,
            ..
        } = self;
        let mut headers = call.headers.clone();
        for (name, value) in &call.added {
            headers.insert(name, value.clone());
        }
        headers.remove(HOST);
        headers.append(VIA, dispatch.via.clone());
        let left = self
            .deadline
            .saturating_duration_since(Instant::now())
            .as_millis();
        let left = u64::try_from(left).unwrap_or(u64::MAX).max(1);
        headers.insert(TIMEOUT, HeaderValue::from(left));
        if let Some(context) = context {
            headers.insert(TRACEPARENT, context);
        }
        let mut request = Request::new(call.body.attempt());
        let path = call.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = format!("{}{path}", target.endpoint.address)
            .parse()
            .unwrap_or_default();
        *request.headers_mut() = headers;
        request
    }

    /// Holds back what can still cost a retry instead of an error.
    async fn hold(&self, headers: &HeaderMap, body: Download) -> Result<Held, Cause> {
        let kind = headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        if kind.starts_with(b"text/event-stream") {
            // What is compressed cannot be looked into.
            let plain = !headers.contains_key(CONTENT_ENCODING);
            return match self.call.dialect.ending().filter(|_| plain) {
                Some(ending) => self.first_event(body, Framer::new(ending)).await,
                None => Ok(begun(None, body, None)),
            };
        }
        let short = match body.size_hint().exact() {
            Some(bytes) => bytes <= MAX_HELD as u64,
            None => {
                self.call.dialect != Dialect::PassThrough && kind.starts_with(b"application/json")
            }
        };
        if short {
            self.whole(body, self.deadline).await
        } else {
            Ok(begun(None, body, None))
        }
    }

    async fn first_event(&self, mut body: Download, mut framer: Framer) -> Result<Held, Cause> {
        loop {
            let frame = self
                .within(
                    self.call.limits.first_token,
                    Limit::FirstToken,
                    body.frame(),
                )
                .await?;
            let Some(Ok(frame)) = frame else {
                return Err(Cause::Reset);
            };
            if let Ok(piece) = frame.into_data()
                && let Some(event) = framer.push(piece)
            {
                return Ok(begun(Some(event), body, Some(framer)));
            }
        }
    }

    /// The answer whole by `due`, or as it comes if it is long.
    async fn whole(&self, mut body: Download, due: Instant) -> Result<Held, Cause> {
        let mut one: Option<Bytes> = None;
        let mut many = BytesMut::new();
        while !body.is_end_stream() {
            let frame = self.until(due, Limit::Total, body.frame()).await?;
            let Some(frame) = frame else { break };
            let Ok(piece) = frame.map_err(|_| Cause::Reset)?.into_data() else {
                continue;
            };
            match one.take() {
                None if many.is_empty() => one = Some(piece),
                None => many.extend_from_slice(&piece),
                Some(first) => {
                    many.extend_from_slice(&first);
                    many.extend_from_slice(&piece);
                }
            }
            if many.len() > MAX_HELD {
                return Ok(begun(Some(many.freeze()), body, None));
            }
        }
        Ok(Held::Whole(
            one.unwrap_or_else(|| many.freeze()),
            body.line(),
        ))
    }

    fn pace(&self) -> Pace {
        Pace {
            alarm: self.dispatch.sweep.alarm(),
            between: self.call.limits.between_tokens,
            deadline: self.deadline,
            clock: self.dispatch.clock,
        }
    }

    fn strike(&self, now: Instant, cause: Cause) {
        if self.target.breaker.strike(self.dispatch.clock.ms(now)) {
            tracing::warn!(
                target = self.target.label(),
                request.id = self.call.record.id().to_str().unwrap_or_default(),
                cause = cause.as_str(),
                "a target failed and is left alone for a while"
            );
        }
    }
}

fn begun(first: Option<Bytes>, rest: Download, framer: Option<Framer>) -> Held {
    Held::Begun(Box::new(Begun {
        first,
        rest,
        framer,
    }))
}
