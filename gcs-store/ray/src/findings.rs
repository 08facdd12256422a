//! What is wrong in a cluster's tables.
//!
//! Pure: rows, the heads that were seen, and the time go in. Each finding says
//! what it means for the cluster and what to do about it.
//!
//! Times are those of the store's rows, not those inside them: Ray does not
//! touch the times of an actor that is being restarted, but writes its row.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use crate::{Actor, ActorState, Cluster, Id, Job, KvKind, Node, NodeState, Row, TableName, Time};

/// How long an actor may be restarting before it counts as stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(600);

/// How long a living head may write nothing. It writes every second or so.
pub const SILENT_AFTER: Duration = Duration::from_secs(60);

/// Rows of `WORKERS` from which on it is called full: Ray keeps 100,000.
pub const MANY_WORKERS: usize = 90_000;

/// Heads and actors named in one finding before the rest is counted.
const NAMED: usize = 5;

/// One life of a cluster's head, as the store saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incarnation {
    /// Its number; a later one fences the earlier.
    pub epoch: i64,
    /// How the store knew: by user name, or by what it asked for.
    pub kind: String,
    /// Where it connected from.
    pub peer: String,
    /// What it called itself.
    pub user: String,
    /// When it came.
    pub began: Time,
    /// When it was shut out.
    pub fenced: Option<Time>,
    /// By which epoch.
    pub fenced_by: Option<i64>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Work is lost, or will be at the next restart of the head.
    Error,
    /// Something does not run as it should.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Something wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, for programs.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What that means.
    pub means: &'static str,
    /// What to do.
    pub advice: &'static str,
}

/// What is wrong in `cluster`, worst first. `heads` are all incarnations the
/// store remembers, in any order.
#[must_use]
pub fn findings(cluster: &Cluster, heads: &[Incarnation], now: Time) -> Vec<Finding> {
    if cluster.is_empty() {
        return Vec::new();
    }
    let found = [
        two_live_heads(cluster, heads),
        no_cluster_id(cluster),
        job_counter_behind(cluster),
        actor_without_spec(cluster),
        stuck_actors(cluster, now),
        no_live_head(cluster),
        silent_head(cluster, now),
        orphaned_jobs(cluster),
        unreadable(cluster),
        many_workers(cluster),
    ];
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    found.sort_by_key(|finding| finding.severity);
    found
}

fn two_live_heads(cluster: &Cluster, heads: &[Incarnation]) -> Option<Finding> {
    let nodes: Vec<_> = cluster
        .live_heads()
        .map(|node| format!("{} at {}", node.id.short(8), node.ip))
        .collect();
    let unfenced: Vec<_> = heads
        .iter()
        .filter(|head| head.fenced.is_none())
        .map(|head| format!("epoch {} from {}", head.epoch, head.peer))
        .collect();
    let what = if nodes.len() > 1 {
        format!("more than one head node is alive: {}", list(&nodes))
    } else if unfenced.len() > 1 {
        format!("more than one head may write: {}", list(&unfenced))
    } else {
        return None;
    };
    Some(Finding {
        code: "two_live_heads",
        severity: Severity::Error,
        what,
        means: "two heads write to one namespace and restore each other's actors",
        advice: "stop the older head; give each cluster a namespace of its own",
    })
}

fn no_cluster_id(cluster: &Cluster) -> Option<Finding> {
    if cluster.nodes.is_empty() || cluster.pair(KvKind::ClusterId).is_some() {
        return None;
    }
    Some(Finding {
        code: "no_cluster_id",
        severity: Severity::Error,
        what: "there are nodes but no cluster id".to_owned(),
        means: "the next head makes up a new id, and every worker node of this cluster exits",
        advice: "restore a backup into a new namespace, and start the head with that one",
    })
}

fn job_counter_behind(cluster: &Cluster) -> Option<Finding> {
    let highest = cluster
        .jobs
        .iter()
        .filter_map(|job| job.field.job_number())
        .max()?;
    let last = cluster
        .job_counter
        .as_ref()
        .map(|row| row.get().map(|counter| counter.last));
    let what = match last {
        Some(Some(last)) if last >= i64::from(highest) => return None,
        Some(Some(last)) => format!("the job counter is at {last}, but job {highest} exists"),
        Some(None) => format!("the job counter cannot be read, but job {highest} exists"),
        None => format!("there is no job counter, but job {highest} exists"),
    };
    Some(Finding {
        code: "job_counter_behind",
        severity: Severity::Error,
        what,
        means: "a new driver gets the number of an old one, and its tasks never run",
        advice: "stop the head and raise the counter through the store: INCRBY RAY<namespace>@JobCounter <missing>",
    })
}

fn actor_without_spec(cluster: &Cluster) -> Option<Finding> {
    let specs: BTreeSet<_> = cluster.specs.iter().map(|row| &row.field).collect();
    let without: Vec<_> = actors(cluster)
        .filter(|(_, actor)| !actor.state.is(&ActorState::Dead) && !specs.contains(&actor.id))
        .map(|(_, actor)| label(actor))
        .collect();
    if without.is_empty() {
        return None;
    }
    Some(Finding {
        code: "actor_without_spec",
        severity: Severity::Error,
        what: format!("live actors without a task spec: {}", list(&without)),
        means: "the next head cannot read how to create them, forgets them and stops them",
        advice: "restore a backup into a new namespace, and start the head with that one",
    })
}

