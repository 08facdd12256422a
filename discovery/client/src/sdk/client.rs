//! Sends calls, and sends them again elsewhere when they fail.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    Answer, Attempt, Call, Cause, Config, Error, EventStream, Invalid, Outcome, Standing,
    attempt::{Got, Mode, exchange, judge},
    budget::Budget,
    call::Prepared,
    fleet::{Fleet, Target},
    picker::{Candidate, Tier, pick},
    proxy::Proxy,
};
use crate::{Address, Site, Snapshot};

/// How often a call without a usable gateway looks again, news or not: a
/// circuit opens by time alone.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Pause before the second attempt at the same gateway; doubles.
const PAUSE: Duration = Duration::from_millis(25);

/// What one gateway looks like from here.
#[derive(Debug, Clone)]
pub struct ProxyStatus {
    /// Where it listens.
    pub address: Address,
    /// Its site, if known.
    pub site: Option<Site>,
    /// Whether it is asked.
    pub standing: Standing,
    /// Calls and streams in flight from this client.
    pub in_flight: usize,
}

/// Calls models through several gateways. Cheap to clone; the last clone to go
/// closes the connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Arc<Config>,
    fleet: Arc<Fleet>,
    budget: Mutex<Budget>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.fleet.stop();
    }
}

impl Client {
    /// Knows these gateways and no others. Connects in the background; must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`Invalid`] if a setting is out of its bounds.
    pub fn new(
        config: Config,
        proxies: impl IntoIterator<Item = (Address, Option<Site>)>,
    ) -> Result<Self, Invalid> {
        let client = Self::empty(config)?;
        let target = |(address, site)| {
            (
                address,
                Target {
                    site,
                    draining: false,
                },
            )
        };
        client
            .0
            .fleet
            .set(proxies.into_iter().map(target).collect::<BTreeMap<_, _>>());
        Ok(client)
    }

    /// Learns gateways from a subscription: those of the subscribed site and
    /// of its peers. An empty snapshot never empties the set.
    ///
    /// # Errors
    /// [`Invalid`] if a setting is out of its bounds.
    pub fn follow(config: Config, view: watch::Receiver<Arc<Snapshot>>) -> Result<Self, Invalid> {
        let client = Self::empty(config)?;
        client.0.fleet.follow(view);
        Ok(client)
    }

    fn empty(config: Config) -> Result<Self, Invalid> {
        config.validate()?;
        let budget = Mutex::new(Budget::new(config.retry_ratio, config.retry_reserve));
        let config = Arc::new(config);
        Ok(Self(Arc::new(Inner {
            fleet: Arc::new(Fleet::new(Arc::clone(&config))),
            config,
            budget,
        })))
    }

    /// Sends `call` and brings back its whole answer, whatever its status.
    ///
    /// # Errors
    /// [`Error::NoProxy`], [`Error::Failed`], [`Error::Deadline`],
    /// [`Error::Request`]. Dropping the future cancels the request.
    pub async fn call(&self, call: impl Into<Call>) -> Result<Answer, Error> {
        let call = Prepared::new(call.into(), self.0.config.timeout)?;
        match self.run(&call, Mode::Whole).await? {
            (Got::Whole(answer), outcome) => Ok(Answer { outcome, ..*answer }),
            (Got::Opened(_), _) => Err(Error::Request {
                reason: "an event stream where none was asked for".to_owned(),
            }),
        }
    }

    /// Sends `call` and returns once the first event has arrived; until then
    /// it fails over like a unary call.
    ///
    /// # Errors
    /// As [`Client::call`], and [`Error::NotAStream`] if the answer is none.
    pub async fn stream(&self, call: impl Into<Call>) -> Result<EventStream, Error> {
        let call = Prepared::new(call.into(), self.0.config.timeout)?;
        match self.run(&call, Mode::Events).await? {
            (Got::Whole(answer), outcome) => {
                Err(Error::NotAStream(Box::new(Answer { outcome, ..*answer })))
            }
            (Got::Opened(opened), outcome) => Ok(EventStream::new(
                *opened,
                outcome,
                &call,
                self.0.config.event_limit,
            )),
        }
    }

