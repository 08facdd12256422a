//! The windows of a run, one after the other.
//!
//! Invariants:
//! 1. Contenders are measured one at a time, within a round in an order that is
//!    turned by one each round, so that nobody is always first.
//! 2. A reply that is wrong is among the errors.

use std::{pin::pin, time::Duration};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep;

use super::{
    super::{load::Outcome, proc::Family, process::Worker},
    report::{Measure, Rounds},
    server::Server,
    settings::{CLIENTS, Settings},
};

/// Time a process gets to come to rest before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// A run under way.
pub struct Bench<'a> {
    settings: &'a Settings,
    /// What was measured so far.
    pub rounds: Rounds,
    /// What failed so far.
    pub errors: Vec<String>,
    bar: ProgressBar,
}

/// What one window showed.
struct Window {
    outcome: Outcome,
    /// CPU time of the process, and of the database behind it.
    cpu: [Option<Duration>; 2],
}

impl<'a> Bench<'a> {
    /// A run that has measured nothing yet.
    pub fn new(settings: &'a Settings, contenders: usize) -> Self {
        let kinds = CLIENTS.len() + usize::from(settings.rows > 0);
        let once = usize::from(settings.idle > 0) + usize::from(settings.clusters > 0);
        let bar = ProgressBar::new((contenders * (kinds * settings.rounds() + once)) as u64);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta} {msg:40}") {
            bar.set_style(style);
        }
        if bar.is_hidden() {
            eprintln!("measuring in {} steps", bar.length().unwrap_or_default());
        }
        Self {
            settings,
            rounds: Rounds::default(),
            errors: Vec::new(),
            bar,
        }
    }

    /// Measures what idle connections hold, on processes that have done nothing
    /// else.
    ///
    /// # Errors
    /// If one of them or a load generator is gone.
    pub async fn idle(&mut self, servers: &[Server]) -> anyhow::Result<()> {
        for server in servers.iter().filter(|_| self.settings.idle > 0) {
            let Some(family) = server.family() else {
                self.bar.inc(1);
                continue;
            };
            let idle = self.settings.idle;
            let mut worker = self.worker(server, "idle", &format!("--clients {idle}"))?;
            let window = async {
                worker.expect("ready").await?;
                sleep(SETTLE).await;
                let before = family.resident_bytes()?;
                worker.go().await?;
                worker.expect("mark").await?;
                sleep(SETTLE).await;
                let after = family.resident_bytes()?;
                worker.expect("ready").await?;
                worker.go().await?;
                worker.line().await?;
                anyhow::Ok(after.saturating_sub(before))
            };
            let grown = window
                .await
                .with_context(|| format!("{}, idle connections", server.contender))?;
            let each = grown as f64 / idle as f64 / 1000.0;
            self.rounds.push(Measure::Idle, server.contender, each);
        }
        Ok(())
    }

    /// Measures all rounds of writes and scans.
    ///
    /// # Errors
    /// As [`idle`](Self::idle).
    pub async fn all_rounds(&mut self, servers: &[Server]) -> anyhow::Result<()> {
        for round in 0..self.settings.rounds() {
            let turned = || servers.iter().cycle().skip(round % servers.len());
            for clients in CLIENTS {
                for server in turned().take(servers.len()) {
                    self.writes(server, clients).await?;
                }
            }
            for server in turned().take(servers.len()) {
                self.scan(server).await?;
            }
        }
        Ok(())
    }

    /// Measures clusters at rest, on each of `servers`.
    ///
    /// # Errors
    /// As [`idle`](Self::idle).
    pub async fn steady(&mut self, servers: &[Server]) -> anyhow::Result<()> {
        let clusters = self.settings.clusters;
        for server in servers.iter().filter(|_| clusters > 0) {
            let flags = format!(
                "--clients {clusters} --window-ms {}",
                milliseconds(self.settings.steady())
            );
            let window = self.window(server, "steady", &flags).await?;
            let contender = server.contender;
            let seconds = window.outcome.seconds;
            let share = |cpu: Duration| cpu.as_secs_f64() / seconds * 100.0;
            let measures = [Measure::SteadyCpu, Measure::SteadyDatabase];
            for (measure, cpu) in measures.into_iter().zip(window.cpu) {
                if let Some(cpu) = cpu {
                    self.rounds.push(measure, contender, share(cpu));
                }
            }
            self.times(
                server,
                &window.outcome,
                Measure::Steady50,
                Measure::Steady99,
            );
            let due = clusters as f64 * 12.6 * seconds;
            let done = window.outcome.done as f64 / due * 100.0;
            self.rounds.push(Measure::SteadyDone, contender, done);
        }
        Ok(())
    }

    /// The run is over.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    async fn writes(&mut self, server: &Server, clients: usize) -> anyhow::Result<()> {
        let window = milliseconds(self.settings.seconds());
        let flags = format!("--clients {clients} --window-ms {window}");
        let Window { outcome, cpu } = self.window(server, "hset", &flags).await?;
        let rate = outcome.done as f64 / outcome.seconds;
        let contender = server.contender;
        self.rounds.push(Measure::Rate(clients), contender, rate);
        if let Some(cpu) = cpu[0] {
            let each = cpu.as_secs_f64() * 1e6 / outcome.done as f64;
            self.rounds
                .push(Measure::WriteCpu(clients), contender, each);
        }
        let (half, most) = (Measure::Write50(clients), Measure::Write99(clients));
        self.times(server, &outcome, half, most);
        Ok(())
    }

    async fn scan(&mut self, server: &Server) -> anyhow::Result<()> {
        let rows = self.settings.rows;
        if rows == 0 {
            return Ok(());
        }
        let window = self
            .window(server, "scan", &format!("--rows {rows}"))
            .await?;
        if let Some(time) = window.outcome.p50_us {
            self.rounds
                .push(Measure::Scan, server.contender, time / 1e6);
        }
        Ok(())
    }

    /// Keeps the quantiles of a window, in ms.
    fn times(&mut self, server: &Server, outcome: &Outcome, half: Measure, most: Measure) {
        for (measure, time) in [(half, outcome.p50_us), (most, outcome.p99_us)] {
            if let Some(time) = time {
                self.rounds.push(measure, server.contender, time / 1000.0);
            }
        }
    }

    fn worker(&self, server: &Server, shape: &str, flags: &str) -> anyhow::Result<Worker> {
        self.bar
            .set_message(format!("{}, {shape}", server.contender));
        self.bar.inc(1);
        let line = format!(
            "store-load --target {} --shape {shape} {flags}",
            server.address
        );
        Worker::start(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    /// Runs one window.
    async fn window(
        &mut self,
        server: &Server,
        shape: &str,
        flags: &str,
    ) -> anyhow::Result<Window> {
        let mut worker = self.worker(server, shape, flags)?;
        let what = format!("{}, {shape} {flags}", server.contender);
        let families = [server.family(), server.database()];
        let cpu = || families.map(|family| family.map(Family::cpu).transpose());
        let window = async {
            worker.expect("ready").await?;
            let before = cpu();
            worker.go().await?;
            worker.expect("mark").await?;
            let after = cpu();
            let outcome: Outcome = serde_json::from_str(&worker.line().await?)?;
            let mut spent = [None; 2];
            for ((spent, before), after) in spent.iter_mut().zip(before).zip(after) {
                *spent = before?
                    .zip(after?)
                    .map(|(before, after)| after.saturating_sub(before));
            }
            anyhow::Ok(Window {
                outcome,
                cpu: spent,
            })
        };
        let window = pin!(window).await.with_context(|| what.clone())?;
        let Outcome {
            errors,
            first_error,
            ..
        } = &window.outcome;
        if *errors > 0 {
            let first = first_error.as_deref().unwrap_or("unknown");
            self.errors
                .push(format!("{what}: {errors} errors, the first: {first}"));
        }
        Ok(window)
    }
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}
