//! What holds on every database, tried on every database.
//!
//! Servers are real, start once for all tests, and each test has a database of
//! its own. Tests that stop or kill a server start one for themselves.

#![expect(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod errors;
mod migrations;
mod outages;
mod servers;
mod tls;
mod transactions;
mod values;
