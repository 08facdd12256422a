//! What a load saw, and whether it keeps the promises. Pure.
//!
//! A history is written in pairs: an intent before anything is sent, an
//! outcome once it is known. A request with no outcome, or with two, is not
//! accounted for, whatever the load's own sums say.
//!
//! ```text
//!   intent --- sent ---> ok            unary: a whole answer
//!                   |                  stream: its last event, then its end
//!                   +--> typed error   a code or a cause the caller can act on
//!                   +--> silent end    a stream that just stops: never allowed
//! ```
//!
//! Invariants, each with a test that breaks it on purpose:
//! 1. Every intent has exactly one outcome, and nothing else has one
//!    (`a_lost_request_turns_it_red`, `a_second_outcome_turns_it_red`).
//! 2. No unary request fails (`a_failed_unary_request_turns_it_red`).
//! 3. No stream ends silently (`a_silent_stream_turns_it_red`).
//! 4. A stream that a fault broke ends within a second of it
//!    (`a_stream_that_hangs_turns_it_red`).
//! 5. The p99 of unary requests is back at its baseline within five seconds of
//!    a fault (`a_slow_recovery_turns_it_red`).

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One answer.
    Unary,
    /// A stream of events.
    Stream,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With a whole answer, at the first attempt or a later one.
    Ok {
        /// Attempts of the client, 1 or more.
        attempts: u32,
    },
    /// With an error that says what happened.
    Typed {
        /// A status, an error code or a cause.
        code: String,
    },
    /// A stream that ended as if it were whole, and was not.
    Silent,
}

/// One line of a history. Times are milliseconds since the load began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// A request is about to be sent.
    Intent {
        /// Names the request in this history.
        id: u64,
        /// When.
        at_ms: u64,
        /// What is asked.
        shape: Shape,
    },
    /// A request has ended.
    Outcome {
        /// Which one.
        id: u64,
        /// When.
        at_ms: u64,
        /// How.
        end: End,
    },
    /// One attempt at a request; known once it has ended.
    Send {
        /// Of which request.
        id: u64,
    },
    /// Something was broken on purpose.
    Fault {
        /// When.
        at_ms: u64,
    },
    /// It was mended.
    Restored {
        /// When.
        at_ms: u64,
    },
}

/// Reads a history from its lines of JSON, such as a drill's ledger.
///
/// # Errors
/// The first line that is none.
pub fn parse(text: &str) -> Result<Vec<Line>> {
    let numbered = text.lines().enumerate();
    numbered
        .map(|(nth, line)| {
            serde_json::from_str(line).with_context(|| format!("line {}: {line}", nth + 1))
        })
        .collect()
}

/// The bounds of the promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// From a fault to the end of a stream that it broke.
    pub streams_end: Duration,
    /// From a fault to the p99 at its baseline.
    pub recovery: Duration,
}

impl Default for Promise {
    fn default() -> Self {
        Self {
            streams_end: Duration::from_secs(1),
            recovery: Duration::from_secs(5),
        }
    }
}

/// The sums: `sent = ok + retried + typed + silent + unaccounted`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Intents.
    pub sent: usize,
    /// Ended well at the client's first attempt.
    pub ok: usize,
    /// Ended well at a later one.
    pub retried: usize,
    /// Ended with a typed error.
    pub typed: usize,
    /// Streams that just stopped.
    pub silent: usize,
    /// Without an outcome.
    pub unaccounted: usize,
}

/// What the checker found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// The sums, counted from the lines.
    pub sums: Sums,
    /// Each broken promise, with the request or the figure that broke it.
    pub broken: Vec<String>,
}

struct Story {
    began_ms: u64,
    shape: Shape,
    sends: u32,
    ended: Option<(u64, End)>,
}

/// Reads a history again.
#[must_use]
pub fn check(lines: &[Line], promise: Promise) -> Verdict {
    let mut broken = Vec::new();
    let stories = stories(lines, &mut broken);
    let faults: Vec<u64> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Fault { at_ms } => Some(*at_ms),
            _ => None,
        })
        .collect();

    let mut sums = Sums {
        sent: stories.len(),
        ..Sums::default()
    };
    for (id, story) in &stories {
        let Some((ended_ms, end)) = &story.ended else {
            sums.unaccounted += 1;
            broken.push(format!("request {id} has no outcome"));
            continue;
        };
        if let End::Ok { attempts } = end
            && story.sends > 0
            && story.sends != *attempts
        {
            let shown = story.sends;
            broken.push(format!(
                "request {id} counts {attempts} attempts and shows {shown}"
            ));
        }
        match (end, story.shape) {
            (End::Ok { attempts: 0 | 1 }, _) => sums.ok += 1,
            (End::Ok { .. }, _) => sums.retried += 1,
            (End::Typed { code }, Shape::Unary) => {
                sums.typed += 1;
                broken.push(format!("unary request {id} failed: {code}"));
            }
            (End::Typed { code }, Shape::Stream) => {
                sums.typed += 1;
                broken.extend(late_end(
                    *id,
                    story.began_ms,
                    *ended_ms,
                    code,
                    &faults,
                    promise,
                ));
            }
            (End::Silent, _) => {
                sums.silent += 1;
                broken.push(format!("request {id} ended silently"));
            }
        }
    }
    broken.extend(slow_recovery(&stories, &faults, promise));
    Verdict { sums, broken }
}

