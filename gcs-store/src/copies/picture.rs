//! What a namespace holds, by fingerprint; and how two such pictures differ.
//!
//! A picture has the size and hash of every value but not the value, so a
//! namespace of any size can be compared in memory. Pure.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use ray_tables::TableName;
use serde::{Serialize, Serializer};

/// One value: two with the same fingerprint are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fingerprint {
    /// Bytes of the value.
    pub size: u64,
    /// BLAKE3 of the value.
    #[serde(serialize_with = "hex")]
    pub blake3: [u8; 32],
}

impl Fingerprint {
    /// Of a value in memory.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        Self {
            size: value.len() as u64,
            blake3: *blake3::hash(value).as_bytes(),
        }
    }

    /// The hash, to compare or print.
    #[must_use]
    pub fn hash(&self) -> blake3::Hash {
        blake3::Hash::from_bytes(self.blake3)
    }
}

fn hex<S: Serializer>(hash: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&blake3::Hash::from_bytes(*hash))
}

/// Rows by table and field, with the fingerprints of their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture(BTreeMap<(TableName, Bytes), Fingerprint>);

impl Picture {
    /// Adds a row; false, and nothing happens, if it is there.
    pub fn add(&mut self, table: TableName, field: Bytes, value: Fingerprint) -> bool {
        match self.0.entry((table, field)) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(value);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }

    /// The fingerprint of one row, if it is there.
    #[must_use]
    pub fn get(&self, table: &TableName, field: &Bytes) -> Option<Fingerprint> {
        self.0.get(&(table.clone(), field.clone())).copied()
    }

    /// How many rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.0.len() as u64
    }

    /// Bytes of all fields and values.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0
            .iter()
            .map(|((_, field), value)| field.len() as u64 + value.size)
            .sum()
    }

    /// One hash of it all: equal only for equal pictures.
    #[must_use]
    pub fn blake3(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for ((table, field), value) in &self.0 {
            for part in [table.as_str().as_bytes(), field] {
                hash.update(&(part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            hash.update(&value.size.to_be_bytes());
            hash.update(&value.blake3);
        }
        hash.finalize().to_hex().to_string()
    }
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is only in the later picture.
    Added,
    /// It is only in the earlier one.
    Removed,
    /// Its value is another.
    Changed,
}

/// How many rows of a table have become what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// New rows.
    pub added: u64,
    /// Rows that are gone.
    pub removed: u64,
    /// Rows with another value.
    pub changed: u64,
    /// Rows as they were.
    pub same: u64,
}

/// One row that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Of which table.
    pub table: TableName,
    /// Its field, for people: as text if it is text, else in hexadecimal.
    pub field: String,
    /// Its field, exactly, in Base64.
    pub field_base64: String,
    /// What became of it.
    pub change: Change,
    /// Its value in the earlier picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Fingerprint>,
    /// Its value in the later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Fingerprint>,
}

/// How a picture differs from an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Counts by table.
    pub tables: BTreeMap<TableName, Counts>,
    /// What is not the same, by table and field.
    pub rows: Vec<Row>,
}

impl Difference {
    /// What has become of `before` in `after`.
    #[must_use]
    pub fn between(before: &Picture, after: &Picture) -> Self {
        let mut this = Self::default();
        let places: BTreeSet<_> = before.0.keys().chain(after.0.keys()).collect();
        for place in places {
            let (before, after) = (before.0.get(place), after.0.get(place));
            let counts = this.tables.entry(place.0.clone()).or_default();
            let (count, change) = match (before, after) {
                (Some(before), Some(after)) if before == after => {
                    counts.same += 1;
                    continue;
                }
                (Some(_), Some(_)) => (&mut counts.changed, Change::Changed),
                (None, _) => (&mut counts.added, Change::Added),
                (Some(_), None) => (&mut counts.removed, Change::Removed),
            };
            *count += 1;
            this.rows.push(Row {
                table: place.0.clone(),
                field: readable(&place.1),
                field_base64: BASE64.encode(&place.1),
                change,
                before: before.copied(),
                after: after.copied(),
            });
        }
        this
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Bytes for people: as text if they are printable text, else in hexadecimal.
#[must_use]
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => std::iter::once("0x".to_owned())
            .chain(bytes.iter().map(|byte| format!("{byte:02x}")))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(rows: &[(&'static str, &[u8])]) -> Picture {
        let mut picture = Picture::default();
        for (field, value) in rows {
            assert!(picture.add(TableName::KV, (*field).into(), Fingerprint::of(value)));
        }
        picture
    }

    #[test]
    fn each_row_is_added_removed_changed_or_the_same() {
        let before = picture(&[("gone", b"1"), ("other", b"1"), ("same", b"")]);
        let after = picture(&[("new", b"1"), ("other", b"2"), ("same", b"")]);
        let found = Difference::between(&before, &after);
        let rows: Vec<_> = found
            .rows
            .iter()
            .map(|row| (row.field.as_str(), row.change))
            .collect();
        assert_eq!(
            rows,
            [
                ("gone", Change::Removed),
                ("new", Change::Added),
                ("other", Change::Changed)
            ]
        );
        assert_eq!(
            found.tables[&TableName::KV],
            Counts {
                added: 1,
                removed: 1,
                changed: 1,
                same: 1
            }
        );
        assert!(Difference::between(&before, &before).is_empty());
    }

    #[test]
    fn only_equal_pictures_have_one_hash() {
        let hash = |rows: &[(&'static str, &[u8])]| picture(rows).blake3();
        assert_eq!(
            hash(&[("a", b"1"), ("b", b"")]),
            hash(&[("b", b""), ("a", b"1")])
        );
        assert_ne!(hash(&[("a", b"1")]), hash(&[("a", b"2")]));
        assert_ne!(hash(&[("a", b"")]), hash(&[]));
    }

    #[test]
    fn the_first_of_two_rows_counts() {
        let mut found = picture(&[("a", b"1")]);
        assert!(!found.add(TableName::KV, "a".into(), Fingerprint::of(b"2")));
        assert_eq!(found, picture(&[("a", b"1")]));
    }

    #[test]
    fn fields_are_shown_as_text_or_hexadecimal() {
        assert_eq!(readable(b"@namespace_x:y"), "@namespace_x:y");
        assert_eq!(readable(b"\x01\xff"), "0x01ff");
        assert_eq!(readable(b""), "");
    }
}
