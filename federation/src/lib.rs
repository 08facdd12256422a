#![doc = include_str!("../README.md")]

mod config;
mod error;
pub mod peers;
pub mod plan;

pub use config::{Config, PeerConfig};
pub use error::Error;
