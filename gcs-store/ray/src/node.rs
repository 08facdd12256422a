//! `NODE`: the machines of a cluster, alive and dead.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::{
    Decode, Id, Known, NodeDeathReason, NodeState, TableName, Time, Unreadable, present, wire,
};

/// One raylet; the one beside the GCS is the head.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its id.
    pub id: Id,
    /// Whether it lives, as far as the GCS knew.
    pub state: Known<NodeState>,
    /// Whether it is the head.
    pub is_head: bool,
    /// What it is called; Ray's default is the address.
    pub name: Option<String>,
    /// The machine's own name.
    pub host: Option<String>,
    /// The address other nodes use.
    pub ip: String,
    /// Where its raylet listens.
    pub raylet_port: i32,
    /// Where its object manager listens.
    pub object_manager_port: i32,
    /// Where its metrics are.
    pub metrics_port: i32,
    /// The id its cloud gave it.
    pub instance_id: Option<String>,
    /// The autoscaler's name for its kind.
    pub node_type: Option<String>,
    /// When it joined.
    pub started: Option<Time>,
    /// When it was declared dead.
    pub ended: Option<Time>,
    /// Why it died.
    pub death: Option<NodeDeath>,
    /// Where its session keeps files.
    pub session_dir: Option<String>,
    /// What it offers.
    pub resources: BTreeMap<String, f64>,
    /// What it is labelled with.
    pub labels: BTreeMap<String, String>,
}

/// Why a node died.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeDeath {
    /// The kind of end.
    pub reason: Known<NodeDeathReason>,
    /// In words.
    pub message: Option<String>,
}

impl Decode for Node {
    const TABLE: TableName = TableName::NODE;

    fn decode(field: &Bytes, value: &Bytes) -> Result<Self, Unreadable> {
        let node: wire::Node = Self::message(field, value, |it: &wire::Node| &it.node_id)?;
        Ok(Self {
            id: Id::new(node.node_id),
            state: Known::new(node.state),
            is_head: node.is_head,
            name: present(node.name),
            host: present(node.host),
            ip: node.ip,
            raylet_port: node.raylet_port,
            object_manager_port: node.object_manager_port,
            metrics_port: node.metrics_port,
            instance_id: present(node.instance_id),
            node_type: present(node.node_type),
            started: Time::present(node.start_ms),
            ended: Time::present(node.end_ms),
            death: node.death.map(|death| NodeDeath {
                reason: Known::new(death.reason),
                message: present(death.message),
            }),
            session_dir: present(node.session_dir),
            resources: node.resources,
            labels: node.labels,
        })
    }
}
