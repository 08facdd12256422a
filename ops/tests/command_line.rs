//! The command line as a script sees it: text, exit codes, nothing secret.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{fs, path::PathBuf};

use assert_cmd::Command;
use serde_json::Value;

fn tradewind(arguments: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tradewind"));
    command
        .env_remove("TRADEWIND_CONFIG")
        .env_remove("TRADEWIND_LOG")
        .args(arguments)
        .assert()
}

fn stdout(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// A file of this text; it goes with the directory.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.yaml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

#[test]
fn every_command_has_help_with_examples() {
    let commands: &[&[&str]] = &[
        &["dev"],
        &["serve"],
        &["replica"],
        &["config", "check"],
        &["config", "schema"],
        &["status"],
        &["drill"],
        &["bench"],
        &["store", "serve"],
        &["store", "handover"],
        &["store", "status"],
        &["store", "backup"],
        &["store", "verify"],
        &["store", "restore"],
        &["store", "diff"],
        &["store", "import"],
        &["store", "export"],
        &["store", "history"],
        &["store", "namespace", "list"],
        &["store", "namespace", "create"],
        &["store", "namespace", "quota"],
        &["store", "namespace", "freeze"],
        &["store", "namespace", "unfreeze"],
        &["store", "namespace", "clone"],
        &["store", "namespace", "delete"],
        &["store", "namespace", "undelete"],
        &["store", "namespace", "purge"],
        &["store", "namespace", "orphans"],
        &["store", "ray", "clusters"],
        &["store", "ray", "actors"],
        &["store", "ray", "kv"],
        &["store", "ray", "findings"],
        &["version"],
        &["completion"],
    ];
    for command in commands {
        let help = stdout(&tradewind(&[*command, &["--help"]].concat()).success());
        assert!(
            help.contains("Examples:") && help.contains("  tradewind "),
            "{command:?}:\n{help}"
        );
    }
    let help = stdout(&tradewind(&["--help"]).success());
    assert!(help.contains("Exit codes:"), "{help}");
}

#[test]
fn wrong_flags_are_a_usage_error() {
    tradewind(&["nonsense"]).code(2);
    tradewind(&["serve", "--role", "broker"]).code(2);
    tradewind(&["status", "--admin", "nowhere"]).code(2);
    tradewind(&["store", "serve", "--tls-cert", "c.pem"]).code(2);
    tradewind(&["store", "status", "--database", "redis://h"]).code(2);
}

#[test]
fn the_version_is_printed_for_people_and_for_programs() {
    let people = stdout(&tradewind(&["version"]).success());
    assert!(
        people.starts_with(concat!("tradewind ", env!("CARGO_PKG_VERSION"), " (")),
        "{people}"
    );
    let programs: Value =
        serde_json::from_str(&stdout(&tradewind(&["version", "-o", "json"]).success())).unwrap();
    assert_eq!(programs["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn each_shell_gets_a_completion_script() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            stdout(&tradewind(&["completion", shell]).success()).contains("tradewind"),
            "{shell}"
        );
    }
}

#[test]
fn a_good_file_is_summed_up() {
    let (_dir, path) =
        file("site: east\nfederation: {peers: [{site: west, registry: ['10.1.0.1:8082']}]}\n");
    let text = stdout(&tradewind(&["config", "check", "-c", path.to_str().unwrap()]).success());
    let (head, summary) = text.split_once('\n').unwrap();
    assert_eq!(head, format!("{}: ok", path.display()));
    insta::assert_snapshot!(summary, @r"
      site      east
      roles     gateway, registry
      gateway   gateway on 127.0.0.1:8080
      registry  127.0.0.1:8082
      peers     west
      replicas  none
      admin     127.0.0.1:8081
      log       info, human
      traces    none
    ");
}

#[test]
fn a_wrong_file_is_a_finding_with_its_place() {
    let (_dir, path) = file("gateway:\n  limits:\n    connect: soon\n");
    let path = path.to_str().unwrap();
    let said = stderr(&tradewind(&["config", "check", "-c", path]).code(1));
    let problem = "\"soon\" is not allowed: a duration such as 500ms, 30s or 2m";
    assert_eq!(
        said,
        format!("{path}:3:14: gateway.limits.connect: {problem}\n")
    );

    let answer: Value = serde_json::from_str(&stdout(
        &tradewind(&["config", "check", "-c", path, "-o", "json"]).code(1),
    ))
    .unwrap();
    assert_eq!(answer["ok"], false);
    let finding = &answer["findings"][0];
    assert_eq!(
        (&finding["key"], &finding["line"]),
        (&"gateway.limits.connect".into(), &3.into())
    );
    assert_eq!(finding["problem"], problem);
}

#[test]
fn serving_a_wrong_or_missing_file_is_a_usage_error() {
    let (_dir, path) = file("gatway: {}\n");
    let said = stderr(&tradewind(&["serve", "-c", path.to_str().unwrap()]).code(2));
    assert!(said.contains("did you mean gateway?"), "{said}");
    let said = stderr(&tradewind(&["serve", "-c", "/nowhere/site.yaml"]).code(2));
    assert_eq!(
        said,
        "error: cannot read the configuration /nowhere/site.yaml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_file_over_the_limit_is_not_read() {
    let (_dir, path) = file(&format!("# {}\n", "x".repeat(1024 * 1024)));
    let said = stderr(&tradewind(&["config", "check", "-c", path.to_str().unwrap()]).code(2));
    assert!(said.ends_with("is larger than 1 MiB\n"), "{said}");
}

#[test]
fn a_secret_is_used_and_never_printed() {
    let (dir, path) = file("");
    let token = dir.path().join("token");
    fs::write(&token, "hunter2\n").unwrap();
    let text = format!(
        "telemetry:\n  otlp:\n    endpoint: 127.0.0.1:4317\n    headers:\n      authorization: ${{file:{}}}\n",
        token.display()
    );
    fs::write(&path, text).unwrap();
    for form in ["table", "json"] {
        let done =
            tradewind(&["config", "check", "-c", path.to_str().unwrap(), "-o", form]).success();
        assert!(!format!("{}{}", stdout(&done), stderr(&done)).contains("hunter2"));
    }
}

#[test]
fn status_says_who_did_not_answer() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let admin = format!("http://127.0.0.1:{port}");
    let said = stderr(&tradewind(&["status", "--admin", &admin]).code(3));
    assert_eq!(
        said,
        format!("{admin}: Connection refused (os error 111)\n")
    );
}

/// The schema is part of the public face: a change of it is seen in review.
/// Write it anew with `tradewind config schema > ops/config.schema.json`.
#[test]
fn the_schema_is_the_one_that_is_checked_in() {
    let kept =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config.schema.json")).unwrap();
    let now = stdout(&tradewind(&["config", "schema"]).success());
    let differing = kept
        .lines()
        .zip(now.lines())
        .enumerate()
        .find(|(_, (kept, now))| kept != now);
    assert_eq!(
        differing, None,
        "run: tradewind config schema > ops/config.schema.json"
    );
    assert_eq!(kept.lines().count(), now.lines().count());
}