fn stories(lines: &[Line], broken: &mut Vec<String>) -> BTreeMap<u64, Story> {
    let mut stories = BTreeMap::new();
    for line in lines {
        match line {
            Line::Fault { .. } | Line::Restored { .. } => {}
            Line::Intent { id, at_ms, shape } => {
                let story = Story {
                    began_ms: *at_ms,
                    shape: *shape,
                    sends: 0,
                    ended: None,
                };
                if stories.insert(*id, story).is_some() {
                    broken.push(format!("request {id} was sent twice under one name"));
                }
            }
            Line::Send { id } => match stories.get_mut(id) {
                None => broken.push(format!("request {id} was sent and never meant")),
                Some(story) => story.sends += 1,
            },
            Line::Outcome { id, at_ms, end } => match stories.get_mut(id) {
                None => broken.push(format!("request {id} has an outcome and was never sent")),
                Some(story) if story.ended.is_some() => {
                    broken.push(format!("request {id} has two outcomes"));
                }
                Some(story) => story.ended = Some((*at_ms, end.clone())),
            },
        }
    }
    stories
}

/// A stream that broke must have ended soon after the fault that broke it: the
/// latest one before its end.
fn late_end(
    id: u64,
    began: u64,
    ended: u64,
    code: &str,
    faults: &[u64],
    promise: Promise,
) -> Option<String> {
    let cause = faults
        .iter()
        .copied()
        .filter(|fault| (began..=ended).contains(fault))
        .max();
    match cause {
        None => Some(format!("stream {id} broke without a fault: {code}")),
        Some(fault) if Duration::from_millis(ended - fault) > promise.streams_end => Some(format!(
            "stream {id} ended {} ms after the fault: {code}",
            ended - fault
        )),
        Some(_) => None,
    }
}

/// Windows of a second, by when a request began.
const WINDOW_MS: u64 = 1000;
/// The p99 of a window of some hundred requests is one request's time and
/// jumps; back at the baseline means within this of the worst calm window.
const NOISE: f64 = 1.5;
/// On a shared machine a scheduler's whim costs this much by itself.
const NOISE_MS: f64 = 50.0;