fn stuck_actors(cluster: &Cluster, now: Time) -> Option<Finding> {
    let stuck: Vec<_> = actors(cluster)
        .filter(|(row, actor)| {
            actor.state.is(&ActorState::Restarting) && row.updated.age(now) >= STUCK_AFTER
        })
        .map(|(_, actor)| label(actor))
        .collect();
    if stuck.is_empty() {
        return None;
    }
    Some(Finding {
        code: "actor_restarting",
        severity: Severity::Warning,
        what: format!("actors restarting for ten minutes: {}", list(&stuck)),
        means: "no node has what they need, or their start never ends",
        advice: "compare `ray status` with what they take; look at their logs",
    })
}

fn no_live_head(cluster: &Cluster) -> Option<Finding> {
    if cluster.nodes.is_empty() || cluster.live_heads().next().is_some() {
        return None;
    }
    let alive = nodes(cluster)
        .filter(|node| node.state.is(&NodeState::Alive))
        .count();
    Some(Finding {
        code: "no_live_head",
        severity: Severity::Warning,
        what: format!("no head is alive; other nodes alive: {alive}"),
        means: "the cluster was shut down, or its head has not come back",
        advice: "start the head with this namespace; if the cluster is gone, delete the namespace",
    })
}

/// A head that is killed cannot write that it died.
fn silent_head(cluster: &Cluster, now: Time) -> Option<Finding> {
    cluster.live_heads().next()?;
    let silence = cluster.updated()?.age(now);
    if silence < SILENT_AFTER {
        return None;
    }
    let seconds = Duration::from_secs(silence.as_secs());
    Some(Finding {
        code: "silent_head",
        severity: Severity::Warning,
        what: format!(
            "the head is called alive but wrote nothing for {}",
            humantime::format_duration(seconds)
        ),
        means: "the head is dead, frozen, or cannot reach the store",
        advice: "look at the head's process, and at `tradewind store status`",
    })
}

fn orphaned_jobs(cluster: &Cluster) -> Option<Finding> {
    let dead: BTreeSet<_> = nodes(cluster)
        .filter(|node| node.state.is(&NodeState::Dead))
        .map(|node| &node.id)
        .collect();
    let orphaned: Vec<_> = jobs(cluster)
        .filter(|job| !job.dead)
        .filter(|job| {
            job.driver_node_id
                .as_ref()
                .is_some_and(|id| dead.contains(id))
        })
        .map(|job| job.id.to_string())
        .collect();
    if orphaned.is_empty() {
        return None;
    }
    Some(Finding {
        code: "orphaned_jobs",
        severity: Severity::Warning,
        what: format!(
            "jobs that run although their driver's node is dead: {}",
            list(&orphaned)
        ),
        means: "nobody waits for them, but they keep what they hold",
        advice: "a restart of the head ends them; stop submitted ones by `ray job stop`",
    })
}

fn unreadable(cluster: &Cluster) -> Option<Finding> {
    fn errors<T>(rows: &[Row<T>]) -> usize {
        rows.iter().filter(|row| row.content.is_err()).count()
    }
    let counts: BTreeMap<_, _> = [
        (TableName::NODE, errors(&cluster.nodes)),
        (TableName::ACTOR, errors(&cluster.actors)),
        (TableName::ACTOR_TASK_SPEC, errors(&cluster.specs)),
        (TableName::JOB, errors(&cluster.jobs)),
        (TableName::WORKERS, errors(&cluster.workers)),
        (TableName::PLACEMENT_GROUP, errors(&cluster.groups)),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .collect();
    if counts.is_empty() {
        return None;
    }
    let tables: Vec<_> = counts
        .iter()
        .map(|(table, count)| format!("{table} {count}"))
        .collect();
    Some(Finding {
        code: "unreadable_rows",
        severity: Severity::Warning,
        what: format!("rows that cannot be read: {}", list(&tables)),
        means: "the head may fail to start on them; or another program wrote here",
        advice: "look at them with -o json; `tradewind store verify` checks the bytes",
    })
}

fn many_workers(cluster: &Cluster) -> Option<Finding> {
    let workers = cluster.workers.len();
    if workers < MANY_WORKERS {
        return None;
    }
    Some(Finding {
        code: "many_workers",
        severity: Severity::Info,
        what: format!("{workers} rows in WORKERS; Ray keeps 100,000"),
        means: "a start of the head reads them all; Ray drops the oldest itself",
        advice: "nothing has to be done; fewer short-lived worker processes make fewer rows",
    })
}

fn nodes(cluster: &Cluster) -> impl Iterator<Item = &Node> {
    cluster.nodes.iter().filter_map(Row::get)
}

fn jobs(cluster: &Cluster) -> impl Iterator<Item = &Job> {
    cluster.jobs.iter().filter_map(Row::get)
}

fn actors(cluster: &Cluster) -> impl Iterator<Item = (&Row<Actor>, &Actor)> {
    let read = |row| Some((row, Row::get(row)?));
    cluster.actors.iter().filter_map(read)
}

fn label(actor: &Actor) -> String {
    let id: &Id = &actor.id;
    match &actor.name {
        Some(name) => format!("{name} ({})", id.short(8)),
        None => format!("{} ({})", actor.class, id.short(8)),
    }
}

fn list(names: &[String]) -> String {
    let mut text = names[..names.len().min(NAMED)].join(", ");
    if names.len() > NAMED {
        text.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    text
}
