//! Keeps one endpoint registered for as long as its process lives.
//!
//! ```text
//!              register                 every ttl / 3
//!   Waiting --------------> Registered ---------------. renew, or update
//!      ^                        |   ^                 | if something changed
//!      |   lapsed, unreachable  |   '-----------------'
//!      '------------------------'
//!                               '-- leave, stop --> Left (revoked)
//!                                               or Lapsing (not heard)
//! ```
//!
//! Invariants:
//! 1. A lapse, a broken link or a restarted registry is answered by
//!    registering again with the same life, which writes nothing where the
//!    record is still there (`a_lost_lease_is_taken_again`).
//! 2. Each change has a greater version (`a_change_is_written_at_once`).
//! 3. A newer process of the same name is not fought: the task ends
//!    (`a_newer_process_wins`).

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{Application, Endpoint, Error, LeaseId, Registry, State, backoff::Backoff};

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_CALL: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How an endpoint stands with its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not registered yet, or not at the moment; being tried.
    Waiting,
    /// Registered as last said.
    Registered,
    /// It left, and the registry knows.
    Left,
    /// It left, but the registry did not answer: the record goes when its lease
    /// lapses.
    Lapsing,
    /// The registry will not have it: a newer process has its name, or the
    /// record is invalid.
    Refused,
}

#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    endpoint: Endpoint,
    leave: bool,
}

/// The task that keeps an endpoint registered.
pub struct Registrar {
    registry: Arc<dyn Registry>,
    ttl: Duration,
    wanted: watch::Receiver<Wanted>,
    standing: watch::Sender<Standing>,
}

impl std::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registrar")
            .field("key", &self.wanted.borrow().endpoint.key)
            .finish_non_exhaustive()
    }
}

/// What the owner of an endpoint holds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registration {
    wanted: Arc<watch::Sender<Wanted>>,
    standing: watch::Receiver<Standing>,
}

impl Registrar {
    /// Will keep `endpoint` at `registry` under leases of `ttl`.
    pub fn new(
        registry: Arc<dyn Registry>,
        endpoint: Endpoint,
        ttl: Duration,
    ) -> (Self, Registration) {
        let (wanted_sender, wanted) = watch::channel(Wanted {
            endpoint,
            leave: false,
        });
        let (standing, standing_receiver) = watch::channel(Standing::Waiting);
        let registration = Registration {
            wanted: Arc::new(wanted_sender),
            standing: standing_receiver,
        };
        (
            Self {
                registry,
                ttl,
                wanted,
                standing,
            },
            registration,
        )
    }

    /// Keeps the endpoint registered until it leaves or `stop` fires; either
    /// way it leaves first, as far as the registry answers.
    ///
    /// # Errors
    /// [`Error::Superseded`] and [`Error::Invalid`]: the registry will not have
    /// this record, and asking again would change nothing.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let (mut held, mut warned) = (None, false);
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            if wanted.leave || stop.is_cancelled() {
                self.leave(held.map(|(lease, _)| lease)).await;
                return Ok(());
            }
            let wait = match self.keep(held.take(), wanted.endpoint).await {
                Ok(kept) => {
                    held = Some(kept);
                    backoff.reset();
                    warned = false;
                    self.stand(Standing::Registered);
                    self.ttl / 3
                }
                Err(error @ (Error::Superseded { .. } | Error::Invalid { .. })) => {
                    self.stand(Standing::Refused);
                    return Err(error);
                }
                Err(error) => {
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!(error = %error, "an endpoint is not registered; trying until it is");
                    }
                    self.stand(Standing::Waiting);
                    backoff.next()
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = stop.cancelled() => {}
                // Nobody is left to change anything once the handles are gone.
                Ok(()) = self.wanted.changed() => {}
            }
        }
    }

    /// One step: afterwards `endpoint` is registered under a fresh lease.
    async fn keep(
        &self,
        held: Option<(LeaseId, Endpoint)>,
        endpoint: Endpoint,
    ) -> Result<(LeaseId, Endpoint), Error> {
        let written = endpoint.clone();
        let step = async {
            match held {
                None => self.registry.register(endpoint, self.ttl).await,
                Some((lease, old)) if old == endpoint => {
                    self.registry.renew(lease).await.map(|()| lease)
                }
                Some((lease, _)) => self.registry.update(lease, endpoint).await.map(|()| lease),
            }
        };
        Ok((self.within(step).await?, written))
    }

    async fn leave(&self, lease: Option<LeaseId>) {
        let left = match lease {
            Some(lease) => self.within(self.registry.revoke(lease)).await,
            None => Ok(()),
        };
        self.stand(match left {
            Ok(()) => Standing::Left,
            Err(error) => {
                tracing::warn!(error = %error, "an endpoint left unheard; its lease will lapse");
                Standing::Lapsing
            }
        });
    }

    /// Bounds a call so that two more fit into the lease.
    async fn within<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let deadline = (self.ttl / 3).min(LONGEST_CALL);
        let late = |_| Error::Unavailable {
            reason: format!("nothing came back within {deadline:?}"),
        };
        timeout(deadline, call).await.map_err(late)?
    }

    fn stand(&self, standing: Standing) {
        self.standing
            .send_if_modified(|now| std::mem::replace(now, standing) != standing);
    }
}

impl Registration {
    /// Says whether the endpoint takes work. Written at once.
    pub fn set_state(&self, state: State) {
        self.change(|endpoint| endpoint.state = state);
    }

    /// Says what the endpoint serves. Written at once.
    pub fn set_applications(&self, mut applications: Vec<Application>) {
        applications.sort();
        applications.dedup();
        self.change(|endpoint| endpoint.applications = applications);
    }

    fn change(&self, change: impl FnOnce(&mut Endpoint)) {
        self.wanted.send_if_modified(|wanted| {
            let mut endpoint = wanted.endpoint.clone();
            change(&mut endpoint);
            if endpoint == wanted.endpoint {
                return false;
            }
            endpoint.life = endpoint.life.next();
            wanted.endpoint = endpoint;
            true
        });
    }

    /// How the endpoint stands; a receiver that follows it.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Takes the endpoint out of the registry and waits, `within` at most,
    /// until that is done. The task ends with it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the registry did not confirm in time; the
    /// record then goes when its lease lapses.
    pub async fn leave(&self, within: Duration) -> Result<(), Error> {
        self.wanted
            .send_if_modified(|wanted| !std::mem::replace(&mut wanted.leave, true));
        let mut standing = self.standing.clone();
        let gone = |standing: &Standing| {
            matches!(
                standing,
                Standing::Left | Standing::Lapsing | Standing::Refused
            )
        };
        let last = match timeout(within, standing.wait_for(gone)).await {
            Ok(Ok(standing)) => *standing,
            Ok(Err(_)) | Err(_) => *self.standing.borrow(),
        };
        match last {
            Standing::Left | Standing::Refused => Ok(()),
            Standing::Waiting | Standing::Registered | Standing::Lapsing => {
                Err(Error::Unavailable {
                    reason: "the registry did not confirm that the endpoint left".to_owned(),
                })
            }
        }
    }
}
