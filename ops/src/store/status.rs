//! `tradewind store status`: who is active, how the database does, what waits.
//!
//! Asks the admin listeners of stores, and the database itself if it is named:
//! the one knows what is in memory and on the wire, the other answers also when
//! no store runs.

mod draw;

use std::process::ExitCode;

use discovery_client::Address;
use futures_util::future::join_all;
use gcs_store::overview::Overview;
use serde::Serialize;
use serde_json::Value;

use super::{ADMIN, database};
use crate::{
    cli::{Exit, Output, print},
    status::fetch,
};

/// Where a store tells of itself.
pub const PATH: &str = "/admin/v1/store";

/// Flags of `store status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The admin listener of a store; may be repeated. Absent:
    /// http://127.0.0.1:8083, unless a database is named.
    #[arg(long, value_name = "URL")]
    admin: Vec<Address>,
    #[command(flatten)]
    database: database::Optional,
    #[command(flatten)]
    output: Output,
}

/// All that was asked.
#[derive(Debug, Serialize)]
struct Picture {
    stores: Vec<Asked>,
    database: Option<Overview>,
}

/// One store that was asked.
#[derive(Debug, Serialize)]
struct Asked {
    admin: Address,
    report: Option<Value>,
    error: Option<String>,
}

/// Asks, and prints. Ends with 3 if somebody did not answer.
///
/// # Errors
/// If the database cannot be asked.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let database = match args.database.given() {
        Some(database) => Some(Overview::read(&database.open().await?).await?),
        None => None,
    };
    let mut admins = args.admin;
    if admins.is_empty() && database.is_none() {
        admins.push(ADMIN.into());
    }
    let stores = join_all(admins.into_iter().map(ask)).await;
    let picture = Picture { stores, database };
    if args.output.json() {
        print(&format!("{}\n", serde_json::to_string_pretty(&picture)?))?;
    } else {
        print(&draw::draw(&picture))?;
    }
    let silent = picture.stores.iter().filter(|it| it.error.is_some());
    let mut code = ExitCode::SUCCESS;
    for it in silent {
        eprintln!("{}: {}", it.admin, it.error.as_deref().unwrap_or_default());
        code = Exit::Unreachable.into();
    }
    Ok(code)
}

async fn ask(admin: Address) -> Asked {
    let (report, error) = match fetch::json(&admin, PATH).await {
        Ok(report) => (Some(report), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    Asked {
        admin,
        report,
        error,
    }
}
