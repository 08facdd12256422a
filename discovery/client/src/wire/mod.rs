//! The registry's contract as protobuf messages, and the way between the two.
//!
//! What arrives is checked once, here; behind this module only our own types
//! exist. Messages in the other direction cannot fail.
//!
//! ```text
//!   Endpoint, Event, Error  -- into ->  generated  -- tonic ->  the wire
//!            ^                              |
//!            +---- checked, or Malformed ---+
//! ```
//!
//! Invariants:
//! 1. What was written is read back equal (`what_is_written_is_read_back`).
//! 2. A list of any length travels in messages of at most [`MAX_MESSAGE`]
//!    bytes and arrives whole (`a_long_list_arrives_whole`).
//! 3. A record that this version cannot read is as good as absent; it never
//!    ends a watch (`an_unreadable_record_is_absent`).

#[allow(missing_docs, unused_qualifications, clippy::all, reason = "generated from the .proto")]
#[rustfmt::skip]
pub mod generated;

mod record;
mod update;

pub use update::{Assembler, updates};

/// Largest message either side takes, in bytes: the largest record fits, and so
/// does one piece of a list.
pub const MAX_MESSAGE: usize = 4 << 20;

/// Most records in one list. A longer one is refused.
pub const MAX_LIST: usize = 1 << 18;

/// Why a message is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A required field is absent.
    #[error("`{field}` is missing")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A name is not a name.
    #[error("`{field}` is not a name")]
    Name {
        /// Which.
        field: &'static str,
        /// Why not.
        #[source]
        source: crate::NameError,
    },
    /// The address is not an address.
    #[error("`address` is not an address")]
    Address(#[from] crate::AddressError),
    /// An enumeration has a value this version does not know.
    #[error("`{field}` has the unknown value {value}")]
    Unknown {
        /// Which.
        field: &'static str,
        /// What it said.
        value: i32,
    },
    /// The record names more applications than one endpoint may.
    #[error("{count} applications in one record, at most {max} are allowed", max = crate::MAX_APPLICATIONS)]
    TooManyApplications {
        /// How many it names.
        count: usize,
    },
    /// The list has more than [`MAX_LIST`] records.
    #[error("the list has more than {MAX_LIST} records")]
    TooLong,
}
