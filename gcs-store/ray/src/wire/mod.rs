//! Ray's rows as protobuf messages, as far as they are shown.

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, reason = "generated from the .proto")]
#[rustfmt::skip]
pub(crate) mod generated;

pub(crate) use generated::*;
