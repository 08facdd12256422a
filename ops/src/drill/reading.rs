//! Reads figures and moments out of a ledger. Pure.

use super::{
    latency::{Sample, back_at, phase, threshold_ms, without_stalls},
    ledger::{End, Entry, Ledger, Send, Shape},
};

/// Connections warm up for this long; it is not part of the baseline.
pub const SETTLE_MS: u64 = 1000;

/// The unary requests that were answered.
pub fn samples(ledger: &Ledger) -> Vec<Sample> {
    let unary = ledger.entries().filter(|entry| entry.shape == Shape::Unary);
    let took = |entry: &Entry| match &entry.outcome {
        Some((ended_ms, End::Ok { .. })) => Some(Sample {
            at_ms: entry.intent_ms,
            took_ms: ended_ms.saturating_sub(entry.intent_ms),
        }),
        _ => None,
    };
    unary.filter_map(took).collect()
}

/// The p99 before the fault.
pub fn baseline(samples: &[Sample], fault_ms: u64) -> Option<u64> {
    phase("", samples, SETTLE_MS, fault_ms).p99_ms
}

/// When the p99 was back after `restored_ms`, as far as is known now.
pub fn recovered(
    ledger: &Ledger,
    fault_ms: Option<u64>,
    restored_ms: Option<u64>,
    now_ms: u64,
) -> Option<u64> {
    let samples = without_stalls(&samples(ledger), ledger.stalls());
    let threshold = threshold_ms(baseline(&samples, fault_ms?)?);
    back_at(&samples, restored_ms?, now_ms, threshold)
}

/// When the first attempt failed after the fault.
pub fn first_error(ledger: &Ledger, fault_ms: Option<u64>) -> Option<u64> {
    let fault_ms = fault_ms?;
    let failed = ledger
        .entries()
        .flat_map(|entry| &entry.sends)
        .filter(|send| send.cause.is_some());
    let broken = ledger.entries().filter(|entry| entry.is_broken_stream());
    let broken = broken.filter_map(|entry| entry.outcome.as_ref().map(|(ended_ms, _)| *ended_ms));
    failed
        .map(|send| send.until_ms)
        .chain(broken)
        .filter(|at| *at >= fault_ms)
        .min()
}

/// When the first request went to another gateway after that.
pub fn first_reroute(ledger: &Ledger, fault_ms: Option<u64>) -> Option<u64> {
    let fault_ms = fault_ms?;
    let moved = |pair: &[Send]| (pair[0].proxy != pair[1].proxy).then_some(pair[1].at_ms);
    let all = ledger
        .entries()
        .flat_map(|entry| entry.sends.windows(2).filter_map(moved));
    all.filter(|at| *at >= fault_ms).min()
}
