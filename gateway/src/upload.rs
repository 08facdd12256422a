//! A request's body: read once from the caller, sent as often as needed.
//!
//! What has arrived is kept, within bounds, so that a second attempt can send
//! it again; what has not is read while the attempt runs, at the replica's
//! pace. A body that outgrows the memory for replay is passed on all the same,
//! but then its request has one attempt only.
//!
//! ```text
//!   caller --Incoming--> Upload --kept chunks, then the rest--> attempt 1
//!                          |  \-------------------------------> attempt 2
//!                        scan: is there a second "model"?
//! ```
//!
//! Invariants:
//! 1. Every attempt that is made sends the same bytes from the first on
//!    (`a_large_body_is_sent_again_byte_for_byte`).
//! 2. The bytes kept by all uploads together stay within [`ReplayMemory`]
//!    (`a_body_beyond_the_replay_memory_gets_one_attempt`).

use std::{
    cell::{Cell, RefCell},
    fmt,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::{
    peek::{Malformed, Peek},
    sweep::{Alarm, Sweep},
};

/// Why a body could not be read to its end. All are the caller's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UploadError {
    /// Longer than allowed.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The bound in bytes.
        limit: u64,
    },
    /// The caller was silent for too long in the middle of it.
    #[error("the body stalled for {limit:?}")]
    Stalled {
        /// The bound.
        limit: Duration,
    },
    /// The connection ended or broke its framing.
    #[error("the body was cut short")]
    Cut,
    /// It must be kept until it can be routed, and there is no memory for it.
    #[error("too many request bodies are being read at once")]
    NoRoom,
    /// A later part of it makes it unroutable.
    #[error("the body is not valid JSON: {0}")]
    Malformed(#[from] Malformed),
}

/// What is kept of a body until it can be routed, in bytes, is kept even when
/// [`ReplayMemory`] is used up: the one attempt there is must have it.
const ALWAYS_KEPT: usize = 64 * 1024;

/// A piece smaller than this is copied, so that it does not hold on to the
/// larger buffer it was read into.
const SMALL: usize = 4096;

/// What a kept piece costs beside its bytes.
const PIECE: usize = 64;

/// Bytes that all uploads of a gateway may keep together. Below zero while what
/// is [`ALWAYS_KEPT`] exceeds it.
#[derive(Debug, Clone)]
pub(crate) struct ReplayMemory {
    free: Arc<AtomicI64>,
}

