//! Why a copy was not made.

use std::io;

use super::{format::Broken, remote};
use crate::{
    gcs::blob::{Lost, ReadError},
    namespace::{self, Refusal},
};

/// Why a copy, or a look at one, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace does not allow it, or is not there.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// The file is not a whole backup.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The other end of an import or export.
    #[error(transparent)]
    Remote(#[from] remote::Error),
    /// The other end has nothing under that name.
    #[error("there are no keys RAY{namespace}@* at {address}")]
    Nothing {
        /// The namespace there.
        namespace: String,
        /// `host:port`.
        address: String,
    },
    /// The other end has something under that name, which would be lost.
    #[error("there are keys RAY{namespace}@* at {address} already; nothing was written")]
    Occupied {
        /// The namespace there.
        namespace: String,
        /// `host:port`.
        address: String,
    },
    /// A copy was read again and is not what was copied.
    #[error("verification failed: {rows} rows differ from what was copied")]
    Mismatch {
        /// How many.
        rows: usize,
    },
    /// A row cannot be stored.
    #[error("field {field} has {bytes} bytes, more than can be stored")]
    Field {
        /// For people.
        field: String,
        /// Its length.
        bytes: usize,
    },
    /// The namespace was deleted or taken over while it was written.
    #[error("the namespace was changed by somebody else while it was written")]
    Overtaken,
    /// The file could not be read or written.
    #[error("backup could not be read or written")]
    Io(#[from] io::Error),
    /// A large value is not all there.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The database did not do it; whether to retry is for the source to say.
    #[error("database could not be read or written")]
    Sql(#[from] gcs_sql::Error),
}

impl Error {
    /// Whether a safety rule said no, and nothing was changed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Namespace(namespace::Error::Refused(_)) | Self::Occupied { .. }
        )
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Namespace(refusal.into())
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Lost(lost) => lost.into(),
            ReadError::Database(error) => error.into(),
        }
    }
}
