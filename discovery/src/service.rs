//! The registry on the wire: `Register` and `Subscribe` over gRPC.
//!
//! Works over any [`Registry`]. Both calls are streams that do their work when
//! they are polled, so HTTP/2's flow control is the back-pressure and no task
//! or queue stands between.
//!
//! ```text
//!   Register   open, renew, change, leave --> registry --> a reply each
//!              silence for a whole lease ends it; a break leaves the record
//!              to its lease
//!   Subscribe  registry.watch(after) --> updates, lists in pieces
//! ```
//!
//! Invariants:
//! 1. A stream that breaks leaves its record until the lease lapses; `leave`
//!    removes it at once (`a_broken_stream_leaves_the_record_to_its_lease`).
//! 2. There are at most `records_max` Register and `subscribers_max` Subscribe
//!    streams (`subscribers_are_bounded`), and as many connections as both
//!    together (`connections_are_bounded`).
//! 3. When `stop` fires every stream ends, and the service with them
//!    (`stop_ends_every_stream`).

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use discovery_client::{
    Endpoint, Error as Refused, LeaseId, Registry,
    wire::{
        self, MAX_MESSAGE,
        generated::{
            self as v1,
            discovery_server::{Discovery, DiscoveryServer},
            register_request::Step,
        },
    },
};
use futures_util::{Stream, StreamExt as _, stream, stream::BoxStream};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::{Config, Error, connection::connections};

/// A connection whose other end answers no ping for so long is closed.
const PING: Duration = Duration::from_secs(2);
const PING_ANSWER: Duration = Duration::from_secs(4);

/// Most streams of one connection.
const STREAMS_PER_CONNECTION: u32 = 2048;

/// How long streams have to end once `stop` has fired.
const GOODBYE: Duration = Duration::from_secs(1);

/// The listener and what it serves.
pub struct Service {
    listener: TcpListener,
    address: SocketAddr,
    registry: Arc<dyn Registry>,
    registrars: Arc<Semaphore>,
    subscribers: Arc<Semaphore>,
    connections_max: usize,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Listens on `config.listen` and will serve `registry` there. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Listen`].
    pub async fn bind(config: &Config, registry: Arc<dyn Registry>) -> Result<Self, Error> {
        config.validate()?;
        let refused = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let permits =
            |count: NonZeroUsize| Arc::new(Semaphore::new(count.get().min(Semaphore::MAX_PERMITS)));
        Ok(Self {
            listener,
            address,
            registry,
            registrars: permits(config.records_max),
            subscribers: permits(config.subscribers_max),
            connections_max: config
                .records_max
                .saturating_add(config.subscribers_max.get())
                .get(),
        })
    }

    /// Where it listens; tells the port that the kernel chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` fires, then ends every stream and returns.
    ///
    /// # Errors
    /// [`Error::Serve`] if the listener fails.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let face = Face {
            registry: self.registry,
            registrars: self.registrars,
            subscribers: self.subscribers,
            stop: stop.clone(),
        };
        let service = DiscoveryServer::new(face)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let incoming = connections(self.listener, self.connections_max);
        let serving = Server::builder()
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PING_ANSWER))
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(GOODBYE).await;
        };
        tokio::select! {
            served = serving => served.map_err(|error| Error::Serve(error.into())),
            () = overdue => Ok(()),
        }
    }
}

/// The two calls.
struct Face {
    registry: Arc<dyn Registry>,
    registrars: Arc<Semaphore>,
    subscribers: Arc<Semaphore>,
    stop: CancellationToken,
}

