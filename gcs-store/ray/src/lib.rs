#![doc = include_str!("../README.md")]

mod actor;
mod cluster;
mod findings;
mod group;
mod id;
mod job;
mod keys;
mod known;
mod kv;
mod node;
mod row;
mod time;
mod wire;

pub use actor::{Actor, TaskSpec};
pub use cluster::{Cluster, Identity};
pub use findings::{
    Finding, Incarnation, MANY_WORKERS, SILENT_AFTER, STUCK_AFTER, Severity, findings,
};
pub use group::{Bundle, Group};
pub use id::{Id, IdError};
pub use job::{Job, JobCounter, Worker};
pub use keys::{NameError, NamespaceName, StorageKey, TableName, User};
pub use known::{
    ActorState, GroupState, GroupStrategy, Known, Name, NodeDeathReason, NodeState, TaskType,
    WorkerExit, WorkerType,
};
pub use kv::{KvKey, KvKind, Pair, Submission, Text};
pub use node::{Node, NodeDeath};
pub use row::{Decode, Record, Row, Unreadable};
pub use time::Time;

/// Text that is there; an empty one is not.
fn present(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
