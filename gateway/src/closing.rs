//! Tells the connections of one core to end.
//!
//! A connection is polled many times a request, so asking whether it must end
//! is one read of a cell, where a token shared between threads takes a lock.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use slab::Slab;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Serving.
    Open,
    /// Finish what is under way, begin nothing.
    Draining,
    /// End now.
    Cut,
}

/// The word of one core to its connections. Not shared between threads.
#[derive(Debug)]
pub(crate) struct Closing {
    stage: Cell<Stage>,
    wakers: RefCell<Slab<Option<Waker>>>,
}

impl Closing {
    /// Serving.
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            stage: Cell::new(Stage::Open),
            wakers: RefCell::default(),
        })
    }

    /// Goes on to `stage` and wakes every connection.
    pub(crate) fn advance(&self, stage: Stage) {
        self.stage.set(stage);
        for (_, waker) in self.wakers.borrow_mut().iter_mut() {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }

    /// A connection's ear.
    pub(crate) fn notice(self: &Rc<Self>) -> Notice {
        let key = self.wakers.borrow_mut().insert(None);
        Notice {
            closing: Rc::clone(self),
            key,
        }
    }
}

/// Hears what a [`Closing`] says.
#[derive(Debug)]
pub(crate) struct Notice {
    closing: Rc<Closing>,
    key: usize,
}

impl Notice {
    /// Ready once the end has come to `stage`; otherwise wakes the task when it
    /// goes on.
    pub(crate) fn poll(&self, cx: &Context<'_>, stage: Stage) -> Poll<()> {
        if self.closing.stage.get() >= stage {
            return Poll::Ready(());
        }
        let mut wakers = self.closing.wakers.borrow_mut();
        match &mut wakers[self.key] {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        self.closing.wakers.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(flavor = "local")]
    async fn every_connection_hears_each_stage() {
        let closing = Closing::new();
        let hear = |stage| {
            let notice = closing.notice();
            tokio::task::spawn_local(async move { poll_fn(|cx| notice.poll(cx, stage)).await })
        };
        let (draining, cut) = (hear(Stage::Draining), hear(Stage::Cut));
        tokio::task::yield_now().await;
        closing.advance(Stage::Draining);
        draining.await.unwrap();
        assert!(!cut.is_finished());
        closing.advance(Stage::Cut);
        cut.await.unwrap();
        assert!(closing.wakers.borrow().is_empty());
    }
}
