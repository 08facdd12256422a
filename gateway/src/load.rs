//! Which of several targets is asked: the less loaded of two drawn at random.
//!
//! Load is peak-EWMA: a moving average of latency that jumps up at once and
//! comes down slowly, times the requests in flight and one. Numbers are shared
//! by all cores and read without a lock; a lost update costs one sample.
//!
//! Source: Mitzenmacher, "The Power of Two Choices in Randomized Load
//! Balancing", IEEE TPDS 12(10), 2001; peak-EWMA as in Finagle's
//! `LoadBalancer`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// After this long without a sample a latency counts 1/e of what it was.
const DECAY_MS: f64 = 10_000.0;

/// What a target that was never asked is taken to need, in microseconds: little,
/// so that it is tried soon.
const UNKNOWN_US: f64 = 1.0;

/// Requests in flight and latency of one target.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    ewma_us: AtomicU64,
    sampled_ms: AtomicU64,
}

impl Load {
    /// Requests in flight.
    #[must_use]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one more in flight, unless `limit` are.
    #[must_use]
    pub(crate) fn enter(&self, limit: u32) -> bool {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= limit {
            self.leave();
            return false;
        }
        true
    }

    /// Counts one less in flight.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a latency of `us` microseconds seen at `now_ms`.
    pub(crate) fn observe(&self, us: f64, now_ms: u64) {
        let decayed = self.latency_us(now_ms);
        let since = now_ms.saturating_sub(self.sampled_ms.load(Ordering::Relaxed));
        let next = if us >= decayed {
            us
        } else {
            let keep = (-(since as f64).max(1.0) / DECAY_MS).exp();
            decayed * keep + us * (1.0 - keep)
        };
        self.ewma_us.store(next.to_bits(), Ordering::Relaxed);
        self.sampled_ms.store(now_ms, Ordering::Relaxed);
    }

    /// What one more request would meet: smaller is better.
    #[must_use]
    pub(crate) fn cost(&self, now_ms: u64) -> f64 {
        self.latency_us(now_ms).max(UNKNOWN_US) * f64::from(self.in_flight() + 1)
    }

    fn latency_us(&self, now_ms: u64) -> f64 {
        let ewma = f64::from_bits(self.ewma_us.load(Ordering::Relaxed));
        let since = now_ms.saturating_sub(self.sampled_ms.load(Ordering::Relaxed));
        // Within a second the average stands; an exponential a look is dear.
        if since < 1000 {
            ewma
        } else {
            ewma * (-(since as f64) / DECAY_MS).exp()
        }
    }
}

/// The cheaper of two of `targets` that fit, drawn with `draw` (a number below
/// the one it is given). `None` if none fits.
pub(crate) fn pick<T>(
    targets: &[T],
    fits: impl Fn(&T) -> bool,
    cost: impl Fn(&T) -> f64,
    mut draw: impl FnMut(usize) -> usize,
) -> Option<&T> {
    match targets {
        [] => return None,
        [only] => return fits(only).then_some(only),
        _ => {}
    }
    let mut draw_fitting = |not: Option<usize>| {
        let start = draw(targets.len());
        (0..targets.len())
            .map(|step| (start + step) % targets.len())
            .find(|nth| Some(*nth) != not && fits(&targets[*nth]))
    };
    let first = draw_fitting(None)?;
    let Some(second) = draw_fitting(Some(first)) else {
        return Some(&targets[first]);
    };
    let (first, second) = (&targets[first], &targets[second]);
    Some(if cost(second) < cost(first) {
        second
    } else {
        first
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn latency_jumps_up_and_comes_down_slowly() {
        let load = Load::default();
        load.observe(1000.0, 0);
        load.observe(50_000.0, 1);
        assert!((load.latency_us(1) - 50_000.0).abs() < 1.0);
        load.observe(1000.0, 2);
        assert!(load.latency_us(2) > 49_000.0);
        for ms in 3..60_000 {
            load.observe(1000.0, ms);
        }
        assert!(load.latency_us(60_000) < 1_300.0);
    }

    #[test]
    fn an_idle_target_is_forgiven_with_time() {
        let load = Load::default();
        load.observe(100_000.0, 0);
        assert!(load.cost(60_000) < load.cost(0) / 100.0);
    }

    #[test]
    fn the_limit_holds() {
        let load = Load::default();
        assert!(load.enter(2) && load.enter(2) && !load.enter(2));
        load.leave();
        assert!(load.enter(2));
        assert_eq!(load.in_flight(), 2);
    }

    #[test]
    fn a_slow_target_gets_few() {
        // Eight targets, one ten times slower; each request ends before the
        // next starts, so latency alone decides.
        let loads: Vec<Load> = (0..8).map(|_| Load::default()).collect();
        let mut random = fastrand::Rng::with_seed(7);
        let mut asked = [0u32; 8];
        for now_ms in 0..10_000 {
            let nth = pick(
                &(0..8).collect::<Vec<usize>>(),
                |_| true,
                |n| loads[*n].cost(now_ms),
                |n| random.usize(..n),
            )
            .copied()
            .unwrap();
            asked[nth] += 1;
            loads[nth].observe(if nth == 0 { 100_000.0 } else { 10_000.0 }, now_ms);
        }
        assert!(asked[0] <= 300, "{asked:?}");
    }

    proptest! {
        #[test]
        fn the_pick_fits_and_is_found(fits in prop::collection::vec(any::<bool>(), 0..9), seed: u64) {
            let targets: Vec<usize> = (0..fits.len()).collect();
            let mut random = fastrand::Rng::with_seed(seed);
            let picked = pick(&targets, |nth| fits[*nth], |nth| *nth as f64, |n| random.usize(..n));
            match picked {
                Some(nth) => prop_assert!(fits[*nth]),
                None => prop_assert!(!fits.contains(&true)),
            }
        }
    }
}
