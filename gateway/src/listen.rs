//! Accepts connections on one core and speaks HTTP with them.
//!
//! Every core listens on the same address by `SO_REUSEPORT`, so the kernel
//! spreads connections and no core waits for another. HTTP/1.1 and HTTP/2 with
//! prior knowledge share the port, told apart by the first bytes.
//!
//! Invariants:
//! 1. A core holds at most its share of the gateway's connections; further ones
//!    wait in the kernel.
//! 2. After a stop nothing is accepted; HTTP/2 clients get GOAWAY twice (first
//!    with the highest id, then with the last one taken), HTTP/1.1 clients
//!    `connection: close`; what is under way may finish until the grace is over
//!    (`what_is_under_way_is_finished_and_nothing_new_taken`,
//!    `when_the_grace_is_over_what_is_left_is_cut`).

use std::{
    convert::Infallible,
    future::poll_fn,
    net::{SocketAddr, TcpListener as StdListener},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use crate::{
    Error,
    call::{Call, Refusal, Reply},
    closing::{Closing, Notice, Stage},
    entry::Entry,
    pool::OnCore,
    socket::{Conduct, Socket},
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 4096;
/// An HTTP/2 client that does not answer a PING for so long is gone.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens `cores` listeners on one address.
///
/// # Errors
/// [`Error::Listen`].
pub(crate) fn bind(address: SocketAddr, cores: usize) -> Result<Vec<StdListener>, Error> {
    let mut listeners = Vec::with_capacity(cores);
    let mut address = address;
    for _ in 0..cores {
        let listener = open(address).map_err(|source| Error::Listen { address, source })?;
        address = listener
            .local_addr()
            .map_err(|source| Error::Listen { address, source })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn open(address: SocketAddr) -> std::io::Result<StdListener> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves `listener` on this core until `stop` fires and what was under way is
/// done or `grace` is over.
pub(crate) async fn serve<S>(
    listener: TcpListener,
    entry: Rc<Entry>,
    stack: S,
    most: usize,
    connections: Arc<AtomicU64>,
    stop: CancellationToken,
) where
    S: Service<Call, Response = Reply, Error = Refusal> + Clone + 'static,
{
    let grace = entry.config.drain_grace;
    let room = Arc::new(Semaphore::new(most));
    let open = TaskTracker::new();
    let closing = Closing::new();
    let protocol = Rc::new(protocol(&entry));
    let accepting = async {
        loop {
            // Never closed.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let (stream, client) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let conversation = Conversation {
                entry: Rc::clone(&entry),
                protocol: Rc::clone(&protocol),
                notice: closing.notice(),
            };
            let (stack, counted) = (stack.clone(), Counted::new(&connections));
            open.spawn_local(async move {
                conversation.run(stream, client, stack).await;
                drop((permit, counted));
            });
        }
    };
    stop.run_until_cancelled(accepting).await;
    drop(listener);
    closing.advance(Stage::Draining);
    open.close();
    if tokio::time::timeout(grace, open.wait()).await.is_err() {
        tracing::warn!(
            connections = open.len(),
            "the grace is over; connections are cut"
        );
        closing.advance(Stage::Cut);
        open.wait().await;
    }
}

fn protocol(entry: &Entry) -> auto::Builder<OnCore> {
    // The codec's read buffer bounds the head, and is no larger than it must be.
    let head = usize::try_from(entry.config.header_limit.as_u64()).unwrap_or(usize::MAX);
    let mut builder = auto::Builder::new(OnCore);
    builder
        .http1()
        .max_buf_size(head)
        .keep_alive(true)
        .half_close(false)
        // Most answers are small: one buffer is cheaper to send than two.
        .writev(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX));
    builder
}

/// One connection and what it needs.
struct Conversation {
    entry: Rc<Entry>,
    protocol: Rc<auto::Builder<OnCore>>,
    notice: Notice,
}

impl Conversation {
    async fn run<S>(self, stream: TcpStream, client: SocketAddr, stack: S)
    where
        S: Service<Call, Response = Reply, Error = Refusal> + Clone + 'static,
    {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %client, "a connection was gone before it was served");
            return;
        }
        let conduct = Conduct::new(client);
        let head_limit = self.entry.config.client_idle;
        let socket = Socket::new(stream, Rc::clone(&conduct), &self.entry.sweep, head_limit);
        let entry = Rc::clone(&self.entry);
        let service = service_fn(move |request: Request<Incoming>| {
            let (entry, stack, conduct) = (Rc::clone(&entry), stack.clone(), Rc::clone(&conduct));
            async move { Ok::<_, Infallible>(entry.answer(stack, &conduct, request).await) }
        });
        let mut connection = pin!(
            self.protocol
                .serve_connection(TokioIo::new(socket), service)
        );
        let mut draining = false;
        let ended = poll_fn(|cx| {
            if !draining && self.notice.poll(cx, Stage::Draining).is_ready() {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            if draining && self.notice.poll(cx, Stage::Cut).is_ready() {
                return Poll::Ready(Ok(()));
            }
            connection.as_mut().poll(cx)
        })
        .await;
        if let Err(error) = ended {
            tracing::debug!(error = &*error, %client, "a connection ended early");
        }
    }
}

/// One more connection, until it is dropped.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(connections: &Arc<AtomicU64>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
