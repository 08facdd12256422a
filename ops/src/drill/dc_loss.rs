//! The drill `dc-loss`: a site goes away in the middle of load and comes back.
//!
//! ```text
//!   load -- warm-up --+-- site away, lease renewed --+-- until it is back --> report
//!                   fault                         restore
//! ```
//!
//! Invariant: however the drill ends, the fault ends: by the drill, or by its
//! lease.

use std::time::Duration;

use discovery_client::{
    Address, Site,
    sdk::{Client, Config, Standing},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    latency::{back_at, phase, threshold_ms, without_stalls},
    ledger::{Ledger, Shape},
    load::Load,
    reading::{SETTLE_MS, baseline, first_error, first_reroute, recovered, samples},
    record::{Record, millis},
    report::{Moment, Report, Settings, Verdict},
    site::{Refusal, Supervisor},
    verdict::{Back, broken_streams, judge},
};
use crate::{
    build::BUILD,
    dev::{fault::Mode, state::State},
};

/// A fault lasts this long without a renewal.
const LEASE_MS: u64 = 3000;
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(1);
/// The client must know all gateways within this.
const CONNECT: Duration = Duration::from_secs(10);
/// The site must be back, and the p99 with it, within this of the restore.
const RETURN: Duration = Duration::from_secs(30);
/// Requests that are left at the end may take this long.
const LAST: Duration = Duration::from_secs(30);
/// The load goes on for this long after the site is back.
const WATCH_MS: u64 = 3000;
/// How often the client's view of the site is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What to do.
#[derive(Debug, Clone)]
pub struct DcLoss {
    /// Where the demonstration is told what to do.
    pub supervisor: Supervisor,
    /// What is known of it.
    pub state: State,
    /// The site to take away.
    pub site: Site,
    /// How.
    pub mode: Mode,
    /// For how long.
    pub lasts: Duration,
    /// Unary requests a second.
    pub rate: f64,
    /// Streams alive at a time.
    pub streams: u32,
    /// How long before the fault.
    pub warmup: Duration,
    /// Decides the order of requests.
    pub seed: u64,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The supervisor did not do as asked.
    #[error(transparent)]
    Supervisor(#[from] Refusal),
    /// The client found gateways unreachable before anything was broken.
    #[error("before the fault already, these gateways cannot be reached: {0}")]
    Gateways(String),
    /// The state names no address to ask.
    #[error("the SDK's settings: {0}")]
    Client(#[from] discovery_client::sdk::Invalid),
}

/// When things happened, in milliseconds since the drill began.
#[derive(Debug, Default)]
struct Moments {
    fault: Option<u64>,
    detected: Option<u64>,
    restored: Option<u64>,
    back: Option<u64>,
    end: u64,
    dirty: bool,
}

impl DcLoss {
    /// Runs it. When `abort` fires the site is given back and the report says
    /// how far it came.
    pub async fn run(self, record: &Record, abort: &CancellationToken) -> Result<Report, Broken> {
        let gateways = self.state.sites.iter().filter(|site| !site.edge);
        let gateways = gateways.map(|site| (site.gateway.clone(), Some(site.name.clone())));
        // Twice what a second sends: all of it may have to be sent again.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the rate is 1 to 5000"
        )]
        let retry_reserve = (self.rate * 2.0).max(100.0) as u32;
        let client = Client::new(
            Config {
                retry_reserve,
                ..Config::default()
            },
            gateways,
        )?;
        connected(&client).await?;

        let stop = CancellationToken::new();
        let model = self
            .state
            .models
            .first()
            .map_or("demo-chat", String::as_str)
            .into();
        let load = Load {
            client: client.clone(),
            model,
            rate: self.rate,
            streams: self.streams,
            seed: self.seed,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(load.run(record.clone(), stop.clone()));
        tasks.spawn(note_stalls(record.clone(), stop.clone()));
        let mut moments = Moments::default();
        let outcome = self.act(record, &client, abort, &mut moments).await;
        stop.cancel();
        let ended = async { while tasks.join_next().await.is_some() {} };
        if timeout(LAST, ended).await.is_err() {
            tasks.shutdown().await;
        }
        moments.end = record.now_ms();
        outcome?;
        Ok(record.read(|ledger| self.report(ledger, &moments, abort.is_cancelled())))
    }

    /// Warm-up, fault, restore, return.
    async fn act(
        &self,
        record: &Record,
        client: &Client,
        abort: &CancellationToken,
        moments: &mut Moments,
    ) -> Result<(), Refusal> {
        progress(&format!(
            "load: {} requests/s and {} streams for {:?}",
            self.rate, self.streams, self.warmup
        ));
        if abort
            .run_until_cancelled(sleep(self.warmup))
            .await
            .is_none()
        {
            return Ok(());
        }
        progress(&format!(
            "fault: {} goes away for {:?}",
            self.site, self.lasts
        ));
        let fault_ms = record.fault();
        let fault = self
            .supervisor
            .begin(&self.site, self.mode, LEASE_MS)
            .await?;
        moments.fault = Some(fault_ms);
        let held = {
            let watch = self.seen(record, client, false, |at| moments.detected = Some(at));
            let hold = self.hold(fault.id);
            tokio::pin!(watch, hold);
            let held = async {
                tokio::select! {
                    held = &mut hold => return held,
                    () = &mut watch => {}
                }
                hold.await
            };
            abort.run_until_cancelled(held).await.unwrap_or(Ok(()))
        };
        progress(&format!("restore: {} comes back", self.site));
        moments.restored = Some(record.restored());
        let ended = self.supervisor.end(fault.id).await;
        moments.dirty = matches!(ended, Err(Refusal::Unreachable(_) | Refusal::Unusable(_)));
        held?;
        ended?;
        if abort.is_cancelled() {
            return Ok(());
        }
        let back = self.seen(record, client, true, |at| moments.back = Some(at));
        // Whatever is not back by then, the report says so.
        let _back_or_not = timeout(RETURN, abort.run_until_cancelled(back)).await;
        let settled = async {
            let until = moments.back.unwrap_or(0) + WATCH_MS;
            let known = || {
                record.read(|ledger| {
                    recovered(ledger, moments.fault, moments.restored, record.now_ms())
                })
            };
            while record.now_ms() < until || known().is_none() {
                sleep(LOOK * 10).await;
            }
        };
        let _back_or_not = timeout(RETURN, abort.run_until_cancelled(settled)).await;
        Ok(())
    }

    /// Keeps the fault on for as long as it is to last.
    async fn hold(&self, id: u64) -> Result<(), Refusal> {
        let end = Instant::now() + self.lasts;
        loop {
            let next = Instant::now() + RENEW;
            if next >= end {
                sleep_until(end).await;
                return Ok(());
            }
            sleep_until(next).await;
            self.supervisor.renew(id).await?;
        }
    }

    /// Waits until the client finds the site ready, or not so.
    async fn seen(&self, record: &Record, client: &Client, ready: bool, found: impl FnOnce(u64)) {
        let is_ready = || {
            let mut of_site = client
                .proxies()
                .into_iter()
                .filter(|it| it.site.as_ref() == Some(&self.site));
            of_site.all(|it| it.standing == Standing::Ready)
        };
        while is_ready() != ready {
            sleep(LOOK).await;
        }
        found(record.now_ms());
    }

    fn report(&self, ledger: &Ledger, moments: &Moments, aborted: bool) -> Report {
        let samples = samples(ledger);
        let calm = without_stalls(&samples, ledger.stalls());
        let threshold = baseline(&calm, moments.fault.unwrap_or(moments.end)).map(threshold_ms);
        let back = |from: Option<u64>, until: u64| back_at(&calm, from?, until, threshold?);
        let back_after_fault = back(moments.fault, moments.restored.unwrap_or(moments.end));
        let back_after_return = back(moments.restored, moments.end);
        let since = |at: Option<u64>, from: Option<u64>| at?.checked_sub(from?);
        let broken = broken_streams(ledger, moments.fault);
        let back = Back {
            after_fault_ms: since(back_after_fault, moments.fault),
            after_return_ms: since(back_after_return, moments.restored),
            site_ms: since(moments.back, moments.restored),
        };
        let hypothesis = judge(ledger, &broken, back);
        let held = hypothesis.iter().all(|claim| claim.held);
        let moment = |event, at_ms: Option<u64>| Moment {
            event,
            at_ms,
            since_fault_ms: at_ms
                .zip(moments.fault)
                .and_then(|(at, fault)| at.checked_signed_diff(fault)),
        };
        let (fault, end) = (moments.fault.unwrap_or(moments.end), moments.end);
        let restored = moments.restored.unwrap_or(end);
        let last_broken = broken
            .longest_ms
            .zip(moments.fault)
            .map(|(longest, fault)| fault + longest);
        Report {
            version: 1,
            id: format!("dc-loss-{}", run_id()),
            drill: "dc-loss",
            program: BUILD.version.to_owned(),
            seed: self.seed,
            site: self.site.clone(),
            mode: self.mode,
            outcome: match (aborted, moments.dirty, held) {
                (true, true, _) => Verdict::AbortedDirty,
                (true, false, _) => Verdict::AbortedRestored,
                (false, _, true) => Verdict::Succeeded,
                (false, _, false) => Verdict::Failed,
            },
            settings: Settings {
                rate: self.rate,
                streams: self.streams,
                warmup_ms: millis(self.warmup),
                for_ms: millis(self.lasts),
            },
            hypothesis,
            timeline: vec![
                moment("fault", moments.fault),
                moment(
                    "first error of an attempt",
                    first_error(ledger, moments.fault),
                ),
                moment("first reroute", first_reroute(ledger, moments.fault)),
                moment("site avoided by the client", moments.detected),
                moment("last broken stream ended", last_broken),
                moment("p99 back after the fault", back_after_fault),
                moment("fault removed", moments.restored),
                moment("site back", moments.back),
                moment("p99 back after the return", back_after_return),
                moment("end", Some(end)),
            ],
            unary: ledger.sums(Shape::Unary),
            streams: ledger.sums(Shape::Stream),
            broken_streams: broken,
            latency: vec![
                phase("before the fault", &samples, SETTLE_MS, fault),
                phase("site away", &samples, fault, restored),
                phase("site back", &samples, restored, end),
            ],
            threshold_ms: threshold,
            longest_stall_ms: ledger
                .stalls()
                .iter()
                .map(|(from, to)| to - from)
                .max()
                .unwrap_or(0),
            replay: self.replay(),
        }
    }

    fn replay(&self) -> String {
        let mode = if self.mode == Mode::Kill {
            "kill"
        } else {
            "stop"
        };
        format!(
            "tradewind drill run dc-loss --site {} --mode {mode} --for {} --rate {} --streams {} --warmup {} --seed {} --dev {}",
            self.site,
            humantime::format_duration(self.lasts)
                .to_string()
                .replace(' ', ""),
            self.rate,
            self.streams,
            humantime::format_duration(self.warmup)
                .to_string()
                .replace(' ', ""),
            self.seed,
            self.supervisor.0,
        )
    }
}

async fn connected(client: &Client) -> Result<(), Broken> {
    let missing = || -> Vec<Address> {
        let all = client.proxies().into_iter();
        all.filter(|it| it.standing != Standing::Ready)
            .map(|it| it.address)
            .collect()
    };
    let all = async {
        while !missing().is_empty() {
            sleep(LOOK).await;
        }
    };
    timeout(CONNECT, all).await.map_err(|_| {
        Broken::Gateways(
            missing()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        )
    })
}

/// Notes when this process itself did not get to run.
async fn note_stalls(record: Record, stop: CancellationToken) {
    loop {
        let due = Instant::now() + LOOK;
        if stop.run_until_cancelled(sleep_until(due)).await.is_none() {
            return;
        }
        if due.elapsed() > LOOK {
            record.stood_still(due.into_std());
        }
    }
}

/// The time, so that runs sort.
fn run_id() -> String {
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    now.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// On standard error, so that the result alone is on standard output.
fn progress(text: &str) {
    eprintln!("{text}");
}
