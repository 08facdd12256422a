//! Clusters at rest. Each has two connections, as a head keeps two busy: one
//! says PING every 100 ms whether or not the last was answered, and both write
//! now and then, 2.6 times a second together.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Conductor, Load, Outcome,
    writes::{FIELDS, Writes, stored},
};

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const PONG: &[u8] = b"+PONG\r\n";

/// Between two PINGs of a cluster.
const PING_EVERY: Duration = Duration::from_millis(100);

/// Between two writes of a connection: 1.3 a second.
const WRITE_EVERY: Duration = Duration::from_nanos(1_000_000_000 * 10 / 13);

/// Longest between the first connection and the word that all are warm.
const SETTLE: Duration = Duration::from_secs(2);

/// What all connections share.
#[derive(Default)]
struct Measured {
    counts: AtomicBool,
    seen: Mutex<(Outcome, Vec<f64>)>,
}

impl Measured {
    fn note(&self, note: impl FnOnce(&mut Outcome, &mut Vec<f64>)) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, times) = &mut *seen;
        note(outcome, times);
    }
}

/// A command under way.
enum Asked {
    Ping,
    Write(Instant),
}

struct Connection {
    stream: TcpStream,
    writes: Writes,
    pings: bool,
    asked: VecDeque<Asked>,
    input: Vec<u8>,
    measured: Arc<Measured>,
}

impl Connection {
    /// Connects and writes every field once.
    async fn open(
        target: SocketAddr,
        number: usize,
        pings: bool,
        measured: &Arc<Measured>,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        let table = if pings { "NODE" } else { "KV" };
        let mut writes = Writes::new(&format!("steady-{number}"), table);
        let mut all = Vec::new();
        for _ in 0..FIELDS {
            all.extend_from_slice(writes.next());
        }
        stream.write_all(&all).await?;
        for _ in 0..FIELDS {
            let mut reply = [0; 4];
            stream.read_exact(&mut reply).await?;
            stored(&reply)?;
        }
        Ok(Self {
            stream,
            writes,
            pings,
            asked: VecDeque::new(),
            input: Vec::with_capacity(256),
            measured: Arc::clone(measured),
        })
    }

    /// Talks until it fails or is dropped.
    async fn talk(mut self) {
        let error = match self.go_on().await {
            Err(error) => error,
            Ok(never) => match never {},
        };
        self.measured.note(|outcome, _| outcome.fail(&error));
    }

    async fn go_on(&mut self) -> io::Result<std::convert::Infallible> {
        let now = Instant::now();
        let mut ping = now + PING_EVERY.mul_f64(fastrand::f64());
        let mut write = now + WRITE_EVERY.mul_f64(fastrand::f64());
        loop {
            let due = if self.pings { ping.min(write) } else { write };
            tokio::select! {
                read = self.stream.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Err(io::Error::other("the server closed a connection"));
                    }
                    self.answers()?;
                }
                () = sleep_until(due) => {
                    let now = Instant::now();
                    if self.pings && ping <= now {
                        self.stream.write_all(PING).await?;
                        self.asked.push_back(Asked::Ping);
                        ping = next(ping, PING_EVERY, now);
                    }
                    if write <= now {
                        self.stream.write_all(self.writes.next()).await?;
                        self.asked.push_back(Asked::Write(now));
                        write = next(write, WRITE_EVERY, now);
                    }
                }
            }
        }
    }

    /// Takes the replies that are there as a whole.
    fn answers(&mut self) -> io::Result<()> {
        let mut at = 0;
        while let Some(asked) = self.asked.front() {
            let rest = &self.input[at..];
            let mut time = None;
            at += match asked {
                Asked::Ping => match rest.get(..PONG.len()) {
                    None => break,
                    Some(PONG) => PONG.len(),
                    Some(_) => return Err(io::Error::other("PING was not answered PONG")),
                },
                Asked::Write(sent) => {
                    let Some(reply) = rest.first_chunk() else {
                        break;
                    };
                    stored(reply)?;
                    time = Some(sent.elapsed().as_secs_f64() * 1e6);
                    reply.len()
                }
            };
            self.asked.pop_front();
            if self.measured.counts.load(Ordering::Relaxed) {
                self.measured.note(|outcome, times| {
                    outcome.done += 1;
                    times.extend(time);
                });
            }
        }
        self.input.drain(..at);
        Ok(())
    }
}

/// When to send again; what was missed is not made up for.
fn next(due: Instant, every: Duration, now: Instant) -> Instant {
    let next = due + every;
    if next < now { now + every } else { next }
}

pub(super) async fn run(load: &Load, conductor: &mut impl Conductor) -> io::Result<Outcome> {
    let measured = Arc::new(Measured::default());
    let mut talking = JoinSet::new();
    for number in 0..load.clients {
        for pings in [true, false] {
            let connection = Connection::open(load.target, number, pings, &measured).await?;
            talking.spawn(connection.talk());
        }
    }
    sleep(SETTLE).await;

    conductor.ready()?;
    let began = Instant::now();
    measured.counts.store(true, Ordering::Relaxed);
    sleep(Duration::from_millis(load.window_ms)).await;
    measured.counts.store(false, Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    conductor.mark()?;
    talking.shutdown().await;

    let mut outcome = Outcome::default();
    measured.note(|seen, times| {
        outcome = std::mem::take(seen);
        outcome.keep(std::mem::take(times));
    });
    outcome.seconds = seconds;
    Ok(outcome)
}
