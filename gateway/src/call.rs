//! The three words every layer of the stack speaks.

use std::{rc::Rc, time::Duration};

use discovery_client::Application;
use federation::plan::Nowhere;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::{
    body::ReplyBody,
    cause::Cause,
    config::Limits,
    dialect::Dialect,
    peek::Malformed,
    record::Record,
    sweep::Alarm,
    upload::{Upload, UploadError},
};

/// One request, read as far as routing needs.
#[derive(Debug)]
pub(crate) struct Call {
    /// Whose replicas are asked.
    pub application: Application,
    /// In which words the caller spoke and wants its refusals.
    pub dialect: Dialect,
    /// As received.
    pub method: Method,
    /// As received.
    pub uri: Uri,
    /// As received, hop-by-hop fields taken out.
    pub headers: HeaderMap,
    /// What the gateway adds, in the place of what the caller sent of that name.
    /// Beside the others because a map that is full must be built anew.
    pub added: Vec<(HeaderName, HeaderValue)>,
    /// The body; each attempt sends it from the start.
    pub body: Upload,
    /// Must not leave this site: it came from another, or its caller says so.
    pub stay: bool,
    /// May be sent again though an earlier attempt may have been acted upon.
    pub repeatable: bool,
    /// How long each phase may take.
    pub limits: Limits,
    /// The caller set a shorter limit than the operator, so silence past it
    /// says nothing of the replica.
    pub hurried: bool,
    /// Rings when the present phase has taken too long.
    pub alarm: Alarm,
    /// What is told of the request when it ends.
    pub record: Rc<Record>,
}

/// What goes back: an answer whose head is final and whose body may be on its
/// way still.
pub(crate) type Reply = http::Response<ReplyBody>;

/// Why a call was not answered by a replica. [`render`](crate::render) turns it
/// into an answer in the caller's dialect.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The body is not what the dialect needs to be routed.
    #[error("the body is not valid JSON: {0}")]
    Malformed(#[from] Malformed),
    /// The body names no application.
    #[error("the body names no model")]
    NoModel,
    /// The name cannot be one.
    #[error("{name:?} is not a model's name")]
    BadModel {
        /// As given, cut to 100 characters.
        name: String,
    },
    /// Nobody serves this path.
    #[error("no such route: {method} {path}")]
    NoRoute {
        /// As received.
        method: Method,
        /// As received, cut to 200 characters.
        path: String,
    },
    /// The path exists for another method.
    #[error("{path} takes {allow}")]
    Method {
        /// As received.
        path: String,
        /// What it takes.
        allow: &'static str,
    },
    /// The request gives its length twice, in two ways.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// A header the gateway reads has a value it cannot be.
    #[error("{name}: {value:?} is not allowed: {allowed}")]
    Header {
        /// Which.
        name: &'static str,
        /// As given, cut to 100 characters.
        value: String,
        /// What would do.
        allowed: &'static str,
    },
    /// The body could not be read to its end.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Nothing can take the call.
    #[error("{application}: {}", match .why {
        Nowhere::Unknown => "no replica serves it here or in a peer site",
        Nowhere::Full => "every replica is at its limit",
        Nowhere::Down => "no replica is healthy",
    })]
    Nowhere {
        /// What was asked for.
        application: Application,
        /// Why not.
        why: Nowhere,
        /// When it may be worth another try.
        retry_after: Duration,
    },
    /// Every attempt failed.
    #[error("{application}: {cause}")]
    Failed {
        /// What was asked for.
        application: Application,
        /// How the last attempt failed.
        cause: Cause,
    },
    /// The whole time given to the request is over.
    #[error("{application}: the request took longer than {limit:?} in all")]
    TotalTime {
        /// What was asked for.
        application: Application,
        /// The limit.
        limit: Duration,
    },
}
