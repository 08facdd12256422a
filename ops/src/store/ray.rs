//! `tradewind store ray`: what Ray's tables say of a cluster.
//!
//! ```text
//!   read --> seen --> table   for people
//!  (SQL)   (pure)  \-> JSON   for programs
//! ```

mod cell;
mod read;
mod seen;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::{
    io::{ErrorKind, Write},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use ray_tables::{NamespaceName, Severity};
use serde::Serialize;

use self::{
    seen::{Filter, Seen, Summary},
    table::View,
};
use super::database;
use crate::cli::{Exit, Output, print};

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Every cluster in a line.
    #[command(after_help = "\
Examples:
  tradewind store ray clusters
  tradewind store ray clusters -o json | jq '.[] | select(.findings != [])'")]
    Clusters {
        /// Print whole ids and more columns.
        #[arg(long)]
        wide: bool,
        #[command(flatten)]
        from: From,
    },
    /// The nodes of a cluster.
    Nodes(Rows),
    /// The actors of a cluster.
    #[command(after_help = "\
Examples:
  tradewind store ray actors my-cluster --state RESTARTING
  tradewind store ray actors my-cluster --wide --limit 20")]
    Actors(Rows),
    /// The drivers of a cluster, and the records of submitted jobs.
    Jobs(Rows),
    /// The placement groups of a cluster.
    Groups(Rows),
    /// The key-value pairs of a cluster, or the value of one.
    #[command(after_help = "\
Examples:
  tradewind store ray kv my-cluster
  tradewind store ray kv my-cluster --kind 'serve checkpoint'
  tradewind store ray kv my-cluster session:session_name
  tradewind store ray kv my-cluster fun:… --raw > code.pickle")]
    Kv {
        /// Which cluster.
        namespace: NamespaceName,
        /// Print the value of this key, written as the list has it.
        key: Option<String>,
        /// Write the value as it is.
        #[arg(long, requires = "key")]
        raw: bool,
        /// Only those of this kind, such as code or `serve checkpoint`.
        #[arg(long, conflicts_with = "key")]
        kind: Option<String>,
        /// At most so many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Print whole keys and times.
        #[arg(long)]
        wide: bool,
        #[command(flatten)]
        from: From,
    },
    /// Who was head of a cluster, since when, and who was shut out by whom.
    Heads(One),
    /// What is wrong in a cluster, and what to do about it.
    #[command(after_help = "\
Exit code 1 if a finding is an error: work is lost, or will be at the next
restart of the head.

Examples:
  tradewind store ray findings my-cluster")]
    Findings(One),
}

/// Where to read, and how to print it.
#[derive(Debug, clap::Args)]
pub struct From {
    #[command(flatten)]
    database: database::Args,
    #[command(flatten)]
    output: Output,
}

/// One cluster.
#[derive(Debug, clap::Args)]
pub struct One {
    /// Which cluster: its RAY_external_storage_namespace.
    namespace: NamespaceName,
    #[command(flatten)]
    from: From,
}

/// Rows of one table of a cluster.
#[derive(Debug, clap::Args)]
pub struct Rows {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    filter: Filter,
    /// Print whole ids and more columns.
    #[arg(long)]
    wide: bool,
}

/// Runs it.
///
/// # Errors
/// If the database cannot be read, or has no such namespace or key.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Clusters { wide, from } => clusters(wide, &from).await,
        Command::Nodes(rows) => {
            rows.show(table::nodes, |seen, filter| {
                json(&filter.of(&seen.cluster.nodes).0)
            })
            .await
        }
        Command::Actors(rows) => {
            rows.show(table::actors, |seen, filter| {
                json(&filter.of(&seen.cluster.actors).0)
            })
            .await
        }
        Command::Jobs(rows) => rows.show(table::jobs, jobs_json).await,
        Command::Groups(rows) => {
            rows.show(table::groups, |seen, filter| {
                json(&filter.of(&seen.cluster.groups).0)
            })
            .await
        }
        Command::Kv {
            namespace,
            key: Some(key),
            raw,
            from,
            ..
        } => value(&namespace, &key, raw, &from).await,
        Command::Kv {
            namespace,
            kind,
            limit,
            wide,
            from,
            ..
        } => {
            let one = One { namespace, from };
            let filter = Filter { state: kind, limit };
            let rows = Rows { one, filter, wide };
            rows.show(table::kv, |seen, filter| {
                json(&filter.of(&seen.cluster.kv).0)
            })
            .await
        }
        Command::Heads(one) => heads(&one).await,
        Command::Findings(one) => findings(&one).await,
    }
}

