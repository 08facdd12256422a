//! One namespace in memory: every field, and every value but the large ones.
//!
//! Only the engine changes it, and only together with the journal, so that it
//! is what the database would say if it were asked.

use std::{
    collections::{BTreeMap, btree_map::Range},
    ops::Bound,
};

use bytes::Bytes;
use ray_tables::TableName;

use super::command::Stored;

/// The tables of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Image {
    tables: BTreeMap<TableName, Table>,
    usage: Usage,
    inline: u64,
}

/// What a namespace or a table holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Fields.
    pub rows: u64,
    /// Bytes of fields and values, large values included.
    pub bytes: u64,
}

/// One table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    cells: BTreeMap<Bytes, Cell>,
    usage: Usage,
}

/// One field's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    pub(crate) value: Stored,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    /// Of the head that wrote it.
    pub(crate) epoch: u64,
}

/// Bytes of memory that a field costs beside its own and its value's.
const OVERHEAD: u64 = 160;

fn inline(field: &Bytes, value: &Stored) -> u64 {
    let value = match value {
        Stored::Inline(bytes) => bytes.len(),
        Stored::Blob { .. } => 0,
    };
    (field.len() + value) as u64
}

impl Usage {
    fn add(&mut self, field: &Bytes, value: &Stored) {
        self.rows += 1;
        self.bytes += field.len() as u64 + value.size();
    }

    fn remove(&mut self, field: &Bytes, value: &Stored) {
        self.rows -= 1;
        self.bytes -= field.len() as u64 + value.size();
    }

    fn remove_all(&mut self, other: Self) {
        self.rows -= other.rows;
        self.bytes -= other.bytes;
    }
}

impl Image {
    /// What it holds.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// Bytes of memory it takes, about.
    pub(crate) fn memory(&self) -> u64 {
        self.inline + self.usage.rows * OVERHEAD
    }

    /// What each table holds.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&TableName, Usage)> {
        self.tables.iter().map(|(name, table)| (name, table.usage))
    }

    /// Whether the table is there; one without fields is not.
    pub(crate) fn has(&self, table: &TableName) -> bool {
        self.tables.contains_key(table)
    }

    /// The value of a field.
    pub(crate) fn get(&self, table: &TableName, field: &[u8]) -> Option<&Cell> {
        self.tables.get(table)?.cells.get(field)
    }

    /// How many fields a table has.
    pub(crate) fn len(&self, table: &TableName) -> usize {
        self.tables.get(table).map_or(0, |table| table.cells.len())
    }

    /// Writes a field and returns what stood there.
    pub(crate) fn put(&mut self, table: &TableName, field: &Bytes, cell: Cell) -> Option<Cell> {
        let table = match self.tables.get_mut(table) {
            Some(table) => table,
            None => self.tables.entry(table.clone()).or_default(),
        };
        for usage in [&mut self.usage, &mut table.usage] {
            usage.add(field, &cell.value);
        }
        self.inline += inline(field, &cell.value);
        // The map keeps the field it has, so the one given may be dropped.
        let replaced = table.cells.insert(field.clone(), cell);
        if let Some(old) = &replaced {
            self.inline -= inline(field, &old.value);
            for usage in [&mut self.usage, &mut table.usage] {
                usage.remove(field, &old.value);
            }
        }
        replaced
    }

    /// Deletes a field and returns what stood there.
    pub(crate) fn remove(&mut self, table: &TableName, field: &[u8]) -> Option<Cell> {
        let within = self.tables.get_mut(table)?;
        let (field, old) = within.cells.remove_entry(field)?;
        self.inline -= inline(&field, &old.value);
        for usage in [&mut self.usage, &mut within.usage] {
            usage.remove(&field, &old.value);
        }
        if within.cells.is_empty() {
            self.tables.remove(table);
        }
        Some(old)
    }

    /// Deletes a table and tells whether it was there.
    pub(crate) fn drop_table(&mut self, table: &TableName) -> bool {
        let Some(dropped) = self.tables.remove(table) else {
            return false;
        };
        self.usage.remove_all(dropped.usage);
        for (field, cell) in &dropped.cells {
            self.inline -= inline(field, &cell.value);
        }
        true
    }

    /// The fields of a table behind `from`, in the order of their bytes.
    pub(crate) fn behind<'a>(
        &'a self,
        table: &TableName,
        from: Bound<&[u8]>,
    ) -> Option<Range<'a, Bytes, Cell>> {
        let table = self.tables.get(table)?;
        Some(table.cells.range::<[u8], _>((from, Bound::Unbounded)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(value: &'static str) -> Cell {
        Cell {
            value: Stored::Inline(value.into()),
            created_ms: 1,
            updated_ms: 1,
            epoch: 0,
        }
    }

    #[test]
    fn usage_follows_every_change() {
        let (mut image, kv) = (Image::default(), TableName::KV);
        assert_eq!(image.put(&kv, &"a".into(), cell("four")), None);
        assert_eq!(image.put(&kv, &"b".into(), cell("")), None);
        assert_eq!(image.usage(), Usage { rows: 2, bytes: 6 });
        assert_eq!(image.put(&kv, &"a".into(), cell("1")), Some(cell("four")));
        assert_eq!(image.usage(), Usage { rows: 2, bytes: 3 });
        assert_eq!(image.remove(&kv, b"a"), Some(cell("1")));
        assert_eq!(image.remove(&kv, b"a"), None);
        assert_eq!(image.usage(), Usage { rows: 1, bytes: 1 });
        assert!(image.drop_table(&kv));
        assert!(!image.drop_table(&kv));
        assert_eq!(image.usage(), Usage::default());
        assert_eq!(image.memory(), 0);
    }

    #[test]
    fn a_table_without_fields_is_not_there() {
        let (mut image, kv) = (Image::default(), TableName::KV);
        image.put(&kv, &"a".into(), cell("1"));
        assert!(image.has(&kv));
        image.remove(&kv, b"a");
        assert!(!image.has(&kv));
    }
}
