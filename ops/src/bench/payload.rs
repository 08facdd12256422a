//! The requests and answers of the benchmark, byte for byte.
//!
//! Both ends build them from here, so each can check the other's whole: an
//! answer that a proxy cut, mixed up or changed is an error and not a fast
//! answer. What a request wants of the backend (a delay, a number of events)
//! stands in its body, which proxies pass on unread or unchanged, and not in
//! headers, which they may drop.
//!
//! Invariants:
//! 1. A request and an answer without knobs are [`SIZE`] bytes long.
//! 2. All events of a stream have the same length, so that they can be told
//!    apart and checked without parsing.

use serde::{Deserialize, Serialize};

/// The application that all requests ask for.
pub const MODEL: &str = "bench";

/// Where requests go.
pub const PATH: &str = "/v1/chat/completions";

/// Bytes of a plain request's body and of its answer's body.
pub const SIZE: usize = 1024;

/// What ends a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

const EVENT_FRONT: &str = "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
    \"created\":1700000000,\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"";
const EVENT_BACK: &str = "\"},\"finish_reason\":null}]}\n\n";
const DIGITS: usize = 8;

/// What a request wants of the backend: `"bench": {…}` in its body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Length of the whole body in bytes; another length is answered 400.
    pub bytes: usize,
    /// The answer waits until so many requests with this knob are held.
    #[serde(skip_serializing_if = "is_zero")]
    pub hold: usize,
    /// Streams: time from the request to the first event, in µs.
    #[serde(skip_serializing_if = "is_zero")]
    pub delay_us: usize,
    /// Streams: number of events.
    #[serde(skip_serializing_if = "is_zero")]
    pub events: usize,
    /// Streams: time between events, in ms.
    #[serde(skip_serializing_if = "is_zero")]
    pub gap_ms: usize,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// A request's body of exactly `knobs.bytes` bytes, or a little more if they
/// are too few for its fixed parts.
pub fn request_body(stream: bool, mut knobs: Knobs) -> Vec<u8> {
    // The length stands in the body itself; a second pass settles it.
    for _ in 0..2 {
        let wanted = serde_json::json!(knobs);
        let front = format!(
            r#"{{"model":"{MODEL}","stream":{stream},"bench":{wanted},"messages":[{{"role":"user","content":""#
        );
        let body = filled(&front, r#""}]}"#, knobs.bytes);
        if body.len() == knobs.bytes {
            return body;
        }
        knobs.bytes = body.len().next_multiple_of(64);
    }
    unreachable!("a body fits into the length it was measured at")
}

/// A whole request with `body`, ready to be written.
pub fn request(body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {MODEL}.test\r\nUser-Agent: tradewind-bench\r\n\
         Accept: application/json\r\nAuthorization: Bearer not-a-key\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// The knobs in the front of a request's body.
///
/// # Errors
/// If there are none, or they are not as [`Knobs`] has them.
pub fn knobs(body: &[u8]) -> Result<Knobs, &'static str> {
    const KEY: &[u8] = b"\"bench\":";
    let at = body
        .windows(KEY.len())
        .position(|at| at == KEY)
        .ok_or("no knobs")?;
    let mut values = serde_json::Deserializer::from_slice(&body[at + KEY.len()..]).into_iter();
    values.next().and_then(Result::ok).ok_or("unknown knobs")
}

/// Whether the front of a request's body asks for a stream.
pub fn wants_stream(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"stream\":true";
    body.windows(KEY.len()).any(|at| at == KEY)
}

/// The body of a unary answer.
pub fn answer_body() -> Vec<u8> {
    let front = "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\
        \"model\":\"bench\",\"usage\":{\"prompt_tokens\":150,\"completion_tokens\":150,\
        \"total_tokens\":300},\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\
        \"message\":{\"role\":\"assistant\",\"content\":\"";
    filled(front, "\"}}]}", SIZE)
}

/// `front`, words, `back`: `length` bytes, or just front and back if they are
/// longer than that.
fn filled(front: &str, back: &str, length: usize) -> Vec<u8> {
    const WORDS: &[u8] = b"the steady wind that carries ships over the sea ";
    let room = length.saturating_sub(front.len() + back.len());
    let mut body = Vec::with_capacity(length);
    body.extend_from_slice(front.as_bytes());
    body.extend(WORDS.iter().cycle().take(room));
    body.extend_from_slice(back.as_bytes());
    body
}

/// One event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Its number in the stream, from 0.
    pub number: u32,
    /// Time from the end of the request to this event, at the backend, in µs.
    pub after_us: u32,
}

impl Event {
    /// Bytes of every event.
    pub const LENGTH: usize = EVENT_FRONT.len() + 2 * DIGITS + 1 + EVENT_BACK.len();

    /// The event as it is sent.
    pub fn encode(self) -> String {
        let limit = 10_u32.pow(DIGITS as u32) - 1;
        let (number, after_us) = (self.number.min(limit), self.after_us.min(limit));
        format!("{EVENT_FRONT}{number:08} {after_us:08}{EVENT_BACK}")
    }

    /// Reads [`Event::LENGTH`] bytes; `None` if they are not an event.
    pub fn decode(input: &[u8]) -> Option<Self> {
        let middle = input.strip_prefix(EVENT_FRONT.as_bytes())?;
        let middle = str::from_utf8(middle.strip_suffix(EVENT_BACK.as_bytes())?).ok()?;
        let (number, after_us) = middle.split_once(' ')?;
        Some(Self {
            number: number.parse().ok()?,
            after_us: after_us.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_requests_and_answers_are_one_kibibyte_of_json() {
        let request = request_body(
            false,
            Knobs {
                bytes: SIZE,
                ..Knobs::default()
            },
        );
        assert_eq!((request.len(), answer_body().len()), (SIZE, SIZE));
        for body in [request, answer_body()] {
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(json["model"], MODEL);
        }
    }

    #[test]
    fn knobs_come_back_as_they_were_sent() {
        let sent = Knobs {
            bytes: 150_000,
            hold: 3,
            delay_us: 4,
            events: 5,
            gap_ms: 6,
        };
        let body = request_body(true, sent);
        assert_eq!(knobs(&body), Ok(sent));
        assert_eq!(body.len(), 150_000);
        assert!(wants_stream(&body));
        assert!(!wants_stream(&request_body(false, sent)));
        assert!(knobs(b"{\"model\":\"bench\"}").is_err());
        assert!(knobs(b"{\"bench\":{\"no\":1}}").is_err());
    }

    #[test]
    fn a_body_too_small_for_its_parts_grows_and_says_so() {
        let body = request_body(
            false,
            Knobs {
                bytes: 1,
                ..Knobs::default()
            },
        );
        assert_eq!(knobs(&body).unwrap().bytes, body.len());
    }

    #[test]
    fn events_have_one_length_and_come_back() {
        for event in [
            Event {
                number: 0,
                after_us: 1,
            },
            Event {
                number: 99,
                after_us: 5_000_000,
            },
        ] {
            let text = event.encode();
            assert_eq!(text.len(), Event::LENGTH);
            assert_eq!(Event::decode(text.as_bytes()), Some(event));
            let json = text.strip_prefix("data: ").unwrap();
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok());
        }
        assert_eq!(Event::decode(&[b'x'; Event::LENGTH]), None);
    }
}
