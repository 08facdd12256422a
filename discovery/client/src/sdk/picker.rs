//! Which proxy takes a call. Pure: chance is handed in.
//!
//! First the tier: proxies not tried for this call before those that were,
//! serving before draining, near before far. Within the best tier two are
//! drawn and the one with fewer calls in flight wins: a proxy that has fallen
//! silent piles up calls and so repels new ones before it is known to be dead.
//!
//! Invariants:
//! 1. The choice is usable (`the_choice_is_usable_and_of_the_best_tier`).
//! 2. Nothing is chosen only if nothing is usable (the same).

/// How a proxy looks to one call. Order is preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tier {
    /// Tried for this call already.
    pub(super) tried: bool,
    /// Takes nothing new if it can be helped.
    pub(super) draining: bool,
    /// In another site than the caller's.
    pub(super) far: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Absent: cannot be asked now.
    pub(super) tier: Option<Tier>,
    pub(super) in_flight: usize,
}

/// The index of the chosen candidate; `draw(n)` yields a number below `n`.
pub(super) fn pick(
    candidates: &[Candidate],
    mut draw: impl FnMut(usize) -> usize,
) -> Option<usize> {
    let best = candidates
        .iter()
        .filter_map(|candidate| candidate.tier)
        .min()?;
    let equals: Vec<usize> = (0..candidates.len())
        .filter(|&index| candidates[index].tier == Some(best))
        .collect();
    let first = draw(equals.len());
    if equals.len() == 1 {
        return Some(equals[0]);
    }
    // The second differs from the first.
    let second = (first + 1 + draw(equals.len() - 1)) % equals.len();
    let (first, second) = (equals[first], equals[second]);
    Some(
        if candidates[second].in_flight < candidates[first].in_flight {
            second
        } else {
            first
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        let tier =
            (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(tried, draining, far)| Tier {
                tried,
                draining,
                far,
            });
        (prop::option::of(tier), 0usize..5)
            .prop_map(|(tier, in_flight)| Candidate { tier, in_flight })
    }

    proptest! {
        #[test]
        fn the_choice_is_usable_and_of_the_best_tier(
            candidates in prop::collection::vec(any_candidate(), 0..8), seed: u64,
        ) {
            let mut chance = fastrand::Rng::with_seed(seed);
            let choice = pick(&candidates, |n| chance.usize(0..n));
            prop_assert_eq!(choice.is_none(), candidates.iter().all(|c| c.tier.is_none()));
            if let Some(choice) = choice {
                let tier = candidates[choice].tier;
                prop_assert!(tier.is_some());
                prop_assert_eq!(tier, candidates.iter().filter_map(|c| c.tier).min());
            }
        }

        #[test]
        fn of_two_the_less_busy_is_taken(a in 0usize..9, b in 0usize..9, seed: u64) {
            let tier = Some(Tier { tried: false, draining: false, far: false });
            let candidates = [a, b].map(|in_flight| Candidate { tier, in_flight });
            let mut chance = fastrand::Rng::with_seed(seed);
            let choice = pick(&candidates, |n| chance.usize(0..n)).unwrap();
            prop_assert_eq!(candidates[choice].in_flight, a.min(b));
        }
    }

    #[test]
    fn near_and_fresh_comes_before_idle() {
        let tier = |tried, far| {
            Some(Tier {
                tried,
                draining: false,
                far,
            })
        };
        let candidates = [
            Candidate {
                tier: tier(true, false),
                in_flight: 0,
            },
            Candidate {
                tier: tier(false, true),
                in_flight: 0,
            },
            Candidate {
                tier: tier(false, false),
                in_flight: 7,
            },
        ];
        assert_eq!(pick(&candidates, |_| 0), Some(2));
        assert_eq!(pick(&candidates[..2], |_| 0), Some(1));
    }
}
