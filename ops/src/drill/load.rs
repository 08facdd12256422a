//! The drill's own load, through the client SDK.
//!
//! Unary requests begin at their times whatever became of the earlier ones
//! (open loop); a given number of streams is kept alive, each one followed by
//! the next. All of them note their intent before they send anything.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use discovery_client::sdk::{Answer, Attempt, Call, Client, Error, EventStream};
use http::Request;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    ledger::{End, Send, Shape, Teller},
    record::Record,
};

/// Longest unary request.
const UNARY: Duration = Duration::from_secs(10);
/// Longest stream, far above the time its tokens take.
const STREAM: Duration = Duration::from_secs(60);
/// Between a stream and its successor.
const BREATH: Duration = Duration::from_millis(20);
/// Tokens of a stream: at the demo replica's 50 a second, two to four seconds.
const TOKENS: std::ops::RangeInclusive<u64> = 100..=200;

/// How much is asked.
#[derive(Debug, Clone)]
pub struct Load {
    /// Asked through this client.
    pub client: Client,
    /// For this model.
    pub model: Arc<str>,
    /// Unary requests a second.
    pub rate: f64,
    /// Streams alive at a time.
    pub streams: u32,
    /// Decides the order of what is asked.
    pub seed: u64,
}

impl Load {
    /// Asks until `stop` fires, then waits until the last request has ended.
    pub async fn run(self, record: Record, stop: CancellationToken) {
        let mut chance = fastrand::Rng::with_seed(self.seed);
        let mut tasks = JoinSet::new();
        for nth in 0..self.streams {
            let (load, record, stop, chance) =
                (self.clone(), record.clone(), stop.clone(), chance.fork());
            tasks.spawn(async move { load.streams(nth, chance, record, stop).await });
        }
        let period = Duration::from_secs_f64(1.0 / self.rate);
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let (load, record, number) = (self.clone(), record.clone(), chance.u32(..));
            tasks.spawn(async move { load.unary(number, record).await });
            // Ended ones need no room.
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn unary(self, number: u32, record: Record) {
        let id = record.intend(Shape::Unary);
        let body = json!({
            "model": &*self.model,
            "messages": [{"role": "user", "content": format!("drill {number}")}],
        });
        let (sends, end) = match request(&body, None) {
            Ok(request) => match self.client.call(Call::new(request).timeout(UNARY)).await {
                Ok(answer) => (sends(&record, &answer.outcome.attempts), judge(&answer)),
                Err(error) => failure(&record, &error, 0),
            },
            Err(code) => (Vec::new(), sdk(code, 0)),
        };
        record.settle(id, sends, end);
    }

    async fn streams(
        self,
        nth: u32,
        mut chance: fastrand::Rng,
        record: Record,
        stop: CancellationToken,
    ) {
        while !stop.is_cancelled() {
            let tokens = chance.u64(TOKENS);
            let id = record.intend(Shape::Stream);
            let (sends, end) = self.stream(nth, tokens, &record).await;
            record.settle(id, sends, end);
            stop.run_until_cancelled(tokio::time::sleep(BREATH)).await;
        }
    }

    async fn stream(&self, nth: u32, tokens: u64, record: &Record) -> (Vec<Send>, End) {
        let body = json!({
            "model": &*self.model, "stream": true,
            "messages": [{"role": "user", "content": format!("drill stream {nth}")}],
        });
        let request = match request(&body, Some(tokens)) {
            Ok(request) => request,
            Err(code) => return (Vec::new(), sdk(code, 0)),
        };
        let call = Call::new(request).timeout(STREAM);
        match self.client.stream(call).await {
            Ok(stream) => read(stream, tokens, record).await,
            Err(error) => failure(record, &error, 0),
        }
    }
}

/// Reads a stream to its end. Fewer tokens than asked for and no error: silent.
async fn read(mut stream: EventStream, tokens: u64, record: &Record) -> (Vec<Send>, End) {
    let attempts = stream.outcome().attempts.clone();
    loop {
        // The SDK has its own deadline; this one is for a broken SDK.
        match timeout(STREAM * 2, stream.next()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return failure(record, &error, stream.events()),
            Ok(None) if stream.events() > tokens => {
                let count = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
                return (sends(record, &attempts), End::Ok { attempts: count });
            }
            Ok(None) | Err(_) => return (sends(record, &attempts), End::Silent),
        }
    }
}

fn request(body: &serde_json::Value, tokens: Option<u64>) -> Result<Request<Bytes>, String> {
    let mut request =
        Request::post("/v1/chat/completions").header("content-type", "application/json");
    if let Some(tokens) = tokens {
        request = request.header("x-demo-tokens", tokens);
    }
    request
        .body(Bytes::from(body.to_string()))
        .map_err(|error| error.to_string())
}

/// A whole answer is one that says something.
fn judge(answer: &Answer) -> End {
    if !answer.status.is_success() {
        return End::Typed {
            code: code(answer),
            by: Teller::Gateway,
            events: 0,
        };
    }
    let read: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let text = read
        .as_ref()
        .and_then(|read| read.pointer("/choices/0/message/content")?.as_str());
    match text {
        Some(text) if !text.is_empty() => End::Ok {
            attempts: u32::try_from(answer.outcome.attempts.len()).unwrap_or(u32::MAX),
        },
        _ => End::Silent,
    }
}

/// The gateway's code, after the status.
fn code(answer: &Answer) -> String {
    let read: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let code = read
        .as_ref()
        .and_then(|read| read.pointer("/error/code")?.as_str());
    format!(
        "{} {}",
        answer.status.as_u16(),
        code.unwrap_or("without a code")
    )
}

fn failure(record: &Record, error: &Error, events: u64) -> (Vec<Send>, End) {
    let attempts = error.outcome().map_or(&[][..], |outcome| &outcome.attempts);
    let end = match error {
        Error::NotAStream(answer) => End::Typed {
            code: code(answer),
            by: Teller::Gateway,
            events,
        },
        Error::InBand { code, .. } => {
            let code = code.clone().unwrap_or_else(|| "without a code".to_owned());
            End::Typed {
                code,
                by: Teller::Gateway,
                events,
            }
        }
        error => sdk(error.to_string(), events),
    };
    (sends(record, attempts), end)
}

fn sdk(code: String, events: u64) -> End {
    End::Typed {
        code,
        by: Teller::Sdk,
        events,
    }
}

fn sends(record: &Record, attempts: &[Attempt]) -> Vec<Send> {
    let send = |attempt: &Attempt| Send {
        at_ms: record.ms(attempt.began),
        until_ms: record.ms(attempt.began + attempt.took),
        proxy: attempt.proxy.to_string(),
        cause: attempt.cause.map(|cause| cause.as_str()),
    };
    attempts.iter().map(send).collect()
}
