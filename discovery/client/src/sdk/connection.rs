//! Keeps one HTTP/2 connection to one gateway, and finds out whether it lives.
//!
//! ```text
//!   wait for the circuit -> connect -> probe -> in use, pinged -> lost --+
//!          ^                   |         |                               |
//!          +---- back-off -----+---------+-------------------------------+
//! ```
//!
//! A kernel accepts connections for a process that is stopped, so a connection
//! is used only after the gateway has answered one small request on it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::RunningTime;

use super::{
    Config,
    fleet::News,
    proxy::{Lane, Proxy, Sender},
};

/// Enough for a stream that is read slowly not to hold up the others.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Why a connection could not be made. Only logged: the circuit acts.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no connection within {0:?}")]
    Slow(Duration),
    #[error("not connected: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no HTTP/2: {0}")]
    Http(#[from] hyper::Error),
    #[error("no answer to a first request within {0:?}")]
    Mute(Duration),
    #[error("closed by the gateway")]
    Closed,
    #[error("not an origin: {0}")]
    Uri(#[from] http::Error),
}

/// Runs the tasks hyper wants run, where the client can wait for them.
#[derive(Debug, Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// Keeps the lane filled until `stop` fires.
pub(super) async fn keep(
    proxy: Arc<Proxy>,
    lane: usize,
    config: Arc<Config>,
    news: News,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let work = async {
        loop {
            let reopens = proxy.circuit.lock().reopens_at();
            if let Some(at) = reopens {
                // Many clients of one dead gateway shall not come back as one.
                let spread = config.backoff.mul_f64(fastrand::f64() * 0.2);
                sleep_until(at + spread).await;
            }
            let lost = hold(&proxy, &proxy.lanes[lane], &config, &news, &tasks).await;
            proxy.lanes[lane].set(None);
            proxy.circuit.lock().lost(Instant::now());
            news.tell();
            tracing::debug!(proxy = %proxy.address, cause = %lost, "a gateway is left alone for a while");
        }
    };
    stop.run_until_cancelled(work).await;
    proxy.lanes[lane].set(None);
}

/// Connects, probes, puts the connection to use and waits for its end.
async fn hold(
    proxy: &Proxy,
    lane: &Lane,
    config: &Config,
    news: &News,
    tasks: &TaskTracker,
) -> Failure {
    let (mut sender, connection) = match connect(proxy, config, tasks).await {
        Ok(connected) => connected,
        Err(failure) => return failure,
    };
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return Failure::Closed,
        probed = probe(&mut sender, proxy, config) => if let Err(failure) = probed {
            return failure;
        },
    }
    lane.set(Some(sender));
    proxy.circuit.lock().succeeded(Instant::now());
    news.tell();
    match connection.await {
        Ok(()) => Failure::Closed,
        Err(error) => Failure::Http(error),
    }
}

type Connection = http2::Connection<TokioIo<TcpStream>, Full<Bytes>, Tracked>;

async fn connect(
    proxy: &Proxy,
    config: &Config,
    tasks: &TaskTracker,
) -> Result<(Sender, Connection), Failure> {
    let stream = timeout(
        config.connect,
        TcpStream::connect(proxy.address.authority()),
    );
    let stream = stream.await.map_err(|_| Failure::Slow(config.connect))??;
    stream.set_nodelay(true)?;
    let handshake = http2::Builder::new(Tracked(tasks.clone()))
        .timer(RunningTime)
        .keep_alive_interval(config.ping_interval)
        .keep_alive_timeout(config.ping_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .handshake(TokioIo::new(stream));
    Ok(timeout(config.connect, handshake)
        .await
        .map_err(|_| Failure::Slow(config.connect))??)
}

/// One small request; whatever the status, an answer is a sign of life.
async fn probe(sender: &mut Sender, proxy: &Proxy, config: &Config) -> Result<(), Failure> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(proxy.address.authority())
        .path_and_query(config.probe_path);
    let request = Request::get(uri.build()?).body(Full::default())?;
    let exchange = async {
        sender.ready().await?;
        sender.send_request(request).await
    };
    timeout(config.connect, exchange)
        .await
        .map_err(|_| Failure::Mute(config.connect))??;
    Ok(())
}
