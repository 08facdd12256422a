//! The windows of a run, one after the other.
//!
//! A window is one load against one contender: the load generator is started,
//! warms up, and while nothing is under way the proxy's CPU time is read; the
//! same at its end.
//!
//! Invariants:
//! 1. Contenders are measured one at a time, within a round in an order that is
//!    turned by one each round, so that nobody is always first.
//! 2. An answer that fails is among the errors.

use std::{pin::pin, time::Duration};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep;

use super::{
    contender::Contender,
    load::Outcome,
    proc::Family,
    process::{Proxy, Worker},
    report::{Measure, Rounds},
    settings::{STREAM_WINDOW, Settings, TOKEN_CONNECTIONS},
};

/// Time a new proxy gets to come to rest before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// Time between two looks at memory during the burst.
const LOOK: Duration = Duration::from_millis(50);

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
    /// CPU time of the proxy; zero if there is none.
    cpu: Duration,
    /// Highest memory seen, in bytes, if it was looked for.
    peak_bytes: u64,
}

impl<'a> Bench<'a> {
    /// A run that has measured nothing yet.
    pub fn new(settings: &'a Settings) -> Self {
        let all = settings.contenders().len();
        let proxies = settings
            .contenders()
            .iter()
            .filter(|&&c| c != Contender::Direct)
            .count();
        let steps = 3 * settings.rounds() * all
            + settings.stream_rounds() * proxies
            + if settings.burst > 0 { proxies } else { 0 };
        let bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta} {msg:40}") {
            bar.set_style(style);
        }
        if bar.is_hidden() {
            eprintln!("measuring in {steps} steps");
        }
        Self {
            settings,
            rounds: Rounds::default(),
            errors: Vec::new(),
            bar,
        }
    }

    /// Reads memory at rest and in the burst.
    ///
    /// # Errors
    /// If the proxy or the load generator is gone.
    pub async fn memory(&mut self, proxy: &Proxy) -> anyhow::Result<()> {
        sleep(SETTLE).await;
        let family = proxy.family().context("a proxy without a process")?;
        let idle = mebibytes(family.resident_bytes()?);
        self.rounds.push(Measure::MemoryIdle, proxy.contender, idle);
        let connections = self.settings.burst;
        let flags = format!("--shape burst --connections {connections}");
        let window = self.window(proxy, "burst", &flags, true).await?;
        self.rounds.push(
            Measure::MemoryBurst,
            proxy.contender,
            mebibytes(window.peak_bytes),
        );
        Ok(())
    }

    /// Measures all rounds of all `proxies`.
    ///
    /// # Errors
    /// If one of them or a load generator is gone.
    pub async fn all_rounds(&mut self, proxies: &[Proxy]) -> anyhow::Result<()> {
        for round in 0..self.settings.rounds() {
            let turn = (self.settings.seed % proxies.len() as u64) as usize + round;
            let order: Vec<_> = proxies
                .iter()
                .cycle()
                .skip(turn % proxies.len())
                .take(proxies.len())
                .collect();
            for proxy in &order {
                self.flat_out(proxy).await?;
            }
            for proxy in &order {
                self.latency(proxy).await?;
            }
            for proxy in &order {
                self.first_token(proxy).await?;
            }
            if round < self.settings.stream_rounds() {
                for proxy in order.iter().filter(|proxy| proxy.family().is_some()) {
                    self.streams(proxy).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes the progress away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    async fn flat_out(&mut self, proxy: &Proxy) -> anyhow::Result<()> {
        let window_ms = (self.settings.seconds() * 1000.0) as u64;
        let connections = self.settings.connections;
        let flags = format!("--shape closed --connections {connections} --window-ms {window_ms}");
        let Window { outcome, cpu, .. } = self.window(proxy, "CPU", &flags, false).await?;
        let done = outcome.done as f64;
        self.rounds.push(
            Measure::RequestsPerSecond,
            proxy.contender,
            done / outcome.seconds,
        );
        if proxy.family().is_some() {
            let each = cpu.as_secs_f64() * 1e6 / done;
            self.rounds
                .push(Measure::CpuPerRequest, proxy.contender, each);
        }
        Ok(())
    }

    async fn latency(&mut self, proxy: &Proxy) -> anyhow::Result<()> {
        let flags = format!("--shape paced --samples {}", self.settings.samples());
        let window = self.window(proxy, "latency", &flags, false).await?;
        self.times(
            proxy,
            &window.outcome,
            Measure::Latency50,
            Measure::Latency99,
        );
        Ok(())
    }

    async fn first_token(&mut self, proxy: &Proxy) -> anyhow::Result<()> {
        let samples = self.settings.samples() / 2;
        let flags =
            format!("--shape first-token --connections {TOKEN_CONNECTIONS} --samples {samples}");
        let window = self.window(proxy, "first token", &flags, false).await?;
        self.times(
            proxy,
            &window.outcome,
            Measure::FirstToken50,
            Measure::FirstToken99,
        );
        Ok(())
    }

    async fn streams(&mut self, proxy: &Proxy) -> anyhow::Result<()> {
        let (streams, window_ms) = (self.settings.streams, STREAM_WINDOW.as_millis());
        let flags = format!("--shape streams --connections {streams} --window-ms {window_ms}");
        let Window { outcome, cpu, .. } = self.window(proxy, "streams", &flags, false).await?;
        let each = cpu.as_secs_f64() * 1e6 / outcome.done as f64;
        self.rounds
            .push(Measure::CpuPerChunk, proxy.contender, each);
        Ok(())
    }

    fn times(&mut self, proxy: &Proxy, outcome: &Outcome, p50: Measure, p99: Measure) {
        // Without a time every sample failed, which stands among the errors.
        for (measure, time) in [(p50, outcome.p50_us), (p99, outcome.p99_us)] {
            self.rounds
                .push(measure, proxy.contender, time.unwrap_or(f64::NAN));
        }
    }

    /// Has the load generator run with `flags` against `proxy` and reads the
    /// proxy's CPU time around its window, and memory during it if `look`.
    async fn window(
        &mut self,
        proxy: &Proxy,
        what: &str,
        flags: &str,
        look: bool,
    ) -> anyhow::Result<Window> {
        self.bar.set_message(format!("{}: {what}", proxy.contender));
        let mut arguments = vec![
            "load".to_owned(),
            "--target".to_owned(),
            proxy.address.to_string(),
        ];
        arguments.extend(flags.split_whitespace().map(str::to_owned));
        let mut load = Worker::start(&arguments)?;
        let family = proxy.family();
        let cpu = || family.map_or(Ok(Duration::ZERO), Family::cpu);

        load.expect("ready").await?;
        let before = cpu()?;
        load.go().await?;
        let mut peak_bytes = 0;
        {
            let mut mark = pin!(load.expect("mark"));
            loop {
                tokio::select! {
                    marked = &mut mark => break marked?,
                    () = sleep(LOOK), if look => {
                        let now = family.map_or(Ok(0), Family::resident_bytes)?;
                        peak_bytes = peak_bytes.max(now);
                    }
                }
            }
        }
        let cpu = cpu()?.saturating_sub(before);
        let outcome: Outcome = serde_json::from_str(&load.line().await?)?;

        self.bar.inc(1);
        if outcome.errors > 0 {
            let first = outcome.first_error.as_deref().unwrap_or("none named");
            let Outcome { errors, done, .. } = outcome;
            self.errors.push(format!(
                "{}, {what}: {errors} errors beside {done} right answers, the first: {first}",
                proxy.contender
            ));
        }
        if outcome.reconnects > 0 {
            let Outcome { reconnects, .. } = outcome;
            self.bar
                .suspend(|| eprintln!("{}, {what}: {reconnects} reconnects", proxy.contender));
        }
        Ok(Window {
            outcome,
            cpu,
            peak_bytes,
        })
    }
}

/// Bytes as MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
