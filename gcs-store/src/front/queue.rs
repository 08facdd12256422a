//! Commands of one connection that have no answer yet, in the order asked.
//!
//! The reader appends, the writer takes from the front what is answered; both
//! run in one task, so that cells are enough. Memory is counted here and, for
//! all connections together, in [`Budget`].

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use ray_tables::StorageKey;
use tokio::sync::Notify;

use super::{auth::Identity, verb::Verb};
use crate::{
    gcs::{command::Reply, session::Pending},
    metrics::Metrics,
};

/// Unanswered bytes of one connection.
pub(crate) const BYTES_PER_CONNECTION: u64 = 64 << 20;

/// What a waiting command costs besides its bytes.
const EACH: u64 = 256;

/// Memory for what waits, all connections together.
pub(crate) struct Budget {
    used: Cell<u64>,
    limit: u64,
    freed: Notify,
    metrics: Metrics,
}

impl Budget {
    pub(crate) fn new(limit: u64, metrics: Metrics) -> Self {
        Self {
            used: Cell::new(0),
            limit,
            freed: Notify::new(),
            metrics,
        }
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.used.get() >= self.limit
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.get()
    }

    /// Waits until something is given back.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    pub(crate) fn take(&self, bytes: u64) {
        self.set(self.used.get() + bytes);
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        let spent = self.is_spent();
        self.set(self.used.get().saturating_sub(bytes));
        if spent && !self.is_spent() {
            self.freed.notify_waiters();
        }
    }

    fn set(&self, used: u64) {
        self.used.set(used);
        self.metrics.waiting_bytes(used);
    }
}

/// A part of the budget, given back in the end.
pub(crate) struct Held {
    budget: Rc<Budget>,
    bytes: u64,
}

