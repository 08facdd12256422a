//! A large value that is stored while it arrives.
//!
//! As [`blob::store`](crate::gcs::blob::store), for a value that is not all in
//! memory; its hash must be known before, and whoever knows it has checked that
//! the pieces make it.

use bytes::{Bytes, BytesMut};
use gcs_sql::{Database, Error as SqlError, Value};

use super::{Error, picture::Fingerprint};
use crate::gcs::{
    blob::CHUNK,
    clock::now_ms,
    command::{INLINE_MAX, Stored},
};

/// A large value under way.
#[derive(Debug)]
pub(crate) struct Pieces {
    database: Database,
    value: Fingerprint,
    /// Whether it was stored before.
    there: bool,
    nth: i64,
    come: u64,
    rest: BytesMut,
}

impl Pieces {
    /// Begins to store `value`.
    pub(crate) async fn begin(database: &Database, value: Fingerprint) -> Result<Self, Error> {
        let mut this = Self {
            database: database.clone(),
            value,
            there: value.size <= INLINE_MAX as u64,
            nth: 0,
            come: 0,
            rest: BytesMut::new(),
        };
        if this.there {
            return Ok(this);
        }
        let sql = "UPDATE gcs_blob_info SET touched_ms = ? WHERE hash = ? AND chunks > 0";
        let values = [now_ms().into(), this.hash()];
        this.there = database.execute(sql, &values).await? > 0;
        if !this.there {
            let sql = "INSERT INTO gcs_blob_info (hash, size, chunks, touched_ms) \
                       VALUES (?, ?, ?, ?)";
            let values = [
                this.hash(),
                signed(value.size).into(),
                (-this.chunks()).into(),
                now_ms().into(),
            ];
            unless_there(database.execute(sql, &values).await)?;
        }
        Ok(this)
    }

    /// Takes the next bytes.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.come += bytes.len() as u64;
        if self.there && self.value.size > INLINE_MAX as u64 {
            return Ok(());
        }
        self.rest.extend_from_slice(bytes);
        let last = self.come == self.value.size;
        while !self.there && (self.rest.len() >= CHUNK || (last && !self.rest.is_empty())) {
            let piece = self.rest.split_to(self.rest.len().min(CHUNK)).freeze();
            let sql = "INSERT INTO gcs_blob (hash, chunk, data) VALUES (?, ?, ?)";
            let values = [self.hash(), self.nth.into(), piece.into()];
            unless_there(self.database.execute(sql, &values).await)?;
            self.nth += 1;
        }
        Ok(())
    }

    /// How to refer to it, once all has come.
    pub(crate) async fn stored(&mut self) -> Result<Option<Stored>, Error> {
        if self.come < self.value.size {
            return Ok(None);
        }
        if self.value.size <= INLINE_MAX as u64 {
            return Ok(Some(Stored::Inline(self.rest.split().freeze())));
        }
        if !self.there {
            let sql = "UPDATE gcs_blob_info SET chunks = ?, touched_ms = ? WHERE hash = ?";
            let values = [self.chunks().into(), now_ms().into(), self.hash()];
            if self.database.execute(sql, &values).await? == 0 {
                // Swept as one that nobody finished.
                return Err(Error::Overtaken);
            }
        }
        Ok(Some(Stored::Blob {
            hash: self.value.blake3,
            size: self.value.size,
        }))
    }

    fn hash(&self) -> Value {
        Bytes::copy_from_slice(&self.value.blake3).into()
    }

    fn chunks(&self) -> i64 {
        signed(self.value.size.div_ceil(CHUNK as u64))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unless_there(outcome: Result<u64, SqlError>) -> Result<(), SqlError> {
    match outcome {
        Ok(_) | Err(SqlError::Duplicate { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
