//! One gateway as the client sees it: its connections, calls in flight and
//! circuit.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Config,
    attempt::Mode,
    circuit::{Admission, Bounds, Circuit},
};
use crate::{Address, Site};

/// Whether a gateway is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Connected and well.
    Ready,
    /// Failed lately: left alone, or asked by one call to find out.
    Ejected,
    /// There is no connection.
    Unconnected,
}

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// One connection's place. A task of its own keeps it filled.
#[derive(Debug, Default)]
pub(super) struct Lane {
    sender: Mutex<Option<Sender>>,
    in_flight: AtomicUsize,
}

impl Lane {
    pub(super) fn set(&self, sender: Option<Sender>) {
        *self.sender.lock() = sender;
    }

    fn live(&self) -> Option<Sender> {
        self.sender
            .lock()
            .as_ref()
            .filter(|sender| !sender.is_closed())
            .cloned()
    }
}

#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) address: Address,
    pub(super) site: Option<Site>,
    pub(super) far: bool,
    pub(super) draining: AtomicBool,
    pub(super) circuit: Mutex<Circuit>,
    pub(super) lanes: Box<[Lane]>,
    in_flight: [AtomicUsize; 2],
}

impl Proxy {
    pub(super) fn new(address: Address, site: Option<Site>, config: &Config) -> Self {
        let Config {
            failures,
            backoff,
            backoff_max,
            ..
        } = *config;
        Self {
            far: config.site.is_some() && config.site != site,
            address,
            site,
            draining: AtomicBool::new(false),
            circuit: Mutex::new(Circuit::new(Bounds {
                failures,
                backoff,
                backoff_max,
            })),
            lanes: (0..config.connections.get())
                .map(|_| Lane::default())
                .collect(),
            in_flight: <[AtomicUsize; 2]>::default(),
        }
    }

    /// Calls in flight of this kind. Streams last long and say little about
    /// how soon a unary call is answered, so that each is compared with its
    /// like.
    pub(super) fn in_flight(&self, mode: Mode) -> usize {
        self.in_flight[mode as usize].load(Ordering::Relaxed)
    }

    /// Whether a call may go there now.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        self.circuit.lock().admission(now) != Admission::Shut
            && self.lanes.iter().any(|lane| lane.live().is_some())
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        if self.circuit.lock().admission(now) != Admission::Open {
            Standing::Ejected
        } else if self.lanes.iter().any(|lane| lane.live().is_some()) {
            Standing::Ready
        } else {
            Standing::Unconnected
        }
    }

    /// A sender of the least busy connection, and a mark that a call is in
    /// flight for as long as the ticket lives.
    pub(super) fn enter(self: &Arc<Self>, mode: Mode) -> Option<(Sender, Ticket)> {
        let live = self
            .lanes
            .iter()
            .enumerate()
            .filter_map(|(index, lane)| Some((index, lane, lane.live()?)));
        let (index, lane, sender) =
            live.min_by_key(|(_, lane, _)| lane.in_flight.load(Ordering::Relaxed))?;
        lane.in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_flight[mode as usize].fetch_add(1, Ordering::Relaxed);
        self.circuit.lock().sent(Instant::now());
        Some((
            sender,
            Ticket {
                proxy: Arc::clone(self),
                lane: index,
                mode,
            },
        ))
    }
}

/// Counts one call in flight.
#[derive(Debug)]
pub(super) struct Ticket {
    proxy: Arc<Proxy>,
    lane: usize,
    mode: Mode,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.proxy.lanes[self.lane]
            .in_flight
            .fetch_sub(1, Ordering::Relaxed);
        self.proxy.in_flight[self.mode as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
