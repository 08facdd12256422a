//! One namespace as the engine has it: what it holds, who owns it, what may be
//! written, and what the tables do not know yet.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

use bytes::Bytes;
use ray_tables::{NamespaceName, TableName};

use super::{
    command::Stored,
    heads::{Heads, cluster_id_field},
    image::{Cell, Image},
    journal::{Effect, Incarnation},
    key::NamespaceId,
};

/// Whether a namespace may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Read and written.
    Active,
    /// Read only.
    Frozen,
    /// Neither.
    Deleted,
}

impl State {
    /// Reads the catalog's spelling. One that a copy is filling is as one that
    /// is deleted. What this version does not know may be read and not written.
    pub(crate) fn parse(name: &str) -> Self {
        match name {
            "active" => Self::Active,
            "deleted" | "incomplete" => Self::Deleted,
            _ => Self::Frozen,
        }
    }
}

/// A namespace's row in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: NamespaceId,
    pub(crate) name: NamespaceName,
    pub(crate) epoch: u64,
    pub(crate) state: State,
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) quota_rows: Option<u64>,
    pub(crate) cluster_id: Option<Bytes>,
}

/// What changes while one group of commands runs.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) at_ms: i64,
    pub(crate) effects: Vec<Effect>,
}

/// One namespace in use.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) entry: Entry,
    pub(crate) heads: Heads,
    pub(crate) image: Image,
    pub(crate) dirty: Dirty,
}

/// A head and when it began.
pub(crate) type Begun = (Incarnation, i64);

/// What the tables do not know yet.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    fields: HashSet<(TableName, Bytes), foldhash::fast::RandomState>,
    incarnations: Vec<Begun>,
    touched: bool,
}

impl Dirty {
    /// Takes all of it.
    pub(crate) fn take(&mut self) -> Self {
        mem::take(self)
    }

    /// Whether the tables know everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.incarnations.is_empty() && !self.touched
    }

    /// How many fields changed.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The fields that changed, and the heads that began with the time they did.
    pub(crate) fn into_parts(self) -> (Vec<(TableName, Bytes)>, Vec<Begun>) {
        (self.fields.into_iter().collect(), self.incarnations)
    }

    fn field(&mut self, table: &TableName, field: &Bytes) {
        self.touched = true;
        self.fields.insert((table.clone(), field.clone()));
    }
}

impl Space {
    pub(crate) fn new(entry: Entry, heads: Heads, image: Image) -> Self {
        Self {
            entry,
            heads,
            image,
            dirty: Dirty::default(),
        }
    }

    /// Writes a field.
    pub(crate) fn put(
        &mut self,
        table: &TableName,
        field: &Bytes,
        value: &Stored,
        group: &mut Group,
    ) -> bool {
        // The command's bytes are slices of a read buffer, which the image must
        // not keep alive.
        let field = Bytes::copy_from_slice(field);
        let value = match value {
            Stored::Inline(bytes) => Stored::Inline(Bytes::copy_from_slice(bytes)),
            blob @ Stored::Blob { .. } => blob.clone(),
        };
        let created_ms = self
            .image
            .get(table, &field)
            .map_or(group.at_ms, |cell| cell.created_ms);
        let effect = Effect::Put {
            namespace: self.entry.id,
            table: table.clone(),
            field,
            value,
            created_ms,
            epoch: self.heads.epoch(),
        };
        let replaced = self.apply(&effect, group.at_ms);
        group.effects.push(effect);
        replaced
    }

    /// Deletes a field and tells whether it was there.
    pub(crate) fn delete(&mut self, table: &TableName, field: &[u8], group: &mut Group) -> bool {
        if self.image.get(table, field).is_none() {
            return false;
        }
        let effect = Effect::Delete {
            namespace: self.entry.id,
            table: table.clone(),
            field: Bytes::copy_from_slice(field),
        };
        self.apply(&effect, group.at_ms);
        group.effects.push(effect);
        true
    }

    /// Deletes a table and tells whether it was there.
    pub(crate) fn drop_table(&mut self, table: &TableName, group: &mut Group) -> bool {
        if !self.image.has(table) {
            return false;
        }
        let effect = Effect::Drop {
            namespace: self.entry.id,
            table: table.clone(),
        };
        self.apply(&effect, group.at_ms);
        group.effects.push(effect);
        true
    }

