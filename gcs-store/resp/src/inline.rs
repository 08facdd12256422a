//! Requests typed by a person: words on a line, as `nc` or `telnet` sends them.
//!
//! The rules are those of Redis: words are parted by white space; `"…"` knows
//! `\n \r \t \a \b \xHH` and any other byte after a backslash as itself; `'…'`
//! knows only `\'`; a closing quote must be followed by space or the line's end.
//! One difference: a NUL byte is an ordinary byte, where Redis stops reading.

use bytes::Bytes;

use crate::ProtocolError;

/// The words of `line`, which has no line end any more.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Bytes>, ProtocolError> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while let Some((first, tail)) = rest.split_first()
            && is_space(*first)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, tail) = word(rest)?;
        words.push(Bytes::from(word));
        rest = tail;
    }
}

/// The first word of `rest`, and what follows it.
fn word(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtocolError> {
    let mut word = Vec::new();
    while let Some((&byte, tail)) = rest.split_first() {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => break,
            b'"' => {
                let tail = double_quoted(tail, &mut word)?;
                return Ok((word, tail));
            }
            b'\'' => {
                let tail = single_quoted(tail, &mut word)?;
                return Ok((word, tail));
            }
            _ => word.push(byte),
        }
        rest = tail;
    }
    Ok((word, rest))
}

/// Reads to the closing `"`; returns what follows it.
fn double_quoted<'a>(rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    let mut rest = rest;
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, tail @ ..] if let Some(byte) = hex(*high, *low) => {
                word.push(byte);
                tail
            }
            [b'\\', byte, tail @ ..] => {
                word.push(escaped(*byte));
                tail
            }
            [b'"', tail @ ..] => return closed(tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
            [] => return Err(ProtocolError::Quotes),
        };
    }
}

/// Reads to the closing `'`; returns what follows it.
fn single_quoted<'a>(rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    let mut rest = rest;
    loop {
        rest = match rest {
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                tail
            }
            [b'\'', tail @ ..] => return closed(tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
            [] => return Err(ProtocolError::Quotes),
        };
    }
}

/// `tail`, if a closing quote may stand before it.
fn closed(tail: &[u8]) -> Result<&[u8], ProtocolError> {
    match tail.first() {
        Some(byte) if !is_space(*byte) => Err(ProtocolError::Quotes),
        _ => Ok(tail),
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|it| u8::try_from(it).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}

fn escaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => 0x07,
        b'b' => 0x08,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        split(line.as_bytes())
            .unwrap()
            .into_iter()
            .map(|word| word.to_vec())
            .collect()
    }

    #[test]
    fn words_are_parted_by_white_space() {
        assert_eq!(
            words("  PING \t hello\r"),
            [b"PING".to_vec(), b"hello".to_vec()]
        );
        assert!(words(" \t ").is_empty());
    }

    #[test]
    fn quotes_hold_spaces_and_escapes() {
        assert_eq!(
            words(r#"a"b c" '\'x' "\x41\n\q\xzz""#),
            [b"ab c".to_vec(), b"'x".to_vec(), b"A\nqxzz".to_vec()]
        );
        assert_eq!(words(r#""" ''"#), [b"".to_vec(), b"".to_vec()]);
    }

    #[test]
    fn an_open_quote_is_refused() {
        for line in [r#"SET "a"#, "SET 'a", r#""a"b"#, "'a'b", r#""a\"#] {
            assert_eq!(split(line.as_bytes()), Err(ProtocolError::Quotes), "{line}");
        }
    }
}
