//! The crash matrix: each kill point a hundred times on each database, or as
//! often as `CHAOS_HITS` says.

use std::env;

use anyhow::{Context, Result};
use chaos::store::{crash::matrix, databases::Kind, trial::seed};

async fn nothing_is_lost(kind: Kind) -> Result<()> {
    let hits = match env::var("CHAOS_HITS") {
        Ok(text) => text.parse().context("CHAOS_HITS is no number")?,
        Err(_) => 100,
    };
    let broken = matrix(kind, hits, hits, seed()?).await?;
    assert_eq!(broken, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_sqlite_may_die_anywhere() -> Result<()> {
    nothing_is_lost(Kind::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_postgresql_may_die_anywhere() -> Result<()> {
    nothing_is_lost(Kind::Postgres).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_mariadb_may_die_anywhere() -> Result<()> {
    nothing_is_lost(Kind::Mariadb).await
}