impl ReplayMemory {
    /// Room for `bytes`.
    #[must_use]
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            free: Arc::new(AtomicI64::new(i64::try_from(bytes).unwrap_or(i64::MAX))),
        }
    }

    /// Bytes not taken.
    #[must_use]
    pub(crate) fn free(&self) -> i64 {
        self.free.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: i64) -> bool {
        let take = |free: i64| (free >= bytes).then_some(free - bytes);
        self.free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    fn overdraw(&self, bytes: i64) {
        self.free.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn give(&self, bytes: i64) {
        self.free.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Bounds of one upload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Longest body in bytes.
    pub bytes: u64,
    /// Longest silence of the caller within it.
    pub idle: Duration,
}

/// A request's body. Cheap to clone: all clones are the same body.
#[derive(Clone)]
pub(crate) struct Upload(Rc<Shared>);

struct Shared {
    source: RefCell<Source>,
    bounds: Bounds,
    memory: ReplayMemory,
    /// Length if the caller said it.
    declared: Option<u64>,
    read: Cell<u64>,
}

struct Source {
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// Taken from the memory for it.
    charged: i64,
    /// Being read to be routed; no attempt has begun.
    unrouted: bool,
    /// Bytes handed out that are not kept any more.
    gone: bool,
    rest: Option<Incoming>,
    scan: Option<Peek>,
    idle: Option<Alarm>,
    /// Nothing has come since the caller was found silent and `idle` was set.
    silent: bool,
    error: Option<UploadError>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("read", &self.0.read.get())
            .finish_non_exhaustive()
    }
}

impl Upload {
    /// The body `incoming`, nothing read yet.
    ///
    /// # Errors
    /// [`UploadError::TooLarge`] if the caller declares more than allowed.
    pub(crate) fn new(
        incoming: Incoming,
        bounds: Bounds,
        memory: &ReplayMemory,
    ) -> Result<Self, UploadError> {
        let declared = incoming.size_hint().exact();
        if declared.is_some_and(|bytes| bytes > bounds.bytes) {
            return Err(UploadError::TooLarge {
                limit: bounds.bytes,
            });
        }
        let rest = (!incoming.is_end_stream()).then_some(incoming);
        let source = Source {
            kept: Vec::new(),
            kept_bytes: 0,
            charged: 0,
            unrouted: false,
            gone: false,
            rest,
            scan: None,
            idle: None,
            silent: false,
            error: None,
        };
        Ok(Self(Rc::new(Shared {
            source: RefCell::new(source),
            bounds,
            memory: memory.clone(),
            declared,
            read: Cell::new(0),
        })))
    }

    /// Reads until `model` is known or the body ends, and leaves the scanner in
    /// place for the rest; the model, if one is named. `waited` grows by the time the caller took.
    ///
    /// # Errors
    /// [`UploadError`] if the body cannot be read or routed.
    pub(crate) async fn peek(
        &self,
        sweep: &Rc<Sweep>,
        waited: &mut Duration,
    ) -> Result<Option<String>, UploadError> {
        let mut scan = Peek::default();
        self.0.source.borrow_mut().unrouted = true;
        while let Some(piece) = self.next(sweep, waited).await? {
            scan.feed(&piece)?;
            if scan.model().is_some() {
                break;
            }
        }
        let mut source = self.0.source.borrow_mut();
        source.unrouted = false;
        if source.rest.is_none() {
            scan.finish()?;
        }
        let model = scan.model().map(str::to_owned);
        source.scan = source.rest.is_some().then_some(scan);
        Ok(model)
    }

    async fn next(
        &self,
        sweep: &Rc<Sweep>,
        waited: &mut Duration,
    ) -> Result<Option<Bytes>, UploadError> {
        let mut since = None;
        let polled = std::future::poll_fn(|cx| {
            let polled = self.poll_next(cx, sweep);
            if polled.is_pending() {
                since.get_or_insert_with(Instant::now);
            }
            polled
        })
        .await;
        *waited += since.map_or(Duration::ZERO, |since| since.elapsed());
        polled
    }

    /// Guards the caller's silence while attempts read the rest.
    pub(crate) fn watch_idle(&self, sweep: &Rc<Sweep>) {
        let mut source = self.0.source.borrow_mut();
        if source.rest.is_some() && source.idle.is_none() {
            source.idle = Some(sweep.alarm());
        }
    }

    /// The body from its first byte, for one attempt.
    #[must_use]
    pub(crate) fn attempt(&self) -> UploadBody {
        UploadBody {
            upload: self.clone(),
            next: 0,
            sent: 0,
        }
    }

    /// Whether another attempt could send all of it.
    #[must_use]
    pub(crate) fn can_repeat(&self) -> bool {
        let source = self.0.source.borrow();
        !source.gone && source.error.is_none()
    }

    /// Whether all of it has been read from the caller.
    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        self.0.source.borrow().rest.is_none()
    }

    /// What went wrong on the caller's side, if anything did.
    #[must_use]
    pub(crate) fn error(&self) -> Option<UploadError> {
        self.0.source.borrow().error.clone()
    }

    /// Bytes read from the caller.
    #[must_use]
    pub(crate) fn read(&self) -> u64 {
        self.0.read.get()
    }

    /// The next piece from the caller, kept if there is room.
    fn poll_next(
        &self,
        cx: &mut Context<'_>,
        sweep: &Rc<Sweep>,
    ) -> Poll<Result<Option<Bytes>, UploadError>> {
        let polled = self.poll_rest(cx);
        if polled.is_pending() {
            self.watch_idle(sweep);
            return self.poll_idle(cx);
        }
        polled
    }

    fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, UploadError>> {
        let source = &mut *self.0.source.borrow_mut();
        let limit = self.0.bounds.idle;
        let Some(alarm) = &source.idle else {
            return Poll::Pending;
        };
        if !std::mem::replace(&mut source.silent, true) {
            alarm.set(Instant::now() + limit);
        }
        if alarm.poll_due(cx).is_pending() {
            return Poll::Pending;
        }
        source.rest = None;
        source.error = Some(UploadError::Stalled { limit });
        Poll::Ready(Err(UploadError::Stalled { limit }))
    }

    fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, UploadError>> {
        let source = &mut *self.0.source.borrow_mut();
        if let Some(error) = &source.error {
            return Poll::Ready(Err(error.clone()));
        }
        loop {
            let Some(rest) = &mut source.rest else {
                return Poll::Ready(Ok(None));
            };
            let frame = ready!(Pin::new(&mut *rest).poll_frame(cx));
            source.silent = false;
            let piece = match frame {
                None => {
                    source.rest = None;
                    source.idle = None;
                    let whole = source.scan.take().map_or(Ok(()), |scan| scan.finish());
                    return Poll::Ready(source.fail(whole).map(|()| None));
                }
                Some(Err(_)) => {
                    return Poll::Ready(source.fail(Err(UploadError::Cut)).map(|()| None));
                }
                // Trailers of a request carry nothing that routing or
                // inference knows.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => piece,
                    Err(_) => continue,
                },
            };
            if rest.is_end_stream() {
                source.rest = None;
                source.idle = None;
            }
            let read = self.0.read.get() + piece.len() as u64;
            self.0.read.set(read);
            if read > self.0.bounds.bytes {
                let error = UploadError::TooLarge {
                    limit: self.0.bounds.bytes,
                };
                return Poll::Ready(source.fail(Err(error)).map(|()| None));
            }
            if let Some(scan) = &mut source.scan {
                let fed = scan.feed(&piece);
                let fed = if source.rest.is_none() {
                    fed.and_then(|()| scan.finish())
                } else {
                    fed
                };
                if fed.is_err() {
                    return Poll::Ready(source.fail(fed).map(|()| None));
                }
            }
            let kept = source.keep(&piece, &self.0.memory);
            return Poll::Ready(kept.map(|()| Some(piece)));
        }
    }
}

