//! What Ray's tables mean.
//!
//! Ray's Global Control Store keeps its state as a few hashes of protobuf
//! rows. This crate names them ([`StorageKey`]). It reads no socket and no
//! disk.

mod keys;

pub use keys::{NameError, NamespaceName, StorageKey, TableName, User};
