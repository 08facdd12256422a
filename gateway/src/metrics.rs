//! What the gateway shows of itself to Prometheus.
//!
//! Names begin with `tw_http_`, `tw_route_`, `tw_attempt_` and `tw_upstream_`;
//! labels are the application (only names that a replica registered), the site
//! and fixed words.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Instant,
};

use arc_swap::ArcSwap;
use federation::plan::Reason;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::{
    access::Lost,
    cause::Cause,
    fleet::{Clock, Fleet},
    health::Verdict,
    tally::{Count, Histogram, OVERHEAD_SECONDS, Outcome, SECONDS, STATUSES, Series, Tallies},
    upload::ReplayMemory,
};

/// Adds up the cores' counters when it is asked.
pub(crate) struct Metrics {
    pub(crate) tallies: Tallies,
    pub(crate) in_flight: Arc<AtomicU64>,
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) fleet: Arc<ArcSwap<Fleet>>,
    pub(crate) clock: Clock,
    pub(crate) lost: Lost,
    pub(crate) replay: ReplayMemory,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A counter's name, its help text and where it is.
type Plain = (&'static str, &'static str, fn(&Series) -> &Count);

/// Series of one application, of all cores.
type Grouped = BTreeMap<String, Vec<Arc<Series>>>;

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut grouped = Grouped::new();
        for (application, series) in self.tallies.all() {
            let name = application.map_or_else(String::new, String::from);
            grouped.entry(name).or_default().push(series);
        }
        self.requests(&mut encoder, &grouped)?;
        self.counters(&mut encoder, &grouped)?;
        durations(&mut encoder, &grouped)?;
        self.upstreams(&mut encoder)?;
        self.gauges(&mut encoder)
    }
}

fn sum(series: &[Arc<Series>], of: impl Fn(&Series) -> &Count) -> u64 {
    series.iter().map(|series| of(series).get()).sum()
}