impl Source {
    fn fail<E: Into<UploadError>>(&mut self, outcome: Result<(), E>) -> Result<(), UploadError> {
        outcome.map_err(|error| {
            let error = error.into();
            self.rest = None;
            self.error = Some(error.clone());
            error
        })
    }

    /// Keeps a piece if there is room; while the body is not routed yet, it must
    /// be kept.
    fn keep(&mut self, piece: &Bytes, memory: &ReplayMemory) -> Result<(), UploadError> {
        if self.gone {
            return Ok(());
        }
        let charge = i64::try_from(piece.len() + PIECE).unwrap_or(i64::MAX);
        if !memory.take(charge) {
            if !self.unrouted {
                self.gone = true;
                return Ok(());
            }
            if self.kept_bytes + piece.len() > ALWAYS_KEPT {
                return self.fail(Err(UploadError::NoRoom));
            }
            memory.overdraw(charge);
        }
        self.charged += charge;
        self.kept_bytes += piece.len();
        self.kept.push(if piece.len() < SMALL {
            Bytes::copy_from_slice(piece)
        } else {
            piece.clone()
        });
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.memory.give(self.source.get_mut().charged);
    }
}

/// One attempt's view of an [`Upload`].
#[derive(Debug)]
pub(crate) struct UploadBody {
    upload: Upload,
    next: usize,
    sent: u64,
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let kept = self.upload.0.source.borrow().kept.get(self.next).cloned();
        let piece = match kept {
            Some(piece) => {
                self.next += 1;
                piece
            }
            None => {
                let mut polled = self.upload.poll_rest(cx);
                if polled.is_pending() {
                    polled = self.upload.poll_idle(cx);
                }
                let Some(piece) = ready!(polled)? else {
                    return Poll::Ready(None);
                };
                self.next += 1;
                piece
            }
        };
        self.sent += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let source = self.upload.0.source.borrow();
        source.rest.is_none() && source.error.is_none() && self.next >= source.kept.len()
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.upload.0.source.borrow();
        let whole = if source.rest.is_none() && !source.gone {
            Some(source.kept_bytes as u64)
        } else {
            self.upload.0.declared
        };
        whole.map_or_else(SizeHint::default, |bytes| {
            SizeHint::with_exact(bytes.saturating_sub(self.sent))
        })
    }
}
