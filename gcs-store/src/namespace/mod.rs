//! Namespaces as objects: made, protected, bounded, frozen, deleted, found.
//!
//! A namespace holds the state of one Ray cluster. The store makes one when the
//! first head names it; an operator does everything else, by SQL, whether a
//! store is running or not.

mod applied;
mod catalog;
mod credential;
mod error;
mod guard;
mod lifecycle;
mod list;
mod password;

pub use applied::Applied;
pub(crate) use catalog::Change;
pub use catalog::{Catalog, Record, State, Version};
pub use credential::{Password, Weak, hash};
pub use error::{Error, Refusal};
pub use guard::{Foreign, cluster_guard};
pub use lifecycle::{GRACE, Quota};
pub use list::{Head, Listed};
pub use password::Credential;
