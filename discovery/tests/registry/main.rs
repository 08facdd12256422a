//! The registry's public behaviour, in memory, through the wire and in
//! a database.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is a failure with a place"
)]

mod durable;
mod memory;
mod registrar;
mod restart;
mod stage;
mod suite;
mod wire;
