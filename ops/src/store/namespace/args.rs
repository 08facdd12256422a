//! Flags of the commands about namespaces.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use gcs_store::namespace::Quota;
use ray_tables::NamespaceName;

use crate::{
    cli::Output,
    store::{copies::time::Moment, database},
};

/// Where, and how to print.
#[derive(Debug, Args)]
pub struct Common {
    #[command(flatten)]
    pub database: database::Args,
    #[command(flatten)]
    pub output: Output,
}

/// A namespace, and where.
#[derive(Debug, Args)]
pub struct One {
    /// Which namespace.
    pub name: NamespaceName,
    #[command(flatten)]
    pub common: Common,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List all namespaces: what they hold, who uses them.
    #[command(after_help = "\
Examples:
  tradewind store namespace list --database sqlite:///var/lib/tradewind/ray.db
  tradewind store namespace list -o json")]
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Make an empty namespace, with a password if one is asked for.
    #[command(after_help = "\
A store makes a namespace when the first head names it, unless it is told not
to; one made here may have a password and bounds from its start.

Examples:
  tradewind store namespace create prod
  tradewind store namespace create prod --password random
  tradewind store namespace create prod --password-file /run/secrets/ray --quota-bytes 2GiB")]
    Create {
        /// Its name: what RAY_external_storage_namespace will be.
        name: NamespaceName,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        quota: Bounds,
        #[command(flatten)]
        common: Common,
    },
    /// Add, list and remove the passwords of a namespace.
    #[command(subcommand)]
    Password(PasswordCommand),
    /// Set what a namespace may hold. What is there already stays.
    #[command(after_help = "\
Examples:
  tradewind store namespace quota prod --quota-bytes 2GiB --quota-rows 100000
  tradewind store namespace quota prod              no bounds")]
    Quota {
        /// Which namespace.
        name: NamespaceName,
        #[command(flatten)]
        quota: Bounds,
        #[command(flatten)]
        common: Common,
    },
    /// Refuse writes from now on. A head that writes ends itself soon after.
    #[command(after_help = "\
Examples:
  tradewind store namespace freeze prod")]
    Freeze(One),
    /// Take writes again.
    #[command(after_help = "\
Examples:
  tradewind store namespace unfreeze prod")]
    Unfreeze(One),
    /// Copy a namespace as it is, or was, to a new one.
    #[command(after_help = "\
The original may be in use. Large values are shared, not copied; passwords and
bounds are the same. The job counter is the highest number the original ever
handed out. A head on the clone sees the nodes of the original as its own.

Examples:
  tradewind store namespace clone prod prod-look
  tradewind store namespace clone prod prod-before --at 2h")]
    Clone {
        /// Which namespace.
        name: NamespaceName,
        /// The new one.
        into: NamespaceName,
        /// As it was then: 2026-01-31T12:00:00Z, milliseconds since 1970, or how
        /// long ago, such as 2h. Absent: as it is.
        #[arg(long, value_name = "TIME")]
        at: Option<Moment>,
        #[command(flatten)]
        common: Common,
    },
    /// Hide a namespace until it is undeleted or purged. Its rows stay.
    #[command(after_help = "\
Refused (exit code 4) while a head uses it.

Examples:
  tradewind store namespace delete old
  tradewind store namespace delete old --even-in-use")]
    Delete {
        /// Also if a head uses it; that head ends itself soon after.
        #[arg(long)]
        even_in_use: bool,
        #[command(flatten)]
        one: One,
    },
    /// Take back a delete, or what a cleanup of Ray has removed.
    #[command(after_help = "\
Ray's own cleanup empties a namespace table by table; with --at its rows come
back from the history, into the namespace itself if it is empty and no head
uses it, or into a new one.

Examples:
  tradewind store namespace undelete old
  tradewind store namespace undelete prod --at 10m
  tradewind store namespace undelete prod --at 2026-01-31T12:00:00Z --into prod-back")]
    Undelete {
        /// Its rows as they were then: 2026-01-31T12:00:00Z, milliseconds since
        /// 1970, or how long ago, such as 10m.
        #[arg(long, value_name = "TIME")]
        at: Option<Moment>,
        /// Into this new namespace.
        #[arg(long, value_name = "NAME", requires = "at")]
        into: Option<NamespaceName>,
        #[command(flatten)]
        one: One,
    },
    /// Remove for ever what was deleted long enough ago.
    #[command(after_help = "\
Examples:
  tradewind store namespace purge                  what was deleted 7 days ago
  tradewind store namespace purge --grace 30d
  tradewind store namespace purge old --grace 0s   this one, now")]
    Purge {
        /// Only this one.
        name: Option<NamespaceName>,
        /// How long ago it must have been deleted.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "7d")]
        grace: Duration,
        #[command(flatten)]
        common: Common,
    },
    /// List namespaces that no head has used for long.
    #[command(after_help = "\
Examples:
  tradewind store namespace orphans
  tradewind store namespace orphans --idle 30d -o json")]
    Orphans {
        /// For how long.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "7d")]
        idle: Duration,
        #[command(flatten)]
        common: Common,
    },
}

/// Subcommands of `password`.
#[derive(Debug, Subcommand)]
pub enum PasswordCommand {
    /// Let one more password in. A random one is printed, once.
    #[command(after_help = "\
To replace a password: add one, give it to the heads, remove the old.

Examples:
  tradewind store namespace password add prod
  tradewind store namespace password add prod --password-file /run/secrets/ray")]
    Add {
        /// Whose.
        name: NamespaceName,
        /// A file whose first line is the password. Absent: a random one.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// List the passwords by number and age.
    List(One),
    /// Shut a password out. Heads that are connected stay.
    Remove {
        /// Whose.
        name: NamespaceName,
        /// Its number, as `list` shows it.
        id: i64,
        /// Also if no other is left: then whoever reaches the store, and knows
        /// the store's own password if it has one, may enter.
        #[arg(long)]
        even_the_last: bool,
        #[command(flatten)]
        common: Common,
    },
}

/// A password for a new namespace.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct NewPassword {
    /// `random`: make one and print it, once.
    #[arg(long, value_name = "random", value_parser = ["random"])]
    pub password: Option<String>,
    /// A file whose first line is the password.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// What a namespace may hold.
#[derive(Debug, Args)]
pub struct Bounds {
    /// Most bytes of fields and values, such as 2GiB. Absent: no bound.
    #[arg(long, value_name = "SIZE")]
    quota_bytes: Option<ByteSize>,
    /// Most rows. Absent: no bound.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    quota_rows: Option<i64>,
}

impl Bounds {
    /// The same for the catalog.
    pub fn quota(&self) -> Quota {
        Quota {
            bytes: self
                .quota_bytes
                .map(|size| i64::try_from(size.as_u64()).unwrap_or(i64::MAX)),
            rows: self.quota_rows,
        }
    }
}
