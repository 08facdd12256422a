#![doc = include_str!("../README.md")]

mod backlog;
mod config;
mod connection;
mod durable;
mod error;
mod indexer;
mod ledger;
mod memory;
mod service;

pub use config::Config;
pub use durable::DurableRegistry;
pub use error::Error;
pub use indexer::Indexer;
pub use memory::MemoryRegistry;
pub use service::Service;
