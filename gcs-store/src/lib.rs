#![doc = include_str!("../README.md")]

pub mod config;
pub mod copies;
mod error;
mod front;
mod gcs;
mod incarnations;
pub mod metrics;
pub mod namespace;
pub mod overview;
pub mod schema;
pub mod snapshot;
mod store;

pub use config::Config;
pub use error::Error;
pub use front::{
    FrontError, HandoverError, Inherited, Report, Slow, TlsError,
    handover::status as handover_status,
};
pub use gcs::{
    blob,
    clock::now_ms,
    command::{INLINE_MAX, Stored},
    image::Usage,
    key,
    session::Standing,
    status::{Loaded, Status},
};
pub use incarnations::incarnations;
pub use store::{Handle, Store};
