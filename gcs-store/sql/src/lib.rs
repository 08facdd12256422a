#![doc = include_str!("../README.md")]

mod connect;
mod connection;
pub mod crash;
mod database;
mod dialect;
mod driver;
mod error;
mod migrate;
mod pool;
mod settings;
mod text;
mod transaction;
mod value;
mod version;

pub use connection::Connection;
pub use database::Database;
pub use dialect::{Dialect, placeholders};
pub use error::Error;
pub use migrate::{Migrations, Step};
pub use settings::{Password, Settings};
pub use transaction::Transaction;
pub use value::{Row, Value};