fn slow_recovery(
    stories: &BTreeMap<u64, Story>,
    faults: &[u64],
    promise: Promise,
) -> Option<String> {
    let (&first, &last) = (faults.first()?, faults.last()?);
    let mut windows: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for story in stories.values().filter(|story| story.shape == Shape::Unary) {
        if let Some((ended, _)) = story.ended {
            windows
                .entry(story.began_ms / WINDOW_MS)
                .or_default()
                .push(ended - story.began_ms);
        }
    }
    let p99 = |took: &[u64]| {
        let mut took = took.to_vec();
        took.sort_unstable();
        took[(took.len() * 99).div_ceil(100) - 1]
    };
    let calm = windows
        .range(..first / WINDOW_MS)
        .map(|(_, took)| p99(took))
        .max()?;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a test")]
    let bound = (calm as f64 * NOISE).max(calm as f64 + NOISE_MS);
    let from = last + u64::try_from(promise.recovery.as_millis()).unwrap_or(u64::MAX);
    let after: Vec<u64> = windows
        .range(from.div_ceil(WINDOW_MS)..)
        .map(|(_, took)| p99(took))
        .collect();
    // One window may hiccup; half of them may not.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a test")]
    let slow = after.iter().filter(|p99| **p99 as f64 > bound).count();
    (slow * 2 > after.len()).then(|| {
        let seconds = promise.recovery.as_secs();
        format!("{seconds} s after the fault the p99 is not back: {after:?} ms by second, {calm} ms before")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT_MS: u64 = 5_000;

    /// Twenty calm seconds around a fault: a unary request each 10 ms, and a
    /// stream that the fault broke as promised.
    fn well() -> Vec<Line> {
        let mut lines = Vec::new();
        for nth in 0..2_000 {
            let at_ms = nth * 10;
            lines.push(Line::Intent {
                id: nth,
                at_ms,
                shape: Shape::Unary,
            });
            let attempts = if at_ms == FAULT_MS { 2 } else { 1 };
            lines.push(Line::Outcome {
                id: nth,
                at_ms: at_ms + 5,
                end: End::Ok { attempts },
            });
        }
        lines.push(Line::Intent {
            id: 9_000,
            at_ms: 4_000,
            shape: Shape::Stream,
        });
        lines.push(Line::Fault { at_ms: FAULT_MS });
        lines.push(Line::Outcome {
            id: 9_000,
            at_ms: FAULT_MS + 300,
            end: typed(),
        });
        lines
    }

    fn typed() -> End {
        End::Typed {
            code: "upstream_broken".to_owned(),
        }
    }

    fn broken(lines: &[Line]) -> Vec<String> {
        check(lines, Promise::default()).broken
    }

    /// The history with one request's outcome changed or dropped.
    fn with(id: u64, change: impl Fn(Line) -> Option<Line>) -> Vec<Line> {
        let change = |line: Line| match line {
            Line::Outcome { id: of, .. } if of == id => change(line),
            other => Some(other),
        };
        well().into_iter().filter_map(change).collect()
    }

    #[test]
    fn a_history_that_keeps_the_promises_is_green_and_adds_up() {
        let verdict = check(&well(), Promise::default());
        assert_eq!(verdict.broken, Vec::<String>::new());
        let sums = Sums {
            sent: 2_001,
            ok: 1_999,
            retried: 1,
            typed: 1,
            silent: 0,
            unaccounted: 0,
        };
        assert_eq!(verdict.sums, sums);
    }

    #[test]
    fn a_lost_request_turns_it_red() {
        let verdict = check(&with(7, |_| None), Promise::default());
        assert_eq!(verdict.broken, ["request 7 has no outcome"]);
        assert_eq!(verdict.sums.unaccounted, 1);
    }

    #[test]
    fn a_second_outcome_turns_it_red() {
        let mut lines = well();
        lines.push(Line::Outcome {
            id: 7,
            at_ms: 90,
            end: End::Ok { attempts: 1 },
        });
        lines.push(Line::Outcome {
            id: 70_000,
            at_ms: 90,
            end: End::Ok { attempts: 1 },
        });
        assert_eq!(
            broken(&lines),
            [
                "request 7 has two outcomes",
                "request 70000 has an outcome and was never sent"
            ]
        );
    }

    #[test]
    fn attempts_that_do_not_add_up_turn_it_red() {
        let mut lines = well();
        lines.insert(1, Line::Send { id: 0 });
        assert_eq!(broken(&lines), Vec::<String>::new());
        lines.insert(1, Line::Send { id: 0 });
        lines.push(Line::Send { id: 70_000 });
        let expected = [
            "request 70000 was sent and never meant",
            "request 0 counts 1 attempts and shows 2",
        ];
        assert_eq!(broken(&lines), expected);
    }

    #[test]
    fn a_drills_ledger_is_read() {
        let text = r#"{"line":"intent","id":1,"at_ms":12,"shape":"stream"}
{"line":"send","id":1,"at_ms":12,"until_ms":40,"proxy":"http://127.0.0.1:1","cause":null}
{"line":"fault","at_ms":100}
{"line":"outcome","id":1,"at_ms":300,"end":{"typed":{"code":"gone","by":"sdk","events":3}}}
{"line":"restored","at_ms":900}"#;
        let verdict = check(&parse(text).unwrap(), Promise::default());
        assert_eq!(verdict.broken, Vec::<String>::new());
        assert_eq!(verdict.sums.typed, 1);
        assert!(parse("{\"line\":\"rumour\"}").is_err());
    }

    #[test]
    fn a_failed_unary_request_turns_it_red() {
        let lines = with(7, |_| {
            Some(Line::Outcome {
                id: 7,
                at_ms: 90,
                end: typed(),
            })
        });
        assert_eq!(broken(&lines), ["unary request 7 failed: upstream_broken"]);
    }

    #[test]
    fn a_silent_stream_turns_it_red() {
        let lines = with(9_000, |_| {
            Some(Line::Outcome {
                id: 9_000,
                at_ms: 5_001,
                end: End::Silent,
            })
        });
        assert_eq!(broken(&lines), ["request 9000 ended silently"]);
    }

    #[test]
    fn a_stream_that_hangs_turns_it_red() {
        let late = |at_ms| {
            with(9_000, move |_| {
                Some(Line::Outcome {
                    id: 9_000,
                    at_ms,
                    end: typed(),
                })
            })
        };
        assert_eq!(broken(&late(6_000)), Vec::<String>::new());
        assert_eq!(
            broken(&late(6_001)),
            ["stream 9000 ended 1001 ms after the fault: upstream_broken"]
        );
        assert_eq!(
            broken(&late(4_999)),
            ["stream 9000 broke without a fault: upstream_broken"]
        );
    }

    #[test]
    fn a_slow_recovery_turns_it_red() {
        let slow = |until_ms| -> Vec<Line> {
            let later = |line| match line {
                Line::Outcome { id, at_ms, end }
                    if (FAULT_MS..until_ms).contains(&at_ms) && id < 9_000 =>
                {
                    Line::Outcome {
                        id,
                        at_ms: at_ms + 400,
                        end,
                    }
                }
                other => other,
            };
            well().into_iter().map(later).collect()
        };
        assert_eq!(broken(&slow(FAULT_MS + 4_000)), Vec::<String>::new());
        let found = broken(&slow(FAULT_MS + 15_000));
        assert!(
            found.len() == 1 && found[0].contains("p99 is not back"),
            "{found:?}"
        );
    }
}
