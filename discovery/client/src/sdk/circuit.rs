//! Whether a proxy may be asked, judged by how it did lately. Pure: the clock
//! is handed in.
//!
//! ```text
//!            failures in a row, or        back-off over,
//!            a lost connection            one call admitted
//!   Closed ----------------------> Open -------------------> Probing
//!     ^                             ^                           |
//!     |                             +------- fails, x2 ---------+
//!     +------------------- answers -----------------------------+
//! ```
//!
//! Invariants:
//! 1. While open nothing is admitted; while probing nothing more than one call
//!    (`one_call_at_a_time_probes`).
//! 2. The back-off never exceeds its bound and grows with each failure that
//!    follows a probe (`the_back_off_grows_to_its_bound`).

use std::time::Duration;

use tokio::time::Instant;

/// What may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Anything.
    Open,
    /// One call, to find out.
    Probe,
    /// Nothing.
    Shut,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open { until: Instant },
    Probing { since: Instant },
}

/// The bounds a circuit works with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) failures: u32,
    pub(super) backoff: Duration,
    pub(super) backoff_max: Duration,
}

#[derive(Debug)]
pub(super) struct Circuit {
    bounds: Bounds,
    state: State,
    /// Failures in a row while closed.
    failures: u32,
    /// The next time out.
    backoff: Duration,
    /// When it closed last: a proxy that fails again soon is out for longer.
    closed_at: Option<Instant>,
}

/// A probe that never reports back (its call was dropped) is forgotten after
/// this long.
const PROBE_LOST: Duration = Duration::from_secs(10);

impl Circuit {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: State::Closed,
            failures: 0,
            backoff: bounds.backoff,
            closed_at: None,
        }
    }

    /// What may be sent at `now`.
    pub(super) fn admission(&self, now: Instant) -> Admission {
        match self.state {
            State::Closed => Admission::Open,
            State::Open { until } if now >= until => Admission::Probe,
            State::Probing { since } if now.duration_since(since) >= PROBE_LOST => Admission::Probe,
            State::Open { .. } | State::Probing { .. } => Admission::Shut,
        }
    }

    /// A call was sent at `now`, as [`Circuit::admission`] allowed.
    pub(super) fn sent(&mut self, now: Instant) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Probing { since: now };
        }
    }

    /// The earliest time to try again; nothing while closed.
    pub(super) fn reopens_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::Probing { .. } => None,
        }
    }

    /// It answered.
    pub(super) fn succeeded(&mut self, now: Instant) {
        if !matches!(self.state, State::Closed) {
            self.closed_at = Some(now);
        } else if self
            .closed_at
            .is_some_and(|at| now.duration_since(at) >= self.bounds.backoff_max)
        {
            // Well for long enough: past failures no longer count.
            self.backoff = self.bounds.backoff;
            self.closed_at = None;
        }
        self.state = State::Closed;
        self.failures = 0;
    }

    /// An answer blamed it.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures += 1;
        if self.failures >= self.bounds.failures || matches!(self.state, State::Probing { .. }) {
            self.lost(now);
        }
    }

    /// Its connection was lost or not made: out at once. Several reports of
    /// one failure count once.
    pub(super) fn lost(&mut self, now: Instant) {
        if let State::Open { until } = self.state
            && now < until
        {
            return;
        }
        if self
            .closed_at
            .is_some_and(|at| now.duration_since(at) >= self.bounds.backoff_max)
        {
            self.backoff = self.bounds.backoff;
        }
        self.state = State::Open {
            until: now + self.backoff,
        };
        self.backoff = (self.backoff * 2).min(self.bounds.backoff_max);
        self.failures = 0;
        self.closed_at = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        failures: 3,
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_secs(2),
    };

    #[test]
    fn three_failures_in_a_row_open_it_and_a_success_between_does_not() {
        let now = Instant::now();
        let mut circuit = Circuit::new(BOUNDS);
        circuit.failed(now);
        circuit.failed(now);
        circuit.succeeded(now);
        circuit.failed(now);
        circuit.failed(now);
        assert_eq!(circuit.admission(now), Admission::Open);
        circuit.failed(now);
        assert_eq!(circuit.admission(now), Admission::Shut);
    }

    #[test]
    fn one_call_at_a_time_probes() {
        let now = Instant::now();
        let mut circuit = Circuit::new(BOUNDS);
        circuit.lost(now);
        let later = now + BOUNDS.backoff;
        assert_eq!(circuit.admission(later), Admission::Probe);
        circuit.sent(later);
        assert_eq!(circuit.admission(later), Admission::Shut);
        circuit.succeeded(later);
        assert_eq!(circuit.admission(later), Admission::Open);
    }

    #[test]
    fn a_probe_whose_call_was_dropped_is_forgotten() {
        let now = Instant::now();
        let mut circuit = Circuit::new(BOUNDS);
        circuit.lost(now);
        circuit.sent(now + BOUNDS.backoff);
        assert_eq!(
            circuit.admission(now + BOUNDS.backoff + PROBE_LOST),
            Admission::Probe
        );
    }

    #[test]
    fn the_back_off_grows_to_its_bound() {
        let mut now = Instant::now();
        let mut circuit = Circuit::new(BOUNDS);
        let mut waits = Vec::new();
        for _ in 0..7 {
            circuit.lost(now);
            circuit.lost(now); // a second report of the same failure
            let until = circuit.reopens_at().unwrap();
            waits.push((until - now).as_millis());
            now = until;
            circuit.sent(now);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn a_proxy_that_stays_well_is_forgiven() {
        let mut now = Instant::now();
        let mut circuit = Circuit::new(BOUNDS);
        for _ in 0..5 {
            circuit.lost(now);
            now = circuit.reopens_at().unwrap();
        }
        circuit.succeeded(now);
        now += BOUNDS.backoff_max;
        circuit.lost(now);
        assert_eq!(circuit.reopens_at().unwrap() - now, BOUNDS.backoff);
    }

    proptest! {
        #[test]
        fn whatever_happens_it_admits_again_in_the_end(steps in prop::collection::vec(0u8..4, 0..200)) {
            let mut now = Instant::now();
            let mut circuit = Circuit::new(BOUNDS);
            for step in steps {
                now += Duration::from_millis(70);
                match step {
                    0 => circuit.succeeded(now),
                    1 => circuit.failed(now),
                    2 => circuit.lost(now),
                    _ if circuit.admission(now) != Admission::Shut => circuit.sent(now),
                    _ => {}
                }
            }
            prop_assert_ne!(circuit.admission(now + PROBE_LOST), Admission::Shut);
        }
    }
}
