//! Flags of the commands that copy.

use std::path::PathBuf;

use clap::Subcommand;
use gcs_store::copies::Address;
use ray_tables::{NamespaceName, TableName};

use super::time::Moment;
use crate::{
    cli::{Output, WrongFlag},
    config::Secret,
    store::namespace::Common,
};

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a namespace to a file.
    #[command(after_help = "\
A running store goes on meanwhile; the rows are those of one moment. The file
holds secrets of the cluster; it is readable by its owner only.

Examples:
  tradewind store backup prod --to prod.backup --database sqlite:///var/lib/tradewind/ray.db
  tradewind store backup prod --to prod-before.backup --at 2h
  tradewind store backup prod --to - | zstd > prod.backup.zst")]
    Backup {
        /// Which namespace.
        name: NamespaceName,
        /// The file, which must not be there, or - for standard output.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// As it was then: 2026-01-31T12:00:00Z, milliseconds since 1970, or how
        /// long ago, such as 2h. Absent: as it is.
        #[arg(long, value_name = "TIME")]
        at: Option<Moment>,
        #[command(flatten)]
        common: Common,
    },
    /// Read a backup and check that it is whole.
    #[command(after_help = "\
Exit code 1 if it was cut off or changed. Needs no database.

Examples:
  tradewind store verify prod.backup
  zstd -dc prod.backup.zst | tradewind store verify -")]
    Verify {
        /// The file, or - for standard input.
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Read a backup into a new namespace.
    #[command(after_help = "\
The backup is checked before anything is written, and the rows are read again
and compared before the namespace can be used. Never over a namespace that is
there (exit code 4). The job counter is the highest number known ever to have
been handed out.

Examples:
  tradewind store restore prod.backup --into prod-restored
  zstd -dc prod.backup.zst | tradewind store restore - --into prod-restored")]
    Restore {
        /// The file, or - for standard input.
        file: PathBuf,
        /// The new namespace.
        #[arg(long, value_name = "NAME")]
        into: NamespaceName,
        #[command(flatten)]
        common: Common,
    },
    /// Show what differs between two times, namespaces or backups.
    #[command(after_help = "\
Exit code 1 if something differs.

Examples:
  tradewind store diff prod --from 2h              since two hours ago
  tradewind store diff prod --from 2h --to 1h
  tradewind store diff prod staging
  tradewind store diff file:prod.backup prod -o json")]
    Diff {
        /// A namespace, or file:PATH for a backup.
        before: String,
        /// Another; absent, the same.
        after: Option<String>,
        /// The first as it was then.
        #[arg(long, value_name = "TIME")]
        from: Option<Moment>,
        /// The other as it was then. Absent: as it is.
        #[arg(long, value_name = "TIME")]
        to: Option<Moment>,
        #[command(flatten)]
        common: Common,
    },
    /// Copy a namespace from a Redis, or from another store.
    #[command(after_help = "\
Stop the head first: then both sides are read again and must agree. If rows
changed meanwhile they are shown, and the exit code is 1.

Examples:
  tradewind store import default --from redis://10.0.0.7:6379 --database sqlite:///var/lib/tradewind/ray.db
  tradewind store import default --into prod --from rediss://ray@redis.example \\
      --redis-password-file /run/secrets/redis --ca-cert ca.pem")]
    Import {
        /// The namespace there: RAY_external_storage_namespace of its heads.
        name: String,
        /// redis://host, redis://user@host:port, or rediss://... for TLS.
        #[arg(long, value_name = "URL")]
        from: String,
        /// The new namespace here. Absent: of the same name.
        #[arg(long, value_name = "NAME")]
        into: Option<NamespaceName>,
        #[command(flatten)]
        login: Login,
        #[command(flatten)]
        common: Common,
    },
    /// Copy a namespace to a Redis, or to another store.
    #[command(after_help = "\
Refused (exit code 4) if there is anything under that name. What arrived is read
again and compared.

Examples:
  tradewind store export prod --to redis://10.0.0.7:6379
  tradewind store export prod --into default --to redis://10.0.0.7:6379")]
    Export {
        /// Which namespace.
        name: NamespaceName,
        /// redis://host, redis://user@host:port, or rediss://... for TLS.
        #[arg(long, value_name = "URL")]
        to: String,
        /// The namespace there. Absent: of the same name.
        #[arg(long, value_name = "NAME")]
        into: Option<NamespaceName>,
        #[command(flatten)]
        login: Login,
        #[command(flatten)]
        common: Common,
    },
    /// List the values that fields had, and until when.
    #[command(after_help = "\
The store keeps what was replaced or deleted for some days (`history` in its
configuration), but not what lived less than a minute.

Examples:
  tradewind store history prod --since 1h
  tradewind store history prod --table KV --key @namespace_session:session_name
  tradewind store history prod --table NODE -o json")]
    History {
        /// Which namespace.
        name: NamespaceName,
        /// Of this table only.
        #[arg(long, value_name = "TABLE")]
        table: Option<TableName>,
        /// Of this field only.
        #[arg(
            long,
            value_name = "FIELD",
            requires = "table",
            conflicts_with = "key_base64"
        )]
        key: Option<String>,
        /// The same for a field that is no text, in Base64.
        #[arg(long, value_name = "BASE64", requires = "table")]
        key_base64: Option<String>,
        /// Only what came or went since then.
        #[arg(long, value_name = "TIME")]
        since: Option<Moment>,
        /// The newest so many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
        #[command(flatten)]
        common: Common,
    },
}

/// How to get into a Redis.
#[derive(Debug, clap::Args)]
pub struct Login {
    /// A file that holds its password.
    #[arg(long, value_name = "FILE")]
    redis_password_file: Option<PathBuf>,
    /// The certificates that sign the server's, PEM. Absent: the system's.
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
}

impl Login {
    /// Where that Redis is.
    ///
    /// # Errors
    /// If the URL is none, or a file cannot be read.
    pub fn address(&self, url: &str) -> anyhow::Result<Address> {
        let password = self
            .redis_password_file
            .as_ref()
            .map(|path| Secret::file(path.clone()).read())
            .transpose()
            .map_err(|error| WrongFlag(format!("--redis-password-file: {error}")))?;
        Address::new(url, password.as_deref(), self.ca_cert.as_deref())
            .map_err(|error| WrongFlag(error.to_string()).into())
    }
}
