//! Bounds how much load retries may add. Pure.
//!
//! Each call earns a share of a retry; a retry spends one. What is not spent
//! is saved up to the reserve, and a new budget begins with it full.
//!
//! Invariant: over any history, retries never exceed share x calls + reserve
//! (`retries_never_exceed_share_and_reserve`).

/// Earned and not yet spent retries.
#[derive(Debug)]
pub(super) struct Budget {
    ratio: f64,
    reserve: f64,
    saved: f64,
}

impl Budget {
    pub(super) fn new(ratio: f64, reserve: u32) -> Self {
        let reserve = f64::from(reserve);
        Self {
            ratio,
            reserve,
            saved: reserve,
        }
    }

    /// A call begins.
    pub(super) fn earn(&mut self) {
        self.saved = (self.saved + self.ratio).min(self.reserve.max(1.0));
    }

    /// Takes one retry, if there is one.
    pub(super) fn spend(&mut self) -> bool {
        let enough = self.saved >= 1.0;
        if enough {
            self.saved -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn retries_never_exceed_share_and_reserve(
            steps in prop::collection::vec(any::<bool>(), 0..2000),
            ratio in 0.0..=1.0f64,
            reserve in 0u32..50,
        ) {
            let mut budget = Budget::new(ratio, reserve);
            let (mut calls, mut retries) = (0.0, 0.0);
            for is_call in steps {
                if is_call {
                    budget.earn();
                    calls += 1.0;
                } else if budget.spend() {
                    retries += 1.0;
                }
                prop_assert!(retries <= ratio * calls + f64::from(reserve) + 1e-6);
            }
        }
    }

    #[test]
    fn a_quiet_client_can_absorb_a_burst() {
        let mut budget = Budget::new(0.1, 100);
        assert_eq!((0..200).filter(|_| budget.spend()).count(), 100);
        for _ in 0..10 {
            budget.earn();
        }
        // Ten tenths, give or take the last bit of a float.
        budget.earn();
        assert!(budget.spend());
        assert!(!budget.spend());
    }
}
