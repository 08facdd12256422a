//! Patterns against a matcher that is too simple to be wrong.

use proptest::collection::vec;
use proptest::prelude::*;
use resp::Pattern;

/// Redis' rules, written as they read: tries every length for every star.
fn naive(pattern: &[u8], subject: &[u8]) -> bool {
    match pattern {
        [] => subject.is_empty(),
        [b'*', rest @ ..] => (0..=subject.len()).any(|taken| naive(rest, &subject[taken..])),
        [b'?', rest @ ..] => !subject.is_empty() && naive(rest, &subject[1..]),
        [b'[', rest @ ..] => {
            let Some((&byte, subject)) = subject.split_first() else {
                return false;
            };
            let (negated, mut rest) = match rest {
                [b'^', rest @ ..] => (true, rest),
                _ => (false, rest),
            };
            let mut held = false;
            loop {
                match rest {
                    [] => break,
                    [b'\\', own, tail @ ..] => {
                        held |= *own == byte;
                        rest = tail;
                    }
                    [b']', tail @ ..] => {
                        rest = tail;
                        break;
                    }
                    [from, b'-', to, tail @ ..] => {
                        held |= (*from.min(to)..=*from.max(to)).contains(&byte);
                        rest = tail;
                    }
                    [own, tail @ ..] => {
                        held |= *own == byte;
                        rest = tail;
                    }
                }
            }
            held != negated && naive(rest, subject)
        }
        [b'\\', own, rest @ ..] | [own, rest @ ..] => {
            subject.first() == Some(own) && naive(rest, &subject[1..])
        }
    }
}

/// Bytes of a small alphabet, so that patterns and subjects meet.
fn pattern() -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(&b"abc**??[]^-\\\n\0\xff"[..]), 0..12)
}

fn subject() -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(&b"aaabbc[]^-\\*?\n\0\xff"[..]), 0..10)
}

/// `literal` as Ray's client escapes it.
fn escaped(literal: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &byte in literal {
        if b"[]-?*^\\".contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn matches_are_those_of_the_naive_matcher(pattern in pattern(), subject in subject()) {
        let compiled = Pattern::parse(&pattern);
        prop_assert_eq!(compiled.matches(&subject), naive(&pattern, &subject));
        if compiled.matches(&subject) {
            prop_assert!(subject.starts_with(compiled.prefix()));
        }
    }

    #[test]
    fn an_escaped_literal_and_a_star_is_a_prefix(literal in vec(any::<u8>(), 0..40)) {
        let mut source = escaped(&literal);
        source.push(b'*');
        prop_assert_eq!(Pattern::parse(&source), Pattern::Prefix(literal.into()));
    }

    #[test]
    fn any_bytes_are_a_pattern(source in vec(any::<u8>(), 0..60), subject in vec(any::<u8>(), 0..60)) {
        Pattern::parse(&source).matches(&subject);
    }
}
