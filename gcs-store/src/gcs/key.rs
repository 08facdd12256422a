//! The key of a row: namespace, table and field as one binary column.
//!
//! ```text
//!   namespace id      table             field
//!   8 bytes, big-   | 1 byte length + | the field, or for a long one its first
//!   endian          | name            | 900 bytes and its BLAKE3 hash
//! ```
//!
//! One column makes any set of rows one `IN` list, whatever namespaces they
//! belong to, and a table or a namespace one range. The order of short fields
//! is the order of their bytes.
//!
//! Invariants:
//! 1. Different fields have different keys (`different_fields_have_different_keys`):
//!    a long field's key is longer than any short one's.

use bytes::{BufMut as _, Bytes, BytesMut};
use ray_tables::TableName;

/// Longest field that stands in the key as it is.
pub const FIELD_IN_KEY: usize = 900;

/// Longest field that is accepted, in bytes.
pub const FIELD_MAX: usize = 64 * 1024;

const HASH: usize = 32;

/// The number a namespace has in the database; above 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct NamespaceId(pub i64);

impl NamespaceId {
    /// A number that no other namespace has, nor had: rows of one that was
    /// purged must never become another's. One of 2^62 by chance.
    #[must_use]
    pub fn fresh() -> Self {
        Self(fastrand::i64(1..1 << 62))
    }
}

/// The key of one row.
#[must_use]
pub fn row(namespace: NamespaceId, table: &TableName, field: &[u8]) -> Bytes {
    let mut key = prefix(namespace, table, field.len().min(FIELD_IN_KEY + HASH));
    if field.len() <= FIELD_IN_KEY {
        key.put_slice(field);
    } else {
        key.put_slice(&field[..FIELD_IN_KEY]);
        key.put_slice(blake3::hash(field).as_bytes());
    }
    key.freeze()
}

/// The field if the key cannot tell it: what the column `long_field` holds.
#[must_use]
pub fn long_field(field: &Bytes) -> Option<Bytes> {
    (field.len() > FIELD_IN_KEY).then(|| field.clone())
}

/// The rows of a table: from the first key, up to but without the second.
#[must_use]
pub fn table_range(namespace: NamespaceId, table: &TableName) -> (Bytes, Bytes) {
    let first = prefix(namespace, table, 0).freeze();
    let end = after(&first);
    (first, end)
}

/// The rows of a namespace: from the first key, up to but without the second.
#[must_use]
pub fn namespace_range(namespace: NamespaceId) -> (Bytes, Bytes) {
    let first = Bytes::copy_from_slice(&namespace.0.to_be_bytes());
    let end = after(&first);
    (first, end)
}

/// What a key says; the field is what `long_field` holds if that is there.
///
/// `None`: no key of ours.
#[must_use]
pub fn parse(key: &Bytes, long_field: Option<Bytes>) -> Option<(NamespaceId, TableName, Bytes)> {
    let (namespace, rest) = key.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first()?;
    let (table, field) = rest.split_at_checked(usize::from(*length))?;
    let table = TableName::new(str::from_utf8(table).ok()?).ok()?;
    let field = long_field.unwrap_or_else(|| key.slice_ref(field));
    Some((NamespaceId(i64::from_be_bytes(*namespace)), table, field))
}

fn prefix(namespace: NamespaceId, table: &TableName, more: usize) -> BytesMut {
    let table = table.as_str().as_bytes();
    let mut key = BytesMut::with_capacity(8 + 1 + table.len() + more);
    key.put_i64(namespace.0);
    key.put_u8(u8::try_from(table.len()).expect("a table's name has at most 64 bytes"));
    key.put_slice(table);
    key
}

/// The first key behind all that begin with `prefix`.
fn after(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX);
    // A namespace's id is above 0, so its first byte never is 0xff.
    let kept = kept.expect("an id's first byte is below 0x80");
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    end.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(name: &str) -> TableName {
        TableName::new(name).unwrap()
    }

    fn field() -> impl Strategy<Value = Bytes> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            (890_usize..960, any::<u8>()).prop_map(|(length, last)| {
                let mut field = vec![b'x'; length];
                field[length - 1] = last;
                field
            }),
        ]
        .prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn a_key_says_what_it_was_made_of(id in 1..i64::MAX, field in field()) {
            let key = row(NamespaceId(id), &table("KV"), &field);
            let read = parse(&key, long_field(&field)).unwrap();
            prop_assert_eq!(read, (NamespaceId(id), table("KV"), field));
        }

        #[test]
        fn different_fields_have_different_keys(one in field(), other in field()) {
            let key = |field: &Bytes| row(NamespaceId(7), &table("KV"), field);
            prop_assert_eq!(one == other, key(&one) == key(&other));
        }

        #[test]
        fn a_range_holds_its_rows_and_no_others(id in 1..i64::MAX - 1, field in field()) {
            let (first, end) = table_range(NamespaceId(id), &table("KV"));
            let inside = |key: Bytes| first <= key && key < end;
            prop_assert!(inside(row(NamespaceId(id), &table("KV"), &field)));
            prop_assert!(!inside(row(NamespaceId(id), &table("KV2"), &field)));
            prop_assert!(!inside(row(NamespaceId(id), &table("NODE"), &field)));
            prop_assert!(!inside(row(NamespaceId(id + 1), &table("KV"), &field)));
            let (first, end) = namespace_range(NamespaceId(id));
            let inside = |key: Bytes| first <= key && key < end;
            prop_assert!(inside(row(NamespaceId(id), &table("NODE"), &field)));
            prop_assert!(!inside(row(NamespaceId(id + 1), &table("NODE"), &field)));
        }
    }
}
