//! The fault drill of a real Ray cluster (`python/ray-fault-drill.py`).
//!
//! It starts a head and a worker node on a store, deploys a Serve application,
//! kills the head or its GCS, starts it again and compares what is there with
//! what was there. One run takes some 40 s.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::process::Process;
use serde_json::Value;

use crate::venv::Venv;

/// The longest run: one that waits for a recovery that does not come.
const LIMIT: Duration = Duration::from_secs(420);

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// Every process of the head node.
    Head,
    /// `gcs_server` alone.
    Gcs,
}

impl Victim {
    fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Gcs => "gcs",
        }
    }
}

/// One run of the drill.
#[derive(Debug, Clone)]
pub struct Drill {
    redis: String,
    namespace: String,
    victim: Victim,
    arguments: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// Whether the drill found all recovered and said so by its status.
    pub recovered: bool,
    /// The checks that failed.
    pub failures: Vec<String>,
    /// All it printed.
    pub json: Value,
}

impl Drill {
    /// On the store at `address`, in `namespace`.
    #[must_use]
    pub fn new(address: SocketAddr, namespace: &str, victim: Victim) -> Self {
        Self {
            redis: address.to_string(),
            namespace: namespace.to_owned(),
            victim,
            arguments: Vec::new(),
        }
    }

    /// With TLS, a user and a password.
    #[must_use]
    pub fn secured(mut self, authority: &Path, user: &str, password: &str) -> Self {
        self.redis = format!("rediss://{}", self.redis);
        let authority = authority.display().to_string();
        self.argument("--ca-cert", &authority)
            .argument("--username", user)
            .argument("--password", password)
    }

    /// Empties the namespace while the head is down, by Ray's own clean-up: what
    /// the Kubernetes operator does when a cluster is deleted.
    #[must_use]
    pub fn cleaned(self, venv: &Venv) -> Self {
        let (host, port) = self.redis.rsplit_once(':').unwrap_or((&self.redis, ""));
        let python = venv.root().join("bin/python");
        let command = format!(
            "{} -c \"from ray._private.gcs_utils import cleanup_redis_storage as clean; \
             assert clean('{host}', {port}, '', False, '{}')\"",
            python.display(),
            self.namespace,
        );
        self.argument("--between", &command)
    }

    /// Waits while the head is down until `file`, which it makes, is removed.
    #[must_use]
    pub fn waits(self, file: &Path) -> Self {
        let file = file.display();
        let command = format!("touch {file}; while test -e {file}; do sleep 0.05; done");
        self.argument("--between", &command)
    }

    /// Gives up waiting for a recovery after so long: for drills that must fail.
    #[must_use]
    pub fn recovers_within(self, limit: Duration) -> Self {
        self.argument("--recovery-timeout", &limit.as_secs().to_string())
    }

    fn argument(mut self, name: &str, value: &str) -> Self {
        self.arguments.push(format!("{name}={value}"));
        self
    }

    /// Runs it; its log goes to `folder`.
    ///
    /// # Errors
    /// If it cannot be started, or ends without a report.
    pub async fn run(&self, venv: &Venv, folder: &Path) -> Result<Report> {
        let mut command = venv.script("ray-fault-drill.py");
        command.arg(format!("--redis={}", self.redis));
        command.arg(format!("--namespace={}", self.namespace));
        command.arg(format!("--kill={}", self.victim.name()));
        command.arg(format!("--venv={}", venv.root().display()));
        // Enough to see the difference, and no longer.
        command.args(["--warmup=2", "--outage=3", "--cooldown=2"]);
        command.args(&self.arguments);
        let name = format!("drill-{}", self.namespace);
        let mut process = Process::start(&name, command, folder)?;
        let status = process.end(LIMIT).await?;
        let log = process.log();
        let last = log
            .lines()
            .rfind(|line| line.starts_with('{'))
            .with_context(|| format!("the drill gave no report: {status}\n{log}"))?;
        let json: Value = serde_json::from_str(last)?;
        let failures = json["failures"].as_array().context("no list of failures")?;
        let failures = failures
            .iter()
            .map(|one| one.as_str().unwrap_or_default().to_owned())
            .collect();
        let recovered = json["recovered"] == true;
        ensure!(
            recovered == status.success(),
            "the drill's status {status} contradicts its report {json}"
        );
        Ok(Report {
            recovered,
            failures,
            json,
        })
    }
}

impl Report {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let Value::Object(summary) = &self.json["summary"] else {
            return format!("failed: {:?} {}", self.failures, self.json["error"]);
        };
        format!(
            "recovered {} after {} s, {} requests fine and {} failed meanwhile, failed checks {:?}",
            self.recovered,
            summary["recovery_seconds"],
            summary["requests_ok_during_outage"],
            summary["requests_failed_during_outage"],
            self.failures
        )
    }
}
