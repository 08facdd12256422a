//! Finds `model` in a JSON body while it arrives, and checks `stream`: how an
//! answer is treated follows from the answer, but a value that replicas could
//! read in two ways is refused.
//!
//! A push scanner over the top-level object: bytes go in as they come, nothing
//! is copied but the value of `model`, and reading may stop as soon as that is
//! known. The rest of the body can be fed through as it passes, so that a
//! second `model`, which a replica might obey instead of ours, is caught even
//! behind a megabyte of prompt.
//!
//! It checks structure (strings, brackets, separators between members of the
//! top-level object), not the grammar of numbers and words: the replica parses
//! the body anyway.
//!
//! Invariants:
//! 1. How the body is cut into pieces changes nothing
//!    (`cuts_change_nothing`).
//! 2. What `serde_json` reads as an object, this reads as one, with the same
//!    model; a repeated `model` or `stream` is an error (`agrees_with_serde`).

use memchr::memchr2;

/// Longest value of `model` that is read, in bytes, as written in the body.
const MAX_MODEL: usize = 1024;
/// Deepest nesting.
const MAX_DEPTH: usize = 256;
/// Longest key that can be one of ours, in bytes, as written in the body.
const MAX_KEY: usize = 64;

/// Why a body cannot be routed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Not an object at its top.
    #[error("it must be an object")]
    NotAnObject,
    /// A character stands where it cannot.
    #[error("unexpected character at byte {at}")]
    Unexpected {
        /// Bytes before it.
        at: usize,
    },
    /// It ends too soon.
    #[error("it ends too soon, after {at} bytes")]
    Truncated {
        /// Its length.
        at: usize,
    },
    /// A key that routing reads stands there twice.
    #[error("{key:?} stands there twice")]
    Twice {
        /// Which.
        key: &'static str,
    },
    /// A key that routing reads has a value of the wrong type.
    #[error("{key:?} must be a {wanted}")]
    WrongType {
        /// Which.
        key: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// More than 256 levels of brackets.
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Model,
    Stream,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the opening brace.
    Start,
    /// After `{`: a key or `}`.
    FirstKey,
    /// After `,`: a key.
    NextKey,
    /// Within a key.
    InKey,
    /// After a key: `:`.
    Colon,
    /// After `:`: a value.
    Value,
    /// Within a top-level string value.
    InString,
    /// Within a number or a word.
    InWord,
    /// Within an array or object below the top.
    Nested,
    /// Within a string below the top.
    NestedString,
    /// After a value: `,` or `}`.
    AfterValue,
    /// After the closing brace: white space only.
    End,
}

/// The scanner. See the module.
#[derive(Debug)]
pub(crate) struct Peek {
    at: At,
    escaped: bool,
    read: usize,
    key: Key,
    /// Bytes of the key or of the value of interest, as written.
    text: Vec<u8>,
    /// One bit a level: 1 for `{`, 0 for `[`.
    stack: Vec<u8>,
    model: Option<String>,
    stream: Option<bool>,
}

impl Default for Peek {
    fn default() -> Self {
        Self {
            at: At::Start,
            escaped: false,
            read: 0,
            key: Key::Other,
            text: Vec::new(),
            stack: Vec::new(),
            model: None,
            stream: None,
        }
    }
}

