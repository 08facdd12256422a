//! Large values: stored once for each content, in pieces.
//!
//! ```text
//!   gcs_blob_info   hash, size, chunks, touched      chunks < 0: still arriving
//!   gcs_blob        hash, 0..chunks, up to 512 KiB each
//! ```
//!
//! A value is written before the command that refers to it is queued, so the
//! journal stays small and the largest packet is one piece. Whoever stores a
//! content that is there already only touches it; what nothing refers to and
//! nobody has touched for the grace is deleted.
//!
//! Invariants:
//! 1. A blob that a row, the history or a waiting command refers to is not
//!    deleted: storing touches, and the grace is longer than any wait between
//!    storing and folding (`a_blob_in_use_is_kept`).

use bytes::{Bytes, BytesMut};
use gcs_sql::{Database, Error, Value};

use super::{clock::now_ms, command::Stored, patience::Patience};

/// Bytes of one piece: below the smallest packet limit of any server.
pub(crate) const CHUNK: usize = 512 * 1024;

/// A blob, or a piece of one, that should be there and is not.
#[derive(Debug, thiserror::Error)]
#[error("a stored value is damaged: piece {chunk} of blob {hash} is missing")]
pub struct Lost {
    /// Its hash, hexadecimal.
    pub hash: String,
    /// Which piece.
    pub chunk: u64,
}

/// Why a stored value could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not all there.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The database did not answer.
    #[error("the value could not be read")]
    Database(#[from] Error),
}

/// Stores a value of any size; returns how to refer to it.
///
/// # Errors
/// The database's. It may be called again.
pub async fn store(database: &Database, value: &[u8]) -> Result<Stored, Error> {
    let hash = *blake3::hash(value).as_bytes();
    let stored = Stored::Blob {
        hash,
        size: value.len() as u64,
    };
    let key = Value::from(Bytes::copy_from_slice(&hash));
    let there = database
        .execute(
            "UPDATE gcs_blob_info SET touched_ms = ? WHERE hash = ? AND chunks > 0",
            &[now_ms().into(), key.clone()],
        )
        .await?;
    if there > 0 {
        return Ok(stored);
    }
    let pieces = value.chunks(CHUNK);
    let count = i64::try_from(pieces.len()).expect("a value has fewer than 2^63 pieces");
    let size = i64::try_from(value.len()).expect("a value has fewer than 2^63 bytes");
    unless_there(
        database
            .execute(
                "INSERT INTO gcs_blob_info (hash, size, chunks, touched_ms) VALUES (?, ?, ?, ?)",
                &[key.clone(), size.into(), (-count).into(), now_ms().into()],
            )
            .await,
    )?;
    for (nth, piece) in (0_i64..).zip(pieces) {
        unless_there(
            database
                .execute(
                    "INSERT INTO gcs_blob (hash, chunk, data) VALUES (?, ?, ?)",
                    &[
                        key.clone(),
                        nth.into(),
                        Bytes::copy_from_slice(piece).into(),
                    ],
                )
                .await,
        )?;
    }
    gcs_sql::crash::point("blob-staged");
    let complete = database
        .execute(
            "UPDATE gcs_blob_info SET chunks = ?, touched_ms = ? WHERE hash = ?",
            &[count.into(), now_ms().into(), key],
        )
        .await?;
    if complete == 0 {
        // Deleted meanwhile as one that nobody finished.
        return Err(Error::Conflict {
            source: "the blob was deleted while it was stored".into(),
        });
    }
    Ok(stored)
}

/// A row that is there already is as good as one's own: same hash, same content.
fn unless_there(outcome: Result<u64, Error>) -> Result<(), Error> {
    match outcome {
        Ok(_) | Err(Error::Duplicate { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// [`store`], as long as it takes.
pub(crate) async fn store_until_done(database: &Database, value: &[u8]) -> Stored {
    let mut patience = Patience::new("storing a large value");
    loop {
        match store(database, value).await {
            Ok(stored) => return stored,
            Err(error) => patience.wait(&error).await,
        }
    }
}

/// One piece of a blob, `nth` from 0; the last may be shorter.
///
/// # Errors
/// [`ReadError`].
pub async fn chunk(database: &Database, hash: &[u8; 32], nth: u64) -> Result<Bytes, ReadError> {
    let rows = database
        .fetch(
            "SELECT data FROM gcs_blob WHERE hash = ? AND chunk = ?",
            &[
                Bytes::copy_from_slice(hash).into(),
                i64::try_from(nth).unwrap_or(i64::MAX).into(),
            ],
        )
        .await?;
    match rows.first() {
        Some(row) => Ok(row.bytes(0)?),
        None => Err(Lost {
            hash: blake3::Hash::from_bytes(*hash).to_hex().to_string(),
            chunk: nth,
        }
        .into()),
    }
}

/// [`chunk`], as long as it takes.
pub(crate) async fn chunk_until_done(
    database: &Database,
    hash: &[u8; 32],
    nth: u64,
) -> Result<Bytes, Lost> {
    let mut patience = Patience::new("reading a large value");
    loop {
        match chunk(database, hash, nth).await {
            Ok(piece) => return Ok(piece),
            Err(ReadError::Lost(lost)) => return Err(lost),
            Err(ReadError::Database(error)) => patience.wait(&error).await,
        }
    }
}

/// A whole value in memory, wherever it is.
///
/// # Errors
/// [`ReadError`].
pub async fn value(database: &Database, stored: &Stored) -> Result<Bytes, ReadError> {
    let (hash, size) = match stored {
        Stored::Inline(bytes) => return Ok(bytes.clone()),
        Stored::Blob { hash, size } => (hash, *size),
    };
    let mut whole = BytesMut::new();
    let mut nth = 0;
    while (whole.len() as u64) < size {
        whole.extend_from_slice(&chunk(database, hash, nth).await?);
        nth += 1;
    }
    Ok(whole.freeze())
}

/// Deletes blobs that nothing refers to and nobody has touched since `before`,
/// at most `most`. Returns how many.
///
/// # Errors
/// The database's.
pub(crate) async fn sweep(database: &Database, before: i64, most: i64) -> Result<usize, Error> {
    let candidates = database
        .fetch(
            "SELECT hash FROM gcs_blob_info i WHERE touched_ms < ? \
             AND NOT EXISTS (SELECT 1 FROM gcs_row r WHERE r.blob_hash = i.hash) \
             AND NOT EXISTS (SELECT 1 FROM gcs_history h WHERE h.blob_hash = i.hash) \
             ORDER BY touched_ms LIMIT ?",
            &[before.into(), most.into()],
        )
        .await?;
    let mut swept = 0;
    for row in candidates {
        let hash = Value::from(row.bytes(0)?);
        let mut transaction = database.begin().await?;
        // Who touches it from now on waits, or is first and keeps it.
        let gone = transaction
            .execute(
                "DELETE FROM gcs_blob_info WHERE hash = ? AND touched_ms < ?",
                &[hash.clone(), before.into()],
            )
            .await?;
        if gone > 0 {
            transaction
                .execute("DELETE FROM gcs_blob WHERE hash = ?", &[hash])
                .await?;
            swept += 1;
        }
        transaction.commit().await?;
    }
    Ok(swept)
}
