//! The load before a store, a process of its own. The conversation with the
//! benchmark is that of [`Conductor`].
//!
//! Requests are written once and only stamped anew, and most replies are
//! compared as bytes: the generator shares the machine with those measured and
//! must be cheap.
//!
//! Invariants:
//! 1. Every reply is checked; a wrong one is an error and never a command done.
//! 2. The generator ends by itself: a window that does not end in time is an
//!    error.

use std::{io, net::SocketAddr, time::Duration};

use tokio::time::timeout;

use super::super::load::{Conductor, Outcome, Standard, say};

mod hset;
mod idle;
mod scan;
mod steady;
mod writes;

/// How long a load may take beyond its window before it is given up.
const GRACE: Duration = Duration::from_secs(100);

/// Flags of the load generator.
#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// Where to.
    #[arg(long)]
    pub target: SocketAddr,
    /// What kind of load.
    #[arg(long, value_enum)]
    pub shape: Shape,
    /// Clients, clusters or connections.
    #[arg(long, default_value_t = 1)]
    pub clients: usize,
    /// Length of the window in milliseconds (hset, steady).
    #[arg(long, default_value_t = 1000)]
    pub window_ms: u64,
    /// Rows of the table (scan).
    #[arg(long, default_value_t = 20_000)]
    pub rows: usize,
}

/// Kinds of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Each client overwrites its own fields, one after the other.
    Hset,
    /// A table is read to its end.
    Scan,
    /// Clusters at rest: heartbeats and a write now and then.
    Steady,
    /// Connections that have said something once.
    Idle,
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

    async fn run(&self, conductor: &mut impl Conductor) -> io::Result<Outcome> {
        let limit = Duration::from_millis(self.window_ms) + GRACE;
        let run = async {
            match self.shape {
                Shape::Hset => hset::run(self, conductor).await,
                Shape::Scan => scan::run(self, conductor).await,
                Shape::Steady => steady::run(self, conductor).await,
                Shape::Idle => idle::run(self, conductor).await,
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
        collections::BTreeMap,
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use bytes::{Bytes, BytesMut};
    use resp::{Limits, Parser, Reply};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        task::JoinSet,
    };

    use super::*;

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

    /// A store of one connection; `PING` is answered `pong`.
    async fn serve(mut stream: TcpStream, pong: &'static str) {
        let mut rows = BTreeMap::new();
        let (mut parser, mut input) = (Parser::new(Limits::default()), BytesMut::new());
        loop {
            let mut output = BytesMut::new();
            while let Some(request) = parser.parse(&mut input).expect("a request") {
                reply(&mut rows, &request.args, pong).encode(&mut output);
            }
            let written = stream.write_all(&output).await;
            if written.is_err() || !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
                return;
            }
        }
    }

    fn reply(rows: &mut BTreeMap<Bytes, Bytes>, args: &[Bytes], pong: &'static str) -> Reply {
        match &*args[0] {
            b"PING" => Reply::Status(pong.into()),
            b"HGET" => Reply::Null,
            b"HSET" => Reply::Int(
                rows.insert(args[2].clone(), args[3].clone())
                    .is_none()
                    .into(),
            ),
            // Two pages.
            b"HSCAN" => {
                let (first, second) = (&args[2] == "0", rows.len() / 2);
                let page = rows
                    .iter()
                    .enumerate()
                    .filter(|&(at, _)| (at < second) == first);
                let items = page.flat_map(|(_, (field, value))| [field.clone(), value.clone()]);
                Reply::Array(vec![
                    Reply::bulk(if first { "7" } else { "0" }),
                    Reply::Array(items.map(Reply::Bulk).collect()),
                ])
            }
            other => panic!("{}", other.escape_ascii()),
        }
    }

    async fn run(shape: Shape, clients: usize, pong: &'static str) -> (Outcome, [usize; 2]) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let load = Load {
            target: listener.local_addr().unwrap(),
            shape,
            clients,
            window_ms: 300,
            rows: 1500,
        };
        let mut alone = Alone::default();
        let mut serving = JoinSet::new();
        let outcome = {
            let mut run = std::pin::pin!(load.run(&mut alone));
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        serving.spawn(serve(accepted.unwrap().0, pong));
                    }
                    outcome = &mut run => break outcome.unwrap(),
                }
            }
        };
        (outcome, [alone.ready.into_inner(), alone.mark.into_inner()])
    }

    #[tokio::test]
    async fn writes_are_counted_and_timed() {
        let (outcome, said) = run(Shape::Hset, 3, "PONG").await;
        assert_eq!((outcome.errors, said), (0, [1, 1]));
        assert!(outcome.done > 3 && outcome.seconds >= 0.3, "{outcome:?}");
        assert!(outcome.p50_us <= outcome.p99_us);
    }

    #[tokio::test]
    async fn a_scan_must_bring_every_row() {
        let (outcome, _) = run(Shape::Scan, 1, "PONG").await;
        assert_eq!((outcome.done, outcome.errors), (3, 0));
    }

    #[tokio::test]
    async fn clusters_at_rest_keep_their_rate() {
        let (outcome, said) = run(Shape::Steady, 50, "PONG").await;
        assert_eq!((outcome.errors, said), (0, [1, 1]));
        // 50 clusters, 12.6 a second each, on a machine that may be busy.
        let rate = outcome.done as f64 / outcome.seconds;
        assert!((200.0..=1000.0).contains(&rate), "{rate} a second");
    }

    #[tokio::test]
    async fn an_answer_that_is_wrong_is_an_error() {
        let (outcome, _) = run(Shape::Steady, 2, "+PUNG").await;
        assert_eq!(outcome.errors, 2);
        assert!(outcome.first_error.unwrap().contains("PING"));
    }

    #[tokio::test]
    async fn idle_connections_stay_open_while_memory_is_read() {
        let (outcome, said) = run(Shape::Idle, 20, "PONG").await;
        assert_eq!((outcome.done, said), (20, [2, 1]));
    }
}
