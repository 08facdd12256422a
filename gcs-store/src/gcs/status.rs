//! What an operator can see of the engine, without asking it.

use std::sync::Arc;

use parking_lot::Mutex;
use ray_tables::NamespaceName;
use serde::Serialize;

use super::{image::Usage, session::Standing, term::Term};
use crate::metrics::Metrics;

/// The engine as it was a moment ago.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Whether it answers for the database.
    #[serde(flatten)]
    pub standing: Standing,
    /// Client connections.
    pub connections: usize,
    /// Commands that wait.
    pub waiting: usize,
    /// Fields whose new value the tables do not have yet; the journal has it.
    pub unfolded_fields: usize,
    /// Bytes the journal has grown by since the tables were last up to date.
    pub unfolded_bytes: usize,
    /// Milliseconds since they were.
    pub folded_ago_ms: u64,
    /// Bytes of memory for namespaces, about.
    pub memory_bytes: u64,
    /// Namespaces in the catalog.
    pub namespaces: usize,
    /// Those in memory.
    pub loaded: Vec<Loaded>,
}

/// A namespace in memory.
#[derive(Debug, Clone, Serialize)]
pub struct Loaded {
    /// Its name.
    pub name: NamespaceName,
    /// Of its newest head.
    pub epoch: u64,
    /// Whether that one is connected.
    pub head: bool,
    /// What it holds.
    #[serde(flatten)]
    pub usage: Usage,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            standing: Standing::Starting,
            connections: 0,
            waiting: 0,
            unfolded_fields: 0,
            unfolded_bytes: 0,
            folded_ago_ms: 0,
            memory_bytes: 0,
            namespaces: 0,
            loaded: Vec::new(),
        }
    }
}

/// Where the status is written each second and read at any time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Status>>);

impl Board {
    /// The newest.
    pub(crate) fn read(&self) -> Status {
        self.0.lock().clone()
    }

    /// Notes a standing without a term.
    pub(crate) fn standing(&self, standing: &Standing) {
        let mut status = self.0.lock();
        if status.standing != *standing {
            *status = Status {
                standing: standing.clone(),
                ..Status::default()
            };
        }
    }
}

/// Writes the status of a term, and the sizes into the metrics.
pub(super) fn publish(term: &Term) {
    let (shared, settings) = (&term.shared, &term.settings);
    let loaded: Vec<Loaded> = term
        .spaces
        .used()
        .map(|space| Loaded {
            name: space.entry.name.clone(),
            epoch: space.heads.epoch(),
            head: space.heads.alive(),
            usage: space.image.usage(),
        })
        .collect();
    sizes(&settings.metrics, &loaded);
    let status = Status {
        standing: shared.standing.borrow().clone(),
        connections: shared.connections(),
        waiting: shared.waiting(),
        unfolded_fields: term.spaces.used().map(|space| space.dirty.len()).sum(),
        unfolded_bytes: term.unfolded_bytes,
        folded_ago_ms: u64::try_from(term.folded.elapsed().as_millis()).unwrap_or(u64::MAX),
        memory_bytes: term.spaces.memory(),
        namespaces: term.spaces.entries().count(),
        loaded,
    };
    *settings.board.0.lock() = status;
}

fn sizes(metrics: &Metrics, loaded: &[Loaded]) {
    for one in loaded {
        metrics.usage(&one.name, one.usage.rows, one.usage.bytes);
    }
}
