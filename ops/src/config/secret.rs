//! Values that are used and never shown.
//!
//! The file holds a reference, not the secret, so that nothing that prints a
//! configuration can leak one.
//!
//! Invariant: the text of a secret leaves only by [`Secret::read`].

use std::{env, fmt, fs, io::Read, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Largest secret, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// What a refused secret is answered. The value is left out of it.
pub(super) const ALLOWED: &str = "a secret stands elsewhere: write ${env:NAME} or ${file:/path}";

/// Where a secret is kept: `${env:NAME}` or `${file:/path}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Env(String),
    File(PathBuf),
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment lacks it.
    #[error("the environment variable {0} must be set to a text")]
    Env(String),
    /// The file could not be read.
    #[error("the file {path} must be readable: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Secret {
    /// The secret itself, read anew; one line break at the end of a file is
    /// dropped.
    ///
    /// # Errors
    /// [`SecretError`] if it is not there, is no text or is larger than 64 KiB.
    pub fn read(&self) -> Result<String, SecretError> {
        match &self.0 {
            Source::Env(name) => env::var(name).map_err(|_| SecretError::Env(name.clone())),
            Source::File(path) => {
                let mut text = String::new();
                let read = fs::File::open(path)
                    .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
                let large = text.len() as u64 > MAX_BYTES;
                read.and_then(|_| {
                    if large {
                        Err(std::io::ErrorKind::FileTooLarge.into())
                    } else {
                        Ok(())
                    }
                })
                .map_err(|source| SecretError::File {
                    path: path.clone(),
                    source,
                })?;
                let line = text
                    .strip_suffix('\n')
                    .map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
                Ok(line.to_owned())
            }
        }
    }

    /// The one in the file at `path`.
    pub fn file(path: PathBuf) -> Self {
        Self(Source::File(path))
    }

    fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("${")?.strip_suffix('}')?;
        match inner.split_once(':')? {
            (_, "") => None,
            ("env", name) => Some(Self(Source::Env(name.to_owned()))),
            ("file", path) => Some(Self(Source::File(path.into()))),
            _ => None,
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Env(name) => write!(f, "${{env:{name}}}"),
            Source::File(path) => write!(f, "${{file:{}}}", path.display()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).ok_or_else(|| de::Error::custom(ALLOWED))
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "where a secret is kept: ${env:NAME} or ${file:/path}",
            "pattern": r"^\$\{(env|file):.+\}$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_secret_is_read_without_its_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "hush\n").unwrap();
        let secret = Secret::parse(&format!("${{file:{}}}", path.display())).unwrap();
        assert_eq!(secret.read().unwrap(), "hush");
        for shown in [
            format!("{secret}"),
            format!("{secret:?}"),
            serde_json::to_string(&secret).unwrap(),
        ] {
            assert!(
                !shown.contains("hush") && shown.contains("token"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_huge_or_missing_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let secret = Secret(Source::File(path.clone()));
        assert!(secret.read().is_err());
        fs::write(&path, vec![b'a'; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap();
        assert!(secret.read().is_err());
        assert!(
            Secret(Source::Env("TRADEWIND_TEST_UNSET".to_owned()))
                .read()
                .is_err()
        );
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "hush",
            "${}",
            "${env:}",
            "${file:}",
            "${vault:x}",
            "$env:x",
            "${env:x",
        ] {
            assert!(Secret::parse(text).is_none(), "{text}");
        }
    }
}
