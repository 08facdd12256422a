//! One cluster as it was read, and what of it was asked for.

use ray_tables::{
    Actor, ActorState, Cluster, Finding, Group, Incarnation, Job, NamespaceName, Node, NodeState,
    Pair, Row, Submission, Time, findings,
};
use serde::Serialize;

/// Everything the store holds of one cluster.
#[derive(Debug)]
pub struct Seen {
    /// Its namespace.
    pub namespace: NamespaceName,
    /// What may be done with the namespace.
    pub state: String,
    /// Its tables.
    pub cluster: Cluster,
    /// Every head the store remembers, the newest first.
    pub heads: Vec<Incarnation>,
    /// When it was read.
    pub now: Time,
}

/// Which rows to show.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Filter {
    /// Only those in this state, such as ALIVE, DEAD, RESTARTING, RUNNING.
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

impl Filter {
    /// The rows that suit, in the order given, and how many more there are.
    pub fn of<'a, T: Stateful>(
        &self,
        rows: impl IntoIterator<Item = &'a T>,
    ) -> (Vec<&'a T>, usize) {
        let mut rows: Vec<_> = rows.into_iter().filter(|row| self.suits(*row)).collect();
        let shown = self.limit.unwrap_or(usize::MAX).min(rows.len());
        let more = rows.split_off(shown).len();
        (rows, more)
    }

    fn suits(&self, row: &impl Stateful) -> bool {
        let Some(wanted) = &self.state else {
            return true;
        };
        row.state().eq_ignore_ascii_case(wanted)
    }
}

/// Something that is in a state at any time.
pub trait Stateful {
    /// Its name.
    fn state(&self) -> String;
}

/// The state of a row that cannot be read.
const UNREADABLE: &str = "UNREADABLE";

impl<T: Stateful> Stateful for Row<T> {
    fn state(&self) -> String {
        self.get().map_or_else(|| UNREADABLE.to_owned(), T::state)
    }
}

impl Stateful for Node {
    fn state(&self) -> String {
        self.state.to_string()
    }
}

impl Stateful for Actor {
    fn state(&self) -> String {
        self.state.to_string()
    }
}

impl Stateful for Group {
    fn state(&self) -> String {
        self.state.to_string()
    }
}

impl Stateful for Job {
    fn state(&self) -> String {
        if self.dead { "DEAD" } else { "RUNNING" }.to_owned()
    }
}

impl Stateful for Submission {
    fn state(&self) -> String {
        match self.error {
            Some(_) => UNREADABLE.to_owned(),
            None => self.status.clone(),
        }
    }
}

impl Stateful for Pair {
    fn state(&self) -> String {
        self.kind.name().to_owned()
    }
}

/// One cluster in a line.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Its namespace.
    pub namespace: NamespaceName,
    /// What may be done with the namespace.
    pub state: String,
    /// The id its nodes know it by.
    pub cluster_id: Option<String>,
    /// The name of its session.
    pub session_name: Option<String>,
    /// The version of Ray that wrote it.
    pub ray_version: Option<String>,
    /// Its head, if one is alive.
    pub head_node_id: Option<String>,
    /// Where that is.
    pub head_ip: Option<String>,
    /// Nodes alive.
    pub nodes_alive: usize,
    /// Nodes dead.
    pub nodes_dead: usize,
    /// Actors alive.
    pub actors_alive: usize,
    /// Drivers that run.
    pub jobs_running: usize,
    /// When its head last wrote.
    pub updated: Option<Time>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Seen {
    /// What is wrong in it.
    pub fn findings(&self) -> Vec<Finding> {
        findings(&self.cluster, &self.heads, self.now)
    }

    /// Records of submitted jobs, the newest first.
    pub fn submissions(&self) -> Vec<Submission> {
        let mut all: Vec<_> = self
            .cluster
            .kv
            .iter()
            .filter_map(Pair::submission)
            .collect();
        all.sort_by_key(|it| std::cmp::Reverse(it.started));
        all
    }

    /// All of it in a line.
    pub fn summary(&self) -> Summary {
        let identity = self.cluster.identity();
        let head = self.cluster.live_heads().next();
        let nodes = || self.cluster.nodes.iter().filter_map(Row::get);
        let actors = self.cluster.actors.iter().filter_map(Row::get);
        let jobs = self.cluster.jobs.iter().filter_map(Row::get);
        Summary {
            namespace: self.namespace.clone(),
            state: self.state.clone(),
            cluster_id: identity.cluster_id.map(|id| id.to_string()),
            session_name: identity.session_name,
            ray_version: identity.ray_version,
            head_node_id: head.map(|node| node.id.to_string()),
            head_ip: head.map(|node| node.ip.clone()),
            nodes_alive: nodes().filter(|it| it.state.is(&NodeState::Alive)).count(),
            nodes_dead: nodes().filter(|it| it.state.is(&NodeState::Dead)).count(),
            actors_alive: actors.filter(|it| it.state.is(&ActorState::Alive)).count(),
            jobs_running: jobs.filter(|it| !it.dead).count(),
            updated: self.cluster.updated(),
            findings: self.findings(),
        }
    }
}
