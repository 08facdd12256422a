//! Wrong passwords by address: each makes the next guess wait longer.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use foldhash::HashMap;

/// Addresses whose failures are remembered.
const GUESSERS: usize = 16_384;
/// The first failure costs the next guess so long, each further one twice as
/// much, up to `DELAY_MAX`.
const DELAY: Duration = Duration::from_millis(100);
pub(super) const DELAY_MAX: Duration = Duration::from_secs(5);
/// After so long without a failure an address starts afresh.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Who guessed wrong, and how often of late.
#[derive(Debug, Default)]
pub(super) struct Guesses(HashMap<IpAddr, Failures>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn is_forgiven(&self, now: Instant) -> bool {
        now.duration_since(self.last) >= FORGIVEN
    }
}

impl Guesses {
    /// How long the next guess of `peer` must wait.
    pub(super) fn delay(&self, peer: IpAddr, now: Instant) -> Duration {
        match self.0.get(&peer) {
            Some(failures) if !failures.is_forgiven(now) => {
                let doublings = failures.count.saturating_sub(1).min(10);
                DELAY_MAX.min(DELAY * 2_u32.pow(doublings))
            }
            _ => Duration::ZERO,
        }
    }

    /// One guess was wrong.
    pub(super) fn wrong(&mut self, peer: IpAddr, now: Instant) {
        if self.0.len() >= GUESSERS {
            self.0.retain(|_, failures| !failures.is_forgiven(now));
            if self.0.len() >= GUESSERS {
                self.0.clear();
            }
        }
        let fresh = Failures {
            count: 0,
            last: now,
        };
        let failures = self.0.entry(peer).or_insert(fresh);
        if failures.is_forgiven(now) {
            *failures = fresh;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// One was right.
    pub(super) fn right(&mut self, peer: IpAddr) {
        self.0.remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_until_it_is_forgiven() {
        let (peer, now) = (IpAddr::V4(Ipv4Addr::LOCALHOST), Instant::now());
        let mut guesses = Guesses::default();
        assert_eq!(guesses.delay(peer, now), Duration::ZERO);
        for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            guesses.wrong(peer, now);
            let delay = guesses.delay(peer, now);
            assert_eq!(delay, Duration::from_millis(expected));
        }
        assert_eq!(guesses.delay(peer, now + FORGIVEN), Duration::ZERO);
        guesses.wrong(peer, now + FORGIVEN);
        assert_eq!(guesses.delay(peer, now + FORGIVEN), DELAY);
        guesses.right(peer);
        assert_eq!(guesses.delay(peer, now + FORGIVEN), Duration::ZERO);
    }

    #[test]
    fn guessers_without_end_take_no_memory_without_end() {
        let now = Instant::now();
        let mut guesses = Guesses::default();
        for nth in 0..100_000 {
            guesses.wrong(IpAddr::V4(Ipv4Addr::from_bits(nth)), now);
        }
        assert!(guesses.0.len() <= GUESSERS);
    }
}
