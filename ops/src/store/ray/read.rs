//! Reads clusters from the database, beside a running store or without one.

use bytes::Bytes;
use gcs_sql::Database;
use gcs_store::{
    incarnations,
    namespace::{Catalog, Record as Namespace, State},
    snapshot,
};
use ray_tables::{Cluster, NamespaceName, Record, TableName, Time};

use super::seen::Seen;

/// One cluster.
pub async fn one(database: &Database, name: &NamespaceName) -> anyhow::Result<Seen> {
    let catalog = Catalog::new(database);
    let namespace = catalog.find(name).await?;
    seen(database, &catalog, namespace).await
}

/// All that are not deleted, by name.
pub async fn all(database: &Database) -> anyhow::Result<Vec<Seen>> {
    let catalog = Catalog::new(database);
    let mut all = Vec::new();
    for namespace in catalog.all().await? {
        if matches!(namespace.state, State::Active | State::Frozen) {
            all.push(seen(database, &catalog, namespace).await?);
        }
    }
    Ok(all)
}

/// The value of one field of `KV`, of any size; nothing if it is gone.
pub async fn value(
    database: &Database,
    namespace: &NamespaceName,
    field: &Bytes,
) -> anyhow::Result<Option<Bytes>> {
    let entries = snapshot::read(database, namespace, None).await?;
    let mut entries = entries.unwrap_or_default().into_iter();
    let Some(entry) = entries.find(|it| it.table == TableName::KV && it.field == *field) else {
        return Ok(None);
    };
    Ok(Some(snapshot::value(database, &entry.value).await?))
}

async fn seen(
    database: &Database,
    catalog: &Catalog,
    namespace: Namespace,
) -> anyhow::Result<Seen> {
    let entries = snapshot::read(database, &namespace.name, None).await?;
    let mut records = Vec::new();
    for entry in entries.unwrap_or_default() {
        let size = entry.value.size();
        let value = if Cluster::wants(&entry.table, size) {
            match snapshot::value(database, &entry.value).await {
                Ok(value) => Some(value),
                // Shown as a row that cannot be read, beside the others.
                Err(snapshot::ReadError::Lost(_)) => None,
                Err(error) => return Err(error.into()),
            }
        } else {
            None
        };
        records.push(Record {
            table: entry.table,
            field: entry.field,
            value,
            size,
            created: Time::from_ms(entry.created_ms),
            updated: Time::from_ms(entry.updated_ms),
        });
    }
    Ok(Seen {
        cluster: Cluster::read(records),
        heads: incarnations(database, namespace.id).await?,
        state: namespace.state.name().to_owned(),
        namespace: namespace.name,
        now: Time::from_ms(catalog.now_ms().await?),
    })
}
