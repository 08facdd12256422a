//! Cuts a body of server-sent events into events. Pure.
//!
//! An event ends with a blank line; lines end with `\n` or `\r\n`. Events are
//! handed out byte for byte, the blank line included.
//!
//! Invariant: the events joined are the bytes that came in, however they were
//! cut on the way (`events_do_not_depend_on_how_the_bytes_arrive`).

use bytes::{Bytes, BytesMut};

/// One server-sent event as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event(Bytes);

impl Event {
    /// Its bytes, the blank line included.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.0
    }

    /// What follows `data:`; several such lines are joined by a line feed.
    /// Nothing if there is no such line, as in a comment.
    #[must_use]
    pub fn data(&self) -> Option<Bytes> {
        let mut lines = self.0.split(|byte| *byte == b'\n').filter_map(|line| {
            let value = line
                .strip_suffix(b"\r")
                .unwrap_or(line)
                .strip_prefix(b"data:")?;
            Some(value.strip_prefix(b" ").unwrap_or(value))
        });
        let first = lines.next()?;
        match lines.next() {
            None => Some(self.0.slice_ref(first)),
            Some(second) => {
                let mut joined = first.to_vec();
                for line in std::iter::once(second).chain(lines) {
                    joined.push(b'\n');
                    joined.extend_from_slice(line);
                }
                Some(joined.into())
            }
        }
    }

    /// Whether it is `data: [DONE]`, the end of an OpenAI stream.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.data()
            .is_some_and(|data| data.trim_ascii() == b"[DONE]")
    }

    /// The error it carries, if it is `data: {"error": …}`.
    pub(super) fn error(&self) -> Option<InBand> {
        let data = self.data()?;
        let looks = data
            .trim_ascii_start()
            .strip_prefix(b"{")?
            .trim_ascii_start()
            .starts_with(b"\"error\"");
        let whole: serde_json::Value = looks.then(|| serde_json::from_slice(&data).ok())??;
        let error = whole.get("error").filter(|error| !error.is_null())?;
        let text = |key| {
            error
                .get(key)
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
        };
        Some(InBand {
            message: text("message").unwrap_or_else(|| error.to_string()),
            code: text("code"),
        })
    }
}

/// The body of `{"error": …}`, as far as it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InBand {
    pub(super) message: String,
    pub(super) code: Option<String>,
}

/// The event grew beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Bytes on their way to becoming events.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    pending: BytesMut,
    /// Where the search for a blank line goes on.
    seen: usize,
}

impl Cutter {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole event, if it is there.
    pub(super) fn cut(&mut self, limit: usize) -> Result<Option<Event>, TooLong> {
        while let Some(found) = self.pending[self.seen..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let line_end = self.seen + found + 1;
            let blank = match &self.pending[line_end..] {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                [] | [b'\r'] => break,
                _ => 0,
            };
            if blank > 0 {
                self.seen = 0;
                let event = self.pending.split_to(line_end + blank).freeze();
                return if event.len() > limit {
                    Err(TooLong)
                } else {
                    Ok(Some(Event(event)))
                };
            }
            self.seen = line_end;
        }
        if self.pending.len() > limit {
            Err(TooLong)
        } else {
            Ok(None)
        }
    }

    /// Whether half an event is left.
    pub(super) fn is_dirty(&self) -> bool {
        !self.pending.trim_ascii().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(pieces: &[&[u8]]) -> (Vec<Bytes>, bool) {
        let mut cutter = Cutter::default();
        let mut events = Vec::new();
        for piece in pieces {
            cutter.push(piece);
            while let Some(event) = cutter.cut(1000).unwrap() {
                events.push(event.0);
            }
        }
        (events, cutter.is_dirty())
    }

    proptest! {
        #[test]
        fn events_do_not_depend_on_how_the_bytes_arrive(
            parts in prop::collection::vec(prop_oneof![
                Just("data: a\n\n"), Just("data: b\r\n\r\n"), Just(": c\n\n"), Just("event: x\ndata: d\n\n"), Just("da")
            ], 0..12),
            sizes in prop::collection::vec(1usize..7, 1..200),
        ) {
            let whole = parts.concat().into_bytes();
            let (at_once, _) = cut(&[&whole]);
            let mut pieces = Vec::new();
            let mut rest = &whole[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let (bit_by_bit, _) = cut(&pieces);
            prop_assert_eq!(&at_once, &bit_by_bit);
            prop_assert!(whole.starts_with(&at_once.concat()));
        }
    }

    #[test]
    fn half_an_event_is_noticed() {
        assert!(cut(&[b"data: a\n\ndata: b\n"]).1);
        assert!(!cut(&[b"data: a\n\n"]).1);
    }

    #[test]
    fn an_event_beyond_the_limit_is_refused() {
        let mut cutter = Cutter::default();
        cutter.push(&[b'x'; 20]);
        assert_eq!(cutter.cut(10), Err(TooLong));
    }

    #[test]
    fn errors_and_the_end_are_told_apart_from_tokens() {
        let event = |text: &'static str| Event(Bytes::from_static(text.as_bytes()));
        assert!(event("data: [DONE]\n\n").is_done());
        let error =
            event("data: {\"error\":{\"message\":\"gone\",\"code\":\"upstream_broken\"}}\n\n")
                .error()
                .unwrap();
        assert_eq!(
            (error.message.as_str(), error.code.unwrap().as_str()),
            ("gone", "upstream_broken")
        );
        for token in [
            "data: {\"choices\":[]}\n\n",
            ": ping\n\n",
            "data: {\"text\":\"error\"}\n\n",
        ] {
            assert_eq!(event(token).error(), None);
            assert!(!event(token).is_done());
        }
        assert_eq!(event("data: a\ndata: b\n\n").data().unwrap(), "a\nb");
    }
}