impl One {
    async fn read(&self) -> anyhow::Result<Seen> {
        let database = self.from.database.open().await?;
        read::one(&database, &self.namespace).await
    }
}

impl Rows {
    async fn show(
        self,
        table: impl Fn(&Seen, &View) -> String,
        json: impl Fn(&Seen, &Filter) -> anyhow::Result<String>,
    ) -> anyhow::Result<ExitCode> {
        let seen = self.one.read().await?;
        if self.one.from.output.json() {
            return print(&json(&seen, &self.filter)?);
        }
        let view = View {
            filter: self.filter,
            wide: self.wide,
        };
        print(&table(&seen, &view))
    }
}

async fn clusters(wide: bool, from: &From) -> anyhow::Result<ExitCode> {
    let database = from.database.open().await?;
    let all = read::all(&database).await?;
    let summaries: Vec<_> = all.iter().map(Seen::summary).collect::<Vec<Summary>>();
    if from.output.json() {
        return print(&json(&summaries)?);
    }
    let Some(last) = all.last() else {
        return print("no clusters\n");
    };
    let view = View {
        wide,
        ..View::default()
    };
    print(&table::clusters(&summaries, last.now, &view))
}

fn jobs_json(seen: &Seen, filter: &Filter) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Jobs<J, S> {
        jobs: J,
        submissions: S,
    }
    let submissions = seen.submissions();
    json(&Jobs {
        jobs: filter.of(&seen.cluster.jobs).0,
        submissions: filter.of(&submissions).0,
    })
}

async fn heads(one: &One) -> anyhow::Result<ExitCode> {
    #[derive(Serialize)]
    struct Heads<'s, N> {
        incarnations: &'s [ray_tables::Incarnation],
        nodes: N,
    }
    let seen = one.read().await?;
    if !one.from.output.json() {
        return print(&table::heads(&seen, &View::default()));
    }
    let nodes = seen.cluster.nodes.iter();
    print(&json(&Heads {
        incarnations: &seen.heads,
        nodes: nodes
            .filter(|row| row.get().is_some_and(|node| node.is_head))
            .collect::<Vec<_>>(),
    })?)
}

async fn findings(one: &One) -> anyhow::Result<ExitCode> {
    let found = one.read().await?.findings();
    if one.from.output.json() {
        print(&json(&found)?)?;
    } else {
        print(&table::findings(&found))?;
    }
    let lost = found.iter().any(|it| it.severity == Severity::Error);
    Ok(if lost {
        Exit::Findings.into()
    } else {
        ExitCode::SUCCESS
    })
}

async fn value(
    namespace: &NamespaceName,
    key: &str,
    raw: bool,
    from: &From,
) -> anyhow::Result<ExitCode> {
    let database = from.database.open().await?;
    let seen = read::one(&database, namespace).await?;
    let missing = || anyhow!("no key {key:?} in {namespace}; `kv {namespace}` lists them");
    let pair = value::find(&seen.cluster.kv, key).ok_or_else(missing)?;
    let value = read::value(&database, namespace, &pair.field).await?;
    let value = value.ok_or_else(missing)?;
    if raw {
        return match std::io::stdout().write_all(&value) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(error).context("cannot write the value")
            }
            _ => Ok(ExitCode::SUCCESS),
        };
    }
    if from.output.json() {
        return print(&json(&value::Value::new(pair, &value))?);
    }
    print(&value::draw(&value))
}

fn json(it: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(it)? + "\n")
}
