//! Prints one value of the key-value table.

use std::fmt::Write;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ray_tables::{Pair, Text};
use serde::Serialize;

/// Bytes of a value that is no text which are shown.
const SHOWN: usize = 4096;

/// The pair that was meant: by what `kv` prints, or by the field as Ray sends
/// it (`@namespace_serve:…`).
pub fn find<'p>(pairs: &'p [Pair], key: &str) -> Option<&'p Pair> {
    let field = |pair: &&Pair| pair.field == key.as_bytes() || Text(&pair.field).to_string() == key;
    let printed = |pair: &&Pair| pair.key.to_string() == key;
    pairs
        .iter()
        .find(field)
        .or_else(|| pairs.iter().find(printed))
}

/// For people: JSON in lines, text as it is, all else as hexadecimal digits.
pub fn draw(value: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(value) else {
        return dump(value);
    };
    if text
        .chars()
        .any(|c| c.is_control() && !"\n\r\t".contains(c))
    {
        return dump(value);
    }
    let structured = text.starts_with(['{', '[']);
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(json) if structured => format!("{json:#}\n"),
        _ if text.ends_with('\n') => text.to_owned(),
        _ => format!("{text}\n"),
    }
}

fn dump(value: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in value[..value.len().min(SHOWN)].chunks(16).enumerate() {
        let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let letters: String = bytes
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => '.',
            })
            .collect();
        writeln!(
            text,
            "{:08x}  {:<47}  {letters}",
            line * 16,
            digits.join(" ")
        )
        .expect("a string takes everything");
    }
    if value.len() > SHOWN {
        let more = value.len() - SHOWN;
        writeln!(text, "{more} more bytes: --raw writes them all")
            .expect("a string takes everything");
    }
    text
}

/// For programs.
#[derive(Debug, Serialize)]
pub struct Value<'a> {
    #[serde(flatten)]
    pair: &'a Pair,
    #[serde(flatten)]
    content: Content,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Text(String),
    Base64(String),
}

impl<'a> Value<'a> {
    /// The pair with its value.
    pub fn new(pair: &'a Pair, value: &[u8]) -> Self {
        let content = match std::str::from_utf8(value) {
            Ok(text) => Content::Text(text.to_owned()),
            Err(_) => Content::Base64(BASE64.encode(value)),
        };
        Self { pair, content }
    }
}