impl Metrics {
    fn requests(&self, encoder: &mut DescriptorEncoder<'_>, grouped: &Grouped) -> fmt::Result {
        let help = "Requests by how they ended and by the status the client was sent";
        let mut family =
            encoder.encode_descriptor("tw_http_requests", help, None, MetricType::Counter)?;
        for (application, series) in grouped {
            for outcome in Outcome::ALL {
                for nth in 0..=STATUSES.len() {
                    let total = sum(series, |s| &s.requests[outcome as usize][nth]);
                    if total > 0 {
                        let status = STATUSES
                            .get(nth)
                            .map_or("other".to_owned(), ToString::to_string);
                        let labels = [
                            ("application", application.as_str()),
                            ("outcome", outcome.as_str()),
                            ("status", &status),
                        ];
                        family
                            .encode_family(&labels)?
                            .encode_counter::<NoLabelSet, _, u64>(&total, None)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>, grouped: &Grouped) -> fmt::Result {
        let help = "Choices of a target by the plan's reason";
        let mut family =
            encoder.encode_descriptor("tw_route_choices", help, None, MetricType::Counter)?;
        for (application, series) in grouped {
            for reason in Reason::ALL {
                let total = sum(series, |s| &s.reasons[reason as usize]);
                if total > 0 {
                    let labels = [
                        ("application", application.as_str()),
                        ("reason", reason.as_str()),
                    ];
                    family
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, u64>(&total, None)?;
                }
            }
        }
        let help = "Attempts at a target by how they ended";
        let mut family =
            encoder.encode_descriptor("tw_attempt_results", help, None, MetricType::Counter)?;
        for (application, series) in grouped {
            for (nth, cause) in Cause::LABELS.iter().enumerate() {
                let total = sum(series, |s| &s.attempts[nth]);
                if total > 0 {
                    let labels = [("application", application.as_str()), ("cause", cause)];
                    family
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, u64>(&total, None)?;
                }
            }
        }
        let plain: [Plain; 5] = [
            (
                "tw_http_events_skipped",
                "Events left out of streams because they were not JSON",
                |s| &s.skipped,
            ),
            (
                "tw_http_request_bytes",
                "Body bytes received from clients",
                |s| &s.bytes_in,
            ),
            (
                "tw_http_response_bytes",
                "Body bytes sent to clients",
                |s| &s.bytes_out,
            ),
            ("tw_http_stream_chunks", "Pieces of streamed answers", |s| {
                &s.chunks
            }),
            (
                "tw_attempt_over_budget",
                "Retries not made because the budget was spent",
                |s| &s.over_budget,
            ),
        ];
        for (name, help, of) in plain {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (application, series) in grouped {
                let labels = [("application", application.as_str())];
                family
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&sum(series, of), None)?;
            }
        }
        Ok(())
    }

    fn upstreams(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let fleet = self.fleet.load();
        let now_ms = self.clock.ms(Instant::now());
        let mut targets: Vec<_> = fleet.targets().collect();
        targets.sort_by(|a, b| a.endpoint.key.cmp(&b.endpoint.key));
        let help = "Requests in flight at a target";
        let mut family =
            encoder.encode_descriptor("tw_upstream_in_flight", help, None, MetricType::Gauge)?;
        for target in &targets {
            family
                .encode_family(&[("target", target.label())])?
                .encode_gauge(&i64::from(target.load.in_flight()))?;
        }
        let help = "1 while a target is left alone after a failure";
        let mut family =
            encoder.encode_descriptor("tw_upstream_ejected", help, None, MetricType::Gauge)?;
        for target in &targets {
            let ejected = i64::from(target.breaker.verdict(now_ms) != Verdict::Healthy);
            family
                .encode_family(&[("target", target.label())])?
                .encode_gauge(&ejected)?;
        }
        Ok(())
    }

    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let read = |of: &AtomicU64| i64::try_from(of.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let replay = self.replay.free();
        for (name, help, value) in [
            (
                "tw_http_in_flight",
                "Requests under way",
                read(&self.in_flight),
            ),
            (
                "tw_http_connections",
                "Client connections open",
                read(&self.connections),
            ),
            (
                "tw_http_replay_free_bytes",
                "Memory left for bodies kept for a second attempt",
                replay,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        let help = "Access lines not written because the log did not keep up";
        encoder
            .encode_descriptor("tw_http_access_lines_lost", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&self.lost.get(), None)
    }
}

fn durations(encoder: &mut DescriptorEncoder<'_>, grouped: &Grouped) -> fmt::Result {
    let help = "From a request's arrival to the end of its answer";
    histograms(
        encoder,
        "tw_http_request_duration_seconds",
        help,
        grouped,
        &SECONDS,
        |s| &s.duration,
    )?;
    let help = "From a request's arrival to the first byte of its answer";
    histograms(
        encoder,
        "tw_http_first_byte_seconds",
        help,
        grouped,
        &SECONDS,
        |s| &s.first_byte,
    )?;
    let help = "The gateway's own share of a request's time";
    histograms(
        encoder,
        "tw_http_overhead_seconds",
        help,
        grouped,
        &OVERHEAD_SECONDS,
        |s| &s.overhead,
    )
}

fn histograms<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    grouped: &Grouped,
    bounds: &[f64; N],
    of: impl Fn(&Series) -> &Histogram<N>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (application, series) in grouped {
        let mut counts = vec![0; N + 1];
        let mut total_seconds = 0.0;
        for series in series {
            let (buckets, seconds) = of(series).read();
            counts
                .iter_mut()
                .zip(buckets)
                .for_each(|(sum, count)| *sum += count);
            total_seconds += seconds;
        }
        let buckets: Vec<(f64, u64)> = bounds
            .iter()
            .copied()
            .chain([f64::MAX])
            .zip(counts.iter().copied())
            .collect();
        let labels = [("application", application.as_str())];
        family
            .encode_family(&labels)?
            .encode_histogram::<NoLabelSet>(total_seconds, counts.iter().sum(), &buckets, None)?;
    }
    Ok(())
}
