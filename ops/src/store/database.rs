//! Which database a command of the store works on.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use gcs_sql::{Database, Settings};
use gcs_store::config;

use crate::{cli::WrongFlag, config::Secret};

/// `--database` and how to get in.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Where the state is kept: sqlite:///path/of/file, postgres://user@host/name
    /// or mysql://user@host/name, without a password.
    #[arg(
        long,
        value_name = "URL",
        env = "TRADEWIND_DATABASE",
        hide_env_values = true
    )]
    pub database: String,
    /// A file that holds the password for the database.
    #[arg(
        long,
        value_name = "FILE",
        env = "TRADEWIND_DATABASE_PASSWORD_FILE",
        hide_env_values = true
    )]
    pub database_password_file: Option<PathBuf>,
}

/// The same, where a command can do without.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Optional {
    /// Asks this database as well: sqlite:///path/of/file,
    /// postgres://user@host/name or mysql://user@host/name, without a password.
    #[arg(
        long,
        value_name = "URL",
        env = "TRADEWIND_DATABASE",
        hide_env_values = true
    )]
    database: Option<String>,
    /// A file that holds the password for the database.
    #[arg(
        long,
        value_name = "FILE",
        env = "TRADEWIND_DATABASE_PASSWORD_FILE",
        hide_env_values = true
    )]
    database_password_file: Option<PathBuf>,
}

impl Optional {
    /// The database, if one is named.
    pub fn given(self) -> Option<Args> {
        Some(Args {
            database: self.database?,
            database_password_file: self.database_password_file,
        })
    }
}

impl Args {
    /// What the SQL layer wants to know.
    ///
    /// # Errors
    /// If the URL is of no known form or holds a password, or the file cannot be
    /// read.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        if let Err(allowed) = config::database(&self.database) {
            let shown = config::without_password(&self.database);
            let said = format!("--database: {shown} is not allowed: {allowed}");
            return Err(WrongFlag(said).into());
        }
        let mut settings = Settings::new(&self.database);
        if let Some(path) = &self.database_password_file {
            let password = Secret::file(path.clone()).read();
            let password = password
                .map_err(|error| WrongFlag(format!("--database-password-file: {error}")))?;
            settings.password = Some(password.into());
        }
        Ok(settings)
    }

    /// Connects to a database that a store has used.
    ///
    /// # Errors
    /// Those of [`settings`](Self::settings), if the database cannot be had, and
    /// if it is no store's.
    pub async fn open(&self) -> anyhow::Result<Database> {
        let settings = self.settings()?;
        let shown = settings.shown_url();
        // SQLite would make the file, and an empty one at that.
        if let Some(path) = file(&settings.url)
            && !path.exists()
        {
            bail!("{shown}: there is no such file");
        }
        let open = async {
            let database = Database::open(&settings).await?;
            match database.fetch("SELECT epoch FROM gcs_writer", &[]).await {
                Err(gcs_sql::Error::Invalid { .. }) => {
                    bail!("no store has used this database yet")
                }
                Err(error) => Err(error.into()),
                Ok(_) => Ok(database),
            }
        };
        open.await.with_context(|| shown)
    }
}

/// The file of an SQLite database.
fn file(url: &str) -> Option<&Path> {
    let rest = url.strip_prefix("sqlite:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    path.split('?').next().map(Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(database: &str, password: Option<PathBuf>) -> Args {
        Args {
            database: database.to_owned(),
            database_password_file: password,
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        let said = args("postgres://ray:hunter2@db/ray", None).settings();
        let said = said.unwrap_err().to_string();
        assert!(
            said.starts_with("--database: postgres://ray@db/ray is not allowed")
                && !said.contains("hunter2"),
            "{said}"
        );
    }

    #[test]
    fn the_password_is_read_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let missing = args("postgres://ray@db/ray", Some(path.clone())).settings();
        let said = missing.unwrap_err().to_string();
        assert!(said.starts_with("--database-password-file: "), "{said}");
        std::fs::write(&path, "hunter2\n").unwrap();
        let settings = args("postgres://ray@db/ray", Some(path))
            .settings()
            .unwrap();
        assert_eq!(settings.password, Some("hunter2".to_owned().into()));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_database_without_a_store_is_told_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ray.db");
        let url = format!("sqlite://{}", path.display());
        let said = async || format!("{:#}", args(&url, None).open().await.unwrap_err());
        assert_eq!(said().await, format!("{url}: there is no such file"));
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        let expected = format!("{url}: no store has used this database yet");
        assert_eq!(said().await, expected);
    }

    #[test]
    fn the_file_of_a_url_is_known() {
        assert_eq!(file("sqlite:///a/b.db"), Some(Path::new("/a/b.db")));
        assert_eq!(file("sqlite://b.db?mode=rwc"), Some(Path::new("b.db")));
        assert_eq!(file("postgres://db/ray"), None);
    }
}
