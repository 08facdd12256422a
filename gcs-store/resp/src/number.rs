//! Decimal numbers, read as strictly as Redis reads them.

/// Longest spelling of a 64-bit number: sign and 19 digits.
pub(crate) const LONGEST: usize = 20;

/// `text` as a number: `-?[1-9][0-9]*` or `0`, within 64 bits; no plus sign, no
/// leading zeros, no spaces.
pub(crate) fn parse(text: &[u8]) -> Option<i64> {
    if text == b"0" {
        return Some(0);
    }
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() >= LONGEST || digits[0] == b'0' {
        return None;
    }
    let mut value: i64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(digit - b'0');
        // Summed on the negative side, where `i64::MIN` has its room.
        value = value.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse;

    #[test]
    fn only_the_canonical_spelling_is_a_number() {
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            "1 ",
            " 1",
            "1a",
            "9223372036854775808",
            "00",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(b"0"), Some(0));
        assert_eq!(parse(b"-9223372036854775808"), Some(i64::MIN));
    }

    proptest! {
        #[test]
        fn every_number_survives_its_spelling(number: i64) {
            prop_assert_eq!(parse(number.to_string().as_bytes()), Some(number));
        }
    }
}
