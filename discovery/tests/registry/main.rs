//! The registry's public behaviour, in memory and through the wire.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is a failure with a place"
)]

mod memory;
mod registrar;
mod restart;
mod stage;
mod suite;
mod wire;
