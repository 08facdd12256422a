#![doc = include_str!("../README.md")]

pub mod client;
mod command;
mod error;
mod inline;
mod number;
mod pattern;
mod reply;
mod reply_parser;
mod request;

pub use client::{Client, Target};
pub use command::write_command;
pub use error::ProtocolError;
pub use pattern::{Glob, Pattern};
pub use reply::{
    Reply, write_array_header, write_bulk, write_bulk_header, write_error, write_int, write_null,
    write_status,
};
pub use reply_parser::{ReplyLimits, ReplyParser};
pub use request::{Limits, Parser, Request};
