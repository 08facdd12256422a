//! What the tables hold of a namespace for good: nothing in a store's memory,
//! nothing in the journal.

use std::{ops::ControlFlow, time::Duration};

use gcs_sql::Database;
use ray_tables::NamespaceName;
use tokio::time::{Instant, sleep};

use super::{
    Error, counter,
    picture::{Fingerprint, Picture},
    source::fingerprint,
};
use crate::{
    gcs::{blob, command::Stored, key::NamespaceId, load},
    namespace::{Applied, Catalog, Refusal, Version},
};

/// How long a running store may take to bring the tables up to date.
const UNFOLDED: Duration = Duration::from_secs(10);

/// Between two looks whether it has.
const PERIOD: Duration = Duration::from_millis(100);

/// Waits until no store has anything of the namespace any more, and makes sure
/// that it is empty.
pub(crate) async fn quiet(
    catalog: &Catalog,
    id: NamespaceId,
    name: &NamespaceName,
    version: Version,
) -> Result<(), Error> {
    heard(catalog, version).await?;
    let began = Instant::now();
    while counter::unfolded(&catalog.database, id).await? {
        if began.elapsed() > UNFOLDED {
            return Err(Refusal::Unfolded { name: name.clone() }.into());
        }
        sleep(PERIOD).await;
    }
    // What a store kept in memory until it was folded goes now.
    let version = catalog.change().await?.commit().await?;
    heard(catalog, version).await?;
    let rows = written(&catalog.database, id).await?.rows();
    if rows > 0 {
        let name = name.clone();
        return Err(Refusal::NotEmpty { name, rows }.into());
    }
    Ok(())
}

/// A store that is registered and silent may still have the namespace in memory.
async fn heard(catalog: &Catalog, version: Version) -> Result<(), Error> {
    match catalog.applied(version).await? {
        Applied::Now | Applied::Later => Ok(()),
        Applied::Unknown => Err(Refusal::Silent.into()),
    }
}

/// Reads back what is stored, large values included.
pub(crate) async fn written(database: &Database, id: NamespaceId) -> Result<Picture, Error> {
    let mut rows = Vec::new();
    let mut transaction = database.read().await?;
    load::walk(&mut transaction, id, |row| {
        let (value, blob) = match row.cell.value {
            Stored::Inline(value) => (Fingerprint::of(&value), false),
            ref blob @ Stored::Blob { .. } => (fingerprint(blob), true),
        };
        rows.push((row.table, row.field, value, blob));
        ControlFlow::Continue(())
    })
    .await?;
    transaction.rollback().await?;
    let mut picture = Picture::default();
    for (table, field, mut value, blob) in rows {
        if blob {
            let (mut hash, mut size) = (blake3::Hasher::new(), 0);
            for nth in 0.. {
                if size >= value.size {
                    break;
                }
                let piece = blob::chunk(database, &value.blake3, nth).await?;
                hash.update(&piece);
                size += piece.len() as u64;
            }
            value = Fingerprint {
                size,
                blake3: *hash.finalize().as_bytes(),
            };
        }
        picture.add(table, field, value);
    }
    Ok(picture)
}
