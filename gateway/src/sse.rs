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
//! Invariants:
//! 1. What goes out is what came in, in order, but for events that are not JSON
//!    (`bytes_are_untouched`, `a_malformed_event_is_left_out`).
//! 2. Until an event exceeds [`MAX_EVENT`], every piece that goes out ends at
//!    the end of an event (`pieces_end_with_an_event`).
//!
//! Source: WHATWG HTML, section 9.2 "Server-sent events".

use bytes::{Bytes, BytesMut};
use memchr::memmem;

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
    finished: bool,
    done: bool,
    /// An error was said in the stream itself.
    failed: bool,
    skipped: u64,
}

impl Framer {
    /// At the start of a stream.
    #[must_use]
    pub(crate) fn new(ending: Ending) -> Self {
        Self {
            ending,
            held: BytesMut::new(),
            finished: false,
            done: false,
            failed: false,
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
                let part = self.held.split().freeze();
                self.look(&part);
                Some(part)
            }
            None => None,
        }
    }

    /// Whole events, without those that no client could read.
    fn pass(&mut self, events: Bytes) -> Option<Bytes> {
        if parts(&events).all(is_readable) {
            self.look(&events);
            return Some(events);
        }
        let mut kept = BytesMut::with_capacity(events.len());
        for event in parts(&events) {
            if is_readable(event) {
                kept.extend_from_slice(event);
            } else {
                self.skipped += 1;
            }
        }
        self.look(&kept);
        (!kept.is_empty()).then(|| kept.freeze())
    }

    /// At the clean end of the stream: what was held for a blank line that
    /// never came.
    pub(crate) fn rest(&mut self) -> Option<Bytes> {
        let rest = self.held.split();
        self.look(&rest);
        (!rest.is_empty()).then(|| rest.freeze())
    }

    /// Whether the answer said that it is complete: a finish reason or `[DONE]`.
    #[must_use]
    pub(crate) fn is_finished(&self) -> bool {
        self.finished || self.done
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
        let lacks = self.ending == Ending::Choices && self.finished && !self.done;
        lacks.then(|| Bytes::from_static(b"data: [DONE]\n\n"))
    }

    fn look(&mut self, events: &[u8]) {
        // Within a JSON string the quotes would be escaped.
        self.failed = self.failed || memmem::find(events, b"data: {\"error\"").is_some();
        match self.ending {
            Ending::Choices => {
                self.finished = self.finished || has_finish_reason(events);
                self.done = self.done || memmem::find(events, b"[DONE]").is_some();
            }
            Ending::Responses => {
                let ends = [
                    &b"response.completed"[..],
                    b"response.incomplete",
                    b"response.failed",
                ];
                self.done = self.done || ends.iter().any(|end| memmem::find(events, end).is_some());
            }
        }
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

/// Whether a client can read the event: its one line of data, if it has one, is
/// JSON or `[DONE]`. Data of several lines is not looked into.
fn is_readable(event: &[u8]) -> bool {
    let mut data = event
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .filter_map(|line| line.strip_prefix(b"data:"));
    match (data.next(), data.next()) {
        (Some(only), None) => {
            let text = only.trim_ascii();
            text.is_empty()
                || text == b"[DONE]"
                || serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
        }
        _ => true,
    }
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

/// Whether a chunk says why it finished: `"finish_reason"` with a string.
fn has_finish_reason(mut events: &[u8]) -> bool {
    const KEY: &[u8] = b"\"finish_reason\"";
    while let Some(at) = memmem::find(events, KEY) {
        events = &events[at + KEY.len()..];
        let value = events.iter().find(|byte| !matches!(byte, b' ' | b':'));
        if value == Some(&b'"') {
            return true;
        }
    }
    false
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

    #[test]
    fn an_answer_is_complete_only_if_it_says_so() {
        let mut open = framer();
        open.push(Bytes::from_static(
            b"data: {\"choices\":[{\"finish_reason\": null}]}\n\n",
        ));
        assert!(!open.is_finished());
        open.push(Bytes::from_static(
            b"data: {\"choices\":[{\"finish_reason\": \"stop\"}]}\n\n",
        ));
        assert!(open.is_finished());
        assert_eq!(open.missing().unwrap(), "data: [DONE]\n\n");
        open.push(Bytes::from_static(b"data: [DONE]\n\n"));
        assert_eq!(open.missing(), None);

        let mut responses = Framer::new(Ending::Responses);
        responses.push(Bytes::from_static(b"event: response.created\ndata: {}\n\n"));
        assert!(!responses.is_finished());
        responses.push(Bytes::from_static(
            b"event: response.completed\ndata: {}\n\n",
        ));
        assert!(responses.is_finished() && responses.missing().is_none());
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
