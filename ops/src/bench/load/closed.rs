//! Plain requests: flat out for CPU and throughput, paced for latency.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::Barrier, task::JoinSet};

use super::{
    super::payload::{self, Knobs},
    Conductor, Load, Outcome,
    connection::Connection,
};

/// Requests of each connection before the window, so that the proxy's own
/// connections, buffers and branches are warm.
const WARM: usize = 50;

/// Pause between paced requests. Long enough that queues and caches are those
/// of a calm server; short enough for some thousand samples a round.
const PACE: Duration = Duration::from_micros(500);

/// Pause of a connection after an error, so that a proxy which refuses at once
/// is not flooded.
const AFTER_ERROR: Duration = Duration::from_millis(20);

/// The plain request and the answer that must come.
struct Plain {
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Plain {
    fn new() -> Self {
        let knobs = Knobs {
            bytes: payload::SIZE,
            ..Knobs::default()
        };
        let request = payload::request(&payload::request_body(false, knobs));
        Self {
            request,
            answer: payload::answer_body(),
        }
    }

    /// Asks once and counts what came of it.
    async fn ask(&self, connection: &mut Connection, outcome: &mut Outcome) {
        match connection.ask(&self.request, &self.answer).await {
            Ok(()) => outcome.done += 1,
            Err(failure) => {
                outcome.fail(&failure);
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// Every connection asks again as soon as it was answered. CPU is read on both
/// sides of the window while no request is under way.
pub(super) async fn flat_out(load: &Load, conductor: &mut impl Conductor) -> io::Result<Outcome> {
    let plain = Arc::new(Plain::new());
    let barrier = Arc::new(Barrier::new(load.connections + 1));
    let window = Duration::from_millis(load.window_ms);
    let mut asking = JoinSet::new();
    for _ in 0..load.connections {
        let mut connection = Connection::open(load.target).await?;
        let (plain, barrier) = (Arc::clone(&plain), Arc::clone(&barrier));
        asking.spawn(async move {
            let mut outcome = Outcome::default();
            for _ in 0..WARM {
                plain.ask(&mut connection, &mut outcome).await;
            }
            outcome.done = 0;
            barrier.wait().await; // all are warm
            barrier.wait().await; // go
            let began = Instant::now();
            while began.elapsed() < window {
                plain.ask(&mut connection, &mut outcome).await;
            }
            outcome.reconnects = connection.reconnects;
            outcome
        });
    }

    barrier.wait().await;
    conductor.ready()?;
    barrier.wait().await;
    let began = Instant::now();
    let mut total = Outcome::default();
    while let Some(outcome) = asking.join_next().await {
        total.add(outcome.map_err(io::Error::other)?);
    }
    total.seconds = began.elapsed().as_secs_f64();
    conductor.mark()?;
    Ok(total)
}

/// One connection at a time, a pause before each request: the time from the
/// first byte written to the last byte read, of each request.
pub(super) async fn paced(load: &Load, conductor: &mut impl Conductor) -> io::Result<Outcome> {
    let plain = Plain::new();
    let mut outcome = Outcome::default();
    let mut connection = Connection::open(load.target).await?;
    for _ in 0..WARM {
        plain.ask(&mut connection, &mut outcome).await;
    }
    outcome.done = 0;

    conductor.ready()?;
    let began = Instant::now();
    let mut times = Vec::with_capacity(load.samples);
    for _ in 0..load.samples {
        // The runtime's timer has steps of 1 ms; nothing else runs here.
        thread::sleep(PACE);
        let sent = Instant::now();
        plain.ask(&mut connection, &mut outcome).await;
        times.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    outcome.seconds = began.elapsed().as_secs_f64();
    conductor.mark()?;

    outcome.reconnects = connection.reconnects;
    outcome.keep(times);
    Ok(outcome)
}
