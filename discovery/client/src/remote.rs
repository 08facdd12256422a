//! The registry at the other end of a gRPC address.
//!
//! One connection, opened on first use and again after each loss. A lease is
//! one `Register` stream: while it is open it carries renewals and changes, and
//! when it breaks the lease is lost to this side and the caller registers
//! again, which writes nothing if the record is still there.
//!
//! ```text
//!   register --> Open ---.                            .--> reply, refusal
//!   renew -----> Renew --+--> one stream a lease -----+
//!   update ----> change -+        (a call in flight owns the stream; if it is
//!   revoke ----> Leave --'         abandoned, the stream goes with it)
//!   watch -----> Subscribe: ends at the first error or after `SILENCE`
//! ```
//!
//! Invariants:
//! 1. No call takes longer than [`RemoteRegistry::CALL`], and a watch that hears nothing for
//!    [`RemoteRegistry::SILENCE`] ends (`a_mute_registry_is_a_cut_link`).
//! 2. A reply belongs to the request it is taken for: a stream with an
//!    unanswered request is never used again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{error::Elapsed, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{self, Channel},
};

use crate::{
    Address, Cursor, Endpoint, Error, Event, LeaseId, Registry, Watch,
    wire::{
        Assembler, MAX_MESSAGE,
        generated::{self as v1, discovery_client::DiscoveryClient, register_request::Step},
    },
};

/// A [`Registry`] over one address.
#[derive(Debug)]
pub struct RemoteRegistry {
    name: String,
    address: Address,
    client: DiscoveryClient<Channel>,
    leases: Mutex<Leases>,
}

#[derive(Debug, Default)]
struct Leases {
    last: u64,
    open: HashMap<LeaseId, Arc<Place>>,
}

/// Where the stream of a lease is kept between calls; callers of the same lease
/// queue here. Empty while a call is in flight and after one was abandoned.
type Place = tokio::sync::Mutex<Option<Conversation>>;

impl RemoteRegistry {
    /// How long a registry has to take a connection.
    pub const CONNECT: Duration = Duration::from_secs(1);

    /// How long a registry has to answer a call.
    pub const CALL: Duration = Duration::from_secs(2);

    /// A watch that hears nothing for so long is cut: a registry says
    /// something at least every second.
    pub const SILENCE: Duration = Duration::from_secs(3);

    /// Most leases kept through one `RemoteRegistry`.
    pub const MAX_LEASES: usize = 1024;

    /// Speaks to the registry at `address` and calls itself `name` there. Does
    /// not connect yet. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the address cannot stand in a URI.
    pub fn new(name: impl Into<String>, address: Address) -> Result<Self, Error> {
        let endpoint =
            transport::Endpoint::from_shared(address.as_str().to_owned()).map_err(|error| {
                Error::Invalid {
                    reason: format!("{address}: {error}"),
                }
            })?;
        let channel = endpoint
            .connect_timeout(RemoteRegistry::CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(RemoteRegistry::SILENCE / 2)
            .keep_alive_timeout(RemoteRegistry::SILENCE)
            .keep_alive_while_idle(true)
            .connect_lazy();
        let client = DiscoveryClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        Ok(Self {
            name: name.into(),
            address,
            client,
            leases: Mutex::default(),
        })
    }

    /// Where the registry is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    fn place(&self, conversation: Conversation) -> Result<LeaseId, Error> {
        let mut leases = self.leases.lock();
        if leases.open.len() >= RemoteRegistry::MAX_LEASES {
            leases
                .open
                .retain(|_, place| place.try_lock().map_or(true, |place| place.is_some()));
        }
        if leases.open.len() >= RemoteRegistry::MAX_LEASES {
            return Err(Error::Full {
                limit: RemoteRegistry::MAX_LEASES,
            });
        }
        leases.last += 1;
        let lease = LeaseId(leases.last);
        leases
            .open
            .insert(lease, Arc::new(Place::new(Some(conversation))));
        Ok(lease)
    }

    /// Sends `step` on the stream of `lease`. The stream goes on after success
    /// and after a refusal that does not concern the lease.
    async fn step(&self, lease: LeaseId, step: Step) -> Result<(), Error> {
        let place = self
            .leases
            .lock()
            .open
            .get(&lease)
            .cloned()
            .ok_or(Error::LeaseLapsed)?;
        let mut place = place.lock().await;
        let result = match place.take() {
            None => Err(Error::LeaseLapsed),
            Some(mut conversation) => {
                let goes_on = !matches!(step, Step::Leave(_));
                let result = conversation.ask(step).await;
                if goes_on && !matches!(result, Err(Error::LeaseLapsed | Error::Unavailable { .. }))
                {
                    *place = Some(conversation);
                }
                result
            }
        };
        if place.is_none() {
            self.leases.lock().open.remove(&lease);
        }
        result
    }
}

