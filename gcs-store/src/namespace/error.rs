//! Why the catalog did not do what it was asked.

use ray_tables::NamespaceName;

use super::{Weak, catalog::State};

/// Why an operation on a namespace was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A safety rule forbids it, and nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such namespace.
    #[error("there is no namespace {name}")]
    Missing {
        /// What was asked for.
        name: NamespaceName,
    },
    /// There is no such password.
    #[error("namespace {name} has no password number {id}")]
    NoPassword {
        /// Whose.
        name: NamespaceName,
        /// Its number.
        id: i64,
    },
    /// The password cannot be used.
    #[error(transparent)]
    Weak(#[from] Weak),
    /// The database did not do it; whether to retry is for the source to say.
    #[error("catalog could not be read or changed")]
    Sql(#[from] gcs_sql::Error),
}

/// A safety rule that forbids something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name is taken.
    #[error("namespace {name} exists already and is {state}")]
    Exists {
        /// Whose name.
        name: NamespaceName,
        /// What it is.
        state: State,
    },
    /// It holds something that would be lost.
    #[error("namespace {name} is not empty: it has {rows} rows")]
    NotEmpty {
        /// Which.
        name: NamespaceName,
        /// How many rows.
        rows: u64,
    },
    /// A head uses it.
    #[error("a head used namespace {name} {seconds} s ago; stop it first")]
    InUse {
        /// Which.
        name: NamespaceName,
        /// How long ago.
        seconds: i64,
    },
    /// It is not in a state that allows it.
    #[error("namespace {name} is {state}")]
    State {
        /// Which.
        name: NamespaceName,
        /// What it is.
        state: State,
    },
    /// Somebody writes a copy into it.
    #[error(
        "namespace {name} is being written by another copy; its last sign of life came {seconds} s ago"
    )]
    Copying {
        /// Which.
        name: NamespaceName,
        /// How long ago.
        seconds: i64,
    },
    /// A store has written what the tables do not show yet.
    #[error(
        "namespace {name} has changes that no store has folded into the tables yet; \
         start a store, wait some seconds and try again"
    )]
    Unfolded {
        /// Which.
        name: NamespaceName,
    },
    /// A store may have it in memory.
    #[error("a store is registered as active and does not answer; start one, and try again")]
    Silent,
    /// Without it everybody could enter.
    #[error(
        "namespace {name} has no other password; without one whoever reaches the store may enter"
    )]
    LastPassword {
        /// Whose.
        name: NamespaceName,
    },
}
