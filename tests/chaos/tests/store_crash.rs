//! The crash matrix, a few hits of each kill point on each database; `make
//! test-long` hits each a hundred times (`long_store_crash`).

use anyhow::Result;
use chaos::{
    store::{crash::matrix, databases::Kind, endurance::lose_commits, trial::seed},
    venv::Venv,
};

async fn nothing_is_lost(kind: Kind, hits: u32) -> Result<()> {
    let broken = matrix(kind, hits, 2, seed()?).await?;
    assert_eq!(broken, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_sqlite_may_die_anywhere() -> Result<()> {
    nothing_is_lost(Kind::Sqlite, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_postgresql_may_die_anywhere() -> Result<()> {
    nothing_is_lost(Kind::Postgres, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_mariadb_may_die_anywhere() -> Result<()> {
    nothing_is_lost(Kind::Mariadb, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_loses_commits_is_caught() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let verdict = lose_commits(folder.path(), &Venv::find()?, seed()?).await?;
    assert!(!verdict.broken.is_empty(), "{verdict:?}");
    Ok(())
}
