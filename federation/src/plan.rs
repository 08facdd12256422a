//! Chooses where a call goes. Pure: no I/O, no clock, no randomness.
//!
//! Local replicas first; then a peer site's gateway, at most one hop; then, so
//! that a wrong verdict of our own cannot turn everybody away, one call in
//! twenty tries a replica that is thought to be broken; else a refusal. Which
//! of several equal targets takes the call is the caller's choice: it knows
//! their load.
//!
//! ```text
//!              ready here? --yes--> Local
//!                  | no
//!           came from a site? --yes--+
//!                  | no              |
//!            ready at a peer? --yes--|--> Peer
//!                  | no              |
//!          one in twenty? <----------+
//!            yes |     | no
//!            Local     Refuse
//! ```
//!
//! Invariants:
//! 1. A call that came from another site never leaves this one
//!    (`a_forwarded_call_is_never_forwarded_again`).
//! 2. Nothing leaves while a local replica is ready
//!    (`nothing_leaves_while_something_here_is_ready`).
//! 3. A chosen target was offered and fits (`the_choice_fits`).

/// Whether a target can take the call, in the eyes of this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fitness {
    /// Healthy, with room.
    Ready,
    /// Healthy, at its limit of requests in flight.
    Full,
    /// Failed lately; not to be asked yet.
    Ejected,
    /// Takes nothing new, or was tried for this call already.
    Closed,
}

/// Who offers an application, as the gateway sees it.
#[derive(Debug, Clone)]
pub struct Offer<T> {
    /// Replicas of this site.
    pub local: Vec<T>,
    /// Gateways of other sites that serve it.
    pub peers: Vec<T>,
}

impl<T> Default for Offer<T> {
    fn default() -> Self {
        Self {
            local: Vec::new(),
            peers: Vec::new(),
        }
    }
}

/// What the plan needs to know of a call.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// It came from another site's gateway, or must not leave this one.
    pub stay: bool,
    /// This call is among the share that may try a target thought broken.
    pub try_anyway: bool,
}

/// Why a call goes where it goes. A label in metrics, headers and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A replica here is ready.
    Local,
    /// No replica here serves it; a peer does.
    Elsewhere,
    /// Every replica here is at its limit; a peer has room.
    Spill,
    /// Every replica here failed lately or was tried; a peer stands in.
    Failover,
    /// Nothing is ready anywhere; this call tries one all the same.
    TryAnyway,
}

impl Reason {
    /// Every reason, for pre-made metric series.
    pub const ALL: [Self; 5] = [
        Self::Local,
        Self::Elsewhere,
        Self::Spill,
        Self::Failover,
        Self::TryAnyway,
    ];

    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Elsewhere => "elsewhere",
            Self::Spill => "spill",
            Self::Failover => "failover",
            Self::TryAnyway => "try_anyway",
        }
    }
}

/// Why a call goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Nowhere {
    /// No site serves the application.
    Unknown,
    /// Everybody who serves it is at their limit. Retry after a moment.
    Full,
    /// Everybody who serves it failed lately, drains or was tried.
    Down,
}

/// Where a call goes: which list, which of its targets fit, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a, T> {
    /// To a replica of this site with this fitness.
    Local(&'a [T], Fitness, Reason),
    /// To a gateway of another site, which is [`Fitness::Ready`].
    Peer(&'a [T], Reason),
    /// Nowhere.
    Refuse(Nowhere),
}

/// Decides for one call over `offer`; `fitness` tells how this gateway sees a
/// target right now. Looks at each target at most once a list and allocates
/// nothing.
pub fn choose<T>(offer: &Offer<T>, ask: Ask, fitness: impl Fn(&T) -> Fitness) -> Choice<'_, T> {
    let local = Tally::of(&offer.local, &fitness);
    if local.ready {
        return Choice::Local(&offer.local, Fitness::Ready, Reason::Local);
    }
    let peers = if ask.stay {
        Tally::default()
    } else {
        Tally::of(&offer.peers, &fitness)
    };
    if peers.ready {
        let reason = match (offer.local.is_empty(), local.full) {
            (true, _) => Reason::Elsewhere,
            (false, true) => Reason::Spill,
            (false, false) => Reason::Failover,
        };
        return Choice::Peer(&offer.peers, reason);
    }
    if ask.try_anyway && local.ejected && !local.full {
        return Choice::Local(&offer.local, Fitness::Ejected, Reason::TryAnyway);
    }
    Choice::Refuse(
        match (
            local.full || peers.full,
            offer.local.is_empty() && (ask.stay || offer.peers.is_empty()),
        ) {
            (true, _) => Nowhere::Full,
            (false, true) => Nowhere::Unknown,
            (false, false) => Nowhere::Down,
        },
    )
}

