//! Redis' glob patterns, as `MATCH` takes them.
//!
//! `*` any bytes, `?` one byte, `[a-c]` and `[^a-c]` one byte of a set, `\x` the
//! byte `x` itself. No byte is special to the subject: a line end or NUL is a
//! byte like others. Redis' rules also hold where they are odd: a set that is not
//! closed ends with the pattern, `]` may end a range (`[a-]`). Two differences:
//! ranges compare bytes as unsigned on every machine, and `**` matches nothing
//! at all as well.
//!
//! Ray asks for an escaped literal and one `*`; that is [`Pattern::Prefix`], a
//! range of keys. Everything else is a [`Glob`], for filtering.
//!
//! Invariant: matching costs at most pattern length times subject length. Redis
//! recurses at each `*`, which a crafted pattern makes exponential; here only the
//! last `*` is ever returned to, which finds the same matches, since an earlier
//! one can only give bytes that a later one would take as well.

use bytes::Bytes;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Everything that begins with these bytes, perhaps none.
    Prefix(Bytes),
    /// Anything else.
    General(Glob),
}

/// A pattern that is more than a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    /// The bytes every match begins with.
    prefix: Bytes,
    /// The whole pattern, the prefix included.
    tokens: Vec<Token>,
    source: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Any,
    Set(Box<Set>),
    Star,
}

/// Which of the 256 bytes match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Set([u64; 4]);

impl Pattern {
    /// Compiles `source`; every byte string is a pattern.
    pub fn parse(source: &[u8]) -> Self {
        let tokens = tokens(source);
        let literal: Bytes = tokens
            .iter()
            .map_while(|token| match token {
                Token::Byte(byte) => Some(*byte),
                _ => None,
            })
            .collect();
        if tokens.len() == literal.len() + 1 && tokens.last() == Some(&Token::Star) {
            return Self::Prefix(literal);
        }
        let source = Bytes::copy_from_slice(source);
        Self::General(Glob {
            prefix: literal,
            tokens,
            source,
        })
    }

    /// The bytes every match begins with; the bounds of a range scan.
    pub fn prefix(&self) -> &Bytes {
        match self {
            Self::Prefix(prefix) => prefix,
            Self::General(glob) => &glob.prefix,
        }
    }

    /// Whether all of `subject` matches.
    pub fn matches(&self, subject: &[u8]) -> bool {
        match self {
            Self::Prefix(prefix) => subject.starts_with(prefix),
            Self::General(glob) => glob.matches(subject),
        }
    }
}

impl Glob {
    /// The pattern as it was written.
    pub fn source(&self) -> &Bytes {
        &self.source
    }

    fn matches(&self, subject: &[u8]) -> bool {
        let tokens = &self.tokens;
        let (mut token, mut at) = (0, 0);
        // Where to go on when the way fails: behind the last star, one byte later.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let step = match tokens.get(token) {
                Some(Token::Star) => {
                    if token + 1 == tokens.len() {
                        return true;
                    }
                    token += 1;
                    retry = Some((token, at));
                    continue;
                }
                Some(one) => subject.get(at).is_some_and(|byte| one.takes(*byte)),
                None if at == subject.len() => return true,
                None => false,
            };
            if step {
                token += 1;
                at += 1;
            } else {
                match retry {
                    Some((behind, from)) if from < subject.len() => {
                        (token, at) = (behind, from + 1);
                        retry = Some((behind, from + 1));
                    }
                    _ => return false,
                }
            }
        }
    }
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::Any => true,
            Self::Set(set) => set.holds(byte),
            Self::Star => false,
        }
    }
}

impl Set {
    fn add(&mut self, from: u8, to: u8) {
        for byte in from.min(to)..=from.max(to) {
            self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
    }

    fn holds(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }
}

fn tokens(source: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(source.len());
    let mut rest = source;
    loop {
        rest = match rest {
            [] => return tokens,
            [b'*', tail @ ..] => {
                if tokens.last() != Some(&Token::Star) {
                    tokens.push(Token::Star);
                }
                tail
            }
            [b'?', tail @ ..] => {
                tokens.push(Token::Any);
                tail
            }
            [b'[', tail @ ..] => {
                let (set, tail) = set(tail);
                tokens.push(Token::Set(Box::new(set)));
                tail
            }
            [b'\\', byte, tail @ ..] | [byte, tail @ ..] => {
                tokens.push(Token::Byte(*byte));
                tail
            }
        }
    }
}

/// The set behind a `[`, and what follows it.
fn set(mut rest: &[u8]) -> (Set, &[u8]) {
    let mut set = Set::default();
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let tail = loop {
        rest = match rest {
            [] => break rest,
            [b'\\', byte, tail @ ..] => {
                set.add(*byte, *byte);
                tail
            }
            [b']', tail @ ..] => break tail,
            [from, b'-', to, tail @ ..] => {
                set.add(*from, *to);
                tail
            }
            [byte, tail @ ..] => {
                set.add(*byte, *byte);
                tail
            }
        };
    };
    if negated {
        set.0.iter_mut().for_each(|word| *word = !*word);
    }
    (set, tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix_of(source: &[u8]) -> Option<Bytes> {
        match Pattern::parse(source) {
            Pattern::Prefix(prefix) => Some(prefix),
            Pattern::General(_) => None,
        }
    }

    #[test]
    fn what_ray_asks_for_is_a_prefix() {
        assert_eq!(
            prefix_of(br"RAY86\-4b@*").as_deref(),
            Some(&b"RAY86-4b@"[..])
        );
        let odd = br"@namespace_x:\*\?\[a\]\\\^\-{*";
        assert_eq!(
            prefix_of(odd).as_deref(),
            Some(&br"@namespace_x:*?[a]\^-{"[..])
        );
        assert_eq!(prefix_of(b"*").as_deref(), Some(&b""[..]));
        assert_eq!(prefix_of(b"a**").as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn everything_else_is_general_and_knows_its_prefix() {
        for (source, prefix) in [
            (&b"abc"[..], &b"abc"[..]),
            (b"ab?*", b"ab"),
            (b"a*b*", b"a"),
            (b"[a]*", b""),
            (br"a\**b", b"a*"),
            (b"", b""),
        ] {
            let pattern = Pattern::parse(source);
            assert!(
                matches!(pattern, Pattern::General(_)),
                "{}",
                source.escape_ascii()
            );
            assert_eq!(pattern.prefix(), prefix);
        }
    }

    #[test]
    fn a_star_takes_line_ends_and_nul() {
        assert!(Pattern::parse(b"a*b*c").matches(b"a\r\n\0b\xff\nc"));
        assert!(Pattern::parse(b"a*").matches(b"a\n"));
        assert!(Pattern::parse(b"?").matches(b"\n"));
    }

    #[test]
    fn a_crafted_pattern_costs_no_more_than_length_times_length() {
        let pattern = Pattern::parse("a*".repeat(1000).trim_end_matches('*').as_bytes());
        let subject = "a".repeat(20_000) + "b";
        let began = std::time::Instant::now();
        assert!(!pattern.matches(subject.as_bytes()));
        // Length times length is 20 million steps; exponential would not return.
        assert!(began.elapsed() < std::time::Duration::from_secs(20));
    }
}
