//! The stack of one core, written once and read as a request travels.

use std::rc::Rc;

use tower::{Service, ServiceBuilder};

use crate::{
    call::{Call, Refusal, Reply},
    deadline::{Deadline, LimitBook},
    route::Route,
    trace::Trace,
};

/// From the outermost layer to the one that sends.
pub(crate) fn stack(
    limits: Rc<LimitBook>,
    route: Route,
) -> impl Service<Call, Response = Reply, Error = Refusal, Future: Future> + Clone {
    ServiceBuilder::new()
        .layer(Trace::layer()) // names the request
        .layer(Deadline::layer(limits)) // bounds everything below
        .service(route) // where, and again?
}
