//! From a namespace to a file and back.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use gcs_sql::{Database, Dialect};
use ray_tables::NamespaceName;
use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncSeek, AsyncSeekExt as _, AsyncWrite};

use super::{
    Error, Progress,
    file::{self, Reader, Writer},
    fill::Fill,
    format::{FORMAT, Header, Item, Key, PIECE_MAX, Trailer, VERSION},
    pieces::Pieces,
    source::{self, Hold},
};
use crate::{
    gcs::{blob, command::Stored},
    namespace::{Catalog, Version},
};

/// Writes a backup of `name` as it was at `at_ms`, or is now.
///
/// A running store goes on meanwhile; the rows are those of one moment.
///
/// # Errors
/// [`Error`]; what was written then is no backup, and [`file::verify`] says so.
pub async fn backup(
    database: &Database,
    name: &NamespaceName,
    at_ms: Option<i64>,
    to: impl AsyncWrite + Unpin,
    progress: &Progress,
) -> Result<(Header, Trailer), Error> {
    let rows = source::rows(database, name, at_ms).await?;
    let mut hold = Hold::new(&rows);
    let source = match database.dialect() {
        Dialect::Sqlite => "sqlite",
        Dialect::Postgres => "postgres",
        Dialect::Mysql => "mysql",
    };
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        namespace: name.clone(),
        at_ms: rows.at_ms,
        at: super::utc(rows.at_ms),
        source: source.to_owned(),
        cluster_id: rows.record.cluster_id.as_ref().map(|id| BASE64.encode(id)),
    };
    let mut writer = Writer::begin(to, &header).await?;
    let all = rows.entries.len() as u64;
    for (nth, entry) in (1..).zip(&rows.entries) {
        hold.on(database).await?;
        let key = Key {
            table: entry.table.clone(),
            field: entry.field.clone(),
            updated_ms: entry.updated_ms,
        };
        match &entry.value {
            Stored::Inline(value) if value.len() <= PIECE_MAX => writer.row(&key, value).await?,
            value => {
                writer.large(&key, source::fingerprint(value)).await?;
                pieces(database, value, &mut writer).await?;
            }
        }
        progress.at(nth, Some(all));
    }
    Ok((header, writer.end().await?))
}

async fn pieces<W: AsyncWrite + Unpin>(
    database: &Database,
    value: &Stored,
    to: &mut Writer<W>,
) -> Result<(), Error> {
    let (hash, size) = match value {
        Stored::Inline(value) => return to.piece(value).await,
        Stored::Blob { hash, size } => (hash, *size),
    };
    let mut left = size;
    for nth in 0.. {
        if left == 0 {
            break;
        }
        let piece = blob::chunk(database, hash, nth).await?;
        left = left.saturating_sub(piece.len() as u64);
        to.piece(&piece).await?;
    }
    Ok(())
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Where the rows came from.
    pub header: Header,
    /// Rows that are there now, verified.
    pub rows: u64,
    /// Bytes of their fields and values.
    pub bytes: u64,
    /// What the job counter was raised to, if it is not what was copied.
    pub counter_raised: Option<i64>,
    /// Of the catalog.
    #[serde(skip)]
    pub version: Version,
}

/// Reads a backup into a new namespace: once to check it, once to copy it. Then
/// reads the rows again and compares.
///
/// # Errors
/// [`Error`]; the namespace then is not there.
pub async fn restore(
    database: &Database,
    mut from: impl AsyncBufRead + AsyncSeek + Unpin,
    into: &NamespaceName,
    progress: &Progress,
) -> Result<Restored, Error> {
    let verified = file::verify(&mut from).await?;
    from.rewind().await?;
    let catalog = Catalog::new(database);
    let mut fill = Fill::begin(&catalog, into, &[&verified.header.namespace]).await?;
    match copy(
        database,
        &mut from,
        &mut fill,
        verified.trailer.rows,
        progress,
    )
    .await
    {
        Ok(()) => {}
        Err(error) => return Err(fill.abandon(error).await),
    }
    let done = fill.finish(async |_, _| Ok(())).await?;
    Ok(Restored {
        header: verified.header,
        rows: done.rows,
        bytes: done.bytes,
        counter_raised: done.counter_raised,
        version: done.version,
    })
}

async fn copy(
    database: &Database,
    from: impl AsyncBufRead + Unpin,
    fill: &mut Fill,
    all: u64,
    progress: &Progress,
) -> Result<(), Error> {
    let (mut reader, _) = Reader::begin(from).await?;
    let mut large: Option<(Key, Pieces)> = None;
    let mut done = 0;
    while let Some(item) = reader.next().await? {
        match item {
            Item::Row(key, value) => {
                let value = fill.store(value).await?;
                fill.put(&key.table, &key.field, &value).await?;
            }
            Item::Large(key, value) => {
                large = Some((key, Pieces::begin(database, value).await?));
                continue;
            }
            Item::Chunk(piece) => {
                let Some((key, pieces)) = &mut large else {
                    continue;
                };
                pieces.push(&piece).await?;
                let Some(value) = pieces.stored().await? else {
                    continue;
                };
                fill.put(&key.table, &key.field, &value).await?;
            }
            Item::End(_) => continue,
        }
        done += 1;
        progress.at(done, Some(all));
    }
    Ok(())
}
