//! Whether a target is asked: a circuit that opens at the first failure.
//!
//! ```text
//!            strike                    back-off over
//!   closed ----------> open (ejected) ---------------> half-open: one probe
//!     ^                  ^                                  |       |
//!     |                  +------------- strike -------------+       |
//!     +---------------------------- success ------------------------+
//! ```
//!
//! Each failed probe doubles the back-off. A target that comes back and soon
//! fails again goes on from where it was, so one that flaps is asked ever more
//! seldom. The decisions are pure functions of a [`Circuit`] and the time; the
//! [`Breaker`] keeps a circuit where all cores see it.
//!
//! Invariants:
//! 1. An ejected target is asked by nobody before its back-off is over, and
//!    then by one probe at a time (`one_probe_at_a_time`).
//! 2. The back-off grows with each failed probe up to its bound and never
//!    beyond (`back_off_grows_to_its_bound`).

use std::time::Duration;

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Health;

/// The bounds, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    first_ms: u64,
    most_ms: u64,
}

impl From<&Health> for Backoff {
    fn from(health: &Health) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            first_ms: ms(health.backoff).max(1),
            most_ms: ms(health.backoff_max).max(1),
        }
    }
}

/// The state of one target's circuit. Times are milliseconds on any clock that
/// only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Circuit {
    /// Failures in a row; 0: closed.
    strikes: u32,
    /// Not asked before.
    until_ms: u64,
    /// A probe is out and may be so until then.
    probe_until_ms: u64,
    /// When it last closed, and with how many strikes.
    closed: (u64, u32),
}

/// What the circuit says of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ask it.
    Healthy,
    /// Ask it once and report.
    Probe,
    /// Leave it alone.
    Ejected,
}

impl Circuit {
    /// May it be asked at `now_ms`?
    #[must_use]
    pub(crate) fn verdict(&self, now_ms: u64) -> Verdict {
        match self.strikes {
            0 => Verdict::Healthy,
            _ if now_ms < self.until_ms || now_ms < self.probe_until_ms => Verdict::Ejected,
            _ => Verdict::Probe,
        }
    }

    /// Notes that a probe leaves; it has as long as the back-off to report.
    #[must_use]
    pub(crate) fn probing(self, now_ms: u64, backoff: Backoff) -> Self {
        Self {
            probe_until_ms: now_ms + backoff.after(self.strikes),
            ..self
        }
    }

    /// A failure that counts. Those of requests that were under way when it was
    /// ejected say nothing new.
    #[must_use]
    pub(crate) fn strike(self, now_ms: u64, backoff: Backoff) -> Self {
        if self.strikes > 0 && now_ms < self.until_ms {
            return self;
        }
        let before = if self.strikes > 0 {
            self.strikes
        } else {
            let (at_ms, strikes) = self.closed;
            if now_ms.saturating_sub(at_ms) < 8 * backoff.after(strikes) {
                strikes
            } else {
                0
            }
        };
        let strikes = before.saturating_add(1);
        Self {
            strikes,
            until_ms: now_ms + backoff.after(strikes),
            probe_until_ms: 0,
            closed: (0, 0),
        }
    }

    /// An answer that shows it well.
    #[must_use]
    pub(crate) fn success(self, now_ms: u64) -> Self {
        match self.strikes {
            0 => self,
            strikes => Self {
                closed: (now_ms, strikes),
                ..Self::default()
            },
        }
    }
}

impl Backoff {
    fn after(self, strikes: u32) -> u64 {
        let doubled = self
            .first_ms
            .saturating_mul(1 << strikes.saturating_sub(1).min(20));
        doubled.min(self.most_ms)
    }
}

/// A [`Circuit`] shared by all cores. While it is closed, asking it is one
/// atomic read; the lock is taken only around failures.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// When to look at the circuit: 0 while it is closed, else the time from
    /// which it may be probed.
    gate_ms: AtomicU64,
    circuit: Mutex<Circuit>,
    backoff: Backoff,
}

