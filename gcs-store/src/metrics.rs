//! What the store shows of itself to Prometheus.
//!
//! Names begin with `tw_store_`. Labels are verbs of the subset, Ray's own
//! tables and namespaces; of these the first [`NAMESPACES_MAX`] seen have series
//! of their own, later ones and tables Ray does not have share `other`, so that
//! no client can make series without end.
//!
//! The engine and the front count from their one thread, the admin server reads
//! from another: everything is an atomic, and nothing here waits for long.

mod collector;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use foldhash::HashMap;
use parking_lot::RwLock;
use prometheus_client::{collector::Collector, metrics::histogram::Histogram};
use ray_tables::{NamespaceName, StorageKey, TableName};

use crate::front::verb::Verb;

/// How many namespaces have series of their own.
pub const NAMESPACES_MAX: usize = 1024;

const OTHER: &str = "other";

/// Bounds of durations, in seconds.
const SECONDS: [f64; 13] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0,
];

/// Bounds of counts and of bytes.
const SIZES: [f64; 10] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    65_536.0,
    1_048_576.0,
    16_777_216.0,
];

/// The counters of one store. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    commands: RwLock<Commands>,
    seconds: Box<[Histogram]>,
    usage: RwLock<HashMap<NamespaceName, (u64, u64)>>,
    connections: AtomicI64,
    connections_total: AtomicU64,
    connections_refused: AtomicU64,
    handshakes_failed: AtomicU64,
    unknown: AtomicU64,
    protocol_errors: AtomicU64,
    logins_failed: AtomicU64,
    slow: AtomicU64,
    fenced: AtomicU64,
    waiting_bytes: AtomicI64,
    handovers: AtomicU64,
    group_commands: Histogram,
    group_bytes: Histogram,
    commit_seconds: Histogram,
    fold_rows: Histogram,
    stalled_ms: AtomicU64,
}

/// Counts by namespace, table and verb.
#[derive(Default)]
struct Commands {
    namespaces: HashMap<NamespaceName, Arc<Tables>>,
    other: Arc<Tables>,
}

/// Counts of one namespace: Ray's tables, others, and commands without a table.
struct Tables([[AtomicU64; VERBS]; TABLES]);

const VERBS: usize = Verb::ALL.len();
const TABLES: usize = TableName::ALL.len() + 2;
const OTHER_TABLE: usize = TABLES - 2;
const NO_TABLE: usize = TABLES - 1;

