//! Which database a command of the store works on.

use std::path::PathBuf;

use anyhow::bail;
use gcs_store::config;

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

impl Args {
    /// The URL, looked at as far as can be without asking a database.
    ///
    /// # Errors
    /// If it is of no known form, or holds a password.
    pub fn url(&self) -> anyhow::Result<&str> {
        if let Err(allowed) = config::database(&self.database) {
            let shown = config::without_password(&self.database);
            bail!("--database: {shown} is not allowed: {allowed}");
        }
        Ok(&self.database)
    }
}