impl Peek {
    /// Takes the next piece of the body.
    ///
    /// # Errors
    /// [`Malformed`]; the scanner must not be fed again after one.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        let mut rest = piece;
        while let Some(&byte) = rest.first() {
            let used = self.step(byte, rest)?;
            self.read += used;
            rest = &rest[used..];
        }
        Ok(())
    }

    /// Says that the body is whole.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] if the object is not closed.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        match self.at {
            At::End => Ok(()),
            At::Start if self.read == 0 => Err(Malformed::NotAnObject),
            _ => Err(Malformed::Truncated { at: self.read }),
        }
    }

    /// The model's name, once it was seen.
    #[must_use]
    pub(crate) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Looks at `rest`, which starts with `byte`; returns how much it used.
    fn step(&mut self, byte: u8, rest: &[u8]) -> Result<usize, Malformed> {
        let unexpected = Err(Malformed::Unexpected { at: self.read });
        let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.at {
            At::InKey | At::InString | At::NestedString => return self.string(rest),
            At::Nested => return self.nested(byte, rest),
            At::InWord => return self.word(byte, rest),
            _ if blank => return Ok(1),
            At::Start if byte == b'{' => self.at = At::FirstKey,
            At::Start => return Err(Malformed::NotAnObject),
            At::FirstKey | At::NextKey if byte == b'"' => {
                self.text.clear();
                self.at = At::InKey;
            }
            At::FirstKey if byte == b'}' => self.at = At::End,
            At::Colon if byte == b':' => self.at = At::Value,
            At::Value => return self.value(byte),
            At::AfterValue if byte == b',' => self.at = At::NextKey,
            At::AfterValue if byte == b'}' => self.at = At::End,
            At::FirstKey | At::NextKey | At::Colon | At::AfterValue | At::End => return unexpected,
        }
        Ok(1)
    }

    fn value(&mut self, byte: u8) -> Result<usize, Malformed> {
        self.text.clear();
        match byte {
            b'"' => self.at = At::InString,
            b'{' | b'[' => {
                self.wrong_type()?;
                self.open(byte)?;
                self.at = At::Nested;
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                self.at = At::InWord;
                self.text.push(byte);
            }
            _ => return Err(Malformed::Unexpected { at: self.read }),
        }
        Ok(1)
    }

    fn string(&mut self, rest: &[u8]) -> Result<usize, Malformed> {
        if self.escaped {
            self.escaped = false;
            self.keep(&rest[..1])?;
            return Ok(1);
        }
        let Some(end) = memchr2(b'"', b'\\', rest) else {
            self.keep(rest)?;
            return Ok(rest.len());
        };
        self.keep(&rest[..end])?;
        if rest[end] == b'\\' {
            self.escaped = true;
            self.keep(b"\\")?;
            return Ok(end + 1);
        }
        match self.at {
            At::InKey => {
                self.key = match self.text.as_slice() {
                    b"model" => Key::Model,
                    b"stream" => Key::Stream,
                    text if text.contains(&b'\\') => {
                        unescape(text).map_or(Key::Other, |key| match &*key {
                            "model" => Key::Model,
                            "stream" => Key::Stream,
                            _ => Key::Other,
                        })
                    }
                    _ => Key::Other,
                };
                self.at = At::Colon;
            }
            At::InString => {
                self.string_value(self.read + end)?;
                self.at = At::AfterValue;
            }
            _ => self.at = At::Nested,
        }
        Ok(end + 1)
    }

    /// Keeps string bytes where they matter; bounds what is kept.
    fn keep(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let most = match (self.at, self.key) {
            (At::InKey, _) => MAX_KEY,
            (At::InString, Key::Model) => MAX_MODEL,
            _ => return Ok(()),
        };
        let room = most - self.text.len().min(most);
        if self.at == At::InString && bytes.len() > room {
            return Err(Malformed::WrongType {
                key: "model",
                wanted: "string of at most 1024 bytes",
            });
        }
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(())
    }

    fn string_value(&mut self, at: usize) -> Result<(), Malformed> {
        match self.key {
            Key::Model => {
                let name = unescape(&self.text).ok_or(Malformed::Unexpected { at })?;
                put(&mut self.model, name, "model")
            }
            Key::Stream => self.wrong_type(),
            Key::Other => Ok(()),
        }
    }

    fn word(&mut self, byte: u8, rest: &[u8]) -> Result<usize, Malformed> {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.') {
            if self.text.len() < MAX_KEY {
                self.text.push(byte);
            }
            return Ok(1);
        }
        match (self.key, self.text.as_slice()) {
            (Key::Stream, b"true") => put(&mut self.stream, true, "stream")?,
            // A null counts as absent, as the API defines it.
            (Key::Stream, b"false" | b"null") => put(&mut self.stream, false, "stream")?,
            _ => self.wrong_type()?,
        }
        self.at = At::AfterValue;
        self.step(byte, rest)
    }

    fn wrong_type(&self) -> Result<(), Malformed> {
        match self.key {
            Key::Model => Err(Malformed::WrongType {
                key: "model",
                wanted: "string",
            }),
            Key::Stream => Err(Malformed::WrongType {
                key: "stream",
                wanted: "boolean",
            }),
            Key::Other => Ok(()),
        }
    }

    fn nested(&mut self, byte: u8, rest: &[u8]) -> Result<usize, Malformed> {
        match byte {
            b'"' => self.at = At::NestedString,
            b'{' | b'[' => self.open(byte)?,
            b'}' | b']' => {
                let open = if byte == b'}' { b'{' } else { b'[' };
                if self.stack.pop() != Some(open) {
                    return Err(Malformed::Unexpected { at: self.read });
                }
                if self.stack.is_empty() {
                    self.at = At::AfterValue;
                }
            }
            _ => {
                let plain = |b: &u8| !matches!(b, b'"' | b'{' | b'[' | b'}' | b']');
                return Ok(rest.iter().take_while(|b| plain(b)).count());
            }
        }
        Ok(1)
    }

    fn open(&mut self, bracket: u8) -> Result<(), Malformed> {
        if self.stack.len() == MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
        self.stack.push(bracket);
        Ok(())
    }
}

