//! RESP2, the wire Redis speaks, as far as a store for Ray's state needs it.
//!
//! ```text
//!   bytes in --> Parser --> Request      (a server reads)
//!   Reply ----> encode ---> bytes out    (a server answers)
//!
//!   write_command --> bytes out          (a client asks)
//!   bytes in --> ReplyParser --> Reply   (a client reads)
//! ```
//!
//! Parsing and writing are pure: bytes in, values out, no I/O and no clock. Only
//! [`client`] opens sockets. Everything is bytes-safe; the one place where text
//! is assumed is the status and error lines, which the protocol defines as text.

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
