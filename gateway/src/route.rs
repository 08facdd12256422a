//! Decides where each attempt at a call goes, and whether there is another.
//!
//! The plan says which site, load says which of its targets, the table in
//! [`cause`](crate::cause) says what a failure allows. A retry is made only
//! before the first byte to the client, where repeating is safe, while there
//! is time, and within the budget of the site it goes to.
//!
//! ```text
//!   choose --> send --> answer
//!     ^          |
//!     |        failed --> same once | wait, then same | elsewhere --> refuse
//!     +-----------+-----------+-----------+
//! ```

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fmt,
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use federation::plan::{self, Ask, Choice, Fitness, Nowhere, Offer, Reason};
use http::HeaderValue;
use tower::Service;

use crate::{
    call::{Call, Refusal, Reply},
    cause::{Cause, Limit},
    dispatch::{Dispatch, Failed},
    fleet::{Clock, Fleet, Member, Target},
    flow::InFlight,
    health::Verdict,
    load,
    render::SHOULD_RETRY,
};

/// When everybody is full or down, it is worth another try after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// One call in so many may try a target thought broken when nothing else is
/// left: 5 %.
const TRY_ANYWAY_EVERY: u32 = 20;
/// A 429 is waited out within the request only if it asks for no more.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// One that said 429 is left alone by everybody as long as it asked for, but no
/// longer: the limit may be one caller's, and the others must not pay for it.
const MAX_COOL_DOWN: Duration = Duration::from_secs(5);
/// Without a `Retry-After`, one that said 429 is left alone for this long.
const COOL_DOWN: Duration = Duration::from_millis(250);

/// The service. See the module.
#[derive(Clone)]
pub(crate) struct Route(Rc<Router>);

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

/// One core's router.
pub(crate) struct Router {
    /// Everybody who can be asked.
    pub fleet: Arc<ArcSwap<Fleet>>,
    /// The clock of their circuits.
    pub clock: Clock,
    /// Most attempts at a call.
    pub attempts: u32,
    /// Sends one attempt.
    pub dispatch: Dispatch,
    /// Draws targets.
    pub random: RefCell<fastrand::Rng>,
    /// Counts calls with nothing left.
    pub desperate: Cell<u32>,
}

impl From<Router> for Route {
    fn from(router: Router) -> Self {
        Self(Rc::new(router))
    }
}

impl Service<Call> for Route {
    type Response = Reply;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Refusal>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let router = Rc::clone(&self.0);
        Box::pin(async move { router.answer(call).await })
    }
}

/// What has happened to a call so far.
#[derive(Default)]
struct Past {
    /// Not to be asked again.
    tried: Vec<u64>,
    /// Asked a second time already.
    repeated: HashSet<u64>,
    /// How the last attempt failed, and the replica's own words if it had any.
    last: Option<Failed>,
}

/// The next step of a call.
enum Next {
    Send {
        target: Arc<Target>,
        in_flight: InFlight,
        reason: Reason,
    },
    Refuse(Nowhere),
}

impl Router {
    async fn answer(&self, call: Call) -> Result<Reply, Refusal> {
        let deadline = call.record.arrived + call.limits.total;
        let mut past = Past::default();
        let mut next = self.choose(&call, &past);
        loop {
            let (target, in_flight, reason) = match next {
                Next::Send {
                    target,
                    in_flight,
                    reason,
                } => (target, in_flight, reason),
                Next::Refuse(why) => return self.give_up(&call, past, why),
            };
            if past.last.is_none() {
                target.budget.earn();
            }
            let again = past.repeated.contains(&target.serial);
            let failed = match self
                .dispatch
                .send(&call, &target, in_flight, reason, deadline, again)
                .await
            {
                Ok(reply) => return Ok(reply),
                Err(failed) => failed,
            };
            if let Some(error) = call.body.error() {
                return Err(error.into());
            }
            if matches!(failed.cause, Cause::Silent(Limit::Total)) {
                return Err(Refusal::TotalTime {
                    application: call.application,
                    limit: call.limits.total,
                });
            }
            next = match self
                .after(&call, &target, failed, reason, deadline, &mut past)
                .await
            {
                Some(next) => next,
                None => return self.give_up(&call, past, Nowhere::Down),
            };
        }
    }

