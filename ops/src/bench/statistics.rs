//! Medians, spreads and quantiles of what was measured.
//!
//! Short interleaved rounds and their median, and not one long run and its
//! mean: a neighbour's burst on a shared machine then spoils one round of
//! everybody and shows in the spread. Differences and ratios are taken inside
//! a round, where both sides met the same weather, and summed up afterwards.
//!
//! Invariants:
//! 1. A summary's `low <= median <= high`.
//! 2. Nothing here measures, waits or prints.

use serde::Serialize;

/// The rounds of one measure in one number and its spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// The middle round, or the mean of the two middle ones.
    pub median: f64,
    /// The lowest round.
    pub low: f64,
    /// The highest round.
    pub high: f64,
    /// How many rounds there were.
    pub rounds: usize,
}

impl Summary {
    /// Sums up `rounds`; `None` if there are none or one is not a number.
    pub fn of(rounds: &[f64]) -> Option<Self> {
        if rounds.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self {
            median,
            low,
            high,
            rounds: sorted.len(),
        })
    }
}

/// `ours - base`, round by round; rounds that only one side has are left out.
pub fn differences(ours: &[f64], base: &[f64]) -> Vec<f64> {
    ours.iter()
        .zip(base)
        .map(|(ours, base)| ours - base)
        .collect()
}

/// `ours / base`, round by round; rounds that only one side has are left out.
pub fn ratios(ours: &[f64], base: &[f64]) -> Vec<f64> {
    ours.iter()
        .zip(base)
        .map(|(ours, base)| ours / base)
        .collect()
}

/// The smallest sample that at least the share `q` (0 to 1) of all samples do
/// not exceed (nearest rank). `sorted` must be in ascending order.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = (q.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    Some(sorted[rank.saturating_sub(1).min(last)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_round() {
        let odd = Summary::of(&[9.0, 1.0, 5.0]).unwrap();
        assert_eq!(
            odd,
            Summary {
                median: 5.0,
                low: 1.0,
                high: 9.0,
                rounds: 3
            }
        );
        let even = Summary::of(&[4.0, 1.0, 2.0, 100.0]).unwrap();
        assert_eq!(even.median, 3.0);
    }

    #[test]
    fn one_spoilt_round_moves_the_spread_and_not_the_median() {
        let calm = Summary::of(&[10.0, 11.0, 10.0, 10.0, 11.0]).unwrap();
        let spoilt = Summary::of(&[10.0, 11.0, 10.0, 10.0, 90.0]).unwrap();
        assert_eq!(calm.median, spoilt.median);
        assert_eq!(spoilt.high, 90.0);
    }

    #[test]
    fn no_rounds_and_no_numbers_have_no_summary() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
        assert_eq!(Summary::of(&[f64::INFINITY]), None);
    }

    #[test]
    fn differences_and_ratios_pair_the_same_round() {
        assert_eq!(differences(&[5.0, 7.0], &[1.0, 2.0, 3.0]), [4.0, 5.0]);
        assert_eq!(ratios(&[6.0, 9.0], &[2.0, 3.0]), [3.0, 3.0]);
    }

    #[test]
    fn quantiles_are_samples_by_nearest_rank() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&samples, 0.5), Some(50.0));
        assert_eq!(quantile(&samples, 0.99), Some(99.0));
        assert_eq!(quantile(&samples, 1.0), Some(100.0));
        assert_eq!(quantile(&samples, 0.0), Some(1.0));
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