fn put<T>(place: &mut Option<T>, value: T, key: &'static str) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed::Twice { key }),
    }
}

/// The text of a JSON string, given what stands between its quotes.
fn unescape(text: &[u8]) -> Option<String> {
    if !text.contains(&b'\\') {
        return std::str::from_utf8(text).ok().map(str::to_owned);
    }
    let quoted = [b"\"", text, b"\""].concat();
    serde_json::from_slice(&quoted).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peek(body: &[u8]) -> Result<(Option<String>, Option<bool>), Malformed> {
        let mut peek = Peek::default();
        peek.feed(body)?;
        peek.finish()?;
        Ok((peek.model, peek.stream))
    }

    #[test]
    fn what_routing_needs_is_found() {
        let body = br#"{"messages":[{"role":"user","content":"\"model\": \\"}],"model":"a\/b","stream":true}"#;
        assert_eq!(peek(body), Ok((Some("a/b".into()), Some(true))));
        assert_eq!(peek(b" { } "), Ok((None, None)));
        assert_eq!(
            peek(br#"{"mod\u0065l":"x","stream":null}"#),
            Ok((Some("x".into()), Some(false)))
        );
        assert_eq!(
            peek(br#"{"options":{"model":"inner"},"model":"outer"}"#),
            Ok((Some("outer".into()), None))
        );
    }

    #[test]
    fn reading_may_stop_early() {
        let mut peek = Peek::default();
        peek.feed(br#"{"model":"m","messages":[{"content":"half a pro"#)
            .unwrap();
        assert_eq!(peek.model(), Some("m"));
        peek.feed(br#"mpt"}],"model":"other"}"#).unwrap_err();
    }

    #[test]
    fn mistakes_are_named() {
        let cases: [(&[u8], Malformed); 13] = [
            (b"", Malformed::NotAnObject),
            (b"[]", Malformed::NotAnObject),
            (b"hello", Malformed::NotAnObject),
            (b"{\"a\":1", Malformed::Truncated { at: 6 }),
            (b"{\"a\":\"", Malformed::Truncated { at: 6 }),
            (b"{a:1}", Malformed::Unexpected { at: 1 }),
            (b"{\"a\" 1}", Malformed::Unexpected { at: 5 }),
            (b"{\"a\":[}", Malformed::Unexpected { at: 6 }),
            (b"{\"a\":1}x", Malformed::Unexpected { at: 7 }),
            (b"{\"a\":1,}", Malformed::Unexpected { at: 7 }),
            (
                br#"{"model":"a","model":"b"}"#,
                Malformed::Twice { key: "model" },
            ),
            (
                br#"{"model":7}"#,
                Malformed::WrongType {
                    key: "model",
                    wanted: "string",
                },
            ),
            (
                br#"{"stream":"yes"}"#,
                Malformed::WrongType {
                    key: "stream",
                    wanted: "boolean",
                },
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(
                peek(body),
                Err(expected),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
        let deep = format!("{{\"a\":{}", "[".repeat(300));
        assert_eq!(peek(deep.as_bytes()), Err(Malformed::TooDeep));
        let long = format!("{{\"model\":\"{}\"}}", "x".repeat(2000));
        assert!(matches!(
            peek(long.as_bytes()),
            Err(Malformed::WrongType { key: "model", .. })
        ));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde(
            members in prop::collection::btree_map("[a-z\"\\\\]{0,6}", any_json(), 0..6),
            model in prop::option::of(".{0,20}"),
            stream in prop::option::of(any::<bool>()),
        ) {
            let mut object: serde_json::Map<String, serde_json::Value> = members.into_iter().collect();
            object.remove("model");
            object.remove("stream");
            if let Some(model) = &model { object.insert("model".into(), model.clone().into()); }
            if let Some(stream) = stream { object.insert("stream".into(), stream.into()); }
            let body = serde_json::to_vec(&object).unwrap();
            prop_assert_eq!(peek(&body), Ok((model, stream)));
        }

        #[test]
        fn cuts_change_nothing(body in ".{0,80}|\\{\"model\":\"[a-z\\\\\"]{0,9}\",\"s\":[\\[\\]{}1,\"]{0,9}\\}", cuts in prop::collection::vec(0usize..80, 0..5)) {
            let whole = peek(body.as_bytes());
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(body.len())).chain([0, body.len()]).collect();
            cuts.sort_unstable();
            let mut peek = Peek::default();
            let fed = cuts.windows(2).try_for_each(|cut| peek.feed(&body.as_bytes()[cut[0]..cut[1]]));
            let pieces = fed.and_then(|()| peek.finish()).map(|()| (peek.model, peek.stream));
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = peek(&body);
        }
    }
}