impl Held {
    pub(crate) fn new(budget: Rc<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Holds so much from now on.
    pub(crate) fn set(&mut self, bytes: u64) {
        match bytes.checked_sub(self.bytes) {
            Some(0) => {}
            Some(more) => self.budget.take(more),
            None => self.budget.give_back(self.bytes - bytes),
        }
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Where an answer comes from.
pub(crate) enum Answer {
    /// It is here.
    Ready(resp::Reply),
    /// The engine gives it.
    One(Pending),
    /// The engine gives several numbers, of which the sum is the answer.
    Sum {
        pending: VecDeque<Pending>,
        sum: i64,
    },
    /// The engine gives keys, of which some are shown.
    Keys(Pending, Identity),
}

/// An answer that is here.
pub(crate) enum Answered {
    Front(resp::Reply),
    Engine(Reply),
    /// As [`Answer::Keys`].
    Keys(Reply, Identity),
}

/// A command that waits.
pub(crate) struct Waiting {
    pub(crate) answer: Answer,
    pub(crate) verb: Option<Verb>,
    pub(crate) key: Option<StorageKey>,
    pub(crate) came: Instant,
    /// What it holds in memory.
    pub(crate) bytes: u64,
}

/// The store gave up: there will be no answer.
#[derive(Debug)]
pub(crate) struct GaveUp;

/// Commands of one connection. See the module's text.
pub(crate) struct Queue {
    waiting: RefCell<VecDeque<Waiting>>,
    bytes: Cell<u64>,
    budget: Rc<Budget>,
    most: usize,
    /// The reader added something, or will add no more.
    arrived: Notify,
    /// The writer took something.
    taken: Notify,
}

impl Queue {
    pub(crate) fn new(budget: Rc<Budget>, most: usize) -> Self {
        Self {
            waiting: RefCell::default(),
            bytes: Cell::new(0),
            budget,
            most,
            arrived: Notify::new(),
            taken: Notify::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Whether no more may be added.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.borrow().len() >= self.most || self.bytes.get() >= BYTES_PER_CONNECTION
    }

    pub(crate) fn push(&self, mut waiting: Waiting) {
        waiting.bytes += EACH;
        self.budget.take(waiting.bytes);
        self.bytes.set(self.bytes.get() + waiting.bytes);
        self.waiting.borrow_mut().push_back(waiting);
        self.arrived.notify_one();
    }

    /// Wakes the writer.
    pub(crate) fn nudge(&self) {
        self.arrived.notify_one();
    }

    /// Waits until something is added, or a nudge.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Waits until something is taken.
    pub(crate) async fn taken(&self) {
        self.taken.notified().await;
    }

    /// Takes the first command if it is answered.
    pub(crate) fn poll_answered(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Waiting, Result<Answered, GaveUp>)>> {
        let mut waiting = self.waiting.borrow_mut();
        let Some(first) = waiting.front_mut() else {
            return Poll::Ready(None);
        };
        let answered = std::task::ready!(poll_answer(&mut first.answer, cx));
        let first = waiting.pop_front();
        if waiting.is_empty() {
            // An idle connection keeps no buffers.
            *waiting = VecDeque::new();
        }
        drop(waiting);
        let first = first.inspect(|first| {
            self.bytes.set(self.bytes.get().saturating_sub(first.bytes));
            self.budget.give_back(first.bytes);
            self.taken.notify_one();
        });
        Poll::Ready(first.map(|first| (first, answered)))
    }

    /// Takes the first command if it is answered already.
    pub(crate) async fn answered_now(&self) -> Option<(Waiting, Result<Answered, GaveUp>)> {
        poll_fn(|cx| match self.poll_answered(cx) {
            Poll::Ready(taken) => Poll::Ready(taken),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Waits for the answer to the first command; nothing if none waits.
    pub(crate) async fn answered(&self) -> Option<(Waiting, Result<Answered, GaveUp>)> {
        poll_fn(|cx| self.poll_answered(cx)).await
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes.get());
    }
}

fn poll_answer(answer: &mut Answer, cx: &mut Context<'_>) -> Poll<Result<Answered, GaveUp>> {
    match answer {
        Answer::Ready(reply) => {
            let reply = std::mem::replace(reply, resp::Reply::Null);
            Poll::Ready(Ok(Answered::Front(reply)))
        }
        Answer::One(pending) => Pin::new(pending)
            .poll(cx)
            .map(|reply| reply.map(Answered::Engine).map_err(|_| GaveUp)),
        Answer::Keys(pending, identity) => Pin::new(pending).poll(cx).map(|reply| {
            let identity = std::mem::replace(identity, Identity::Nobody);
            reply
                .map(|reply| Answered::Keys(reply, identity))
                .map_err(|_| GaveUp)
        }),
        Answer::Sum { pending, sum } => {
            while let Some(first) = pending.front_mut() {
                match std::task::ready!(Pin::new(first).poll(cx)) {
                    Ok(Reply::Int(number)) => *sum += number,
                    Ok(refusal) => return Poll::Ready(Ok(Answered::Engine(refusal))),
                    Err(_) => return Poll::Ready(Err(GaveUp)),
                }
                pending.pop_front();
            }
            Poll::Ready(Ok(Answered::Engine(Reply::Int(*sum))))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    fn queue(limit: u64) -> (Rc<Budget>, Queue) {
        let budget = Rc::new(Budget::new(limit, Metrics::new()));
        (budget.clone(), Queue::new(budget, 3))
    }

    fn waiting(answer: Answer) -> Waiting {
        Waiting {
            answer,
            verb: None,
            key: None,
            came: Instant::now(),
            bytes: 744,
        }
    }

    #[test]
    fn answers_leave_in_the_order_of_the_questions() {
        let (_budget, queue) = queue(1 << 20);
        let (first, pending) = oneshot::channel();
        queue.push(waiting(Answer::One(pending)));
        queue.push(waiting(Answer::Ready(resp::Reply::PONG)));
        assert!(queue.answered().now_or_never().is_none());
        first.send(Reply::Int(1)).unwrap();
        let (_, answered) = queue.answered().now_or_never().unwrap().unwrap();
        assert!(matches!(answered, Ok(Answered::Engine(Reply::Int(1)))));
        let (_, answered) = queue.answered().now_or_never().unwrap().unwrap();
        assert!(matches!(answered, Ok(Answered::Front(_))));
        assert!(queue.is_empty());
    }

    #[test]
    fn what_waits_is_counted_and_given_back() {
        let (budget, queue) = queue(2000);
        for _ in 0..3 {
            assert!(!queue.is_full());
            queue.push(waiting(Answer::Ready(resp::Reply::OK)));
        }
        assert!(queue.is_full() && budget.is_spent());
        assert_eq!(budget.used(), 3000);
        let (_, answered) = queue.answered().now_or_never().unwrap().unwrap();
        assert!(answered.is_ok() && !queue.is_full());
        drop(queue);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn several_numbers_are_answered_by_their_sum_or_the_first_refusal() {
        let (_budget, queue) = queue(1 << 20);
        let (one, first) = oneshot::channel();
        let (two, second) = oneshot::channel();
        queue.push(waiting(Answer::Sum {
            pending: [first, second].into(),
            sum: 0,
        }));
        one.send(Reply::Int(1)).unwrap();
        assert!(queue.answered().now_or_never().is_none());
        two.send(Reply::Int(1)).unwrap();
        let (_, answered) = queue.answered().now_or_never().unwrap().unwrap();
        assert!(matches!(answered, Ok(Answered::Engine(Reply::Int(2)))));
    }

    #[test]
    fn an_answer_that_will_not_come_is_told() {
        let (_budget, queue) = queue(1 << 20);
        let (gone, pending) = oneshot::channel();
        queue.push(waiting(Answer::One(pending)));
        drop(gone);
        let (_, answered) = queue.answered().now_or_never().unwrap().unwrap();
        assert!(answered.is_err());
    }
}
