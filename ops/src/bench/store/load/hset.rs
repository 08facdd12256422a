//! `HSET` flat out: every client, a head of its own, writes again as soon as it
//! was answered.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Barrier,
    task::JoinSet,
};

use super::{
    Conductor, Load, Outcome,
    writes::{FIELDS, Writes, stored},
};

struct Client {
    stream: TcpStream,
    writes: Writes,
}

impl Client {
    async fn open(target: SocketAddr, number: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        let writes = Writes::new(&format!("bench-{number}"), "NODE");
        Ok(Self { stream, writes })
    }

    async fn write(&mut self) -> io::Result<()> {
        self.stream.write_all(self.writes.next()).await?;
        let mut reply = [0; 4];
        self.stream.read_exact(&mut reply).await?;
        stored(&reply)
    }

    /// Writes until `window` has passed; the time of each in µs.
    async fn run(&mut self, window: Duration) -> (Vec<f64>, io::Result<()>) {
        let mut times = Vec::with_capacity(1 << 14);
        let mut now = Instant::now();
        let end = now + window;
        while now < end {
            let sent = now;
            if let Err(error) = self.write().await {
                return (times, Err(error));
            }
            now = Instant::now();
            times.push((now - sent).as_secs_f64() * 1e6);
        }
        (times, Ok(()))
    }
}

pub(super) async fn run(load: &Load, conductor: &mut impl Conductor) -> io::Result<Outcome> {
    let barrier = Arc::new(Barrier::new(load.clients + 1));
    let window = Duration::from_millis(load.window_ms);
    let mut writing = JoinSet::new();
    for number in 0..load.clients {
        let mut client = Client::open(load.target, number).await?;
        let barrier = Arc::clone(&barrier);
        writing.spawn(async move {
            let mut warm = Ok(());
            for _ in 0..2 * FIELDS {
                warm = warm.and(client.write().await);
            }
            barrier.wait().await; // all are warm
            barrier.wait().await; // go
            match warm {
                Ok(()) => client.run(window).await,
                Err(error) => (Vec::new(), Err(error)),
            }
        });
    }

    barrier.wait().await;
    conductor.ready()?;
    barrier.wait().await;
    let began = Instant::now();
    let mut outcome = Outcome::default();
    let mut all = Vec::new();
    while let Some(done) = writing.join_next().await {
        let (times, end) = done.map_err(io::Error::other)?;
        outcome.done += times.len() as u64;
        all.extend(times);
        if let Err(error) = end {
            outcome.fail(&error);
        }
    }
    outcome.seconds = began.elapsed().as_secs_f64();
    conductor.mark()?;
    outcome.keep(all);
    Ok(outcome)
}
