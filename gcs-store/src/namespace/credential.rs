//! Passwords: made and hashed. Who checks them is the front.
//!
//! The store keeps Argon2id hashes in the PHC form and never the text. Several
//! may be valid at once, so that one can be replaced while heads are up.

use argon2::{
    Argon2, PasswordHasher as _,
    password_hash::{Salt, SaltString},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::crypto::aws_lc_rs::default_provider;
use zeroize::Zeroizing;

/// Shortest password that is accepted, in bytes.
const LEAST: usize = 8;

/// Longest password that is accepted, in bytes.
const MOST: usize = 1024;

/// Why a text is no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weak {
    /// Too short or too long.
    #[error("a password has {LEAST} to {MOST} bytes, this one has {len}")]
    Length {
        /// Bytes found.
        len: usize,
    },
    /// The system has no random numbers to give.
    #[error("the system gave no random bytes")]
    Random,
}

/// The text of a password; forgotten when dropped, never in a log.
pub struct Password(Zeroizing<String>);

impl Password {
    /// A random one of 192 bits, safe in URLs and shells.
    ///
    /// # Errors
    /// [`Weak::Random`] if the system gives no random bytes.
    pub fn random() -> Result<Self, Weak> {
        let bytes = Zeroizing::new(random::<24>()?);
        Ok(Self(URL_SAFE_NO_PAD.encode(*bytes).into()))
    }

    /// One somebody chose: the first line of a text, such as a file's content.
    ///
    /// # Errors
    /// [`Weak::Length`].
    pub fn new(text: String) -> Result<Self, Weak> {
        let text = Zeroizing::new(text);
        let text = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
        if !(LEAST..=MOST).contains(&text.len()) {
            return Err(Weak::Length { len: text.len() });
        }
        Ok(Self(text))
    }

    /// The text, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The Argon2id hash of a password, in the PHC form. Takes some 20 ms of a core.
///
/// # Errors
/// [`Weak::Random`] if the system gives no random bytes.
pub fn hash(password: &Password) -> Result<String, Weak> {
    let salt = SaltString::encode_b64(&random::<{ Salt::RECOMMENDED_LENGTH }>()?)
        .expect("16 bytes are a salt");
    let hash = Argon2::default()
        .hash_password(password.0.as_bytes(), &salt)
        .expect("the default parameters take any password of this length");
    Ok(hash.to_string())
}

fn random<const N: usize>() -> Result<[u8; N], Weak> {
    let mut bytes = [0; N];
    default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| Weak::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHash, PasswordVerifier as _};

    use super::*;

    fn verify(password: &[u8], hash: &str) -> bool {
        let hash = PasswordHash::new(hash).unwrap();
        Argon2::default().verify_password(password, &hash).is_ok()
    }

    #[test]
    fn a_password_matches_its_own_hash_only() {
        let password = Password::new("correct horse\r\n".to_owned()).unwrap();
        assert_eq!(password.reveal(), "correct horse");
        let hashes = [hash(&password).unwrap(), hash(&password).unwrap()];
        assert_ne!(hashes[0], hashes[1], "each has a salt of its own");
        for hash in &hashes {
            assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
            assert!(verify(b"correct horse", hash));
            assert!(!verify(b"correct horse ", hash));
        }
    }

    #[test]
    fn random_passwords_differ_and_are_not_printed() {
        let (one, other) = (Password::random().unwrap(), Password::random().unwrap());
        assert_eq!(one.reveal().len(), 32);
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(format!("{one:?}"), "Password(..)");
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        for len in [0, LEAST - 1, MOST + 1] {
            assert_eq!(
                Password::new("x".repeat(len)).unwrap_err(),
                Weak::Length { len }
            );
        }
    }
}
