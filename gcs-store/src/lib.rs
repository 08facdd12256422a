//! Keeps the state of Ray clusters in SQL, behind a RESP front.

pub mod config;
pub mod copies;
mod front;
mod gcs;
pub mod metrics;
pub mod namespace;
pub mod overview;