/// Which kinds of fitness a list holds.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    ready: bool,
    full: bool,
    ejected: bool,
}

impl Tally {
    fn of<T>(targets: &[T], fitness: impl Fn(&T) -> Fitness) -> Self {
        let mut tally = Self::default();
        for target in targets {
            match fitness(target) {
                Fitness::Ready => {
                    return Self {
                        ready: true,
                        ..tally
                    };
                }
                Fitness::Full => tally.full = true,
                Fitness::Ejected => tally.ejected = true,
                Fitness::Closed => {}
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_fitness() -> impl Strategy<Value = Fitness> {
        prop_oneof![
            Just(Fitness::Ready),
            Just(Fitness::Full),
            Just(Fitness::Ejected),
            Just(Fitness::Closed)
        ]
    }

    fn any_offer() -> impl Strategy<Value = Offer<Fitness>> {
        let list = || prop::collection::vec(any_fitness(), 0..4);
        (list(), list()).prop_map(|(local, peers)| Offer { local, peers })
    }

    proptest! {
        #[test]
        fn a_forwarded_call_is_never_forwarded_again(offer in any_offer(), try_anyway: bool) {
            let choice = choose(&offer, Ask { stay: true, try_anyway }, |t| *t);
            prop_assert!(!matches!(choice, Choice::Peer(..)));
        }

        #[test]
        fn nothing_leaves_while_something_here_is_ready(offer in any_offer(), stay: bool, try_anyway: bool) {
            let ready = offer.local.contains(&Fitness::Ready);
            let choice = choose(&offer, Ask { stay, try_anyway }, |t| *t);
            prop_assert_eq!(ready, matches!(choice, Choice::Local(_, Fitness::Ready, Reason::Local)));
        }

        #[test]
        fn the_choice_fits(offer in any_offer(), stay: bool, try_anyway: bool) {
            match choose(&offer, Ask { stay, try_anyway }, |t| *t) {
                Choice::Local(list, fitness, _) => prop_assert!(list.contains(&fitness)),
                Choice::Peer(list, _) => prop_assert!(list.contains(&Fitness::Ready)),
                Choice::Refuse(_) => {
                    prop_assert!(!offer.local.contains(&Fitness::Ready));
                    prop_assert!(stay || !offer.peers.contains(&Fitness::Ready));
                }
            }
        }
    }

    fn at(local: &[Fitness], peers: &[Fitness], stay: bool, try_anyway: bool) -> String {
        let offer = Offer {
            local: local.to_vec(),
            peers: peers.to_vec(),
        };
        match choose(&offer, Ask { stay, try_anyway }, |t| *t) {
            Choice::Local(_, _, reason) | Choice::Peer(_, reason) => reason.as_str().to_owned(),
            Choice::Refuse(nowhere) => format!("{nowhere:?}"),
        }
    }

    #[test]
    fn each_reason_has_its_case() {
        use Fitness::{Closed, Ejected, Full, Ready};
        assert_eq!(at(&[Ready, Full], &[Ready], false, false), "local");
        assert_eq!(at(&[], &[Ready], false, false), "elsewhere");
        assert_eq!(at(&[Full, Ejected], &[Ready], false, false), "spill");
        assert_eq!(at(&[Ejected, Closed], &[Ready], false, false), "failover");
        assert_eq!(at(&[Ejected], &[Ejected], false, true), "try_anyway");
        assert_eq!(at(&[Ejected], &[Ejected], false, false), "Down");
        assert_eq!(at(&[Full], &[Ejected], false, true), "Full");
        assert_eq!(at(&[Ejected], &[Full], false, false), "Full");
        assert_eq!(at(&[], &[], false, true), "Unknown");
        assert_eq!(at(&[], &[Ready], true, false), "Unknown");
        assert_eq!(at(&[Closed], &[], false, true), "Down");
    }
}
