//! Ids as Ray prints them: hexadecimal.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{Serialize, Serializer};

/// The id of a node, actor, job, worker, task or placement group.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Bytes);

impl Id {
    /// The id in these bytes, whatever they are.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The id in these bytes; nothing for what Ray writes in its stead: no
    /// bytes, or only 0xff.
    #[must_use]
    pub(crate) fn present(bytes: Bytes) -> Option<Self> {
        (!bytes.iter().all(|byte| *byte == 0xff)).then_some(Self(bytes))
    }

    /// The number of a job: its id is the counter's value, little end first.
    #[must_use]
    pub fn job_number(&self) -> Option<u32> {
        let bytes: [u8; 4] = self.0.as_ref().try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    /// The first `digits` of what is printed, enough to tell ids apart.
    #[must_use]
    pub fn short(&self, digits: usize) -> String {
        self.to_string().chars().take(digits).collect()
    }
}

impl AsRef<[u8]> for Id {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an even number of hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is an even number of hexadecimal digits")]
pub struct IdError;

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits: Vec<_> = text
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|it| u8::try_from(it).ok()))
            .collect::<Option<_>>()
            .ok_or(IdError)?;
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(IdError);
        }
        Ok(Self(
            pairs.iter().map(|[high, low]| high << 4 | low).collect(),
        ))
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
