//! `ACTOR` and `ACTOR_TASK_SPEC`: actors, and how to create them again.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::{ActorState, Decode, Id, Known, TableName, TaskType, Time, Unreadable, present, wire};

/// One actor, through all its restarts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Actor {
    /// Its id.
    pub id: Id,
    /// Where it is in its life.
    pub state: Known<ActorState>,
    /// Its class.
    pub class: String,
    /// What it can be found by.
    pub name: Option<String>,
    /// Ray's namespace of that name (not the store's).
    pub ray_namespace: Option<String>,
    /// Whether it outlives the job that made it.
    pub detached: bool,
    /// The job that made it.
    pub job_id: Option<Id>,
    /// Where it runs, or ran last.
    pub node_id: Option<Id>,
    /// The process it runs in.
    pub worker_id: Option<Id>,
    /// The address of that process.
    pub ip: Option<String>,
    /// The number of that process.
    pub pid: Option<u32>,
    /// How often it was restarted.
    pub restarts: i64,
    /// How often it may be; -1 for ever.
    pub max_restarts: i64,
    /// When it first ran.
    pub started: Option<Time>,
    /// When it ended for good.
    pub ended: Option<Time>,
    /// When it last began or ceased to run; a restart under way does not
    /// change it.
    pub changed: Option<Time>,
    /// Why it is dead.
    pub death: Option<String>,
    /// The placement group it lives in.
    pub group_id: Option<Id>,
    /// What it takes.
    pub resources: BTreeMap<String, f64>,
}

impl Decode for Actor {
    const TABLE: TableName = TableName::ACTOR;

    fn decode(field: &Bytes, value: &Bytes) -> Result<Self, Unreadable> {
        let actor: wire::Actor = Self::message(field, value, |it: &wire::Actor| &it.actor_id)?;
        let address = actor.address.unwrap_or_default();
        Ok(Self {
            id: Id::new(actor.actor_id),
            state: Known::new(actor.state),
            class: actor.class_name,
            name: present(actor.name),
            ray_namespace: present(actor.ray_namespace),
            detached: actor.is_detached,
            job_id: Id::present(actor.job_id),
            node_id: Id::present(address.node_id).or_else(|| Id::present(actor.node_id)),
            worker_id: Id::present(address.worker_id),
            ip: present(address.ip),
            pid: (actor.pid != 0).then_some(actor.pid),
            restarts: actor.num_restarts,
            max_restarts: actor.max_restarts,
            started: Time::present(actor.start_ms),
            ended: Time::present(actor.end_ms),
            changed: Time::present(whole(actor.timestamp_ms)),
            death: actor.death.and_then(death),
            group_id: Id::present(actor.placement_group_id),
            resources: actor.resources,
        })
    }
}

/// Ray keeps this one time as a floating point number.
fn whole(ms: f64) -> i64 {
    ms.round() as i64
}

fn death(cause: wire::ActorDeath) -> Option<String> {
    let contexts = [
        cause.died,
        cause.runtime_env_failed,
        cause.unschedulable,
        cause.out_of_memory,
    ];
    let mut messages = contexts
        .into_iter()
        .flatten()
        .map(|context| context.message)
        .chain(cause.creation_failed.map(|failed| failed.message));
    messages.find_map(present)
}

/// How an actor is created again, in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskSpec {
    /// The actor.
    pub actor_id: Id,
    /// What kind of task this is: one that creates an actor.
    #[serde(rename = "type")]
    pub kind: Known<TaskType>,
    /// The task's name.
    pub name: String,
    /// Module, class and function, as far as the language has them.
    pub function: String,
    /// The job it was made by.
    pub job_id: Option<Id>,
    /// The task's id.
    pub task_id: Option<Id>,
    /// What can be found by name.
    pub actor_name: Option<String>,
    /// Ray's namespace of that name (not the store's).
    pub ray_namespace: Option<String>,
    /// Whether it outlives its job.
    pub detached: bool,
    /// How often it may be restarted; -1 for ever.
    pub max_restarts: i64,
    /// Calls it takes at once.
    pub max_concurrency: i32,
    /// What it takes.
    pub resources: BTreeMap<String, f64>,
}

impl Decode for TaskSpec {
    const TABLE: TableName = TableName::ACTOR_TASK_SPEC;

    fn decode(field: &Bytes, value: &Bytes) -> Result<Self, Unreadable> {
        static NONE: Bytes = Bytes::new();
        let spec: wire::TaskSpec = Self::message(field, value, |it: &wire::TaskSpec| {
            it.actor.as_ref().map_or(&NONE, |actor| &actor.actor_id)
        })?;
        let actor = spec.actor.unwrap_or_default();
        Ok(Self {
            actor_id: Id::new(actor.actor_id),
            kind: Known::new(spec.r#type),
            name: spec.name,
            function: spec.function.map(function).unwrap_or_default(),
            job_id: Id::present(spec.job_id),
            task_id: Id::present(spec.task_id),
            actor_name: present(actor.name),
            ray_namespace: present(actor.ray_namespace),
            detached: actor.is_detached,
            max_restarts: actor.max_restarts,
            max_concurrency: actor.max_concurrency,
            resources: spec.resources,
        })
    }
}

fn function(descriptor: wire::FunctionDescriptor) -> String {
    let parts = match descriptor {
        wire::FunctionDescriptor {
            python: Some(it), ..
        } => vec![it.module_name, it.class_name, it.function_name],
        wire::FunctionDescriptor { java: Some(it), .. } => vec![it.class_name, it.function_name],
        wire::FunctionDescriptor { cpp: Some(it), .. } => vec![it.class_name, it.function_name],
        _ => vec![],
    };
    let parts: Vec<_> = parts.into_iter().filter_map(present).collect();
    parts.join(".")
}
