#![doc = include_str!("../README.md")]

mod access;
mod body;
mod budget;
mod call;
mod cause;
pub mod config;
mod core;
mod deadline;
mod dialect;
mod dispatch;
mod entry;
mod error;
mod fleet;
mod flow;
mod gateway;
mod health;
mod hop;
mod listen;
mod load;
mod metrics;
mod peek;
mod pool;
mod record;
mod render;
mod route;
mod socket;
mod span;
mod sse;
mod stack;
mod sweep;
mod tally;
mod trace;
mod upload;

pub use config::Config;
pub use error::Error;
pub use gateway::{Gateway, Handle};
