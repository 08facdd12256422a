//! The RESP front: connections in, commands to the engine, replies out.

pub(crate) mod auth;
pub(crate) mod tls;
pub(crate) mod translate;
pub(crate) mod verb;