    /// Does what an effect says, at the time it happened. Tells whether there
    /// was something to replace or delete.
    pub(crate) fn apply(&mut self, effect: &Effect, at_ms: i64) -> bool {
        match effect {
            Effect::Put {
                table,
                field,
                value,
                created_ms,
                epoch,
                ..
            } => {
                self.dirty.field(table, field);
                if *table == TableName::KV && *field == cluster_id_field() {
                    self.entry.cluster_id = match value {
                        Stored::Inline(bytes) => Some(bytes.clone()),
                        Stored::Blob { .. } => None,
                    };
                }
                let cell = Cell {
                    value: value.clone(),
                    created_ms: *created_ms,
                    updated_ms: at_ms,
                    epoch: *epoch,
                };
                self.image.put(table, field, cell).is_some()
            }
            Effect::Delete { table, field, .. } => {
                self.dirty.field(table, field);
                self.image.remove(table, field).is_some()
            }
            Effect::Drop { table, .. } => {
                let fields = self.image.behind(table, std::ops::Bound::Unbounded);
                for (field, _) in fields.into_iter().flatten() {
                    self.dirty.field(table, field);
                }
                self.image.drop_table(table)
            }
            Effect::Begin(incarnation) => {
                self.dirty.touched = true;
                self.dirty.incarnations.push((incarnation.clone(), at_ms));
                self.entry.epoch = incarnation.epoch;
                false
            }
        }
    }
}

/// The namespaces: all of the catalog, and those in use.
#[derive(Debug, Default)]
pub(crate) struct Spaces {
    catalog: HashMap<NamespaceName, Entry>,
    used: BTreeMap<NamespaceId, Space>,
}

impl Spaces {
    /// A namespace's row in the catalog.
    pub(crate) fn entry(&self, name: &NamespaceName) -> Option<&Entry> {
        self.catalog.get(name)
    }

    /// All of the catalog, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.catalog.values()
    }

    /// Puts a new catalog in the place of the old.
    pub(crate) fn set_catalog(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.catalog = entries
            .into_iter()
            .map(|entry| (entry.name.clone(), entry))
            .collect();
        // A number whose namespace was purged may be another's by now.
        let catalog = &self.catalog;
        self.used.retain(|id, space| {
            let entry = catalog.get(&space.entry.name);
            entry.is_some_and(|entry| entry.id == *id)
        });
        for entry in self.catalog.values() {
            if let Some(space) = self.used.get_mut(&entry.id) {
                let newest = space.entry.epoch.max(entry.epoch);
                let cluster_id = space.entry.cluster_id.take();
                space.entry = Entry {
                    epoch: newest,
                    cluster_id: cluster_id.or_else(|| entry.cluster_id.clone()),
                    ..entry.clone()
                };
            }
        }
    }

    /// Adds one to the catalog.
    pub(crate) fn add(&mut self, entry: Entry) {
        self.catalog.insert(entry.name.clone(), entry);
    }

    /// A namespace in use.
    pub(crate) fn get_mut(&mut self, id: NamespaceId) -> Option<&mut Space> {
        self.used.get_mut(&id)
    }

    /// A namespace in use.
    pub(crate) fn get(&self, id: NamespaceId) -> Option<&Space> {
        self.used.get(&id)
    }

    /// Takes one into use.
    pub(crate) fn load(&mut self, space: Space) {
        self.used.insert(space.entry.id, space);
    }

    /// Those in use.
    pub(crate) fn used(&self) -> impl Iterator<Item = &Space> {
        self.used.values()
    }

    /// Those in use.
    pub(crate) fn used_mut(&mut self) -> impl Iterator<Item = &mut Space> {
        self.used.values_mut()
    }

    /// Forgets those in use for which `keep` is false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Space) -> bool) {
        self.used.retain(|_, space| keep(space));
    }

    /// Memory of those in use, in bytes, about.
    pub(crate) fn memory(&self) -> u64 {
        self.used.values().map(|space| space.image.memory()).sum()
    }
}