    /// What follows a failure: another step, or nothing.
    async fn after(
        &self,
        call: &Call,
        target: &Arc<Target>,
        failed: Failed,
        reason: Reason,
        deadline: Instant,
        past: &mut Past,
    ) -> Option<Next> {
        let action = failed.cause.action();
        let cause = failed.cause;
        let wait = failed.retry_after;
        if cause.as_str() == "429" {
            // One more: the clock counts whole milliseconds, and never early.
            let until = self.now_ms() + ms(wait.unwrap_or(COOL_DOWN).min(MAX_COOL_DOWN)) + 1;
            target.not_before_ms.store(until, Ordering::Relaxed);
        }
        past.last = Some(failed);
        let may_repeat = (call.repeatable || !action.reached) && call.body.can_repeat();
        if !may_repeat
            || call.record.attempts() >= self.attempts as usize
            || Instant::now() >= deadline
        {
            return None;
        }
        if action.same_once
            && past.repeated.insert(target.serial)
            && let Some(next) = self.same(target, reason)
            // A connection that had gone stale says nothing of the replica and
            // costs nobody anything: it is not a retry.
            && (cause == Cause::Stale || target.budget.spend())
        {
            return Some(next);
        }
        past.tried.push(target.serial);
        let next = self.choose(call, past);
        match &next {
            Next::Send { target, .. } if target.budget.spend() => return Some(next),
            Next::Send { target, .. } => {
                // It may have been the one probe that the target is due.
                if target.breaker.verdict(self.now_ms()) != Verdict::Healthy {
                    target.breaker.return_probe();
                }
                call.record.over_budget();
                return None;
            }
            Next::Refuse(_) if !action.same_later => return None,
            Next::Refuse(_) => {}
        }
        // Nobody else, and this one named a time: wait for it if it is near.
        let wait = wait.filter(|wait| *wait <= MAX_WAIT && Instant::now() + *wait < deadline)?;
        call.alarm.set(Instant::now() + wait);
        std::future::poll_fn(|cx| call.alarm.poll_due(cx)).await;
        call.record.waited(wait);
        let next = self.same(target, reason)?;
        target.budget.spend().then_some(next)
    }

    /// The same target again, whatever its circuit says.
    fn same(&self, target: &Arc<Target>, reason: Reason) -> Option<Next> {
        let in_flight = target
            .load
            .enter(target.limit)
            .then(|| InFlight(Arc::clone(target)))?;
        Some(Next::Send {
            target: Arc::clone(target),
            in_flight,
            reason,
        })
    }

    /// The next target by the plan and by load.
    fn choose(&self, call: &Call, past: &Past) -> Next {
        let fleet = self.fleet.load();
        let nobody = Offer::default();
        let offer = fleet
            .offer(call.application.as_str())
            .map_or(&nobody, |(_, offer)| offer);
        let now_ms = self.now_ms();
        let fitness = |member: &Member| {
            if past.tried.contains(&member.target.serial) {
                Fitness::Closed
            } else {
                member.fitness(now_ms)
            }
        };
        // A target may fill up between the look and the claim: look again.
        for _ in 0..3 {
            let (list, wanted, reason) = match self.plan(offer, call.stay, past, &fitness) {
                Choice::Local(list, wanted, reason) => (list, wanted, reason),
                Choice::Peer(list, reason) => (list, Fitness::Ready, reason),
                Choice::Refuse(why) => return Next::Refuse(why),
            };
            let mut random = self.random.borrow_mut();
            let picked = load::pick(
                list,
                |member| fitness(member) == wanted,
                |member| member.target.load.cost(now_ms),
                |below| random.usize(..below),
            );
            if let Some(member) = picked
                && let Some(in_flight) = claim(&member.target, now_ms, wanted)
            {
                return Next::Send {
                    target: Arc::clone(&member.target),
                    in_flight,
                    reason,
                };
            }
        }
        Next::Refuse(Nowhere::Full)
    }

    fn plan<'a>(
        &self,
        offer: &'a Offer<Member>,
        stay: bool,
        past: &Past,
        fitness: &impl Fn(&Member) -> Fitness,
    ) -> Choice<'a, Member> {
        let choice = plan::choose(
            offer,
            Ask {
                stay,
                try_anyway: false,
            },
            fitness,
        );
        if !matches!(choice, Choice::Refuse(Nowhere::Down)) || past.last.is_some() {
            return choice;
        }
        let nth = self.desperate.get();
        self.desperate.set(nth.wrapping_add(1));
        plan::choose(
            offer,
            Ask {
                stay,
                try_anyway: nth.is_multiple_of(TRY_ANYWAY_EVERY),
            },
            fitness,
        )
    }

    /// The end: the replica's own words if it had any, else a refusal.
    fn give_up(&self, call: &Call, past: Past, why: Nowhere) -> Result<Reply, Refusal> {
        let application = call.application.clone();
        match past.last {
            None => Err(Refusal::Nowhere {
                application,
                why,
                retry_after: RETRY_AFTER,
            }),
            Some(Failed {
                reply: Some(mut reply),
                ..
            }) => {
                reply
                    .headers_mut()
                    .insert(SHOULD_RETRY, HeaderValue::from_static("false"));
                Ok(reply)
            }
            Some(Failed { cause, .. }) => Err(Refusal::Failed { application, cause }),
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.ms(Instant::now())
    }
}

/// Takes a place at `target`, and the right to probe it if it is not closed.
fn claim(target: &Arc<Target>, now_ms: u64, wanted: Fitness) -> Option<InFlight> {
    let place = target.load.enter(target.limit);
    let place = place.then(|| InFlight(Arc::clone(target)))?;
    let probe = wanted == Fitness::Ready && target.breaker.verdict(now_ms) != Verdict::Healthy;
    (!probe || target.breaker.claim_probe(now_ms)).then_some(place)
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
