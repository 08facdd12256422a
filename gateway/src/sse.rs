//! Server-sent events as they pass: where one ends, and whether the answer did.
//!
//! Bytes are forwarded untouched, but only up to the end of an event; an event
//! that has arrived in part waits for the rest. So whatever happens to the
//! replica, the caller's stream stands at an event boundary, where an error can
//! be said in a way every client reads.
//!
//! An event whose data is not JSON would end the stream in every client; it is
//! left out and counted, and the stream goes on.
//!
//! Whether the answer is complete is read from the data itself, never searched
//! for: a model may well write `[DONE]`.
//!
//! Invariants:
//! 1. What goes out is what came in, in order, but for events that are not JSON
//!    (`bytes_are_untouched`, `a_malformed_event_is_left_out`).
//! 2. Until an event exceeds [`MAX_EVENT`], every piece that goes out ends at
//!    the end of an event (`pieces_end_with_an_event`).
//!
//! Source: WHATWG HTML, section 9.2 "Server-sent events".

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use serde::{Deserialize, de::IgnoredAny};

/// Longest event that is held until it is whole, in bytes. A longer one passes
/// as it comes.
pub(crate) const MAX_EVENT: usize = 256 * 1024;

/// What ends a stream of a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Chunks with a `finish_reason`, then `[DONE]`.
    Choices,
    /// A `response.completed`, `.incomplete` or `.failed` event.
    Responses,
}

/// One stream's framing.
#[derive(Debug)]
pub(crate) struct Framer {
    ending: Ending,
    held: BytesMut,
    /// Choices that were begun and that gave a reason to end, a bit each.
    begun: u64,
    ended: u64,
    /// The dialect's last word was said.
    done: bool,
    /// An error was said in the stream itself.
    failed: bool,
    /// A part of an event went out: the next one needs a blank line before it.
    torn: bool,
    skipped: u64,
}

/// What of an event's data tells of the stream.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default, borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    finish_reason: Option<String>,
}

impl Framer {
    /// At the start of a stream.
    #[must_use]
    pub(crate) fn new(ending: Ending) -> Self {
        Self {
            ending,
            held: BytesMut::new(),
            begun: 0,
            ended: 0,
            done: false,
            failed: false,
            torn: false,
            skipped: 0,
        }
    }

    /// How many events were left out.
    #[must_use]
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes what arrived; returns the whole events now complete, if any.
    pub(crate) fn push(&mut self, piece: Bytes) -> Option<Bytes> {
        if self.held.is_empty() && ends_event(&piece) {
            return self.pass(piece);
        }
        self.held.extend_from_slice(&piece);
        match last_end(&self.held) {
            Some(end) => {
                let whole = self.held.split_to(end).freeze();
                self.pass(whole)
            }
            None if self.held.len() > MAX_EVENT => {
                self.torn = true;
                Some(self.held.split().freeze())
            }
            None => None,
        }
    }

    /// Whole events, without those that no client could read.
    fn pass(&mut self, events: Bytes) -> Option<Bytes> {
        // The end of a torn event is not an event, and stands first.
        let torn = std::mem::take(&mut self.torn);
        let mut bad = 0;
        for (nth, event) in parts(&events).enumerate() {
            let tail = torn && nth == 0;
            bad += u64::from(!tail && !self.read(event));
        }
        if bad == 0 {
            return Some(events);
        }
        self.skipped += bad;
        let mut kept = BytesMut::with_capacity(events.len());
        for (nth, event) in parts(&events).enumerate() {
            if (torn && nth == 0) || data(event).is_none_or(is_readable) {
                kept.extend_from_slice(event);
            }
        }
        (!kept.is_empty()).then(|| kept.freeze())
    }

