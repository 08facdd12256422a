//! Whether the hypothesis held. Pure.
//!
//! The hypothesis: no unary request fails, every request is accounted for,
//! every stream the fault broke ended with a typed error within a second, and
//! the p99 is back within five; and so it is when the site returns.

use serde::Serialize;

use super::ledger::{End, Ledger, Shape, Teller};

/// How streams that had begun were cut off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BrokenStreams {
    /// All of them.
    pub count: u64,
    /// Ended by an error event of the gateway.
    pub by_gateway: u64,
    /// Ended by an error of the SDK.
    pub by_sdk: u64,
    /// Just stopped.
    pub silent: u64,
    /// The longest time from the fault to such an end.
    pub longest_ms: Option<u64>,
    /// Broken while there was no fault.
    pub without_fault: u64,
}

/// One part of the hypothesis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// What was claimed.
    pub statement: &'static str,
    /// Whether it was so.
    pub held: bool,
    /// What was seen.
    pub evidence: String,
}

/// Longest time from the fault to the typed end of a stream it broke.
const STREAMS_END_MS: u64 = 1000;
/// Longest time from the fault, and from its end, to the baseline p99.
const BACK_MS: u64 = 5000;
/// Longest time from the fault's end until the site is used again.
const SITE_MS: u64 = 15_000;

/// Looks at the streams that were cut off.
pub fn broken_streams(ledger: &Ledger, fault_ms: Option<u64>) -> BrokenStreams {
    let mut broken = BrokenStreams::default();
    for entry in ledger.entries().filter(|entry| entry.is_broken_stream()) {
        let Some((ended_ms, end)) = &entry.outcome else {
            continue;
        };
        broken.count += 1;
        match end {
            End::Typed {
                by: Teller::Gateway,
                ..
            } => broken.by_gateway += 1,
            End::Typed {
                by: Teller::Sdk, ..
            } => broken.by_sdk += 1,
            End::Silent => broken.silent += 1,
            End::Ok { .. } => {}
        }
        match fault_ms.and_then(|fault_ms| ended_ms.checked_sub(fault_ms)) {
            Some(after_ms) => broken.longest_ms = broken.longest_ms.max(Some(after_ms)),
            None => broken.without_fault += 1,
        }
    }
    broken
}

/// How long things took to be as before; absent if they never were.
#[derive(Debug, Clone, Copy, Default)]
pub struct Back {
    /// From the fault to the baseline p99.
    pub after_fault_ms: Option<u64>,
    /// From the fault's end to the baseline p99.
    pub after_return_ms: Option<u64>,
    /// From the fault's end until the client uses the site again.
    pub site_ms: Option<u64>,
}

/// Judges each part.
pub fn judge(ledger: &Ledger, broken: &BrokenStreams, back: Back) -> Vec<Claim> {
    let (unary, streams) = (ledger.sums(Shape::Unary), ledger.sums(Shape::Stream));
    let unaccounted = unary.unaccounted + streams.unaccounted;
    let untyped = broken.silent + broken.without_fault;
    let longest = broken.longest_ms.unwrap_or(0);
    let not_begun = streams.typed_failures - (broken.by_gateway + broken.by_sdk);
    let soon = |statement, back_ms: Option<u64>, bound_ms: u64| Claim {
        statement,
        held: back_ms.is_some_and(|ms| ms <= bound_ms),
        evidence: back_ms.map_or("it never was".to_owned(), |ms| format!("after {ms} ms")),
    };
    vec![
        Claim {
            statement: "no unary request fails",
            held: unary.sent > 0 && unary.typed_failures == 0,
            evidence: format!("{} of {} failed", unary.typed_failures, unary.sent),
        },
        Claim {
            statement: "no stream fails to begin",
            held: not_begun == 0,
            evidence: format!("{not_begun} of {} failed", streams.sent),
        },
        Claim {
            statement: "every request is accounted for",
            held: unaccounted == 0,
            evidence: format!("{unaccounted} unaccounted"),
        },
        Claim {
            statement: "every broken stream ends typed within 1 s of the fault",
            held: untyped == 0 && longest <= STREAMS_END_MS,
            evidence: format!(
                "{} broken: {} told by the gateway, {} by the SDK, {} silent, {} without a fault; longest {longest} ms",
                broken.count, broken.by_gateway, broken.by_sdk, broken.silent, broken.without_fault
            ),
        },
        soon(
            "p99 is back within 5 s of the fault",
            back.after_fault_ms,
            BACK_MS,
        ),
        soon(
            "p99 is back within 5 s of the fault's end",
            back.after_return_ms,
            BACK_MS,
        ),
        soon(
            "the site takes requests again within 15 s",
            back.site_ms,
            SITE_MS,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(ends: &[(Shape, u64, Option<End>)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (shape, at_ms, end) in ends {
            let id = ledger.intend(*shape, 0);
            if let Some(end) = end {
                ledger.settle(id, *at_ms, Vec::new(), end.clone());
            }
        }
        ledger
    }

    fn ok() -> Option<End> {
        Some(End::Ok { attempts: 1 })
    }

    fn cut(by: Teller) -> Option<End> {
        Some(End::Typed {
            code: "x".to_owned(),
            by,
            events: 3,
        })
    }

    fn failed(ends: &[(Shape, u64, Option<End>)]) -> Vec<&'static str> {
        let ledger = ledger(ends);
        let broken = broken_streams(&ledger, Some(1000));
        let claims = judge(
            &ledger,
            &broken,
            Back {
                after_fault_ms: Some(900),
                after_return_ms: Some(100),
                site_ms: Some(1),
            },
        );
        claims
            .into_iter()
            .filter(|claim| !claim.held)
            .map(|claim| claim.statement)
            .collect()
    }

    #[test]
    fn streams_cut_by_the_fault_and_told_in_time_are_as_expected() {
        let ends = [
            (Shape::Unary, 5, ok()),
            (Shape::Stream, 1900, cut(Teller::Sdk)),
            (Shape::Stream, 1100, cut(Teller::Gateway)),
        ];
        assert_eq!(failed(&ends), Vec::<&str>::new());
    }

    #[test]
    fn each_part_can_fail() {
        let unary = (Shape::Unary, 5, ok());
        let refused = Some(End::Typed {
            code: "503".to_owned(),
            by: Teller::Gateway,
            events: 0,
        });
        assert_eq!(
            failed(&[(Shape::Unary, 5, refused.clone())]),
            ["no unary request fails"]
        );
        assert_eq!(
            failed(&[unary.clone(), (Shape::Stream, 5, refused)]),
            ["no stream fails to begin"]
        );
        assert_eq!(
            failed(&[unary.clone(), (Shape::Unary, 5, None)]),
            ["every request is accounted for"]
        );
        let late = "every broken stream ends typed within 1 s of the fault";
        assert_eq!(
            failed(&[unary.clone(), (Shape::Stream, 2001, cut(Teller::Sdk))]),
            [late]
        );
        assert_eq!(
            failed(&[unary.clone(), (Shape::Stream, 999, cut(Teller::Sdk))]),
            [late]
        );
        let silent = [unary, (Shape::Stream, 1500, Some(End::Silent))];
        assert_eq!(failed(&silent), ["every request is accounted for", late]);
        assert_eq!(failed(&[]), ["no unary request fails"]);
        let ledger = ledger(&[(Shape::Unary, 5, ok())]);
        let claims = judge(
            &ledger,
            &BrokenStreams::default(),
            Back {
                after_fault_ms: Some(5001),
                ..Back::default()
            },
        );
        assert_eq!(claims.iter().filter(|claim| !claim.held).count(), 3);
    }
}
