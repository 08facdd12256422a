//! How long to wait before the next try.
//!
//! Doubles from `first` to `most`, each time a random share between a half and
//! the whole of it, so that many who lost the same registry do not come back
//! in step.

use std::time::Duration;

/// The waits between failed tries.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    now: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            now: first,
        }
    }

    /// The wait before the next try.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.now.mul_f64(0.5 + 0.5 * fastrand::f64());
        self.now = (self.now * 2).min(self.most);
        wait
    }

    /// A try went well: begin small again.
    pub(crate) fn reset(&mut self) {
        self.now = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_begin_small_again() {
        let (first, most) = (Duration::from_millis(50), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, most);
        for whole in [50, 100, 200, 400, 800, 1000, 1000].map(Duration::from_millis) {
            let wait = backoff.next();
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
