//! The load generator of a benchmark, a process of its own.
//!
//! One event loop on one thread. It talks with the benchmark over its standard
//! input and output, so that CPU time is read when nothing is under way that
//! would be counted on one side only:
//!
//! ```text
//!   load                        benchmark
//!    | connect, warm up
//!    |-- "ready" ----------------->| reads CPU
//!    |<----------------- "go" -----|
//!    | the measured window
//!    |-- "mark" ------------------>| reads CPU
//!    | finishes what is under way
//!    |-- Outcome as JSON --------->|
//! ```
//!
//! Invariants:
//! 1. Every answer is checked whole; one that is wrong is counted as an error
//!    and never as a request done.
//! 2. The generator ends by itself: a window that does not end in time is an
//!    error.

use std::{
    io::{self, BufRead, Write},
    net::SocketAddr,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::statistics;

mod burst;
mod closed;
mod connection;
mod stream;

/// How long a load may take beyond its window before it is given up.
const GRACE: Duration = Duration::from_secs(60);

/// Flags of the load generator.
#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// Where to.
    #[arg(long)]
    pub target: SocketAddr,
    /// What kind of load.
    #[arg(long, value_enum)]
    pub shape: Shape,
    /// Connections kept open.
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Length of the window in milliseconds (closed, streams).
    #[arg(long, default_value_t = 1000)]
    pub window_ms: u64,
    /// Requests of the window, all connections together (paced, first-token).
    #[arg(long, default_value_t = 1000)]
    pub samples: usize,
    /// Bytes of a request's body (burst).
    #[arg(long, default_value_t = 150_000)]
    pub bytes: usize,
}

/// Kinds of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Each connection asks again as soon as it was answered.
    Closed,
    /// Each connection pauses between requests; times are kept.
    Paced,
    /// Streams of one event; times to it are kept.
    FirstToken,
    /// Streams that all go on during the window; events are counted.
    Streams,
    /// All connections send a large body at once and are answered together.
    Burst,
}

/// What a load brought.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Requests, or events, done and found right inside the window.
    pub done: u64,
    /// Length of the window in seconds.
    pub seconds: f64,
    /// Answers that failed or were wrong, from first to last.
    pub errors: u64,
    /// The first error.
    pub first_error: Option<String>,
    /// Connections that the other side closed between answers and that were
    /// opened anew: no error, yet it costs.
    pub reconnects: u64,
    /// Median time in µs, where times are kept.
    pub p50_us: Option<f64>,
    /// 99th percentile in µs, where times are kept.
    pub p99_us: Option<f64>,
}

impl Outcome {
    /// Counts an error.
    pub fn fail(&mut self, error: &impl ToString) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    /// Adds what another connection brought.
    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.errors += other.errors;
        self.reconnects += other.reconnects;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// Keeps the quantiles of `times`, in µs.
    pub fn keep(&mut self, mut times: Vec<f64>) {
        times.sort_by(f64::total_cmp);
        self.p50_us = statistics::quantile(&times, 0.50);
        self.p99_us = statistics::quantile(&times, 0.99);
    }
}

/// The other end of the conversation with the benchmark.
pub trait Conductor {
    /// Warm: waits for the word to go.
    ///
    /// # Errors
    /// If the benchmark is gone.
    fn ready(&mut self) -> io::Result<()>;

    /// The window is over.
    ///
    /// # Errors
    /// If the benchmark is gone.
    fn mark(&mut self) -> io::Result<()>;
}

/// Standard input and output. Waiting blocks the thread, which is the whole
/// process: nothing runs during it that could cost the proxy time.
pub struct Standard;

