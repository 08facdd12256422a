//! Names the request for everybody below and behind it.
//!
//! Stands outermost: whatever is decided further down, the request already has
//! its id and its span, and the replica gets both.

use std::task::{Context, Poll};

use tower::{Layer, Service, layer::layer_fn};

use crate::{
    call::{Call, Refusal, Reply},
    record::REQUEST_ID,
};

/// The layer. See the module.
#[derive(Debug, Clone)]
pub(crate) struct Trace<S> {
    inner: S,
}

impl<S> Trace<S> {
    /// Names requests.
    pub(crate) fn layer() -> impl Layer<S, Service = Self> + Clone {
        layer_fn(|inner| Self { inner })
    }
}

impl<S> Service<Call> for Trace<S>
where
    S: Service<Call, Response = Reply, Error = Refusal>,
{
    type Response = Reply;
    type Error = Refusal;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> S::Future {
        call.record.application(&call.application);
        call.record.trace(&call.headers);
        call.added.push((REQUEST_ID, call.record.id().clone()));
        self.inner.call(call)
    }
}