    /// At the clean end of the stream: an event that lacks only its blank line,
    /// with it. A part of one is dropped.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        if self.held.is_empty() || self.torn {
            return None;
        }
        self.held.extend_from_slice(b"\n\n");
        let last = self.held.split().freeze();
        self.pass(last)
    }

    /// Whether the answer said that it is complete: `[DONE]`, or a reason to end
    /// for every choice that was begun.
    #[must_use]
    pub(crate) fn is_finished(&self) -> bool {
        self.done || (self.begun != 0 && self.begun == self.ended)
    }

    /// Whether the caller was told already that the answer failed, by the
    /// replica or by the gateway of another site.
    #[must_use]
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// What a stream that ended well still lacks.
    #[must_use]
    pub(crate) fn missing(&self) -> Option<Bytes> {
        let lacks = self.ending == Ending::Choices && !self.done;
        lacks.then(|| Bytes::from_static(b"data: [DONE]\n\n"))
    }

    /// An event of the gateway's own, to go out next.
    #[must_use]
    pub(crate) fn own(&self, event: Bytes) -> Bytes {
        if self.torn {
            return [b"\n\n", &event[..]].concat().into();
        }
        event
    }

    /// Learns what an event tells. `false` if no client could read it.
    fn read(&mut self, event: &[u8]) -> bool {
        let Some(data) = data(event) else { return true };
        if data == b"[DONE]" {
            self.done = true;
            return true;
        }
        let Ok(told) = serde_json::from_slice::<Told<'_>>(data) else {
            // Of another shape, and perhaps still JSON.
            return is_readable(data);
        };
        self.failed |= told.error.is_some();
        match self.ending {
            Ending::Choices => {
                for choice in told.choices {
                    // Choices beyond the bits count as the last one.
                    let bit = 1 << choice.index.min(63);
                    self.begun |= bit;
                    if choice
                        .finish_reason
                        .is_some_and(|reason| !reason.is_empty())
                    {
                        self.ended |= bit;
                    }
                }
            }
            Ending::Responses => {
                const ENDS: [&str; 3] = [
                    "response.completed",
                    "response.incomplete",
                    "response.failed",
                ];
                let kind = told.r#type.as_deref().unwrap_or_default();
                self.done |= ENDS.contains(&kind);
                self.failed |= kind == "error";
            }
        }
        true
    }
}

/// The events of `bytes`, each with its end.
fn parts(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let (event, rest) = bytes.split_at(first_end(bytes).unwrap_or(bytes.len()));
        bytes = rest;
        Some(event)
    })
}

/// The data of an event, if it is one line and not empty. Data of several lines
/// is not looked into.
fn data(event: &[u8]) -> Option<&[u8]> {
    let mut lines = event
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .filter_map(|line| line.strip_prefix(b"data:"));
    let only = lines.next()?.trim_ascii();
    (!only.is_empty() && lines.next().is_none()).then_some(only)
}

/// Whether a client can read an event's data.
fn is_readable(data: &[u8]) -> bool {
    data == b"[DONE]" || serde_json::from_slice::<IgnoredAny>(data).is_ok()
}

/// The position after the first blank line.
fn first_end(bytes: &[u8]) -> Option<usize> {
    let after = |end: &[u8]| memmem::find(bytes, end).map(|at| at + end.len());
    [after(b"\n\n"), after(b"\r\n\r\n"), after(b"\r\r")]
        .into_iter()
        .flatten()
        .min()
}

fn ends_event(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n") || bytes.ends_with(b"\r\r")
}

