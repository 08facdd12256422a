//! A timer that does not count time in which this process did not run.
//!
//! On a starved machine a process may wake up long after a ping was answered
//! and find two things at once: the answer in its socket and the ping's
//! time-out in its clock. The clock is looked at first, and a healthy gateway
//! would be given up with all its streams. So a long sleep is slept in short
//! steps, each of which begins when the one before was noticed: after a stall
//! of any length at most one step is credited, and the answer is read first.
//!
//! Invariant: a stall, however long, counts for at most one step
//! (`a_stall_counts_for_one_step`).

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};

const STEP: Duration = Duration::from_millis(100);

/// A [`Timer`] for hyper whose sleeps last as long as asked for, and longer by
/// the time in which this process did not run. Keep-alive pings between gateways and
/// from clients are timed with it.
#[derive(Debug, Clone, Copy)]
pub struct RunningTime;

impl Timer for RunningTime {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Steps::new(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let now = tokio::time::Instant::now().into_std();
        Box::pin(Steps::new(deadline.saturating_duration_since(now)))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

struct Steps {
    left: Duration,
    step: Pin<Box<tokio::time::Sleep>>,
}

impl Steps {
    fn new(duration: Duration) -> Self {
        let step = duration.min(STEP);
        Self {
            left: duration - step,
            step: Box::pin(tokio::time::sleep(step)),
        }
    }
}

impl Future for Steps {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.step.as_mut().poll(cx));
            if self.left.is_zero() {
                return Poll::Ready(());
            }
            let step = self.left.min(STEP);
            self.left -= step;
            let next = tokio::time::Instant::now() + step;
            self.step.as_mut().reset(next);
        }
    }
}

impl Sleep for Steps {}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(600);

    #[tokio::test(start_paused = true)]
    async fn without_a_stall_it_is_a_plain_timer() {
        let began = tokio::time::Instant::now();
        RunningTime.sleep(TIMEOUT).await;
        let took = began.elapsed();
        assert!(
            took >= TIMEOUT && took < TIMEOUT + Duration::from_millis(20),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_counts_for_one_step() {
        let mut sleep = RunningTime.sleep(TIMEOUT);
        assert!((&mut sleep).now_or_never().is_none());
        tokio::time::advance(TIMEOUT * 10).await;
        assert!(
            (&mut sleep).now_or_never().is_none(),
            "credited the whole stall"
        );
        let woke = tokio::time::Instant::now();
        sleep.await;
        assert!(woke.elapsed() >= TIMEOUT - STEP);
    }
}
