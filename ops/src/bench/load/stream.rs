//! Streamed answers: time to the first event, and many streams at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use super::{
    super::payload::{self, Knobs},
    Conductor, Load, Outcome,
    connection::Connection,
};

/// How long the backend waits before the first event of a timed stream: the
/// head is then long through, and what is seen is the event's own way.
const FIRST_EVENT: Duration = Duration::from_millis(5);

/// Timed streams of each connection before the window.
const WARM: usize = 10;

/// Time between events of a steady stream.
const GAP: Duration = Duration::from_millis(50);

/// Within this time all steady streams are begun, evenly, so that their events
/// are spread as those of strangers are.
const BEGIN: Duration = Duration::from_millis(1000);

/// Streams go on for so long behind the window's planned end.
const TAIL: Duration = Duration::from_millis(1500);

fn request(knobs: Knobs) -> Vec<u8> {
    payload::request(&payload::request_body(
        true,
        Knobs {
            bytes: payload::SIZE,
            ..knobs
        },
    ))
}

/// Streams of one event each, a few connections. A sample is the time from the
/// first byte of the request written until the event is whole, less the time
/// the backend says it took itself: the backend's timer, which is coarser than
/// what is looked for, falls out.
pub(super) async fn first_token(
    load: &Load,
    conductor: &mut impl Conductor,
) -> io::Result<Outcome> {
    let delay_us = usize::try_from(FIRST_EVENT.as_micros()).map_err(io::Error::other)?;
    let request: Arc<[u8]> = request(Knobs {
        delay_us,
        events: 1,
        ..Knobs::default()
    })
    .into();
    let mut connections = Vec::new();
    let mut total = Outcome::default();
    for _ in 0..load.connections {
        let mut connection = Connection::open(load.target).await?;
        for _ in 0..WARM {
            if let Err(failure) = connection.listen(&request, 1, |_| {}).await {
                total.fail(&failure);
            }
        }
        connections.push(connection);
    }

    conductor.ready()?;
    let began = Instant::now();
    let mut listening = JoinSet::new();
    for mut connection in connections {
        let request = Arc::clone(&request);
        let samples = load.samples.div_ceil(load.connections);
        listening.spawn(async move {
            let mut outcome = Outcome::default();
            let mut times = Vec::with_capacity(samples);
            for _ in 0..samples {
                let sent = Instant::now();
                let mut time = None;
                let heard = connection.listen(&request, 1, |event| {
                    time = Some(sent.elapsed().as_secs_f64() * 1e6 - f64::from(event.after_us));
                });
                match heard.await {
                    Ok(()) => {
                        outcome.done += 1;
                        times.extend(time);
                    }
                    Err(failure) => outcome.fail(&failure),
                }
            }
            outcome.reconnects = connection.reconnects;
            (outcome, times)
        });
    }
    let mut all = Vec::with_capacity(load.samples);
    while let Some(joined) = listening.join_next().await {
        let (outcome, times) = joined.map_err(io::Error::other)?;
        total.add(outcome);
        all.extend(times);
    }
    total.seconds = began.elapsed().as_secs_f64();
    conductor.mark()?;
    total.keep(all);
    Ok(total)
}

/// One stream a connection, all going on through the whole window, in which
/// the events are counted. Each stream is then heard to its end and checked.
pub(super) async fn steady(load: &Load, conductor: &mut impl Conductor) -> io::Result<Outcome> {
    let window = Duration::from_millis(load.window_ms);
    let events = ((BEGIN + window + TAIL).as_millis() / GAP.as_millis()) as usize;
    let gap_ms = GAP.as_millis() as usize;
    let request: Arc<[u8]> = request(Knobs {
        events,
        gap_ms,
        ..Knobs::default()
    })
    .into();
    let (seen, begun) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut listening = JoinSet::new();
    let step = BEGIN / u32::try_from(load.connections.max(1)).map_err(io::Error::other)?;
    let start = tokio::time::Instant::now();
    for nth in 0..u32::try_from(load.connections).map_err(io::Error::other)? {
        let (request, target) = (Arc::clone(&request), load.target);
        let (seen, begun) = (Arc::clone(&seen), Arc::clone(&begun));
        listening.spawn(async move {
            tokio::time::sleep_until(start + step * nth).await;
            let mut outcome = Outcome::default();
            let mut connection = match Connection::open(target).await {
                Ok(connection) => connection,
                Err(error) => {
                    begun.fetch_add(1, Ordering::Relaxed);
                    outcome.fail(&error);
                    return outcome;
                }
            };
            let heard = connection.listen(&request, events, |event| {
                seen.fetch_add(1, Ordering::Relaxed);
                begun.fetch_add(usize::from(event.number == 0), Ordering::Relaxed);
            });
            if let Err(failure) = heard.await {
                outcome.fail(&failure);
            }
            outcome
        });
    }
    // A stream that fails before its first event is never counted as begun;
    // the clock goes on for the others.
    while begun.load(Ordering::Relaxed) < load.connections && start.elapsed() < BEGIN + TAIL / 2 {
        sleep(Duration::from_millis(10)).await;
    }

    conductor.ready()?;
    let (began, before) = (Instant::now(), seen.load(Ordering::Relaxed));
    sleep(window).await;
    let after = seen.load(Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    conductor.mark()?;

    let mut total = Outcome {
        done: after - before,
        seconds,
        ..Outcome::default()
    };
    while let Some(outcome) = listening.join_next().await {
        total.add(outcome.map_err(io::Error::other)?);
    }
    Ok(total)
}
