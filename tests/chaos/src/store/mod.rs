//! The store under test: real processes, clients that write down what they see,
//! and the checker that judges it.
//!
//! Shares no code with the product: the clients speak RESP by themselves, and
//! the model is a dozen lines.

pub mod certificates;
pub mod clients;
pub mod crash;
pub mod databases;
pub mod endurance;
pub mod history;
pub mod linear;
mod lives;
pub mod process;
pub mod scene;
pub mod tap;
pub mod trial;
pub mod wire;
