//! A row of a table, read if it can be.
//!
//! Invariant: a row that cannot be read is shown as such and never hides the
//! others.

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::{Id, TableName, Time};

/// One field of one of Ray's hashes, as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of which table.
    pub table: TableName,
    /// Its field: an id, or a key.
    pub field: Bytes,
    /// Its value, if it was fetched. [`Cluster::wants`](crate::Cluster::wants)
    /// says which are needed.
    pub value: Option<Bytes>,
    /// Bytes of the value.
    pub size: u64,
    /// When the field came to be.
    pub created: Time,
    /// When it was last written.
    pub updated: Time,
}

/// Why a row could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are not the message that belongs there.
    #[error("not a row of {table}: {reason}")]
    Malformed {
        /// Where it stands.
        table: TableName,
        /// What was wrong with it.
        reason: String,
    },
    /// The row is about something else than its field says.
    #[error("the row of {table} says it is {said:?}")]
    Misplaced {
        /// Where it stands.
        table: TableName,
        /// The id in the message.
        said: Id,
    },
    /// The value is lost, or was not asked for.
    #[error("the value is not there")]
    Absent,
}

/// What a row of a table means.
pub trait Decode: Sized {
    /// The table these stand in.
    const TABLE: TableName;

    /// Reads one row.
    ///
    /// # Errors
    /// [`Unreadable`] if the value is not a row of this table under this field.
    fn decode(field: &Bytes, value: &Bytes) -> Result<Self, Unreadable>;

    /// Reads the message of a row. `id` says whose row it claims to be: bytes
    /// of another kind often pass for an empty message.
    #[doc(hidden)]
    fn message<M: prost::Message + Default>(
        field: &Bytes,
        value: &Bytes,
        id: impl FnOnce(&M) -> &Bytes,
    ) -> Result<M, Unreadable> {
        let message = M::decode(value.clone()).map_err(|error| Unreadable::Malformed {
            table: Self::TABLE,
            reason: error.to_string(),
        })?;
        let said = id(&message);
        if said == field {
            return Ok(message);
        }
        if said.is_empty() {
            return Err(Unreadable::Malformed {
                table: Self::TABLE,
                reason: "it has no id".to_owned(),
            });
        }
        Err(Unreadable::Misplaced {
            table: Self::TABLE,
            said: Id::new(said.clone()),
        })
    }
}

/// A row and when it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<T> {
    /// The field it stands under.
    pub field: Id,
    /// Bytes of its value.
    pub size: u64,
    /// When the field came to be.
    pub created: Time,
    /// When it was last written.
    pub updated: Time,
    /// What it says.
    pub content: Result<T, Unreadable>,
}

impl<T: Decode> Row<T> {
    pub(crate) fn read(record: Record) -> Self {
        let content = match &record.value {
            Some(value) => T::decode(&record.field, value),
            None => Err(Unreadable::Absent),
        };
        Self {
            field: Id::new(record.field),
            size: record.size,
            created: record.created,
            updated: record.updated,
            content,
        }
    }
}

impl<T> Row<T> {
    /// What it says, if it could be read.
    pub fn get(&self) -> Option<&T> {
        self.content.as_ref().ok()
    }
}

impl<T: Serialize> Serialize for Row<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a, T> {
            row: &'a Id,
            row_bytes: u64,
            row_created: Time,
            row_updated: Time,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<String>,
            #[serde(flatten)]
            content: Option<&'a T>,
        }
        let shown = Shown {
            row: &self.field,
            row_bytes: self.size,
            row_created: self.created,
            row_updated: self.updated,
            error: self.content.as_ref().err().map(ToString::to_string),
            content: self.get(),
        };
        shown.serialize(serializer)
    }
}
