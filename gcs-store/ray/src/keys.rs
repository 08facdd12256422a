//! Names of namespaces and tables, and the keys Ray builds of them.
//!
//! Ray keeps one hash per table, and its key is all there is to tell clusters
//! apart:
//!
//! ```text
//!   RAY prod/ray-a @ NODE          AUTH prod/ray-a/7  <password>
//!       ----------   ----               ---------- -
//!       namespace    table              namespace  epoch
//! ```
//!
//! Namespaces stand in user names too, with an epoch behind the last `/`. So
//! that `team/7` can mean one thing only, a namespace never ends in `/` and
//! digits; any other `/` may stay, because Ray accepts it and its operators
//! use it.
//!
//! Invariants:
//! 1. Two different keys never have the same bytes, and bytes that are a key
//!    come back unchanged.
//! 2. A user name means at most one namespace and epoch.

use std::{
    borrow::{Borrow, Cow},
    fmt,
    str::FromStr,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Why a text is not the name of a namespace or table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text was empty or longer than the name may be.
    #[error("a name has 1 to {max} bytes, this one has {len}")]
    Length {
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The text holds a character that cannot stand in a key or on a screen.
    #[error("{found:?} may not stand in the name {name:?}")]
    Character {
        /// The whole text.
        name: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// The text ends like a user name with an epoch.
    #[error("the name {name:?} may not end in a slash and digits: user names end so with an epoch")]
    Epoch {
        /// The whole text.
        name: String,
    },
    /// The epoch of a user name is larger than 2^63 - 1.
    #[error("the epoch of user {name:?} is too large")]
    LargeEpoch {
        /// The whole text.
        name: String,
    },
}

fn check(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() || text.len() > max {
        return Err(NameError::Length {
            len: text.len(),
            max,
        });
    }
    // Some databases take no notice of a space at the end when they compare.
    let ends = [text.chars().next(), text.chars().next_back()];
    if let Some(space) = ends.into_iter().flatten().find(|c| c.is_whitespace()) {
        return Err(NameError::Character {
            name: text.to_owned(),
            found: space,
        });
    }
    match text.chars().find(|c| c.is_control() || *c == '@') {
        Some(found) => Err(NameError::Character {
            name: text.to_owned(),
            found,
        }),
        None => Ok(()),
    }
}

/// The part before the last `/` and the digits after it, if it ends so.
fn split_epoch(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once('/')
        .filter(|(_, tail)| !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit()))
}

/// One Ray cluster's part of the store: `RAY_external_storage_namespace`.
///
/// 1 to 200 bytes of UTF-8 without `@` and control characters that do not end
/// in `/` and digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamespaceName(Arc<str>);

impl NamespaceName {
    /// Longest allowed name, in bytes.
    pub const MAX_LEN: usize = 200;

    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// [`NameError`] if it is empty, too long, has `@` or a control character,
    /// or ends in `/` and digits.
    pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
        let text = text.as_ref();
        check(text, Self::MAX_LEN)?;
        if split_epoch(text).is_some() {
            return Err(NameError::Epoch {
                name: text.to_owned(),
            });
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NamespaceName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<NamespaceName> for String {
    fn from(name: NamespaceName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// One of Ray's tables within a namespace.
///
/// 1 to 64 bytes of UTF-8 without `@` and control characters; the ones Ray
/// 2.60 has are constants here and cost nothing to copy.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName(Cow<'static, str>);

impl TableName {
    /// Longest allowed name, in bytes.
    pub const MAX_LEN: usize = 64;
    /// Key-value pairs of Ray itself, Serve, jobs and users.
    pub const KV: Self = Self(Cow::Borrowed("KV"));
    /// Nodes, alive and dead.
    pub const NODE: Self = Self(Cow::Borrowed("NODE"));
    /// Actors, alive and dead.
    pub const ACTOR: Self = Self(Cow::Borrowed("ACTOR"));
    /// How to create each actor again.
    pub const ACTOR_TASK_SPEC: Self = Self(Cow::Borrowed("ACTOR_TASK_SPEC"));
    /// Drivers.
    pub const JOB: Self = Self(Cow::Borrowed("JOB"));
    /// Worker processes, alive and dead.
    pub const WORKERS: Self = Self(Cow::Borrowed("WORKERS"));
    /// Placement groups.
    pub const PLACEMENT_GROUP: Self = Self(Cow::Borrowed("PLACEMENT_GROUP"));
    /// Not a hash but a number: the last job number handed out.
    pub const JOB_COUNTER: Self = Self(Cow::Borrowed("JobCounter"));
    /// Every table Ray 2.60 has.
    pub const ALL: [Self; 8] = [
        Self::KV,
        Self::NODE,
        Self::ACTOR,
        Self::ACTOR_TASK_SPEC,
        Self::JOB,
        Self::WORKERS,
        Self::PLACEMENT_GROUP,
        Self::JOB_COUNTER,
    ];

    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// [`NameError`] if it is empty, too long, or has `@` or a control
    /// character.
    pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
        let text = text.as_ref();
        if let Some(known) = Self::ALL.into_iter().find(|known| known.0 == text) {
            return Ok(known);
        }
        check(text, Self::MAX_LEN)?;
        Ok(Self(Cow::Owned(text.to_owned())))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TableName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.0.into_owned()
    }
}

macro_rules! text {
    ($($name:ident),*) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    )* };
}

text!(NamespaceName, TableName);

/// The key of one table of one cluster: `RAY<namespace>@<table>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StorageKey {
    /// Whose table.
    pub namespace: NamespaceName,
    /// Which one.
    pub table: TableName,
}

impl StorageKey {
    /// What every key begins with.
    pub const PREFIX: &'static str = "RAY";

    /// The key of `table` in `namespace`.
    #[must_use]
    pub fn new(namespace: NamespaceName, table: TableName) -> Self {
        Self { namespace, table }
    }

    /// Reads a key; nothing if Ray would not have made it.
    #[must_use]
    pub fn parse(key: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(key).ok()?.strip_prefix(Self::PREFIX)?;
        let (namespace, table) = text.split_once('@')?;
        Some(Self {
            namespace: NamespaceName::new(namespace).ok()?,
            table: TableName::new(table).ok()?,
        })
    }

    /// The key as Ray sends it.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.to_string().into()
    }
}

impl fmt::Display for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}@{}", Self::PREFIX, self.namespace, self.table)
    }
}

/// What a head may call itself: a namespace, and which life of its head.
///
/// Written `<namespace>` or `<namespace>/<epoch>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The namespace it wants.
    pub namespace: NamespaceName,
    /// Its claim, at most 2^63 - 1; heads with a lower one are shut out.
    pub epoch: Option<u64>,
}

impl FromStr for User {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some((namespace, digits)) = split_epoch(text) else {
            return Ok(Self {
                namespace: NamespaceName::new(text)?,
                epoch: None,
            });
        };
        let epoch = digits.parse::<i64>().map_err(|_| NameError::LargeEpoch {
            name: text.to_owned(),
        })?;
        Ok(Self {
            namespace: NamespaceName::new(namespace)?,
            epoch: Some(epoch.unsigned_abs()),
        })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.namespace.as_str())?;
        match self.epoch {
            Some(epoch) => write!(f, "/{epoch}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