impl Registry for RemoteRegistry {
    fn register(&self, endpoint: Endpoint, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        async move {
            let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            let open = Step::Open(v1::Open {
                endpoint: Some((&endpoint).into()),
                ttl_ms,
            });
            let conversation = Conversation::open(self.client.clone(), open).await?;
            self.place(conversation)
        }
        .boxed()
    }

    fn renew(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.step(lease, Step::Renew(v1::Renew {})).boxed()
    }

    fn update(&self, lease: LeaseId, endpoint: Endpoint) -> BoxFuture<'_, Result<(), Error>> {
        self.step(lease, Step::Change((&endpoint).into())).boxed()
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            match self.step(lease, Step::Leave(v1::Leave {})).await {
                Err(Error::LeaseLapsed) => Ok(()),
                result => result,
            }
        }
        .boxed()
    }

    fn watch(&self, after: Option<Cursor>) -> Watch {
        let request = v1::SubscribeRequest {
            subscriber: self.name.clone(),
            after: after.map(Into::into),
        };
        let (client, address) = (self.client.clone(), self.address.clone());
        let opening = async move {
            let follow = Follow::open(client, request).await;
            stream::unfold(follow, move |follow| {
                let address = address.clone();
                async move {
                    let mut follow = follow.inspect_err(|cut| cut.log(&address)).ok()?;
                    let event = follow
                        .next()
                        .await
                        .inspect_err(|cut| cut.log(&address))
                        .ok()?;
                    Some((event, Ok(follow)))
                }
            })
        };
        opening.flatten_stream().boxed()
    }
}

/// One `Register` stream.
#[derive(Debug)]
struct Conversation {
    requests: mpsc::Sender<v1::RegisterRequest>,
    replies: Streaming<v1::RegisterReply>,
}

impl Conversation {
    async fn open(mut client: DiscoveryClient<Channel>, open: Step) -> Result<Self, Error> {
        // One request is under way at a time.
        let (requests, outgoing) = mpsc::channel(1);
        let call = async {
            send(&requests, open).await?;
            let replies = client
                .register(ReceiverStream::new(outgoing))
                .await
                .map_err(unavailable)?
                .into_inner();
            let mut conversation = Self { requests, replies };
            conversation.reply().await?;
            Ok(conversation)
        };
        timeout(RemoteRegistry::CALL, call)
            .await
            .map_err(too_late)?
    }

    async fn ask(&mut self, step: Step) -> Result<(), Error> {
        let call = async {
            let sent = send(&self.requests, step).await;
            // A stream the registry has ended may still hold its reason.
            self.reply().await.and(sent)
        };
        timeout(RemoteRegistry::CALL, call)
            .await
            .map_err(too_late)?
    }

    async fn reply(&mut self) -> Result<(), Error> {
        let reply = self.replies.message().await.map_err(unavailable)?;
        match reply.ok_or_else(closed)?.refusal {
            None => Ok(()),
            Some(refusal) => Err(Error::try_from(refusal).unwrap_or_else(unavailable)),
        }
    }
}

async fn send(requests: &mpsc::Sender<v1::RegisterRequest>, step: Step) -> Result<(), Error> {
    requests
        .send(v1::RegisterRequest { step: Some(step) })
        .await
        .map_err(|_| closed())
}

fn unavailable(error: impl std::fmt::Display) -> Error {
    Error::Unavailable {
        reason: error.to_string(),
    }
}

fn too_late(_: Elapsed) -> Error {
    Error::Unavailable {
        reason: format!("nothing came back within {:?}", RemoteRegistry::CALL),
    }
}

fn closed() -> Error {
    Error::Unavailable {
        reason: "the stream was closed".to_owned(),
    }
}

/// One `Subscribe` stream.
#[derive(Debug)]
struct Follow {
    updates: Streaming<v1::Update>,
    assembler: Assembler,
}

/// Why a watch ended. Only the log learns: the caller watches again.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the call failed: {0}")]
    Failed(#[from] Box<Status>),
    #[error("the registry closed the stream")]
    Closed,
    #[error("nothing was heard in time")]
    Silent(#[from] Elapsed),
    #[error("the registry sent what it must not: {0}")]
    Malformed(#[from] crate::wire::Malformed),
}

impl Cut {
    fn log(&self, address: &Address) {
        tracing::debug!(registry = %address, reason = %self, "the watch of a registry ended");
    }
}

impl Follow {
    async fn open(
        mut client: DiscoveryClient<Channel>,
        request: v1::SubscribeRequest,
    ) -> Result<Self, Cut> {
        let updates = timeout(RemoteRegistry::CALL, client.subscribe(request))
            .await?
            .map_err(Box::new)?
            .into_inner();
        Ok(Self {
            updates,
            assembler: Assembler::new(),
        })
    }

    async fn next(&mut self) -> Result<Event, Cut> {
        loop {
            let update = timeout(RemoteRegistry::SILENCE, self.updates.message())
                .await?
                .map_err(Box::new)?
                .ok_or(Cut::Closed)?;
            if let Some(event) = self.assembler.take(update)? {
                return Ok(event);
            }
        }
    }
}
