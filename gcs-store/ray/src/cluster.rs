//! All tables of one cluster, read.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    Actor, Group, Id, Job, JobCounter, KvKind, Node, NodeState, Pair, Record, Row, TableName,
    TaskSpec, Time, Worker,
};

/// One cluster as the store holds it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// `NODE`.
    pub nodes: Vec<Row<Node>>,
    /// `ACTOR`.
    pub actors: Vec<Row<Actor>>,
    /// `ACTOR_TASK_SPEC`.
    pub specs: Vec<Row<TaskSpec>>,
    /// `JOB`.
    pub jobs: Vec<Row<Job>>,
    /// `WORKERS`.
    pub workers: Vec<Row<Worker>>,
    /// `PLACEMENT_GROUP`.
    pub groups: Vec<Row<Group>>,
    /// `JobCounter`.
    pub job_counter: Option<Row<JobCounter>>,
    /// `KV`.
    pub kv: Vec<Pair>,
    /// How many rows other tables hold.
    pub other: BTreeMap<TableName, usize>,
}

/// Who a cluster says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The id its nodes know it by.
    pub cluster_id: Option<Id>,
    /// The name of its session.
    pub session_name: Option<String>,
    /// The version of Ray that wrote it.
    pub ray_version: Option<String>,
}

impl Cluster {
    /// Reads the rows of one namespace, in any order.
    pub fn read(records: impl IntoIterator<Item = Record>) -> Self {
        let mut cluster = Self::default();
        for record in records {
            cluster.add(record);
        }
        cluster.nodes.sort_by(|a, b| a.field.cmp(&b.field));
        cluster.actors.sort_by(|a, b| a.field.cmp(&b.field));
        cluster.specs.sort_by(|a, b| a.field.cmp(&b.field));
        cluster.jobs.sort_by_key(|job| job.field.job_number());
        cluster.workers.sort_by(|a, b| a.field.cmp(&b.field));
        cluster.groups.sort_by(|a, b| a.field.cmp(&b.field));
        cluster.kv.sort_by(|a, b| a.key.cmp(&b.key));
        cluster
    }

    /// Whether [`Cluster::read`] looks at the value of such a row. Those of
    /// the key-value table may be large, and most are not ours to read.
    #[must_use]
    pub fn wants(table: &TableName, size: u64) -> bool {
        *table != TableName::KV || size <= 16 << 10
    }

    fn add(&mut self, record: Record) {
        match &record.table {
            table if *table == TableName::NODE => self.nodes.push(Row::read(record)),
            table if *table == TableName::ACTOR => self.actors.push(Row::read(record)),
            table if *table == TableName::ACTOR_TASK_SPEC => self.specs.push(Row::read(record)),
            table if *table == TableName::JOB => self.jobs.push(Row::read(record)),
            table if *table == TableName::WORKERS => self.workers.push(Row::read(record)),
            table if *table == TableName::PLACEMENT_GROUP => self.groups.push(Row::read(record)),
            table if *table == TableName::JOB_COUNTER => {
                self.job_counter = Some(Row::read(record));
            }
            table if *table == TableName::KV => self.kv.push(Pair::read(record)),
            table => *self.other.entry(table.clone()).or_default() += 1,
        }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Who it says it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let metadata = self
            .pair(KvKind::Metadata)
            .and_then(|pair| pair.value.as_deref())
            .and_then(|value| serde_json::from_slice::<serde_json::Value>(value).ok());
        let cluster_id = self
            .pair(KvKind::ClusterId)
            .and_then(|pair| pair.value.clone());
        Identity {
            cluster_id: cluster_id.map(Id::new),
            session_name: self.pair(KvKind::SessionName).and_then(Pair::text),
            ray_version: metadata
                .as_ref()
                .and_then(|it| it.get("ray_version")?.as_str())
                .map(ToOwned::to_owned),
        }
    }

    pub(crate) fn pair(&self, kind: KvKind) -> Option<&Pair> {
        self.kv.iter().find(|pair| pair.kind == kind)
    }

    /// Heads that the tables call alive.
    pub fn live_heads(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.nodes.iter().filter_map(Row::get);
        nodes.filter(|node| node.is_head && node.state.is(&NodeState::Alive))
    }

    /// When a head last wrote anything.
    #[must_use]
    pub fn updated(&self) -> Option<Time> {
        fn of<T>(rows: &[Row<T>]) -> impl Iterator<Item = Time> {
            rows.iter().map(|row| row.updated)
        }
        of(&self.nodes)
            .chain(of(&self.actors))
            .chain(of(&self.specs))
            .chain(of(&self.jobs))
            .chain(of(&self.workers))
            .chain(of(&self.groups))
            .chain(self.job_counter.iter().map(|row| row.updated))
            .chain(self.kv.iter().map(|pair| pair.updated))
            .max()
    }
}
