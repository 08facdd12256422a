//! What a client may ask of the store, and what it is told.
//!
//! The subset of Redis that Ray's Global Control Store speaks, typed: who
//! translates from the wire has checked arity and keys, who executes knows
//! nothing of RESP.

use std::borrow::Cow;

use bytes::Bytes;
use ray_tables::StorageKey;
use resp::Pattern;

/// Values of at most this many bytes are kept in memory and in the journal;
/// larger ones are stored apart, once for each content.
pub const INLINE_MAX: usize = 16 * 1024;

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Here.
    Inline(Bytes),
    /// In the table of blobs, by the BLAKE3 hash of its content.
    Blob {
        /// BLAKE3 of the content.
        hash: [u8; 32],
        /// Its length in bytes.
        size: u64,
    },
}

impl Stored {
    /// Bytes of the value, wherever they are.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob { size, .. } => *size,
        }
    }
}

/// One command.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Writes a field; 1 if it is new, 0 if it was replaced.
    Hset {
        /// The table.
        key: StorageKey,
        /// Its name.
        field: Bytes,
        /// What it is to hold.
        value: Stored,
    },
    /// Writes a field unless it is there; 1 if it was written, else 0.
    Hsetnx {
        /// The table.
        key: StorageKey,
        /// Its name.
        field: Bytes,
        /// What it is to hold.
        value: Stored,
    },
    /// Reads a field.
    Hget {
        /// The table.
        key: StorageKey,
        /// Its name.
        field: Bytes,
    },
    /// Reads fields, in the order asked.
    Hmget {
        /// The table.
        key: StorageKey,
        /// Their names.
        fields: Vec<Bytes>,
    },
    /// 1 if the field is there, else 0.
    Hexists {
        /// The table.
        key: StorageKey,
        /// Its name.
        field: Bytes,
    },
    /// Deletes fields; how many were there.
    Hdel {
        /// The table.
        key: StorageKey,
        /// Their names.
        fields: Vec<Bytes>,
    },
    /// How many fields a table has.
    Hlen {
        /// The table.
        key: StorageKey,
    },
    /// One page of a table: the next cursor and fields with values.
    Hscan {
        /// The table.
        key: StorageKey,
        /// Where to go on; 0 begins.
        cursor: u64,
        /// Only fields like this.
        pattern: Option<Pattern>,
        /// About how many.
        count: u32,
    },
    /// Deletes tables; how many were there.
    Del {
        /// The tables.
        keys: Vec<StorageKey>,
    },
    /// One page of the tables' keys: the next cursor and keys.
    Scan {
        /// Where to go on; 0 begins.
        cursor: u64,
        /// Only keys like this.
        pattern: Option<Pattern>,
        /// About how many.
        count: u32,
    },
    /// Adds to the counter; its new value.
    Incrby {
        /// The counter.
        key: StorageKey,
        /// How much to add.
        by: i64,
    },
    /// Reads the counter.
    Get {
        /// The counter.
        key: StorageKey,
    },
}

/// The answer to one command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// A word such as `OK`.
    Status(&'static str),
    /// A number.
    Int(i64),
    /// A value.
    Bulk(Stored),
    /// No such thing.
    Null,
    /// Several.
    Array(Vec<Self>),
    /// Refused; the first word is the kind, as `ERR` or `WRONGTYPE`.
    Error(Cow<'static, str>),
}
