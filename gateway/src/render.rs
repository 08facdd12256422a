//! Turns a refusal into an answer. The one place where statuses are chosen.

use std::time::Duration;

use bytes::Bytes;
use federation::plan::Nowhere;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;

use crate::{
    body::ReplyBody,
    call::{Refusal, Reply},
    cause::{Cause, Limit},
    upload::UploadError,
};

/// Tells official clients not to try again: our own attempts are spent.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Marks an answer as this gateway's own refusal, so that another gateway does
/// not take it for a replica's failure.
pub(crate) const REFUSED: HeaderName = HeaderName::from_static("x-tw-refused");

/// The JSON that OpenAI's clients read errors from.
#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

/// What of a refusal is seen outside.
struct Face {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    param: Option<&'static str>,
    retry_after: Option<Duration>,
    /// Attempts were made and spent.
    spent: bool,
    /// The connection cannot be used again.
    close: bool,
}

impl Face {
    fn mistake(status: StatusCode, code: &'static str, param: Option<&'static str>) -> Self {
        let kind = "invalid_request_error";
        Self {
            status,
            kind,
            code,
            param,
            retry_after: None,
            spent: false,
            close: false,
        }
    }

    fn failure(status: StatusCode, kind: &'static str, code: &'static str) -> Self {
        Self {
            status,
            kind,
            code,
            param: None,
            retry_after: None,
            spent: true,
            close: false,
        }
    }

    fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Malformed(_) | Refusal::Upload(UploadError::Malformed(_)) => {
                Self::mistake(StatusCode::BAD_REQUEST, "malformed_body", None)
            }
            Refusal::NoModel => {
                Self::mistake(StatusCode::BAD_REQUEST, "missing_model", Some("model"))
            }
            Refusal::BadModel { .. } => {
                Self::mistake(StatusCode::BAD_REQUEST, "invalid_model", Some("model"))
            }
            Refusal::NoRoute { .. } => Self::mistake(StatusCode::NOT_FOUND, "unknown_route", None),
            Refusal::Method { .. } => {
                Self::mistake(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", None)
            }
            Refusal::TwoLengths => Self {
                close: true,
                ..Self::mistake(StatusCode::BAD_REQUEST, "two_lengths", None)
            },
            Refusal::Header { name, .. } => {
                Self::mistake(StatusCode::BAD_REQUEST, "invalid_header", Some(name))
            }
            Refusal::Upload(UploadError::NoRoom) => Self {
                retry_after: Some(Duration::from_secs(1)),
                spent: false,
                close: true,
                ..Self::failure(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "server_error",
                    "no_replay_memory",
                )
            },
            Refusal::Upload(error) => {
                let (status, code) = match error {
                    UploadError::TooLarge { .. } => {
                        (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
                    }
                    UploadError::Stalled { .. } => (StatusCode::REQUEST_TIMEOUT, "body_stalled"),
                    UploadError::Cut | UploadError::Malformed(_) | UploadError::NoRoom => {
                        (StatusCode::BAD_REQUEST, "body_cut_short")
                    }
                };
                Self {
                    close: true,
                    ..Self::mistake(status, code, None)
                }
            }
            Refusal::Nowhere {
                why, retry_after, ..
            } => match why {
                Nowhere::Unknown => {
                    Self::mistake(StatusCode::NOT_FOUND, "model_not_found", Some("model"))
                }
                Nowhere::Full | Nowhere::Down => {
                    let code = if *why == Nowhere::Full {
                        "no_capacity"
                    } else {
                        "no_healthy_replica"
                    };
                    let face = Self::failure(StatusCode::SERVICE_UNAVAILABLE, "server_error", code);
                    Self {
                        retry_after: Some(*retry_after),
                        spent: false,
                        ..face
                    }
                }
            },
            Refusal::Failed { cause, .. } => match cause {
                Cause::Silent(limit) => Self::timeout(*limit),
                Cause::Refused => {
                    Self::failure(StatusCode::BAD_GATEWAY, "server_error", "upstream_refused")
                }
                Cause::Garbage => {
                    Self::failure(StatusCode::BAD_GATEWAY, "server_error", "upstream_garbage")
                }
                Cause::Stale | Cause::Reset => {
                    Self::failure(StatusCode::BAD_GATEWAY, "server_error", "upstream_reset")
                }
                Cause::Status(status) | Cause::PeerRefused(status) => {
                    Self::failure(*status, "server_error", "upstream_failed")
                }
            },
            Refusal::TotalTime { .. } => Self::timeout(Limit::Total),
        }
    }

