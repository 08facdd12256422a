#![doc = include_str!("../README.md")]

mod config;
mod connection;
mod error;
mod indexer;
mod ledger;
mod memory;
mod service;

pub use config::Config;
pub use error::Error;
pub use indexer::Indexer;
pub use memory::MemoryRegistry;
pub use service::Service;