    /// Every gateway the client knows.
    #[must_use]
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        let now = Instant::now();
        let status = |proxy: &Arc<Proxy>| ProxyStatus {
            address: proxy.address.clone(),
            site: proxy.site.clone(),
            standing: proxy.standing(now),
            in_flight: proxy.in_flight(Mode::Whole) + proxy.in_flight(Mode::Events),
        };
        self.0.fleet.proxies().iter().map(status).collect()
    }

    /// Lets go of all connections and waits until streams still open have
    /// ended.
    pub async fn close(self) {
        self.0.fleet.stop();
        self.0.fleet.stopped().await;
    }

    async fn run(&self, call: &Prepared, mode: Mode) -> Result<(Got, Outcome), Error> {
        self.0.budget.lock().earn();
        let mut attempts: Vec<Attempt> = Vec::new();
        let outcome = |attempts| Outcome::new(Arc::clone(&call.request_id), attempts);
        loop {
            let proxy = self.choose(call, mode, &attempts).await?;
            let again = attempts
                .iter()
                .filter(|attempt| attempt.proxy == proxy.address)
                .count();
            if let Some(pause) = u32::try_from(again)
                .ok()
                .and_then(|again| again.checked_sub(1))
            {
                tokio::time::sleep(PAUSE * 2u32.saturating_pow(pause.min(6))).await;
            }
            let began = Instant::now();
            let request = call.attempt(&proxy.address)?;
            let got = timeout_at(
                call.deadline,
                exchange(&self.0.config, &proxy, request, mode),
            )
            .await;
            let got = got.unwrap_or(Err(Cause::Deadline));
            let cause = judge(&proxy, &got);
            let site = proxy.site.clone();
            let began = began.into_std();
            attempts.push(Attempt {
                proxy: proxy.address.clone(),
                site,
                cause,
                began,
                took: began.elapsed(),
            });
            let Some(cause) = cause else {
                let got = got.map_err(|cause| Error::Failed {
                    cause,
                    outcome: Box::new(outcome(attempts.clone())),
                })?;
                let outcome = match &got {
                    Got::Whole(answer) => outcome(attempts).answered(&answer.headers),
                    Got::Opened(opened) => outcome(attempts).answered(&opened.headers),
                };
                return Ok((got, outcome));
            };
            if self.may_retry(call, cause, attempts.len()) {
                tracing::debug!(request_id = %call.request_id, proxy = %proxy.address, %cause, "tries another gateway");
                continue;
            }
            return match (got, cause) {
                // The last answer, though not a good one, tells most.
                (Ok(Got::Whole(answer)), _) => {
                    let outcome = outcome(attempts).answered(&answer.headers);
                    Ok((Got::Whole(answer), outcome))
                }
                (_, Cause::Deadline) => Err(Error::Deadline {
                    within: call.within,
                    outcome: Box::new(outcome(attempts)),
                }),
                _ => Err(Error::Failed {
                    cause,
                    outcome: Box::new(outcome(attempts)),
                }),
            };
        }
    }

    fn may_retry(&self, call: &Prepared, cause: Cause, attempts: usize) -> bool {
        let sound = match cause {
            Cause::Unsent => true,
            Cause::Reset | Cause::Silent | Cause::BrokenOff { .. } | Cause::Status(_) => !call.once,
            Cause::TooLarge | Cause::Deadline => false,
        };
        sound
            && attempts < usize::try_from(self.0.config.attempts).unwrap_or(usize::MAX)
            && Instant::now() < call.deadline
            // What was never sent adds no load.
            && (cause == Cause::Unsent || self.0.budget.lock().spend())
    }

    /// Waits for a gateway that can be asked, as long as patience and the
    /// deadline allow.
    async fn choose(
        &self,
        call: &Prepared,
        mode: Mode,
        attempts: &[Attempt],
    ) -> Result<Arc<Proxy>, Error> {
        let began = Instant::now();
        let until = call.deadline.min(began + self.0.config.patience);
        let mut news = self.0.fleet.news.listen();
        loop {
            let proxies = self.0.fleet.proxies();
            let now = Instant::now();
            let candidates: Vec<Candidate> = proxies
                .iter()
                .map(|proxy| {
                    let tier = proxy.is_usable(now).then(|| Tier {
                        tried: attempts
                            .iter()
                            .any(|attempt| attempt.proxy == proxy.address),
                        draining: proxy.draining.load(Ordering::Relaxed),
                        far: proxy.far,
                    });
                    Candidate {
                        tier,
                        in_flight: proxy.in_flight(mode),
                    }
                })
                .collect();
            if let Some(index) = pick(&candidates, |n| fastrand::usize(0..n)) {
                return Ok(Arc::clone(&proxies[index]));
            }
            if now >= until {
                let outcome = Box::new(Outcome::new(
                    Arc::clone(&call.request_id),
                    attempts.to_vec(),
                ));
                return Err(if now >= call.deadline {
                    Error::Deadline {
                        within: call.within,
                        outcome,
                    }
                } else {
                    Error::NoProxy {
                        known: proxies.len(),
                        waited: began.elapsed(),
                        outcome,
                    }
                });
            }
            // Either way the next turn looks again.
            let _news_or_not = timeout_at(until.min(now + LOOK_AGAIN), news.changed()).await;
        }
    }
}
