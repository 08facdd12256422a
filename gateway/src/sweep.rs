//! Coarse alarms, many for the price of one timer.
//!
//! A runtime's timer per request is dear beside a proxied request. Here a core
//! has one list of alarms and one timer, which sleeps until the next alarm
//! is due, at least a [`TICK`] and at most [`LONGEST`]. Setting an alarm writes
//! one number and reads no clock; only one that is due before the timer wakes
//! disturbs it, and limits are mostly longer than that.
//!
//! Invariants:
//! 1. An alarm rings late by up to two ticks, never early (`a_due_alarm_rings`,
//!    `a_short_alarm_behind_a_long_one_rings_in_time`).
//! 2. With no alarm set, no timer runs (`without_alarms_the_core_sleeps`).

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use pin_project_lite::pin_project;
use slab::Slab;
use tokio::sync::Notify;

/// How coarse alarms are.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// How long the timer sleeps at most.
const LONGEST: Duration = Duration::from_secs(1);

struct Slot {
    due: Option<Instant>,
    rung: bool,
    waker: Option<Waker>,
}

/// One core's alarms. Not shared between threads.
pub(crate) struct Sweep {
    slots: RefCell<Slab<Slot>>,
    /// How many are set and have not rung.
    set: Cell<usize>,
    /// When the timer wakes by itself; none while it has not looked.
    next: Cell<Option<Instant>>,
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
            next: Cell::new(None),
            wake: Notify::new(),
        })
    }

    /// An alarm, not set.
    #[must_use]
    pub(crate) fn alarm(self: &Rc<Self>) -> Alarm {
        let slot = Slot {
            due: None,
            rung: false,
            waker: None,
        };
        let key = self.slots.borrow_mut().insert(slot);
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
            let now = tokio::time::Instant::now().into_std();
            let next = self.ring(now).clamp(now + TICK, now + LONGEST);
            self.next.set(Some(next));
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                // An alarm was set that cannot wait so long.
                () = self.wake.notified() => {}
            }
            self.next.set(None);
        }
    }

    /// Rings what is due; returns when the next one is.
    fn ring(&self, now: Instant) -> Instant {
        let mut next = now + LONGEST;
        for (_, slot) in self.slots.borrow_mut().iter_mut() {
            match slot.due {
                Some(due) if due <= now => {
                    slot.due = None;
                    slot.rung = true;
                    self.set.set(self.set.get() - 1);
                    if let Some(waker) = slot.waker.take() {
                        waker.wake();
                    }
                }
                Some(due) => next = next.min(due),
                None => {}
            }
        }
        next
    }

    fn write(&self, key: usize, due: Option<Instant>) {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[key];
        let set = self.set.get();
        match (slot.due.is_some(), due.is_some()) {
            (false, true) => {
                self.set.set(set + 1);
                if set == 0 {
                    self.wake.notify_one();
                }
            }
            (true, false) => self.set.set(set - 1),
            _ => {}
        }
        slot.due = due;
        slot.rung = false;
        if let (Some(due), Some(next)) = (due, self.next.get())
            && due < next
        {
            self.wake.notify_one();
        }
    }
}

/// Rings once the time it is set to has passed. Cheap to set again.
#[derive(Debug)]
pub(crate) struct Alarm {
    sweep: Rc<Sweep>,
    key: usize,
}

impl Alarm {
    /// Rings at `due`, whatever it was set to.
    pub(crate) fn set(&self, due: Instant) {
        self.sweep.write(self.key, Some(due));
    }

    /// Does not ring.
    pub(crate) fn clear(&self) {
        self.sweep.write(self.key, None);
    }

    /// Ready once it has rung; otherwise wakes the task when it does.
    pub(crate) fn poll_due(&self, cx: &Context<'_>) -> Poll<()> {
        let mut slots = self.sweep.slots.borrow_mut();
        let slot = &mut slots[self.key];
        if slot.rung {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The output of `work`, or `None` if the alarm rings first.
    pub(crate) fn or<F: Future>(&self, work: F) -> Or<'_, F> {
        Or { alarm: self, work }
    }
}

pin_project! {
    /// See [`Alarm::or`]. Written out because an `async fn` would hold `work`
    /// twice and move it once more.
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Or<'a, F> {
        alarm: &'a Alarm,
        #[pin]
        work: F,
    }
}

impl<F: Future> Future for Or<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.work.poll(cx) {
            return Poll::Ready(Some(output));
        }
        this.alarm.poll_due(cx).map(|()| None)
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

    fn after(seconds: u64) -> Instant {
        now() + Duration::from_secs(seconds)
    }

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[tokio::test(start_paused = true)]
    async fn a_due_alarm_rings() {
        let sweep = Sweep::new();
        let alarm = sweep.alarm();
        alarm.set(after(5));
        let began = now();
        tokio::select! {
            () = Rc::clone(&sweep).run() => {}
            rung = alarm.or(std::future::pending::<()>()) => assert!(rung.is_none()),
        }
        let took = now() - began;
        assert!(
            took >= Duration::from_secs(5) && took <= Duration::from_secs(5) + 2 * TICK,
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_alarm_behind_a_long_one_rings_in_time() {
        let sweep = Sweep::new();
        let (long, short) = (sweep.alarm(), sweep.alarm());
        long.set(after(600));
        let began = now();
        let work = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            short.set(now() + Duration::from_millis(50));
            short.or(std::future::pending::<()>()).await
        };
        tokio::select! {
            () = Rc::clone(&sweep).run() => {}
            rung = work => assert!(rung.is_none()),
        }
        let took = now() - began;
        let due = Duration::from_millis(150);
        assert!(took >= due && took <= due + 2 * TICK, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_done_in_time_is_returned() {
        let sweep = Sweep::new();
        let alarm = sweep.alarm();
        alarm.set(after(5));
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
        alarms.iter().for_each(|alarm| alarm.set(after(1)));
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
