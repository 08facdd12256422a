//! What a table holds: names, positions, entries and their bounds.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::lease::LeaseId;
use crate::{Error, Row};

/// Longest key of an entry, in bytes.
pub const KEY_MAX_BYTES: usize = 512;

/// Largest value of an entry, in bytes.
pub const VALUE_MAX_BYTES: usize = 1 << 20;

/// Greater than every key: one byte longer than a key may be.
const ABOVE_ALL: [u8; KEY_MAX_BYTES + 1] = [0xff; KEY_MAX_BYTES + 1];

/// The name of a table: 1 to 64 of `a-z`, `0-9`, `.`, `_`, `-` and `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName(Arc<str>);

impl TableName {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is empty, too long or has another character.
    pub fn new(text: &str) -> Result<Self, Error> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-/".contains(&c);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.into()));
        }
        Err(Error::invalid(format!(
            "{text:?} is not the name of a table: use 1 to 64 of a-z, 0-9, . _ - /"
        )))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A position in the one history of all tables; 0 before the first change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub i64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One entry, as it stands at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key, unique within the table.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// The revision that made it, after its last absence.
    pub created: Revision,
    /// The revision that changed it last.
    pub modified: Revision,
    /// How many times it was written since it was made; 1 at first.
    pub version: i64,
    /// The lease it leaves with, if any.
    pub lease: Option<LeaseId>,
}

/// The columns that [`entry`] reads.
pub(super) const ENTRY: &str = "k, value, created, revision, version, lease";

/// The entry in a row of [`ENTRY`].
pub(super) fn entry(row: &Row) -> Result<Entry, Error> {
    Ok(Entry {
        key: row.bytes(0)?,
        value: row.bytes(1)?,
        created: Revision(row.int(2)?),
        modified: Revision(row.int(3)?),
        version: row.int(4)?,
        lease: row.opt_int(5)?.map(LeaseId),
    })
}

pub(super) fn check_key(key: &[u8]) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::invalid("the key of an entry is empty")),
        size if size > KEY_MAX_BYTES => Err(Error::TooLarge {
            what: "key",
            size,
            limit: KEY_MAX_BYTES,
        }),
        _ => Ok(()),
    }
}

/// A part of a table: the keys from `from` up to but without `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) from: Bytes,
    pub(super) to: Bytes,
}

impl Keys {
    pub(super) fn all() -> Self {
        Self::prefixed(Bytes::new())
    }

    pub(super) fn prefixed(prefix: Bytes) -> Self {
        let to = successor(&prefix);
        Self { from: prefix, to }
    }
}

/// The least key that is greater than all that begin with `prefix`.
fn successor(prefix: &[u8]) -> Bytes {
    let Some(last) = prefix.iter().rposition(|byte| *byte != 0xff) else {
        return Bytes::from_static(&ABOVE_ALL);
    };
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    next.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(&*successor(b"ab"), b"ac");
        assert_eq!(&*successor(b"a\xff\xff"), b"b");
        assert!(*successor(b"") > [0xff; KEY_MAX_BYTES][..]);
        assert!(*successor(b"\xff") > [0xff; KEY_MAX_BYTES][..]);
    }

    #[test]
    fn names_and_keys_are_bounded() {
        assert!(TableName::new("registry/east-1").is_ok());
        for wrong in ["", "Ray", "a b", &"x".repeat(65)] {
            assert!(TableName::new(wrong).is_err(), "{wrong:?}");
        }
        assert!(check_key(&[0; KEY_MAX_BYTES]).is_ok());
        assert!(matches!(
            check_key(&[0; KEY_MAX_BYTES + 1]),
            Err(Error::TooLarge { limit: 512, .. })
        ));
        assert!(check_key(b"").is_err());
    }
}
