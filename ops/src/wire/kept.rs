//! The registry of this process, in memory or kept in a database as well.

use anyhow::Context;
use discovery::{DurableRegistry, MemoryRegistry};
use gcs_sql::Settings;

use crate::config::{Config, Secret};

/// The registry, and the task that writes it down if it is to be kept.
pub async fn registry(
    config: &Config,
) -> anyhow::Result<(MemoryRegistry, Option<DurableRegistry>)> {
    if !config.registry.durable {
        return Ok((MemoryRegistry::new(&config.registry), None));
    }
    let holder = format!("{}, process {}", config.id, std::process::id());
    let durable = DurableRegistry::open(
        &settings(&config.store)?,
        &config.site,
        &holder,
        &config.registry,
    )
    .await
    .context("registry.durable")?;
    Ok((durable.registry(), Some(durable)))
}

/// The database of `store`, as the SQL layer wants it.
fn settings(store: &gcs_store::config::Config) -> anyhow::Result<Settings> {
    let mut settings = Settings::new(&store.database);
    settings.connections = store.database_connections.get();
    settings.deadline = store.statement_deadline;
    if let Some(path) = &store.database_password_file {
        let password = Secret::file(path.clone()).read();
        settings.password = Some(password.context("store.database_password_file")?.into());
    }
    Ok(settings)
}
