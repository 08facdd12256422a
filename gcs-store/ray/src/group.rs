//! `PLACEMENT_GROUP`: bundles of resources held together.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::{
    Decode, GroupState, GroupStrategy, Id, Known, TableName, Time, Unreadable, present, wire,
};

/// One placement group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Its id.
    pub id: Id,
    /// Where it is in its life.
    pub state: Known<GroupState>,
    /// What it can be found by.
    pub name: Option<String>,
    /// Ray's namespace of that name (not the store's).
    pub ray_namespace: Option<String>,
    /// How its bundles are spread.
    pub strategy: Known<GroupStrategy>,
    /// Whether it outlives the job that made it.
    pub detached: bool,
    /// The job that made it.
    pub job_id: Option<Id>,
    /// When it was asked for.
    pub requested: Option<Time>,
    /// What it holds, and where.
    pub bundles: Vec<Bundle>,
}

/// A part of a placement group that stands on one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bundle {
    /// Which part.
    pub index: i32,
    /// Where it stands, once it does.
    pub node_id: Option<Id>,
    /// What it holds.
    pub resources: BTreeMap<String, f64>,
}

impl Decode for Group {
    const TABLE: TableName = TableName::PLACEMENT_GROUP;

    fn decode(field: &Bytes, value: &Bytes) -> Result<Self, Unreadable> {
        let group: wire::Group = Self::message(field, value, |it: &wire::Group| &it.group_id)?;
        let bundles = group.bundles.into_iter().map(|bundle| Bundle {
            index: bundle.id.unwrap_or_default().index,
            node_id: Id::present(bundle.node_id),
            resources: bundle.resources,
        });
        Ok(Self {
            id: Id::new(group.group_id),
            state: Known::new(group.state),
            name: present(group.name),
            ray_namespace: present(group.ray_namespace),
            strategy: Known::new(group.strategy),
            detached: group.is_detached,
            job_id: Id::present(group.creator_job_id),
            requested: Time::present(group.created_ms),
            bundles: bundles.collect(),
        })
    }
}
