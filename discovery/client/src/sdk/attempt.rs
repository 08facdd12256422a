//! One attempt at one gateway, and what it says about that gateway.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    Answer, Cause, Config, Outcome,
    event::Cutter,
    proxy::{Proxy, Ticket},
    stream::Opened,
};

/// How an answer is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Whole,
    Events,
}

/// What an attempt brought.
pub(super) enum Got {
    Whole(Box<Answer>),
    Opened(Box<Opened>),
}

/// One attempt, to the whole answer or a stream's first event.
pub(super) async fn exchange(
    config: &Config,
    proxy: &Arc<Proxy>,
    request: Request<Full<Bytes>>,
    mode: Mode,
) -> Result<Got, Cause> {
    let (mut sender, ticket) = proxy.enter(mode).ok_or(Cause::Unsent)?;
    sender.ready().await.map_err(|_| Cause::Unsent)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| match error {
            error if error.is_canceled() => Cause::Unsent,
            error if error.is_timeout() => Cause::Silent,
            _ => Cause::Reset,
        })?;
    let is_events = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    if mode == Mode::Events && response.status().is_success() && is_events {
        open(config, response, ticket).await
    } else {
        collect(config, response).await
    }
}

async fn collect(config: &Config, response: Response<Incoming>) -> Result<Got, Cause> {
    let (head, mut body) = response.into_parts();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let data = frame
            .map_err(|_| broken_off(whole.len()))?
            .into_data()
            .unwrap_or_default();
        if whole.len() + data.len() > config.answer_limit {
            return Err(Cause::TooLarge);
        }
        whole.extend_from_slice(&data);
    }
    let outcome = Outcome::new(Arc::from(""), Vec::new());
    Ok(Got::Whole(Box::new(Answer {
        status: head.status,
        headers: head.headers,
        body: whole.freeze(),
        outcome,
    })))
}

async fn open(config: &Config, response: Response<Incoming>, ticket: Ticket) -> Result<Got, Cause> {
    let (head, mut body) = response.into_parts();
    let mut cutter = Cutter::default();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        let data = frame
            .map_err(|_| broken_off(received))?
            .into_data()
            .unwrap_or_default();
        received += data.len();
        cutter.push(&data);
        if let Some(first) = cutter
            .cut(config.event_limit)
            .map_err(|_| Cause::TooLarge)?
        {
            let (status, headers) = (head.status, head.headers);
            return Ok(Got::Opened(Box::new(Opened {
                status,
                headers,
                body,
                cutter,
                first,
                received,
                ticket,
            })));
        }
    }
    Err(broken_off(received))
}

fn broken_off(received: usize) -> Cause {
    Cause::BrokenOff {
        received: u64::try_from(received).unwrap_or(u64::MAX),
    }
}

/// Tells the proxy's circuit how it went; says why another one should be tried.
pub(super) fn judge(proxy: &Proxy, got: &Result<Got, Cause>) -> Option<Cause> {
    let now = Instant::now();
    let cause = match got {
        Ok(Got::Whole(answer)) => {
            let blames = matches!(
                answer.status,
                StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            );
            let forbids = answer
                .headers
                .get("x-should-retry")
                .is_some_and(|value| value == "false");
            (blames && !forbids).then_some(Cause::Status(answer.status))
        }
        Ok(Got::Opened(_)) => None,
        Err(cause) => Some(*cause),
    };
    match cause {
        None => proxy.circuit.lock().succeeded(now),
        Some(Cause::Unsent | Cause::TooLarge | Cause::Deadline) => {}
        Some(_) => proxy.circuit.lock().failed(now),
    }
    cause
}
