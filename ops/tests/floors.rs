//! Compares the arrows between the crates with the plan in
//! `docs/architecture.md`.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Who may depend on whom, tests included.
const PLAN: &[(&str, &[&str])] = &[
    ("discovery-client", &[]),
    ("discovery", &["discovery-client"]),
    ("federation", &["discovery-client"]),
    ("gateway", &["discovery-client", "federation"]),
    (
        "ops",
        &["discovery-client", "discovery", "federation", "gateway"],
    ),
    ("chaos", &["discovery-client"]),
];

/// Crates that only the edge of the house may use outside of tests.
const EDGE_ONLY: &[&str] = &["anyhow", "clap"];

/// Crates that must not be in the build at all: a second TLS stack, a second
/// HTTP client.
const NOWHERE: &[&str] = &["openssl-sys", "native-tls", "reqwest", "ring"];

fn members() -> Vec<Package> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap();
    metadata.packages
}

#[test]
fn the_arrows_are_those_of_the_plan() {
    let members = members();
    let names: BTreeSet<_> = members
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let planned: BTreeSet<_> = PLAN.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names, planned,
        "a crate appeared or went: draw its arrows in the plan first"
    );
    for package in &members {
        let allowed = PLAN
            .iter()
            .find(|(name, _)| *name == package.name.as_str())
            .unwrap()
            .1;
        for dependency in &package.dependencies {
            let arrow = dependency.name.as_str();
            assert!(
                !planned.contains(arrow) || allowed.contains(&arrow),
                "{} -> {arrow} is not in the plan; it may reach {allowed:?}",
                package.name
            );
        }
    }
}

#[test]
fn the_command_line_s_crates_stay_at_the_edge() {
    for package in members()
        .iter()
        .filter(|package| !["ops", "chaos"].contains(&package.name.as_str()))
    {
        for dependency in package
            .dependencies
            .iter()
            .filter(|it| it.kind == DependencyKind::Normal)
        {
            assert!(
                !EDGE_ONLY.contains(&&*dependency.name),
                "{} uses {}",
                package.name,
                dependency.name
            );
        }
    }
}

#[test]
fn unwanted_crates_are_not_in_the_lock_file() {
    let lock =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
    for name in NOWHERE {
        assert!(
            !lock.contains(&format!("name = \"{name}\"\n")),
            "{name} came in; see `cargo tree -i {name}`"
        );
    }
}