impl Conductor for Standard {
    fn ready(&mut self) -> io::Result<()> {
        say("ready")?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        if line.trim() == "go" {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn mark(&mut self) -> io::Result<()> {
        say("mark")
    }
}

/// A line to the benchmark.
///
/// # Errors
/// If it is gone.
pub fn say(line: &str) -> io::Result<()> {
    println!("{line}");
    io::stdout().flush()
}

impl Load {
    /// Runs and prints the outcome.
    ///
    /// # Errors
    /// If the conversation breaks or the load does not end in time.
    pub async fn serve(&self) -> io::Result<()> {
        let outcome = self.run(&mut Standard).await?;
        say(&serde_json::to_string(&outcome)?)
    }

    /// Runs with `conductor`.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub async fn run(&self, conductor: &mut impl Conductor) -> io::Result<Outcome> {
        let limit = Duration::from_millis(self.window_ms) + GRACE;
        let run = async {
            match self.shape {
                Shape::Closed => closed::flat_out(self, conductor).await,
                Shape::Paced => closed::paced(self, conductor).await,
                Shape::FirstToken => stream::first_token(self, conductor).await,
                Shape::Streams => stream::steady(self, conductor).await,
                Shape::Burst => burst::run(self, conductor).await,
            }
        };
        timeout(limit, run)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::{net::TcpListener, task::LocalSet};

    use super::{super::backend, *};

    /// Counts what it was told.
    #[derive(Default)]
    struct Alone {
        ready: AtomicUsize,
        mark: AtomicUsize,
    }

    impl Conductor for Alone {
        fn ready(&mut self) -> io::Result<()> {
            self.ready.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn mark(&mut self) -> io::Result<()> {
            self.mark.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    /// Runs a load straight against a backend in the same event loop.
    async fn run(shape: Shape, connections: usize) -> Outcome {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let load = Load {
            target: listener.local_addr().unwrap(),
            shape,
            connections,
            window_ms: 100,
            samples: 20,
            bytes: 20_000,
        };
        let mut alone = Alone::default();
        let outcome = LocalSet::new()
            .run_until(async {
                tokio::select! {
                    end = backend::accept(listener) => panic!("the backend ended: {end:?}"),
                    outcome = load.run(&mut alone) => outcome.unwrap(),
                }
            })
            .await;
        let said = (alone.ready.into_inner(), alone.mark.into_inner());
        assert_eq!(said, (1, 1));
        assert_eq!((outcome.errors, outcome.first_error.as_deref()), (0, None));
        outcome
    }

    #[tokio::test]
    async fn flat_out_requests_are_counted() {
        let outcome = run(Shape::Closed, 4).await;
        assert!(outcome.done > 4 && outcome.seconds >= 0.1, "{outcome:?}");
    }

    #[tokio::test]
    async fn paced_requests_are_timed() {
        let outcome = run(Shape::Paced, 1).await;
        assert_eq!(outcome.done, 20);
        assert!(outcome.p50_us.unwrap() <= outcome.p99_us.unwrap());
    }

    #[tokio::test]
    async fn first_tokens_are_timed_without_the_backends_delay() {
        let outcome = run(Shape::FirstToken, 2).await;
        assert_eq!(outcome.done, 20);
        // The backend waits 5 ms; what is left is the way.
        assert!(outcome.p50_us.unwrap() < 4000.0, "{outcome:?}");
    }

    #[tokio::test]
    async fn events_of_streams_are_counted_inside_the_window() {
        let outcome = run(Shape::Streams, 5).await;
        let rate = outcome.done as f64 / outcome.seconds;
        // 5 streams of 20 events a second each, on a machine that may be busy.
        assert!((30.0..=200.0).contains(&rate), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_burst_is_answered_as_a_whole() {
        assert_eq!(run(Shape::Burst, 8).await.done, 8);
    }

    #[tokio::test]
    async fn an_answer_that_is_wrong_is_an_error() {
        // A backend that answers everything with one and the same wrong body.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = listener.local_addr().unwrap();
        let wrong = async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_exact(&mut [0; 1024]).await.unwrap();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                stream.write_all(answer).await.unwrap();
                open.push(stream);
            }
        };
        let load = Load {
            target,
            shape: Shape::Burst,
            connections: 2,
            window_ms: 1,
            samples: 1,
            bytes: 1024,
        };
        let mut alone = Alone::default();
        let outcome = tokio::select! {
            () = wrong => unreachable!(),
            outcome = load.run(&mut alone) => outcome.unwrap(),
        };
        assert_eq!((outcome.done, outcome.errors), (0, 2));
        assert!(outcome.first_error.unwrap().contains("body is wrong"));
    }
}
