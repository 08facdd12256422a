//! A steady load through the SDK, written down as a history.
//!
//! Open loop: unary requests leave at their rate whether the last ones have
//! come back or not, so that a stall shows as late answers and not as fewer
//! questions. A number of streams is kept open; one that ends is followed by
//! the next.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use discovery_client::sdk::{Call, Client, Error};
use http::{Request, StatusCode};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::ledger::{End, Line, Shape};

/// Lines on their way to the history. Beyond it the load would wait for the
/// writer, which only appends to memory.
const LINES: usize = 4096;

/// What is asked, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Unary requests a second, at least 1.
    pub rate: u32,
    /// The nth unary request.
    pub unary: fn(u64) -> Call,
    /// Streams kept open.
    pub streams: usize,
    /// The nth stream, which ends with `data: [DONE]`.
    pub stream: fn(u64) -> Call,
}

/// The nth chat with a demo replica, of `tokens` tokens.
///
/// # Panics
/// Never: the request is well formed.
#[must_use]
pub fn demo_chat(nth: u64, stream: bool, tokens: u32) -> Call {
    let body = json!({
        "model": "demo-chat",
        "stream": stream,
        "max_tokens": tokens,
        "messages": [{ "role": "user", "content": format!("call {nth}") }],
    });
    let request = Request::post("/v1/chat/completions").header("content-type", "application/json");
    Call::new(
        request
            .body(body.to_string().into())
            .expect("a well-formed request"),
    )
}

/// A load that is under way. Dropping it stops the load at once.
#[derive(Debug)]
pub struct Running {
    began: Instant,
    lines: mpsc::Sender<Line>,
    stop: CancellationToken,
    work: AbortOnDropHandle<()>,
    history: AbortOnDropHandle<Vec<Line>>,
}

#[derive(Clone)]
struct Desk {
    client: Client,
    began: Instant,
    lines: mpsc::Sender<Line>,
    next: Arc<AtomicU64>,
}

impl Load {
    /// Starts to ask through `client`.
    #[must_use]
    pub fn start(self, client: Client) -> Running {
        let (lines, mut arriving) = mpsc::channel(LINES);
        let (began, stop) = (Instant::now(), CancellationToken::new());
        let desk = Desk {
            client,
            began,
            lines: lines.clone(),
            next: Arc::default(),
        };
        let history = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(line) = arriving.recv().await {
                all.push(line);
            }
            all
        }));
        let work = AbortOnDropHandle::new(tokio::spawn(self.run(desk, stop.clone())));
        Running {
            began,
            lines,
            stop,
            work,
            history,
        }
    }

    async fn run(self, desk: Desk, stop: CancellationToken) {
        let mut asking = JoinSet::new();
        for _ in 0..self.streams {
            let (desk, stop) = (desk.clone(), stop.clone());
            asking.spawn(async move {
                while !stop.is_cancelled() {
                    desk.stream(self.stream).await;
                }
            });
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let desk = desk.clone();
            asking.spawn(async move { desk.unary(self.unary).await });
            while asking.try_join_next().is_some() {}
        }
        asking.join_all().await;
    }
}

impl Desk {
    async fn write(&self, line: impl FnOnce(u64) -> Line) {
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // The reader outlives every writer, unless the test has failed already.
        let _reader_gone = self.lines.send(line(at_ms)).await;
    }

    async fn intent(&self, shape: Shape) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.write(|at_ms| Line::Intent { id, at_ms, shape }).await;
        id
    }

    async fn unary(&self, ask: fn(u64) -> Call) {
        let id = self.intent(Shape::Unary).await;
        let end = match self.client.call(ask(id)).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                ended_well(answer.outcome.attempts.len())
            }
            Ok(answer) => End::Typed {
                code: format!(
                    "{} {}",
                    answer.status,
                    String::from_utf8_lossy(&answer.body)
                ),
            },
            Err(error) => typed(&error),
        };
        self.write(|at_ms| Line::Outcome { id, at_ms, end }).await;
    }

    async fn stream(&self, ask: fn(u64) -> Call) {
        let id = self.intent(Shape::Stream).await;
        let end = match self.client.stream(ask(id)).await {
            Err(error) => typed(&error),
            Ok(mut events) => {
                let attempts = events.outcome().attempts.len();
                let mut done = false;
                loop {
                    match events.next().await {
                        Some(Ok(event)) => done |= event.is_done(),
                        Some(Err(error)) => break typed(&error),
                        None if done => break ended_well(attempts),
                        None => break End::Silent,
                    }
                }
            }
        };
        self.write(|at_ms| Line::Outcome { id, at_ms, end }).await;
    }
}

fn ended_well(attempts: usize) -> End {
    End::Ok {
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
    }
}

fn typed(error: &Error) -> End {
    let tried: Vec<String> = error
        .outcome()
        .into_iter()
        .flat_map(|outcome| &outcome.attempts)
        .map(|one| {
            format!(
                "{} {} {:?}",
                one.proxy,
                one.cause.map_or("ok", |cause| cause.as_str()),
                one.took
            )
        })
        .collect();
    End::Typed {
        code: format!("{error} [{}]", tried.join(", ")),
    }
}

impl Running {
    /// Since the load began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Lets the load run until it is `at` old.
    pub async fn run_until(&self, at: Duration) {
        tokio::time::sleep_until((self.began + at).into()).await;
    }

    /// Breaks something and writes down when that began.
    ///
    /// # Errors
    /// Those of `fault`, and a load that has ended by itself.
    pub async fn fault<T>(&self, fault: impl FnOnce() -> Result<T>) -> Result<T> {
        let at_ms = u64::try_from(self.began.elapsed().as_millis())?;
        let done = fault()?;
        self.lines
            .send(Line::Fault { at_ms })
            .await
            .context("the load has ended")?;
        Ok(done)
    }

    /// Asks nothing new, waits for what is under way, hands out the history.
    ///
    /// # Errors
    /// If a request is still under way when `within` has passed.
    pub async fn finish(mut self, within: Duration) -> Result<Vec<Line>> {
        self.stop.cancel();
        tokio::time::timeout(within, &mut self.work)
            .await
            .context("requests that never end")??;
        let Self { lines, history, .. } = self;
        drop(lines);
        Ok(history.await?)
    }
}
