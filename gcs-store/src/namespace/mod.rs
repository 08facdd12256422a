//! Namespaces as objects.

mod credential;
mod guard;

pub use credential::{Password, Weak, hash, verify};
pub use guard::{Foreign, cluster_guard};
