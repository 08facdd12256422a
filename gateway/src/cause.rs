//! How an attempt can fail, and what is done about it. Pure.
//!
//! | cause | retry same | elsewhere | counts against health |
//! | --- | --- | --- | --- |
//! | connection refused, reset before the head | no | yes | yes |
//! | a kept connection had been closed | once, on a new one | yes | no |
//! | silence, a time limit | no | yes | yes |
//! | the whole time is over | no | no | no |
//! | 500 | once | yes | yes |
//! | 502, 503, 504 | no | yes | yes |
//! | a peer refused (its replicas are full or down) | no | yes | no |
//! | 429 | after `Retry-After`, if nobody else can | yes | no |
//! | not HTTP | no | yes | yes |
//!
//! Everything else a replica says (400, 404, 413, 422, …) is the caller's.

use std::time::Duration;

use http::StatusCode;

/// Which of a call's time limits passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    /// To connect.
    Connect,
    /// To the head of the answer.
    FirstByte,
    /// To the first event of a stream.
    FirstToken,
    /// Between two pieces of an answer.
    BetweenTokens,
    /// For everything.
    Total,
}

impl Limit {
    /// The error code callers see.
    #[must_use]
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Connect => "connect_timeout",
            Self::FirstByte => "first_byte_timeout",
            Self::FirstToken => "first_token_timeout",
            Self::BetweenTokens => "between_tokens_timeout",
            Self::Total => "total_timeout",
        }
    }
}

/// How one attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Cause {
    /// No connection could be made; nothing was sent.
    #[error("the replica refused the connection")]
    Refused,
    /// A kept connection turned out to be closed; nothing was answered.
    #[error("the replica had closed the connection")]
    Stale,
    /// The connection ended before the answer was whole.
    #[error("the replica closed the connection before it answered")]
    Reset,
    /// What came back is not HTTP.
    #[error("the replica's answer is not HTTP")]
    Garbage,
    /// A limit passed in silence.
    #[error("the replica was silent past its limit ({})", .0.code())]
    Silent(Limit),
    /// It answered with a status that means it cannot.
    #[error("the replica answered {0}")]
    Status(StatusCode),
    /// The gateway of another site refused: nobody there can take it.
    #[error("the peer site refused with {0}")]
    PeerRefused(StatusCode),
}

/// What to do about a [`Cause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Action {
    /// May ask the same one again, once, at once.
    pub same_once: bool,
    /// May ask it again when the time it named has passed.
    pub same_later: bool,
    /// Counts against its health.
    pub strike: bool,
    /// The call may have been acted upon.
    pub reached: bool,
}

impl Cause {
    /// The row of the table.
    #[must_use]
    pub(crate) fn action(self) -> Action {
        let elsewhere = Action {
            same_once: false,
            same_later: false,
            strike: true,
            reached: true,
        };
        match self {
            Self::Refused | Self::Silent(Limit::Connect) => Action {
                reached: false,
                ..elsewhere
            },
            // The caller's own limit says nothing of the replica.
            Self::Silent(Limit::Total) => Action {
                strike: false,
                ..elsewhere
            },
            Self::Stale => Action {
                same_once: true,
                strike: false,
                ..elsewhere
            },
            Self::Status(StatusCode::INTERNAL_SERVER_ERROR) => Action {
                same_once: true,
                ..elsewhere
            },
            Self::Status(StatusCode::TOO_MANY_REQUESTS) => Action {
                same_later: true,
                strike: false,
                reached: false,
                ..elsewhere
            },
            Self::PeerRefused(_) => Action {
                strike: false,
                reached: false,
                ..elsewhere
            },
            Self::Reset | Self::Garbage | Self::Silent(_) | Self::Status(_) => elsewhere,
        }
    }

    /// Whether an answer of this status is a failed attempt rather than the
    /// caller's answer.
    #[must_use]
    pub(crate) fn of_status(status: StatusCode, peer_refused: bool) -> Option<Self> {
        match status.as_u16() {
            // A peer's 404: its last replica of that name has left it.
            404 | 429 | 502..=504 if peer_refused => Some(Self::PeerRefused(status)),
            429 | 500 | 502..=504 => Some(Self::Status(status)),
            _ => None,
        }
    }

    /// The label in metrics, logs and `x-tw-attempts`.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Stale => "stale",
            Self::Reset => "reset",
            Self::Garbage => "garbage",
            Self::Silent(limit) => limit.code(),
            Self::PeerRefused(_) => "peer_refused",
            Self::Status(status) => match status.as_u16() {
                429 => "429",
                500 => "500",
                502 => "502",
                503 => "503",
                504 => "504",
                _ => "status",
            },
        }
    }

    /// Every label, for pre-made metric series.
    pub(crate) const LABELS: [&'static str; 16] = [
        "ok",
        "refused",
        "stale",
        "reset",
        "garbage",
        "connect_timeout",
        "first_byte_timeout",
        "first_token_timeout",
        "between_tokens_timeout",
        "total_timeout",
        "peer_refused",
        "429",
        "500",
        "502",
        "503",
        "504",
    ];
}

/// `Retry-After` in seconds, as replicas send it; a date is not understood.
#[must_use]
pub(crate) fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    text.trim()
        .parse()
        .ok()
        .filter(|seconds| *seconds <= 3600)
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds() {
        // cause, retry same, retry same later, strike, may have been acted upon
        let rows = [
            (Cause::Refused, false, false, true, false),
            (Cause::Silent(Limit::Connect), false, false, true, false),
            (Cause::Reset, false, false, true, true),
            (Cause::Stale, true, false, false, true),
            (Cause::Garbage, false, false, true, true),
            (Cause::Silent(Limit::FirstByte), false, false, true, true),
            (Cause::Silent(Limit::Total), false, false, false, true),
            (Cause::Silent(Limit::FirstToken), false, false, true, true),
            (
                Cause::Status(StatusCode::INTERNAL_SERVER_ERROR),
                true,
                false,
                true,
                true,
            ),
            (
                Cause::Status(StatusCode::BAD_GATEWAY),
                false,
                false,
                true,
                true,
            ),
            (
                Cause::Status(StatusCode::SERVICE_UNAVAILABLE),
                false,
                false,
                true,
                true,
            ),
            (
                Cause::Status(StatusCode::GATEWAY_TIMEOUT),
                false,
                false,
                true,
                true,
            ),
            (
                Cause::Status(StatusCode::TOO_MANY_REQUESTS),
                false,
                true,
                false,
                false,
            ),
            (
                Cause::PeerRefused(StatusCode::SERVICE_UNAVAILABLE),
                false,
                false,
                false,
                false,
            ),
        ];
        for (cause, same_once, same_later, strike, reached) in rows {
            assert_eq!(
                cause.action(),
                Action {
                    same_once,
                    same_later,
                    strike,
                    reached
                },
                "{cause:?}"
            );
            assert!(Cause::LABELS.contains(&cause.as_str()), "{cause:?}");
        }
    }

    #[test]
    fn the_callers_own_mistakes_are_no_failures_of_the_replica() {
        for status in [200, 204, 301, 400, 401, 403, 404, 409, 413, 422, 501, 505] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(Cause::of_status(status, false), None, "{status}");
        }
        for status in [404, 429, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                Cause::of_status(status, true),
                Some(Cause::PeerRefused(status))
            );
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        let with = |text: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(http::header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(with("2"), Some(Duration::from_secs(2)));
        assert_eq!(with("Fri, 20 Nov 2026 10:00:00 GMT"), None);
        assert_eq!(with("99999999"), None);
    }
}
