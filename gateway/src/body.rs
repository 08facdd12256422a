//! The body of an answer on its way to the client.
//!
//! Either whole in memory (a refusal, a short answer) or a [`Flow`], which
//! comes from the replica as it goes.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    flow::{Broken, Flow},
    record::Record,
    socket::Answering,
};

/// A body. See the module.
#[derive(Debug)]
pub(crate) struct ReplyBody {
    kind: Kind,
    /// Who is told when the body was sent or dropped.
    held_by: Option<(Rc<Record>, Answering)>,
}

#[derive(Debug)]
enum Kind {
    Whole(Option<Bytes>),
    Flow(Box<Flow>),
}

impl ReplyBody {
    /// A body that is all there.
    #[must_use]
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())),
            held_by: None,
        }
    }

    /// A body that is on its way.
    #[must_use]
    pub(crate) fn flow(flow: Flow) -> Self {
        Self {
            kind: Kind::Flow(Box::new(flow)),
            held_by: None,
        }
    }

    /// Keeps the request's record open and its connection busy until the body
    /// is sent.
    #[must_use]
    pub(crate) fn held_by(mut self, record: Rc<Record>, answering: Answering) -> Self {
        self.held_by = Some((record, answering));
        self
    }

    /// Whether it comes from the replica as it goes.
    #[must_use]
    pub(crate) fn is_flow(&self) -> bool {
        matches!(self.kind, Kind::Flow(_))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Self { kind, held_by } = &mut *self;
        match kind {
            Kind::Whole(bytes) => {
                let bytes = bytes.take();
                if let (Some(bytes), Some((record, _))) = (&bytes, held_by) {
                    record.chunk(bytes.len(), Duration::ZERO);
                }
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Kind::Flow(flow) => flow.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Flow(flow) => flow.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Flow(flow) => flow.size_hint(),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        let untaken = match &self.kind {
            Kind::Whole(bytes) => bytes.is_some(),
            Kind::Flow(flow) => !flow.is_over(),
        };
        if untaken && let Some((record, _)) = &self.held_by {
            record.abandoned();
        }
    }
}
