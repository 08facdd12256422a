//! Coarse alarms, many for the price of one timer.
//!
//! A runtime's timer per request costs a tenth of a proxied request. Here a
//! core has one list of alarms and, while any is set, one timer that walks it
//! every [`TICK`]. Setting an alarm writes one number. An alarm rings late by up
//! to a tick, never early.
//!
//! Invariants:
//! 1. An alarm that is due rings within two ticks (`a_due_alarm_rings`).
//! 2. With no alarm set, no timer runs (`without_alarms_the_core_sleeps`).

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use slab::Slab;
use tokio::{sync::Notify, time::Instant};

/// How coarse alarms are.
pub(crate) const TICK: Duration = Duration::from_millis(10);

const NEVER: u64 = u64::MAX;

struct Slot {
    due_ms: u64,
    waker: Option<Waker>,
}

/// One core's alarms. Not shared between threads.
pub(crate) struct Sweep {
    slots: RefCell<Slab<Slot>>,
    set: Cell<usize>,
    began: Instant,
    wake: Notify,
}

impl fmt::Debug for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep")
            .field("set", &self.set.get())
            .finish_non_exhaustive()
    }
}

impl Sweep {
    /// No alarms yet. Somebody must [`run`](Self::run) it.
    #[must_use]
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            slots: RefCell::default(),
            set: Cell::new(0),
            began: Instant::now(),
            wake: Notify::new(),
        })
    }

    /// An alarm, not set.
    #[must_use]
    pub(crate) fn alarm(self: &Rc<Self>) -> Alarm {
        let key = self.slots.borrow_mut().insert(Slot {
            due_ms: NEVER,
            waker: None,
        });
        Alarm {
            sweep: Rc::clone(self),
            key,
        }
    }

    /// Rings alarms until dropped.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            while self.set.get() == 0 {
                self.wake.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.ring();
        }
    }

    fn ring(&self) {
        let now_ms = self.now_ms();
        for (_, slot) in self.slots.borrow_mut().iter_mut() {
            if slot.due_ms <= now_ms
                && let Some(waker) = slot.waker.take()
            {
                waker.wake();
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(NEVER)
    }

    fn write(&self, key: usize, due_ms: u64) {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[key];
        match (slot.due_ms == NEVER, due_ms == NEVER) {
            (true, false) => {
                self.set.set(self.set.get() + 1);
                if self.set.get() == 1 {
                    self.wake.notify_one();
                }
            }
            (false, true) => self.set.set(self.set.get() - 1),
            _ => {}
        }
        slot.due_ms = due_ms;
    }
}

/// Rings once the time it is set to has passed. Cheap to set again.
#[derive(Debug)]
pub(crate) struct Alarm {
    sweep: Rc<Sweep>,
    key: usize,
}

impl Alarm {
    /// Rings `after` from now, whatever it was set to.
    pub(crate) fn set(&self, after: Duration) {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(NEVER);
        // One more, so that a part of a millisecond never rings early.
        self.sweep.write(
            self.key,
            self.sweep
                .now_ms()
                .saturating_add(after_ms)
                .saturating_add(1)
                .min(NEVER - 1),
        );
    }

    /// Does not ring.
    pub(crate) fn clear(&self) {
        self.sweep.write(self.key, NEVER);
    }

    /// Ready once it is due; otherwise wakes the task when it is.
    pub(crate) fn poll_due(&self, cx: &Context<'_>) -> Poll<()> {
        let mut slots = self.sweep.slots.borrow_mut();
        let slot = &mut slots[self.key];
        if slot.due_ms != NEVER && slot.due_ms <= self.sweep.now_ms() {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The output of `work`, or `None` if the alarm rings first.
    pub(crate) async fn or<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = Pin::new(&mut work).as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll_due(cx).map(|()| None)
        })
        .await
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
        self.sweep.slots.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_due_alarm_rings() {
        let sweep = Sweep::new();
        let alarm = sweep.alarm();
        alarm.set(Duration::from_secs(5));
        let began = Instant::now();
        tokio::select! {
            () = Rc::clone(&sweep).run() => {}
            rung = alarm.or(std::future::pending::<()>()) => assert!(rung.is_none()),
        }
        let took = began.elapsed();
        assert!(
            took >= Duration::from_secs(5) && took <= Duration::from_secs(5) + 2 * TICK,
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_done_in_time_is_returned() {
        let sweep = Sweep::new();
        let alarm = sweep.alarm();
        alarm.set(Duration::from_secs(5));
        let work = tokio::time::sleep(Duration::from_secs(1));
        tokio::select! {
            () = Rc::clone(&sweep).run() => {}
            done = alarm.or(work) => assert!(done.is_some()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_alarms_the_core_sleeps() {
        let sweep = Sweep::new();
        let alarms: Vec<_> = (0..100).map(|_| sweep.alarm()).collect();
        alarms
            .iter()
            .for_each(|alarm| alarm.set(Duration::from_secs(1)));
        alarms[0].clear();
        assert_eq!(sweep.set.get(), 99);
        drop(alarms);
        assert_eq!(sweep.set.get(), 0);
        assert!(sweep.slots.borrow().is_empty());
        // Paused time jumps to the next timer: the hour comes at once only if
        // the sweep has none of its own.
        let hour = tokio::time::timeout(Duration::from_secs(3600), Rc::clone(&sweep).run());
        assert!(hour.await.is_err());
    }
}
