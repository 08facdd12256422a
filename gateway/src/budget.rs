//! How many retries the live traffic allows.
//!
//! Each request earns a share of a retry, each retry spends a whole one,
//! counted when it is decided. A reserve can be saved up, so that the loss of a
//! replica with many requests in flight is absorbed at once, while a failing
//! site sees at most the share in the long run.
//!
//! Invariant: retries <= reserve + ratio x requests (`retries_stay_within`).

use std::sync::atomic::{AtomicI64, Ordering};

use crate::config::Retry;

const ONE: i64 = 1000;

/// A bucket of thousandths of a retry, shared by all cores.
#[derive(Debug)]
pub(crate) struct Budget {
    saved: AtomicI64,
    earned: i64,
    most: i64,
}

impl From<&Retry> for Budget {
    fn from(retry: &Retry) -> Self {
        let most = i64::from(retry.reserve) * ONE;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the ratio is between 0 and 1"
        )]
        let earned = (retry.ratio * ONE as f64) as i64;
        Self {
            saved: AtomicI64::new(most),
            earned,
            most,
        }
    }
}

impl Budget {
    /// Counts a request.
    pub(crate) fn earn(&self) {
        // The bound may be overrun by a core's share; the next one brings it back.
        if self.saved.load(Ordering::Relaxed) < self.most {
            self.saved.fetch_add(self.earned, Ordering::Relaxed);
        }
    }

    /// Takes one retry, if there is one.
    #[must_use]
    pub(crate) fn spend(&self) -> bool {
        let take = |saved: i64| (saved >= ONE).then_some(saved - ONE);
        self.saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn retries_stay_within(reserve in 0u32..20, steps in prop::collection::vec(any::<bool>(), 0..500)) {
            let budget = Budget::from(&Retry { attempts: 4, ratio: 0.1, reserve });
            let (mut requests, mut retries) = (0u32, 0u32);
            for retry in steps {
                if retry { retries += u32::from(budget.spend()) } else { requests += 1; budget.earn() }
                prop_assert!(f64::from(retries) <= f64::from(reserve) + 0.1 * f64::from(requests) + 1e-9);
            }
        }
    }

    #[test]
    fn saving_is_bounded() {
        let budget = Budget::from(&Retry {
            attempts: 4,
            ratio: 0.5,
            reserve: 2,
        });
        (0..1000).for_each(|_| budget.earn());
        assert_eq!((0..10).filter(|_| budget.spend()).count(), 2);
    }
}
