//! Compares the arrows between the crates with the plan in
//! `docs/architecture.md`.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{collections::BTreeSet, process::Command};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Who may depend on whom.
const PLAN: &[(&str, &[&str])] = &[
    ("discovery-client", &[]),
    ("gcs-sql", &[]),
    ("resp", &[]),
    ("ray-tables", &[]),
    ("harness", &[]),
    ("gcs-store", &["gcs-sql", "resp", "ray-tables"]),
    ("discovery", &["discovery-client", "gcs-sql"]),
    ("federation", &["discovery-client"]),
    ("gateway", &["discovery-client", "federation"]),
    (
        "ops",
        &[
            "discovery-client",
            "gcs-sql",
            "resp",
            "ray-tables",
            "gcs-store",
            "discovery",
            "federation",
            "gateway",
        ],
    ),
    ("chaos", &["discovery-client", "harness", "resp"]),
];

/// Whose tests may start real servers by [`HARNESS`], beside the plan's arrows.
const TESTED_AGAINST_SERVERS: &[&str] = &["gcs-sql", "resp", "gcs-store", "discovery", "ops"];

/// The crate that starts processes and servers for tests.
const HARNESS: &str = "harness";

/// Crates that only the edge of the house may use outside of tests.
const EDGE_ONLY: &[&str] = &["anyhow", "clap"];

/// The edge of the house.
const EDGE: &[&str] = &["ops", "chaos", "harness"];

/// Crates that must not be built at all: a second TLS stack, a second HTTP
/// client, an RSA known to leak its keys by time.
const NOWHERE: &[&str] = &["openssl-sys", "native-tls", "reqwest", "ring", "rsa"];

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
            let in_tests = dependency.kind == DependencyKind::Development
                && arrow == HARNESS
                && TESTED_AGAINST_SERVERS.contains(&package.name.as_str());
            assert!(
                !planned.contains(arrow) || allowed.contains(&arrow) || in_tests,
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
        .filter(|package| !EDGE.contains(&package.name.as_str()))
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

/// What is built on any target with the features that are on. `Cargo.lock` and
/// `cargo metadata` name more: also what an optional feature would bring that
/// nobody turns on.
fn built() -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--offline", "--target", "all"])
        .args(["--edges", "normal,build,dev", "--prefix", "none"])
        .args(["--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let crates = String::from_utf8(tree.stdout).unwrap();
    let names = crates.lines().filter_map(|line| line.split(' ').next());
    names.map(ToOwned::to_owned).collect()
}

#[test]
fn unwanted_crates_are_not_built() {
    let built = built();
    // Otherwise nothing below could fail.
    for wanted in ["rustls", "aws-lc-rs", "sqlx-postgres", "ops"] {
        assert!(built.contains(wanted), "{wanted} is not among {built:?}");
    }
    for name in NOWHERE {
        assert!(
            !built.contains(*name),
            "{name} came in; see `cargo tree --workspace --target all -i {name}`"
        );
    }
}
