//! Embeddings without a model: words hashed into 64 dimensions. Pure.
//!
//! Each word adds one of ±1 to every dimension, chosen by its hash; the sum is
//! L2-normalised. Texts that share words are near each other, equal texts are
//! equal on every machine.

/// Dimensions of a whole vector.
pub(super) const DIMENSIONS: usize = 64;

/// The vector of `text`, of `dimensions` floats (1 to [`DIMENSIONS`]), length 1.
pub(super) fn embed(text: &str, dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0f32; dimensions.min(DIMENSIONS)];
    // The empty text has a direction too.
    for word in text
        .split_whitespace()
        .map(str::to_lowercase)
        .chain(std::iter::once(String::new()))
    {
        let bits = hash(word.as_bytes());
        for (dimension, value) in sum.iter_mut().enumerate() {
            *value += if bits >> dimension & 1 == 1 {
                1.0
            } else {
                -1.0
            };
        }
    }
    let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length == 0.0 {
        sum[0] = 1.0;
    } else {
        sum.iter_mut().for_each(|value| *value /= length);
    }
    sum
}

/// FNV-1a, then mixed so that short words use all bits (splitmix64's finaliser).
fn hash(bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325u64;
    let fnv = bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The vector as the official clients ask for it: base64 of little-endian
/// 32-bit floats.
pub(super) fn base64(vector: &[f32]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |nth: usize| u32::from(chunk.get(nth).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for nth in 0..4 {
            let six = usize::try_from(group >> (18 - 6 * nth) & 63).unwrap_or(0);
            text.push(if nth <= chunk.len() {
                char::from(ALPHABET[six])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn vectors_have_length_one_and_are_the_same_again() {
        for text in ["", "a", "the quick brown fox"] {
            for dimensions in [1, 2, 8, 64] {
                let vector = embed(text, dimensions);
                assert_eq!(vector.len(), dimensions);
                assert!(
                    (dot(&vector, &vector) - 1.0).abs() < 1e-5,
                    "{text} {dimensions}"
                );
                assert_eq!(vector, embed(text, dimensions));
            }
        }
    }

    #[test]
    fn texts_that_share_words_are_nearer() {
        let [a, b, c] = [
            "a ship at sea",
            "a ship in port",
            "gradient descent converges",
        ]
        .map(|text| embed(text, DIMENSIONS));
        assert!(dot(&a, &b) > dot(&a, &c));
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, -2.0]), "AACAPwAAAMA=");
        assert_eq!(base64(&[0.0, 0.0, 0.0]), "AAAAAAAAAAAAAAAA");
    }
}