impl Breaker {
    /// Closed.
    #[must_use]
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self {
            gate_ms: AtomicU64::new(0),
            circuit: Mutex::default(),
            backoff,
        }
    }

    /// May it be asked at `now_ms`? A `Probe` must be claimed before it is sent.
    #[must_use]
    pub(crate) fn verdict(&self, now_ms: u64) -> Verdict {
        match self.gate_ms.load(Ordering::Relaxed) {
            0 => Verdict::Healthy,
            gate_ms if now_ms < gate_ms => Verdict::Ejected,
            _ => Verdict::Probe,
        }
    }

    /// Takes the right to send the one probe. `false` if another core has it.
    #[must_use]
    pub(crate) fn claim_probe(&self, now_ms: u64) -> bool {
        self.change(|circuit| match circuit.verdict(now_ms) {
            Verdict::Healthy => (circuit, true),
            Verdict::Probe => (circuit.probing(now_ms, self.backoff), true),
            Verdict::Ejected => (circuit, false),
        })
    }

    /// Gives back the right to a probe that was not sent after all.
    pub(crate) fn return_probe(&self) {
        self.change(|circuit| {
            let returned = Circuit {
                probe_until_ms: 0,
                ..circuit
            };
            (returned, ())
        });
    }

    /// Counts a failure. `true` if it opened the circuit.
    pub(crate) fn strike(&self, now_ms: u64) -> bool {
        self.change(|circuit| {
            let was_closed = circuit.strikes == 0;
            (circuit.strike(now_ms, self.backoff), was_closed)
        })
    }

    /// Closes the circuit if it was open.
    pub(crate) fn success(&self, now_ms: u64) {
        if self.gate_ms.load(Ordering::Relaxed) != 0 {
            self.change(|circuit| (circuit.success(now_ms), ()));
        }
    }

    fn change<T>(&self, change: impl FnOnce(Circuit) -> (Circuit, T)) -> T {
        let mut circuit = self.circuit.lock();
        let (next, told) = change(*circuit);
        *circuit = next;
        let gate_ms = if next.strikes == 0 {
            0
        } else {
            next.until_ms.max(next.probe_until_ms).max(1)
        };
        self.gate_ms.store(gate_ms, Ordering::Relaxed);
        told
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff {
        first_ms: 100,
        most_ms: 1000,
    };

    #[test]
    fn the_first_failure_ejects_and_a_good_probe_brings_back() {
        let circuit = Circuit::default().strike(0, BACKOFF);
        assert_eq!(circuit.verdict(99), Verdict::Ejected);
        assert_eq!(circuit.verdict(100), Verdict::Probe);
        assert_eq!(circuit.success(100).verdict(100), Verdict::Healthy);
    }

    #[test]
    fn one_probe_at_a_time() {
        let breaker = Breaker::new(BACKOFF);
        assert!(breaker.strike(0));
        assert!(!breaker.claim_probe(50));
        assert_eq!(breaker.verdict(100), Verdict::Probe);
        assert!(breaker.claim_probe(100));
        assert!(!breaker.claim_probe(100));
        assert_eq!(breaker.verdict(100), Verdict::Ejected);
        // A probe that never reports gives its right back.
        assert!(breaker.claim_probe(200));
        // As does one that was not sent.
        breaker.return_probe();
        assert!(breaker.claim_probe(200));
        breaker.success(201);
        assert_eq!(breaker.verdict(201), Verdict::Healthy);
    }

    #[test]
    fn one_incident_is_one_strike() {
        let once = Circuit::default().strike(0, BACKOFF);
        assert_eq!(once.strike(5, BACKOFF).strike(99, BACKOFF), once);
    }

    #[test]
    fn one_that_flaps_is_asked_ever_more_seldom() {
        let mut circuit = Circuit::default();
        let mut waits = Vec::new();
        let mut now = 0;
        for _ in 0..5 {
            circuit = circuit.strike(now, BACKOFF);
            waits.push(circuit.until_ms - now);
            now = circuit.until_ms;
            circuit = circuit.probing(now, BACKOFF).success(now + 1);
            now += 10;
        }
        assert_eq!(waits, [100, 200, 400, 800, 1000]);
        let calm = circuit.strike(now + 60_000, BACKOFF);
        assert_eq!(calm.until_ms - (now + 60_000), 100);
    }

    proptest! {
        #[test]
        fn back_off_grows_to_its_bound(failures in 1u32..60) {
            let mut circuit = Circuit::default();
            let mut last = 0;
            let mut now = 0;
            for _ in 0..failures {
                circuit = circuit.strike(now, BACKOFF);
                let wait = circuit.until_ms - now;
                prop_assert!(wait >= last && wait <= BACKOFF.most_ms);
                prop_assert_eq!(circuit.verdict(circuit.until_ms - 1), Verdict::Ejected);
                last = wait;
                now = circuit.until_ms;
            }
        }
    }
}
