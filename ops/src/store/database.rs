//! Which database a command of the store works on.

use std::path::PathBuf;

use anyhow::Context;
use gcs_sql::{Database, Settings};
use gcs_store::config;

use crate::{cli::WrongFlag, config::Secret};

/// `--database` and how to get in.
#[derive(Debug, Clone, clap::Args)]
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

    /// Connects.
    ///
    /// # Errors
    /// Those of [`settings`](Self::settings), and if the database cannot be had.
    pub async fn open(&self) -> anyhow::Result<Database> {
        let settings = self.settings()?;
        Database::open(&settings)
            .await
            .with_context(|| settings.shown_url())
    }
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
}