    fn timeout(limit: Limit) -> Self {
        Self::failure(StatusCode::GATEWAY_TIMEOUT, "timeout", limit.code())
    }
}

/// The error code of `refusal`, as in its answer.
#[must_use]
pub(crate) fn code(refusal: &Refusal) -> &'static str {
    Face::of(refusal).code
}

/// The answer to a call that was refused.
#[must_use]
pub(crate) fn refusal(refusal: &Refusal) -> Reply {
    let face = Face::of(refusal);
    let message = refusal.to_string();
    let mut reply = Response::new(ReplyBody::whole(error(
        &message, face.kind, face.param, face.code,
    )));
    *reply.status_mut() = face.status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REFUSED, HeaderValue::from_static(face.code));
    if let Some(after) = face.retry_after {
        // Whole seconds, at least one.
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    if face.spent {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    if face.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Refusal::Method { allow, .. } = refusal {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    reply
}

/// An error as the last event of a stream.
#[must_use]
pub(crate) fn in_band(code: &'static str, message: &str) -> Bytes {
    let error = error(message, "server_error", None, code);
    [b"data: ", &error[..], b"\n\n"].concat().into()
}

/// A JSON answer of the gateway's own.
#[must_use]
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let mut reply = Response::new(ReplyBody::whole(bytes.into()));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn error(message: &str, kind: &str, param: Option<&str>, code: &str) -> Bytes {
    let envelope = Envelope {
        error: Body {
            message,
            r#type: kind,
            param,
            code,
        },
    };
    // Four strings always serialise.
    serde_json::to_vec(&envelope).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use discovery_client::Application;

    use super::*;

    #[test]
    fn each_refusal_has_its_status_and_code() {
        let chat = || Application::new("chat").unwrap();
        let nowhere = |why| Refusal::Nowhere {
            application: chat(),
            why,
            retry_after: Duration::from_secs(1),
        };
        let failed = |cause| Refusal::Failed {
            application: chat(),
            cause,
        };
        let rows = [
            (Refusal::NoModel, 400, "missing_model", None, None),
            (Refusal::TwoLengths, 400, "two_lengths", None, None),
            (
                nowhere(Nowhere::Unknown),
                404,
                "model_not_found",
                None,
                None,
            ),
            (nowhere(Nowhere::Full), 503, "no_capacity", Some("1"), None),
            (
                nowhere(Nowhere::Down),
                503,
                "no_healthy_replica",
                Some("1"),
                None,
            ),
            (
                failed(Cause::Refused),
                502,
                "upstream_refused",
                None,
                Some("false"),
            ),
            (
                failed(Cause::Reset),
                502,
                "upstream_reset",
                None,
                Some("false"),
            ),
            (
                failed(Cause::Silent(Limit::FirstByte)),
                504,
                "first_byte_timeout",
                None,
                Some("false"),
            ),
            (
                Refusal::Upload(UploadError::TooLarge { limit: 5 }),
                413,
                "body_too_large",
                None,
                None,
            ),
            (
                Refusal::Upload(UploadError::Stalled {
                    limit: Duration::from_secs(1),
                }),
                408,
                "body_stalled",
                None,
                None,
            ),
        ];
        for (refused, status, code, retry_after, should_retry) in rows {
            let reply = refusal(&refused);
            let header = |name: HeaderName| {
                reply
                    .headers()
                    .get(name)
                    .map(|v| v.to_str().unwrap().to_owned())
            };
            assert_eq!(reply.status(), status, "{refused:?}");
            assert_eq!(header(REFUSED).as_deref(), Some(code));
            assert_eq!(header(RETRY_AFTER).as_deref(), retry_after, "{refused:?}");
            assert_eq!(header(SHOULD_RETRY).as_deref(), should_retry, "{refused:?}");
        }
    }

    #[test]
    fn an_error_event_is_one_event_of_one_line() {
        let event = in_band("upstream_broken", "it\nbroke");
        assert_eq!(
            event,
            "data: {\"error\":{\"message\":\"it\\nbroke\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_broken\"}}\n\n"
        );
    }
}
