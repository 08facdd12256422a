//! Every request of a drill, from intent to outcome. Pure.
//!
//! ```text
//!   intent --- send... ---> ok              at the first attempt
//!                      |--> ok after retry  at a later one
//!                      |--> typed failure   the caller was told what happened
//!                      '--> (nothing)       unaccounted: never allowed
//! ```
//!
//! A stream that just stops, as if it were whole, tells its caller nothing: it
//! counts as unaccounted too.
//!
//! Invariants:
//! 1. `sent = ok + ok_after_retry + typed_failures + unaccounted`, always
//!    (`the_sums_add_up_whatever_happened`).
//! 2. An outcome is noted once, for a request that was meant
//!    (`a_second_outcome_changes_nothing`).

use std::collections::BTreeMap;

use serde::Serialize;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One whole answer.
    Unary,
    /// A stream of events.
    Stream,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Well and whole.
    Ok {
        /// Attempts of the client, 1 or more.
        attempts: u32,
    },
    /// With an error that says what happened.
    Typed {
        /// A status, an error code or a cause.
        code: String,
        /// Where it came from.
        by: Teller,
        /// Events that had arrived; more than none makes it a broken stream.
        events: u64,
    },
    /// As if it were whole, and it was not.
    Silent,
}

/// Who told the caller of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Teller {
    /// The gateway, by a status or an error event.
    Gateway,
    /// The SDK.
    Sdk,
}

/// One attempt, as the client saw it. Times are milliseconds since the drill
/// began.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Send {
    /// When it was sent.
    pub at_ms: u64,
    /// When it answered or failed.
    pub until_ms: u64,
    /// To which gateway.
    pub proxy: String,
    /// Why it failed; absent if it answered.
    pub cause: Option<&'static str>,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What was asked.
    pub shape: Shape,
    /// When it was meant to be sent.
    pub intent_ms: u64,
    /// Its attempts; known once it ended.
    pub sends: Vec<Send>,
    /// When it ended, and how.
    pub outcome: Option<(u64, End)>,
}

impl Entry {
    /// Begun, cut off in the middle, and told so.
    pub fn is_broken_stream(&self) -> bool {
        self.shape == Shape::Stream
            && matches!(
                &self.outcome,
                Some((_, End::Typed { events: 1.., .. } | End::Silent))
            )
    }
}

/// What happened to all requests of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sums {
    /// Intents.
    pub sent: u64,
    /// Ended well at the first attempt.
    pub ok: u64,
    /// Ended well at a later one.
    pub ok_after_retry: u64,
    /// Ended with a typed error.
    pub typed_failures: u64,
    /// Without an outcome, or with a silent one.
    pub unaccounted: u64,
}

/// All requests, by number.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<u64, Entry>,
    stalls: Vec<(u64, u64)>,
}

impl Ledger {
    /// A request is about to be made; its number.
    pub fn intend(&mut self, shape: Shape, at_ms: u64) -> u64 {
        let id = self.entries.last_key_value().map_or(1, |(id, _)| id + 1);
        self.entries.insert(
            id,
            Entry {
                shape,
                intent_ms: at_ms,
                sends: Vec::new(),
                outcome: None,
            },
        );
        id
    }

    /// A request ended. `false` if it never began or had ended already.
    pub fn settle(&mut self, id: u64, at_ms: u64, sends: Vec<Send>, end: End) -> bool {
        match self.entries.get_mut(&id) {
            Some(entry) if entry.outcome.is_none() => {
                entry.sends = sends;
                entry.outcome = Some((at_ms, end));
                true
            }
            _ => false,
        }
    }

    /// All requests, in the order of their intents.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The drill itself did not get to run for this long.
    pub fn stood_still(&mut self, from_ms: u64, to_ms: u64) {
        self.stalls.push((from_ms, to_ms));
    }

    /// When the drill itself did not get to run.
    pub fn stalls(&self) -> &[(u64, u64)] {
        &self.stalls
    }

    /// The sums over one shape.
    pub fn sums(&self, shape: Shape) -> Sums {
        let mut sums = Sums::default();
        for entry in self.entries.values().filter(|entry| entry.shape == shape) {
            sums.sent += 1;
            match &entry.outcome {
                Some((_, End::Ok { attempts: 0 | 1 })) => sums.ok += 1,
                Some((_, End::Ok { .. })) => sums.ok_after_retry += 1,
                Some((_, End::Typed { .. })) => sums.typed_failures += 1,
                Some((_, End::Silent)) | None => sums.unaccounted += 1,
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(events: u64) -> End {
        End::Typed {
            code: "upstream_broken".to_owned(),
            by: Teller::Gateway,
            events,
        }
    }

    #[test]
    fn the_sums_add_up_whatever_happened() {
        let mut ledger = Ledger::default();
        let ends = [
            Some(End::Ok { attempts: 1 }),
            Some(End::Ok { attempts: 3 }),
            Some(typed(0)),
            Some(End::Silent),
            None,
        ];
        for end in ends {
            let id = ledger.intend(Shape::Unary, 0);
            if let Some(end) = end {
                assert!(ledger.settle(id, 1, Vec::new(), end));
            }
        }
        ledger.intend(Shape::Stream, 0);
        let sums = ledger.sums(Shape::Unary);
        assert_eq!(
            sums,
            Sums {
                sent: 5,
                ok: 1,
                ok_after_retry: 1,
                typed_failures: 1,
                unaccounted: 2
            }
        );
        assert_eq!(
            sums.sent,
            sums.ok + sums.ok_after_retry + sums.typed_failures + sums.unaccounted
        );
    }

    #[test]
    fn a_second_outcome_changes_nothing() {
        let mut ledger = Ledger::default();
        let id = ledger.intend(Shape::Unary, 0);
        assert!(ledger.settle(id, 1, Vec::new(), typed(0)));
        assert!(!ledger.settle(id, 2, Vec::new(), End::Ok { attempts: 1 }));
        assert!(!ledger.settle(99, 2, Vec::new(), End::Ok { attempts: 1 }));
        assert_eq!(ledger.sums(Shape::Unary).typed_failures, 1);
    }

    #[test]
    fn a_stream_is_broken_once_it_had_begun() {
        let entry = |end| Entry {
            shape: Shape::Stream,
            intent_ms: 0,
            sends: Vec::new(),
            outcome: Some((1, end)),
        };
        assert!(entry(typed(1)).is_broken_stream());
        assert!(entry(End::Silent).is_broken_stream());
        assert!(!entry(typed(0)).is_broken_stream());
        assert!(!entry(End::Ok { attempts: 1 }).is_broken_stream());
    }
}