impl Default for Tables {
    fn default() -> Self {
        Self(std::array::from_fn(|_| {
            std::array::from_fn(|_| AtomicU64::new(0))
        }))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(SECONDS);
        Self(Arc::new(Inner {
            commands: RwLock::default(),
            seconds: Verb::ALL.iter().map(|_| seconds()).collect(),
            usage: RwLock::default(),
            connections: AtomicI64::new(0),
            connections_total: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            protocol_errors: AtomicU64::new(0),
            logins_failed: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            fenced: AtomicU64::new(0),
            waiting_bytes: AtomicI64::new(0),
            handovers: AtomicU64::new(0),
            group_commands: Histogram::new(SIZES),
            group_bytes: Histogram::new(SIZES),
            commit_seconds: seconds(),
            fold_rows: Histogram::new(SIZES),
            stalled_ms: AtomicU64::new(0),
        }))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Series of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One command came.
    pub(crate) fn command(&self, verb: Verb, key: Option<&StorageKey>) {
        let table = match key {
            None => NO_TABLE,
            Some(key) => TableName::ALL
                .iter()
                .position(|it| *it == key.table)
                .unwrap_or(OTHER_TABLE),
        };
        self.tables(key).0[table][verb.index()].fetch_add(1, Relaxed);
    }

    fn tables(&self, key: Option<&StorageKey>) -> Arc<Tables> {
        let commands = self.0.commands.read();
        let Some(key) = key else {
            return commands.other.clone();
        };
        if let Some(found) = commands.namespaces.get(&key.namespace) {
            return found.clone();
        }
        if commands.namespaces.len() >= NAMESPACES_MAX {
            return commands.other.clone();
        }
        drop(commands);
        let mut commands = self.0.commands.write();
        commands
            .namespaces
            .entry(key.namespace.clone())
            .or_default()
            .clone()
    }

    /// One command was answered after so long.
    pub(crate) fn answered(&self, verb: Verb, after: Duration) {
        self.0.seconds[verb.index()].observe(after.as_secs_f64());
    }

    /// A connection came, or, if not `up`, one went.
    pub(crate) fn connection(&self, up: bool) {
        let step = if up { 1 } else { -1 };
        self.0.connections.fetch_add(step, Relaxed);
        if up {
            self.0.connections_total.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn connection_refused(&self) {
        self.0.connections_refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn handshake_failed(&self) {
        self.0.handshakes_failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn unknown_verb(&self) {
        self.0.unknown.fetch_add(1, Relaxed);
    }

    pub(crate) fn protocol_error(&self) {
        self.0.protocol_errors.fetch_add(1, Relaxed);
    }

    pub(crate) fn login_failed(&self) {
        self.0.logins_failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn slow_command(&self) {
        self.0.slow.fetch_add(1, Relaxed);
    }

    /// A connection was closed because a newer head holds its namespace.
    pub(crate) fn fenced(&self) {
        self.0.fenced.fetch_add(1, Relaxed);
    }

    pub(crate) fn waiting_bytes(&self, now: u64) {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.0.waiting_bytes.store(now, Relaxed);
    }

    /// Connections were given to a successor.
    pub(crate) fn handed_over(&self) {
        self.0.handovers.fetch_add(1, Relaxed);
    }

    /// A group of so many commands was committed as one journal row.
    pub fn group(&self, commands: usize, bytes: usize, commit: Duration) {
        self.0.group_commands.observe(commands as f64);
        self.0.group_bytes.observe(bytes as f64);
        self.0.commit_seconds.observe(commit.as_secs_f64());
    }

    /// So many rows were folded into the tables.
    pub fn folded(&self, rows: usize) {
        self.0.fold_rows.observe(rows as f64);
    }

    /// The database did not take commands for so long.
    pub fn stalled(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.stalled_ms.fetch_add(ms, Relaxed);
    }

    /// What a namespace holds now.
    pub fn usage(&self, namespace: &NamespaceName, rows: u64, bytes: u64) {
        let mut usage = self.0.usage.write();
        if usage.len() < NAMESPACES_MAX || usage.contains_key(namespace) {
            usage.insert(namespace.clone(), (rows, bytes));
        }
    }

    /// A namespace is gone.
    pub fn forget(&self, namespace: &NamespaceName) {
        self.0.usage.write().remove(namespace);
        self.0.commands.write().namespaces.remove(namespace);
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.connections.load(Relaxed).max(0).unsigned_abs()
    }

    /// For the registry of the process.
    #[must_use]
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    fn text(metrics: &Metrics) -> String {
        let mut registry = Registry::default();
        registry.register_collector(metrics.collector());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    fn key(text: &str) -> StorageKey {
        StorageKey::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn commands_are_counted_by_namespace_table_and_verb() {
        let metrics = Metrics::new();
        metrics.command(Verb::Hset, Some(&key("RAYa@KV")));
        metrics.command(Verb::Hset, Some(&key("RAYa@KV")));
        metrics.command(Verb::Hget, Some(&key("RAYa@MINE")));
        metrics.command(Verb::Ping, None);
        metrics.answered(Verb::Hset, Duration::from_millis(3));
        metrics.usage(&key("RAYa@KV").namespace, 3, 300);
        metrics.group(2, 100, Duration::from_millis(1));
        let text = text(&metrics);
        for line in [
            r#"tw_store_commands_total{namespace="a",table="KV",verb="hset"} 2"#,
            r#"tw_store_commands_total{namespace="a",table="other",verb="hget"} 1"#,
            r#"tw_store_commands_total{namespace="",table="",verb="ping"} 1"#,
            r#"tw_store_command_seconds_bucket{le="0.005",verb="hset"} 1"#,
            r#"tw_store_namespace_bytes{namespace="a"} 300"#,
            "tw_store_commit_seconds_count 1",
            "tw_store_connections 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn series_are_bounded_whatever_clients_call_their_namespaces() {
        let metrics = Metrics::new();
        for nth in 0..NAMESPACES_MAX + 10 {
            metrics.command(Verb::Hget, Some(&key(&format!("RAYn{nth}@KV"))));
        }
        let text = text(&metrics);
        let series = text
            .lines()
            .filter(|it| it.starts_with("tw_store_commands_total{"));
        assert_eq!(series.count(), NAMESPACES_MAX + 1);
        assert!(text.contains(r#"{namespace="other",table="KV",verb="hget"} 10"#));
    }
}
