//! How long answers took, and when the tail is back. Pure.
//!
//! Requests are put where they began. The p99 is back at the first moment from
//! which every window of a second that begins within the next second is good:
//! one good window may be luck. Time in which the drill itself stood still is
//! left out.

use serde::Serialize;

/// One answered request: when it began and how long it took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it began.
    pub at_ms: u64,
    /// Until its whole answer.
    pub took_ms: u64,
}

/// The times of one phase.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phase {
    /// Its name.
    pub phase: &'static str,
    /// How many requests began in it.
    pub count: usize,
    /// Half took at most this long.
    pub p50_ms: Option<u64>,
    /// All but one in a hundred took at most this long.
    pub p99_ms: Option<u64>,
    /// The longest.
    pub max_ms: Option<u64>,
}

const WINDOW_MS: u64 = 1000;
const STEP_MS: u64 = 100;

/// The value that `share` of the values do not exceed (nearest rank).
pub fn percentile(mut values: Vec<u64>, share: f64) -> Option<u64> {
    values.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0 to len"
    )]
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied()
}

/// The samples without the time in which the drill itself did not get to run:
/// that is this machine's doing, not the gateways'.
pub fn without_stalls(samples: &[Sample], stalls: &[(u64, u64)]) -> Vec<Sample> {
    let shorten = |sample: &Sample| {
        let end = sample.at_ms + sample.took_ms;
        let overlap =
            |(from, to): &(u64, u64)| (*to).min(end).saturating_sub((*from).max(sample.at_ms));
        let still: u64 = stalls.iter().map(overlap).sum();
        Sample {
            took_ms: sample.took_ms.saturating_sub(still),
            ..*sample
        }
    };
    samples.iter().map(shorten).collect()
}

fn between(samples: &[Sample], from_ms: u64, to_ms: u64) -> Vec<u64> {
    samples
        .iter()
        .filter(|it| (from_ms..to_ms).contains(&it.at_ms))
        .map(|it| it.took_ms)
        .collect()
}

/// The times of the requests that began in `from_ms..to_ms`.
pub fn phase(name: &'static str, samples: &[Sample], from_ms: u64, to_ms: u64) -> Phase {
    let took = between(samples, from_ms, to_ms);
    Phase {
        phase: name,
        count: took.len(),
        p50_ms: percentile(took.clone(), 0.5),
        p99_ms: percentile(took.clone(), 0.99),
        max_ms: took.into_iter().max(),
    }
}

/// What still counts as the baseline: half as much again, or 20 ms more.
pub fn threshold_ms(baseline_p99_ms: u64) -> u64 {
    (baseline_p99_ms + baseline_p99_ms / 2).max(baseline_p99_ms + 20)
}

/// The first moment at or after `from_ms` since when the p99 is at most
/// `threshold_ms`, as far as is known at `until_ms`. An empty window is not a
/// good one.
pub fn back_at(samples: &[Sample], from_ms: u64, until_ms: u64, threshold_ms: u64) -> Option<u64> {
    let good = |at: u64| {
        percentile(between(samples, at, at + WINDOW_MS), 0.99)
            .is_some_and(|p99| p99 <= threshold_ms)
    };
    let mut since = None;
    let mut at = from_ms;
    while at + WINDOW_MS <= until_ms {
        if good(at) {
            let began = *since.get_or_insert(at);
            if at - began >= WINDOW_MS {
                return Some(began);
            }
        } else {
            since = None;
        }
        at += STEP_MS;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(from_ms: u64, to_ms: u64, took_ms: u64) -> Vec<Sample> {
        (from_ms..to_ms)
            .step_by(20)
            .map(|at_ms| Sample { at_ms, took_ms })
            .collect()
    }

    #[test]
    fn the_percentile_is_of_nearest_rank() {
        assert_eq!(percentile((1..=100).collect(), 0.99), Some(99));
        assert_eq!(percentile(vec![7], 0.99), Some(7));
        assert_eq!(percentile(vec![3, 1, 2], 0.5), Some(2));
        assert_eq!(percentile(Vec::new(), 0.5), None);
    }

    #[test]
    fn the_tail_is_back_when_the_last_slow_request_has_begun() {
        let samples = [
            steady(0, 1000, 20),
            steady(1000, 1900, 900),
            steady(1900, 6000, 22),
        ]
        .concat();
        assert_eq!(back_at(&samples, 1000, 6000, threshold_ms(20)), Some(1900));
        assert_eq!(
            back_at(&samples, 1000, 3000, threshold_ms(20)),
            None,
            "not known yet"
        );
    }

    #[test]
    fn one_good_second_between_two_bad_ones_is_not_enough() {
        let samples = [
            steady(0, 500, 900),
            steady(500, 1800, 20),
            steady(1800, 2000, 900),
            steady(2000, 6000, 20),
        ];
        assert_eq!(back_at(&samples.concat(), 0, 6000, 40), Some(2000));
    }

    #[test]
    fn an_own_stall_is_not_held_against_the_gateways() {
        let samples = [
            Sample {
                at_ms: 100,
                took_ms: 300,
            },
            Sample {
                at_ms: 500,
                took_ms: 20,
            },
        ];
        let shortened = without_stalls(&samples, &[(0, 110), (150, 390), (600, 900)]);
        assert_eq!(
            shortened.iter().map(|it| it.took_ms).collect::<Vec<_>>(),
            [50, 20]
        );
    }

    #[test]
    fn silence_is_no_recovery() {
        assert_eq!(back_at(&steady(0, 1000, 20), 1000, 9000, 40), None);
    }
}
