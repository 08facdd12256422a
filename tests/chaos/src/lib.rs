//! Starts real processes, breaks them, checks the promises.
//!
//! Everything runs through the built binary `tradewind`, as a user runs it,
//! against real things: the official OpenAI client, real Ray Serve clusters,
//! `kill -9`. What the load saw is written down as a history, and a checker
//! that shares no code with the binary reads it again.
//!
//! ```text
//!   test ---- starts, kills ----> Family of processes (tradewind, ray, python)
//!     |                                   ^
//!     +-- load through discovery_client --+
//!     |                |
//!     |             history, one line a request
//!     |                v
//!     +-- asserts -- ledger::check
//! ```
//!
//! Invariants:
//! 1. Only processes that this crate started are ever signalled: each family
//!    carries a mark of its own in its environment (`family`).
//! 2. A test leaves nothing behind: the guards kill what is left when they are
//!    dropped, also while a test fails.
//! 3. Nothing sleeps for a time that is hoped to be enough: conditions are
//!    polled, with a deadline (`wait`).

pub mod binary;
pub mod dev;
pub mod family;
pub mod http;
pub mod ledger;
pub mod load;
pub mod ports;
pub mod process;
pub mod ray;
pub mod site;
pub mod venv;
pub mod wait;
