//! Where scans go on.
//!
//! Redis' cursors are numbers, a position in a table is a field, so the store
//! remembers which number means which field. A head has at most six scans under
//! way; the oldest are forgotten beyond a bound that no real use comes near.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ray_tables::TableName;

use super::key::NamespaceId;

/// Positions remembered at once.
const MOST: usize = 16_384;

/// The positions of scans under way.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    last: u64,
    positions: BTreeMap<u64, (NamespaceId, TableName, Bytes)>,
    ages: VecDeque<u64>,
}

impl Cursors {
    /// Remembers that a scan goes on behind `field`; returns its number.
    pub(crate) fn add(&mut self, namespace: NamespaceId, table: &TableName, field: &Bytes) -> u64 {
        if self.ages.len() == MOST
            && let Some(oldest) = self.ages.pop_front()
        {
            self.positions.remove(&oldest);
        }
        self.last += 1;
        self.ages.push_back(self.last);
        self.positions
            .insert(self.last, (namespace, table.clone(), field.clone()));
        self.last
    }

    /// The field behind which the scan with this number goes on.
    pub(crate) fn get(
        &self,
        cursor: u64,
        namespace: NamespaceId,
        table: &TableName,
    ) -> Option<Bytes> {
        let (of, within, field) = self.positions.get(&cursor)?;
        (*of == namespace && within == table).then(|| field.clone())
    }

    /// All positions, for a successor.
    pub(crate) fn export(&self) -> Vec<(u64, NamespaceId, TableName, Vec<u8>)> {
        let of = |cursor: &u64| {
            let (namespace, table, field) = self.positions.get(cursor)?;
            Some((*cursor, *namespace, table.clone(), field.to_vec()))
        };
        self.ages.iter().filter_map(of).collect()
    }

    /// Those of a predecessor.
    pub(crate) fn import(positions: Vec<(u64, NamespaceId, TableName, Vec<u8>)>) -> Self {
        let mut cursors = Self::default();
        for (cursor, namespace, table, field) in positions {
            cursors.last = cursors.last.max(cursor);
            cursors.ages.push_back(cursor);
            cursors
                .positions
                .insert(cursor, (namespace, table, field.into()));
        }
        cursors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_too_many_is_forgotten() {
        let (mut cursors, id) = (Cursors::default(), NamespaceId(1));
        let first = cursors.add(id, &TableName::KV, &Bytes::from_static(b"a"));
        for _ in 0..MOST - 1 {
            cursors.add(id, &TableName::KV, &Bytes::from_static(b"b"));
        }
        assert!(cursors.get(first, id, &TableName::KV).is_some());
        cursors.add(id, &TableName::KV, &Bytes::from_static(b"c"));
        assert!(cursors.get(first, id, &TableName::KV).is_none());
        assert_eq!(cursors.positions.len(), MOST);
    }

    #[test]
    fn a_cursor_is_of_one_table() {
        let (mut cursors, id) = (Cursors::default(), NamespaceId(1));
        let cursor = cursors.add(id, &TableName::KV, &Bytes::from_static(b"a"));
        assert!(cursors.get(cursor, id, &TableName::NODE).is_none());
        assert!(
            cursors
                .get(cursor, NamespaceId(2), &TableName::KV)
                .is_none()
        );
        let kept = Cursors::import(cursors.export());
        assert_eq!(kept.get(cursor, id, &TableName::KV).unwrap(), "a");
        assert_eq!(kept.last, cursors.last);
    }
}