fn admit(permits: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Status> {
    let full = |_| Status::resource_exhausted(format!("the registry takes no more {what}"));
    Arc::clone(permits).try_acquire_owned().map_err(full)
}

#[tonic::async_trait]
impl Discovery for Face {
    type RegisterStream = BoxStream<'static, Result<v1::RegisterReply, Status>>;
    type SubscribeStream = BoxStream<'static, Result<v1::Update, Status>>;

    async fn register(
        &self,
        request: Request<Streaming<v1::RegisterRequest>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let permit = admit(&self.registrars, "registrations")?;
        let owner = Owner {
            registry: Arc::clone(&self.registry),
            lease: None,
            _permit: permit,
        };
        let replies = owner.replies(request.into_inner());
        Ok(Response::new(
            replies
                .take_until(self.stop.clone().cancelled_owned())
                .boxed(),
        ))
    }

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let permit = admit(&self.subscribers, "subscribers")?;
        let from = request.remote_addr();
        let v1::SubscribeRequest { subscriber, after } = request.into_inner();
        tracing::debug!(subscriber.name = subscriber, subscriber.address = ?from, ?after, "a subscriber came");
        let updates = self
            .registry
            .watch(after.map(Into::into))
            .flat_map(move |event| {
                let _held = &permit;
                stream::iter(wire::updates(&event)).map(Ok)
            });
        Ok(Response::new(
            updates
                .take_until(self.stop.clone().cancelled_owned())
                .boxed(),
        ))
    }
}

/// The owner of one record at the other end of a `Register` stream.
struct Owner {
    registry: Arc<dyn Registry>,
    lease: Option<(LeaseId, Duration)>,
    _permit: OwnedSemaphorePermit,
}

/// How long the first message may take to come.
const OPENING: Duration = Duration::from_secs(2);

impl Owner {
    /// Answers each request in turn, until the stream or the lease ends.
    fn replies(
        self,
        requests: Streaming<v1::RegisterRequest>,
    ) -> impl Stream<Item = Result<v1::RegisterReply, Status>> + Send + 'static {
        stream::unfold(Some((self, requests)), |state| async {
            let (mut owner, mut requests) = state?;
            let patience = owner.lease.map_or(OPENING, |(_, ttl)| ttl);
            let result = match timeout(patience, requests.message()).await {
                Ok(Ok(Some(v1::RegisterRequest { step }))) => owner.step(step).await,
                // Silent for a whole lease: there is nothing left to keep.
                Err(_) => Err(Refused::LeaseLapsed),
                // Closed without `leave`, or broken: the lease decides.
                Ok(Ok(None) | Err(_)) => return None,
            };
            let (reply, goes_on) = match result {
                Ok(()) => {
                    let ttl_ms = owner.lease.map_or(0, |(_, ttl)| {
                        u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
                    });
                    (
                        v1::RegisterReply {
                            ttl_ms,
                            refusal: None,
                        },
                        owner.lease.is_some(),
                    )
                }
                Err(error) => {
                    let goes_on = owner.lease.is_some() && !matches!(error, Refused::LeaseLapsed);
                    (
                        v1::RegisterReply {
                            ttl_ms: 0,
                            refusal: Some(error.into()),
                        },
                        goes_on,
                    )
                }
            };
            Some((Ok(reply), goes_on.then_some((owner, requests))))
        })
    }

    async fn step(&mut self, step: Option<Step>) -> Result<(), Refused> {
        let invalid = |reason: &str| Refused::Invalid {
            reason: reason.to_owned(),
        };
        match (step, self.lease) {
            (None, _) => Err(invalid("the request says nothing this version knows")),
            (Some(Step::Open(open)), None) => {
                let ttl = Duration::from_millis(open.ttl_ms);
                let lease = self.registry.register(record(open.endpoint)?, ttl).await?;
                self.lease = Some((lease, ttl));
                Ok(())
            }
            (Some(Step::Open(_)), Some(_)) => Err(invalid("the stream is open already")),
            (Some(_), None) => Err(invalid("the first message must be `open`")),
            (Some(Step::Change(endpoint)), Some((lease, _))) => {
                self.registry.update(lease, record(Some(endpoint))?).await
            }
            (Some(Step::Renew(_)), Some((lease, _))) => self.registry.renew(lease).await,
            (Some(Step::Leave(_)), Some((lease, _))) => {
                self.registry.revoke(lease).await?;
                self.lease = None;
                Ok(())
            }
        }
    }
}

fn record(endpoint: Option<v1::Endpoint>) -> Result<Endpoint, Refused> {
    let endpoint = endpoint.ok_or_else(|| Refused::Invalid {
        reason: "`endpoint` is missing".to_owned(),
    })?;
    endpoint.try_into().map_err(|malformed: wire::Malformed| {
        let mut reason = malformed.to_string();
        let mut cause = std::error::Error::source(&malformed);
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        Refused::Invalid { reason }
    })
}
