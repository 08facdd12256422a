//! The body of a target's answer, whichever protocol brings it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::h1::{Answer, Fault, Line};

/// A replica's answer over HTTP/1.1, or a peer gateway's over HTTP/2. Dropping
/// it before its end tells the sender to stop.
#[derive(Debug)]
pub(crate) enum Download {
    /// From a replica.
    Replica(Answer),
    /// From a peer gateway.
    Peer(Incoming),
}

impl Download {
    /// The replica's connection, if it can be used again.
    pub(crate) fn line(&mut self) -> Option<Line> {
        match self {
            Self::Replica(answer) => answer.line(),
            Self::Peer(_) => None,
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match &mut *self {
            Self::Replica(answer) => Pin::new(answer).poll_frame(cx),
            Self::Peer(body) => Pin::new(body).poll_frame(cx).map_err(|_| Fault::Cut),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Replica(answer) => answer.is_end_stream(),
            Self::Peer(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Replica(answer) => answer.size_hint(),
            Self::Peer(body) => body.size_hint(),
        }
    }
}
