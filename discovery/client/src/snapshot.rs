//! The state of the registry at one position, immutable.

use std::{collections::HashMap, sync::Arc};

use crate::{Application, Cursor, Endpoint, Key, Kind};

/// All endpoints at one position. Cheap to share; never changes.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(crate) at: Option<Cursor>,
    pub(crate) endpoints: HashMap<Key, Arc<Endpoint>, foldhash::fast::FixedState>,
    pub(crate) by_application:
        HashMap<Application, Arc<[Arc<Endpoint>]>, foldhash::fast::FixedState>,
    pub(crate) content_hash: u64,
}

impl Snapshot {
    /// The position, or nothing before the first event.
    #[must_use]
    pub fn at(&self) -> Option<Cursor> {
        self.at
    }

    /// A hash of the content alone: equal content, equal hash, whatever the
    /// order in which it came about and wherever it is computed.
    #[must_use]
    pub fn content_hash(&self) -> u64 {
        self.content_hash
    }

    /// The replicas and peers that serve `application`, by key.
    #[must_use]
    pub fn serving(&self, application: &str) -> &[Arc<Endpoint>] {
        self.by_application
            .get(application)
            .map_or(&[], |endpoints| endpoints)
    }

    /// Every application somebody serves, with its endpoints, in no order.
    pub fn applications(&self) -> impl Iterator<Item = (&Application, &[Arc<Endpoint>])> {
        self.by_application
            .iter()
            .map(|(name, endpoints)| (name, &**endpoints))
    }

    /// Every endpoint of `kind`, in no order.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints
            .values()
            .filter(move |endpoint| endpoint.kind == kind)
    }

    /// Every endpoint, in no order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }

    /// The record of `key`.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(key)
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
}
