//! Which site may be taken away, and for how long. Pure: the clock is handed
//! in.
//!
//! A fault is a lease: who began it renews it, and when nobody does it ends by
//! itself, so that a drill that is killed leaves nothing broken.
//!
//! Invariants:
//! 1. At most one fault at a time (`a_second_fault_is_refused`).
//! 2. The last live site is never taken (`the_last_live_site_is_refused`).
//! 3. A fault that is not renewed ends within its lease
//!    (`a_fault_that_is_not_renewed_lapses`).

use std::time::Duration;

use discovery_client::Site;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The shortest and longest lease.
pub const LEASE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(200)..=Duration::from_secs(30);

/// How a site is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// SIGKILL, and held down until the fault ends.
    Kill,
    /// SIGSTOP: connections stay open and nobody answers.
    Stop,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The site to take away.
    pub site: Site,
    /// How.
    pub mode: Mode,
    /// How long without a renewal.
    pub lease_ms: u64,
}

/// A fault that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Names it in the API.
    pub id: u64,
    /// Which site is away.
    pub site: Site,
    /// How.
    pub mode: Mode,
    lease: Duration,
    until: Instant,
}

impl Fault {
    /// How long it lasts without a renewal.
    pub fn left(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }
}

/// Why a fault did not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another one is on.
    #[error("another fault is on: {0} is away; one at a time")]
    AnotherFault(Site),
    /// Nothing would be left.
    #[error("{0} is the last live site; it is never taken away")]
    LastSite(Site),
    /// There is no such site.
    #[error("there is no site {wanted}; there are {known}")]
    UnknownSite {
        /// What was asked for.
        wanted: Site,
        /// What there is.
        known: String,
    },
    /// The lease is out of its bounds.
    #[error("a lease of {0:?} is not allowed: 200 ms to 30 s")]
    Lease(Duration),
}

impl Refused {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AnotherFault(_) => "another_fault",
            Self::LastSite(_) => "last_site",
            Self::UnknownSite { .. } => "unknown_site",
            Self::Lease(_) => "lease",
        }
    }
}

/// A site as the desk sees it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its name.
    pub site: Site,
    /// Its gateway and at least one replica run.
    pub live: bool,
}

/// Keeps the one fault.
#[derive(Debug, Default)]
pub struct Desk {
    fault: Option<Fault>,
    begun: u64,
}

impl Desk {
    /// The fault that is on.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Begins a fault.
    pub fn begin(
        &mut self,
        wanted: &Wanted,
        sites: &[Known],
        now: Instant,
    ) -> Result<Fault, Refused> {
        let Wanted {
            site,
            mode,
            lease_ms,
        } = wanted;
        if !sites.iter().any(|known| known.site == *site) {
            let known = sites
                .iter()
                .map(|known| known.site.to_string())
                .collect::<Vec<_>>()
                .join(", ");
            return Err(Refused::UnknownSite {
                wanted: site.clone(),
                known,
            });
        }
        let lease = Duration::from_millis(*lease_ms);
        if !LEASE.contains(&lease) {
            return Err(Refused::Lease(lease));
        }
        if let Some(fault) = &self.fault {
            return Err(Refused::AnotherFault(fault.site.clone()));
        }
        if !sites.iter().any(|known| known.live && known.site != *site) {
            return Err(Refused::LastSite(site.clone()));
        }
        self.begun += 1;
        let fault = Fault {
            id: self.begun,
            site: site.clone(),
            mode: *mode,
            lease,
            until: now + lease,
        };
        self.fault = Some(fault.clone());
        Ok(fault)
    }

    /// Lets the fault run its whole lease again; nothing if it is over.
    pub fn renew(&mut self, id: u64, now: Instant) -> Option<Fault> {
        let fault = self.fault.as_mut().filter(|fault| fault.id == id)?;
        fault.until = now + fault.lease;
        Some(fault.clone())
    }

    /// Ends the fault; nothing if it is over.
    pub fn end(&mut self, id: u64) -> Option<Fault> {
        self.fault.take_if(|fault| fault.id == id)
    }

    /// Ends the fault if its lease has run out.
    pub fn lapse(&mut self, now: Instant) -> Option<Fault> {
        self.fault.take_if(|fault| now >= fault.until)
    }

    /// When the lease runs out.
    pub fn lapses_at(&self) -> Option<Instant> {
        self.fault.as_ref().map(|fault| fault.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(site: &str) -> Wanted {
        Wanted {
            site: Site::new(site).unwrap(),
            mode: Mode::Kill,
            lease_ms: 1000,
        }
    }

    fn sites(live: [bool; 2]) -> Vec<Known> {
        ["east", "west"]
            .iter()
            .zip(live)
            .map(|(site, live)| Known {
                site: Site::new(site).unwrap(),
                live,
            })
            .collect()
    }

    #[test]
    fn a_second_fault_is_refused() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        let first = desk
            .begin(&wanted("east"), &sites([true, true]), now)
            .unwrap();
        for site in ["east", "west"] {
            let refused = desk
                .begin(&wanted(site), &sites([true, true]), now)
                .unwrap_err();
            assert_eq!(refused.code(), "another_fault");
        }
        desk.end(first.id).unwrap();
        assert!(
            desk.begin(&wanted("west"), &sites([true, true]), now)
                .is_ok()
        );
    }

    #[test]
    fn the_last_live_site_is_refused() {
        let mut desk = Desk::default();
        let refused = desk
            .begin(&wanted("east"), &sites([true, false]), Instant::now())
            .unwrap_err();
        assert_eq!(refused.code(), "last_site");
        assert!(
            desk.begin(&wanted("west"), &sites([true, false]), Instant::now())
                .is_ok()
        );
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        assert_eq!(
            desk.begin(&wanted("mars"), &sites([true, true]), now)
                .unwrap_err()
                .code(),
            "unknown_site"
        );
        let long = Wanted {
            lease_ms: 31_000,
            ..wanted("east")
        };
        assert_eq!(
            desk.begin(&long, &sites([true, true]), now)
                .unwrap_err()
                .code(),
            "lease"
        );
    }

    #[test]
    fn a_fault_that_is_not_renewed_lapses() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        let second = Duration::from_secs(1);
        let fault = desk
            .begin(&wanted("east"), &sites([true, true]), now)
            .unwrap();
        let half = now + second / 2;
        assert!(desk.renew(fault.id, half).is_some());
        assert_eq!(desk.lapse(now + second), None);
        assert_eq!(desk.lapse(half + second).unwrap().id, fault.id);
        assert!(desk.renew(fault.id, half + second).is_none());
        assert!(desk.end(fault.id).is_none());
    }
}
