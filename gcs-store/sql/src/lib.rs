#![doc = include_str!("../README.md")]

mod connect;
mod connection;
pub mod crash;
mod database;
mod dialect;
mod driver;
mod error;
mod fence;
mod migrate;
mod pool;
mod settings;
mod table;
mod text;
mod transaction;
mod value;
mod version;

pub use connection::Connection;
pub use database::Database;
pub use dialect::{Dialect, placeholders};
pub use error::Error;
pub use fence::{Epoch, Fence, Holding, Ledger};
pub use migrate::{Migrations, Step};
pub use settings::{Password, Settings};
pub use table::{
    Cause, Change, Condition, Entry, Event, KEY_MAX_BYTES, Keep, LeaseId, OPERATIONS_MAX, Outcome,
    Pace, Page, Range, Revision, TRANSACTION_MAX_BYTES, TableName, Tables, VALUE_MAX_BYTES, Write,
};
pub use transaction::Transaction;
pub use value::{Row, Value};