/// The position after the last blank line.
fn last_end(bytes: &[u8]) -> Option<usize> {
    let after = |end: &[u8]| memmem::rfind(bytes, end).map(|at| at + end.len());
    after(b"\n\n").max(after(b"\r\n\r\n")).max(after(b"\r\r"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framer() -> Framer {
        Framer::new(Ending::Choices)
    }

    #[test]
    fn an_event_in_pieces_goes_out_whole() {
        let mut framer = framer();
        assert_eq!(framer.push(Bytes::from_static(b"data: {\"a\"")), None);
        let out = framer
            .push(Bytes::from_static(b":1}\n\ndata: {\"b\""))
            .unwrap();
        assert_eq!(out, "data: {\"a\":1}\n\n");
        assert_eq!(
            framer.push(Bytes::from_static(b":2}\r\n\r\n")).unwrap(),
            "data: {\"b\":2}\r\n\r\n"
        );
    }

    fn after(ending: Ending, events: &[&str]) -> Framer {
        let mut framer = Framer::new(ending);
        for event in events {
            framer.push(Bytes::from(format!("data: {event}\n\n")));
        }
        framer
    }

    #[test]
    fn an_answer_is_complete_only_if_it_says_so() {
        let chunk = |index, reason: &str| {
            format!(r#"{{"choices":[{{"index":{index},"finish_reason":{reason}}}]}}"#)
        };
        let (open, stop, empty) = (chunk(0, "null"), chunk(0, "\"stop\""), chunk(0, "\"\""));
        let second = chunk(1, "null");
        let says =
            r#"{"choices":[{"delta":{"content":"data: [DONE] \"finish_reason\":\"stop\""}}]}"#;
        let finished = |events: &[&str]| after(Ending::Choices, events).is_finished();
        assert!(!finished(&[]));
        assert!(!finished(&[&open]));
        assert!(!finished(&[&empty]));
        assert!(!finished(&[says]));
        assert!(finished(&[&open, &stop]));
        // One choice of two has ended.
        assert!(!finished(&[&open, &second, &stop]));
        assert!(finished(&[&open, &second, &stop, &chunk(1, "\"length\"")]));
        assert!(finished(&[&open, "[DONE]"]));
        let ended = after(Ending::Choices, &[&open, &stop]);
        assert_eq!(ended.missing().unwrap(), "data: [DONE]\n\n");
        assert_eq!(after(Ending::Choices, &[&stop, "[DONE]"]).missing(), None);

        let responses = |event: &str| after(Ending::Responses, &[event]);
        let delta = r#"{"type":"response.output_text.delta","delta":"response.completed"}"#;
        assert!(!responses(delta).is_finished());
        let completed = responses(r#"{"type":"response.completed","response":{}}"#);
        assert!(completed.is_finished() && completed.missing().is_none());
        assert!(after(Ending::Choices, &[r#"{"error":{"code":"x"}}"#]).has_failed());
    }

    #[test]
    fn the_end_of_a_stream_stands_at_an_event_boundary() {
        let mut cut = framer();
        assert_eq!(
            cut.push(Bytes::from_static(b"data: {\"choices\":[{\"del")),
            None
        );
        assert_eq!(cut.rest(), None);
        let mut short = framer();
        assert_eq!(short.push(Bytes::from_static(b"data: [DONE]\n")), None);
        assert_eq!(short.rest().unwrap(), "data: [DONE]\n\n\n");
        assert!(short.is_finished());
    }

    #[test]
    fn a_malformed_event_is_left_out() {
        let mut framer = framer();
        let piece = "data: {\"a\":1}\n\ndata: {\"b\":\n\n: ping\n\ndata: [DONE]\n\n";
        let out = framer.push(Bytes::from_static(piece.as_bytes())).unwrap();
        assert_eq!(out, "data: {\"a\":1}\n\n: ping\n\ndata: [DONE]\n\n");
        assert_eq!((framer.skipped(), framer.done), (1, true));
        assert_eq!(framer.push(Bytes::from_static(b"data: oops\r\n\r\n")), None);
        assert_eq!(framer.skipped(), 2);
        let lines = Bytes::from_static(b"event: x\ndata: {\ndata: }\n\n");
        assert_eq!(framer.push(lines.clone()), Some(lines));
    }

    #[test]
    fn an_endless_event_is_not_held_for_ever() {
        let mut framer = framer();
        let piece = Bytes::from(vec![b'x'; MAX_EVENT / 2 + 1]);
        assert_eq!(framer.push(piece.clone()), None);
        assert_eq!(framer.push(piece).unwrap().len(), MAX_EVENT + 2);
        assert_eq!(
            framer.own(Bytes::from_static(b"data: x\n\n")),
            "\n\ndata: x\n\n"
        );
        // Its end passes, whatever it holds.
        let end = Bytes::from_static(b"data: {\n\n");
        assert_eq!(framer.push(end.clone()), Some(end));
        assert_eq!(framer.own(Bytes::new()), "");
    }

    proptest! {
        #[test]
        fn pieces_end_with_an_event(pieces in prop::collection::vec("[a\n]{0,6}", 0..20)) {
            let mut framer = framer();
            for piece in pieces {
                if let Some(out) = framer.push(Bytes::from(piece)) {
                    prop_assert!(ends_event(&out), "{:?}", out);
                }
            }
        }

        #[test]
        fn bytes_are_untouched(pieces in prop::collection::vec("[ad:\r\n]{0,6}", 0..20)) {
            let mut framer = framer();
            let mut out = Vec::new();
            for piece in &pieces {
                if let Some(whole) = framer.push(Bytes::from(piece.clone())) {
                    out.extend_from_slice(&whole);
                }
            }
            out.extend_from_slice(&framer.held);
            prop_assert_eq!(out, pieces.concat().into_bytes());
        }
    }
}
