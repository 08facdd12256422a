//! What has changed between two moments, namespaces or backups.

use std::path::PathBuf;

use gcs_sql::Database;
use ray_tables::NamespaceName;
use tokio::{fs::File, io::BufReader};

use super::{
    Error, file,
    picture::{Difference, Picture},
    source,
};

/// Something that has rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// A namespace at a time, or now.
    Namespace(NamespaceName, Option<i64>),
    /// A backup.
    File(PathBuf),
}

impl Side {
    /// The fingerprints of its rows.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn picture(&self, database: &Database) -> Result<Picture, Error> {
        match self {
            Self::Namespace(name, at_ms) => source::picture(database, name, *at_ms).await,
            Self::File(path) => {
                let from = BufReader::new(File::open(path).await?);
                Ok(file::picture(from).await?.1)
            }
        }
    }
}

/// What has become of the rows of `before` in `after`.
///
/// # Errors
/// [`Error`].
pub async fn diff(database: &Database, before: &Side, after: &Side) -> Result<Difference, Error> {
    let before = before.picture(database).await?;
    let after = after.picture(database).await?;
    Ok(Difference::between(&before, &after))
}
