//! `tradewind config`: looks at a file without starting anything.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use serde_json::json;

use super::{Config, Error, Format, Role, load};
use crate::cli::{Exit, Output, print};

/// Subcommands of `config`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say whether a file can be served, and what it amounts to.
    #[command(after_help = "\
Exit code 1 if something is wrong with the file.

Examples:
  tradewind config check -c site.yaml
  tradewind config check -c site.yaml -o json")]
    Check {
        /// The file.
        #[arg(short, long, value_name = "FILE", env = "TRADEWIND_CONFIG")]
        config: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Print the JSON Schema of the file, for editors.
    #[command(after_help = "\
Examples:
  tradewind config schema > tradewind.schema.json

Then, as the first line of site.yaml:
  # yaml-language-server: $schema=tradewind.schema.json")]
    Schema,
}

/// Runs it.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check { config, output } => match load(&config, None) {
            Ok(effective) if output.json() => {
                let answer = json!({ "ok": true, "findings": [], "config": effective });
                print(&format!("{}\n", serde_json::to_string_pretty(&answer)?))
            }
            Ok(effective) => print(&format!(
                "{}: ok\n{}",
                config.display(),
                summary(&effective)
            )),
            Err(Error::Refused(refused)) => {
                if output.json() {
                    let answer = json!({ "ok": false, "findings": [refused] });
                    print(&format!("{}\n", serde_json::to_string_pretty(&answer)?))?;
                } else {
                    eprintln!("{refused}");
                }
                Ok(Exit::Findings.into())
            }
            Err(unreadable) => Err(unreadable.into()),
        },
        Command::Schema => print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&schemars::schema_for!(Config))?
        )),
    }
}

/// The effective configuration on one small screen.
fn summary(config: &Config) -> String {
    let roles: Vec<_> = config.roles.iter().map(|role| role.name()).collect();
    let mut lines = vec![
        ("site", config.site.to_string()),
        ("roles", roles.join(", ")),
    ];
    if config.plays(Role::Gateway) {
        let known = config
            .advertise
            .as_ref()
            .map(|address| format!(", known as {address}"))
            .unwrap_or_default();
        lines.push((
            "gateway",
            format!("{} on {}{known}", config.id, config.gateway.listen),
        ));
    }
    if config.plays(Role::Registry) {
        lines.push(("registry", config.registry.listen.to_string()));
        let peers: Vec<_> = config
            .federation
            .peers
            .iter()
            .map(|peer| peer.site.to_string())
            .collect();
        lines.push(("peers", or_none(&peers)));
    } else if config.follows_a_registry() {
        let registries: Vec<_> = config.connect.iter().map(ToString::to_string).collect();
        lines.push(("registry", format!("at {}", registries.join(", "))));
    }
    if config.plays(Role::Store) {
        let guarded = match (&config.store.tls, config.store.guarded()) {
            (Some(_), true) => "TLS, guarded",
            (Some(_), false) => "TLS, open",
            (None, true) => "plain, guarded",
            (None, false) => "plain, open",
        };
        lines.push((
            "store",
            format!(
                "{} on {} ({guarded})",
                config.store.database, config.store.listen
            ),
        ));
    }
    let replicas: Vec<_> = config
        .replicas
        .iter()
        .map(|replica| format!("{}", replica.id()))
        .collect();
    lines.push(("replicas", or_none(&replicas)));
    lines.push(("admin", config.admin.listen.to_string()));
    let format = match config.log.format {
        Format::Json => "json",
        Format::Human => "human",
    };
    lines.push(("log", format!("{}, {format}", config.log.level)));
    let traces = config
        .telemetry
        .otlp
        .as_ref()
        .map(|otlp| format!("{} of requests to {}", otlp.sample_ratio, otlp.endpoint));
    lines.push(("traces", traces.unwrap_or_else(|| "none".to_owned())));
    lines
        .into_iter()
        .fold(String::new(), |mut text, (key, value)| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {key:<9} {value}");
            text
        })
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
