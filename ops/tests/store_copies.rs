//! `store namespace`, `backup` and their kin, as an operator calls them.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is a failure with a place"
)]

use std::{fs, path::PathBuf};

use assert_cmd::Command;
use serde_json::Value;

/// A store's database in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// With a namespace `prod` that has a row in each of two tables.
    fn new() -> Self {
        let this = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        this.write("prod.backup", BACKUP);
        this.ok(&["restore", &this.path("prod.backup"), "--into", "prod"]);
        this
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.file(name), content).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("tradewind"));
        command.arg("store").args(arguments).env(
            "TRADEWIND_DATABASE",
            format!("sqlite://{}", self.path("ray.db")),
        );
        command
    }

    /// What it prints.
    fn ok(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).assert().success();
        String::from_utf8(done.get_output().stdout.clone()).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// What it says on standard error when it ends with `code`.
    fn fails(&self, arguments: &[&str], code: i32) -> String {
        let done = self.command(arguments).assert().code(code);
        String::from_utf8(done.get_output().stderr.clone()).unwrap()
    }
}

/// Written by the first release: later ones must read it.
const BACKUP: &str = include_str!("data/store.backup");

#[test]
fn a_backup_of_the_first_release_is_restored_and_written_again() {
    let place = Place::new();
    let copy = place.path("copy.backup");
    let said = place.ok(&["backup", "prod", "--to", &copy]);
    assert!(said.starts_with("prod: 3 rows, "), "{said}");
    let rows = |file: &str| -> Vec<Value> {
        let text = fs::read_to_string(file).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let mut rows: Vec<Value> = lines
            .filter(|it: &Value| it.get("table").is_some())
            .collect();
        for row in &mut rows {
            row["updated_ms"] = 0.into();
        }
        rows
    };
    assert_eq!(rows(&copy), rows(&place.path("prod.backup")));
    // It holds secrets of the cluster.
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&copy).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let again = place.fails(&["backup", "prod", "--to", &copy], 2);
    assert!(again.contains("is there already"), "{again}");
}

#[test]
fn a_backup_goes_through_a_pipe() {
    let place = Place::new();
    let piped = place.ok(&["backup", "prod", "--to", "-"]);
    let verified = place
        .command(&["verify", "-"])
        .write_stdin(piped.clone())
        .assert();
    let said = String::from_utf8(verified.success().get_output().stdout.clone()).unwrap();
    assert!(said.starts_with("whole: 3 rows"), "{said}");
    let restore = ["restore", "-", "--into", "piped"];
    place
        .command(&restore)
        .write_stdin(piped)
        .assert()
        .success();
    assert!(place.ok(&["diff", "prod", "piped"]).contains("JobCounter"));
}

#[test]
fn damage_ends_with_1_and_what_is_unsafe_with_4() {
    let place = Place::new();
    place.write("damaged", &BACKUP.replacen("aGVsbG8=", "aGVsbG9=", 1));
    place.write("cut", &BACKUP[..BACKUP.len() - 20]);
    for name in ["damaged", "cut"] {
        let file = place.path(name);
        place.fails(&["verify", &file], 1);
        let said = place.fails(&["restore", &file, "--into", "new"], 1);
        assert!(said.contains("backup"), "{said}");
    }
    let whole = place.path("prod.backup");
    let said = place.fails(&["restore", &whole, "--into", "prod"], 4);
    assert_eq!(said, "error: namespace prod exists already and is active\n");
    place.fails(&["namespace", "create", "prod"], 4);
    place.fails(&["namespace", "clone", "prod", "prod"], 4);
    let said = place.fails(&["namespace", "undelete", "prod", "--at", "now"], 4);
    assert!(said.contains("is not empty"), "{said}");
    let said = place.fails(&["namespace", "freeze", "nobody"], 1);
    assert_eq!(said, "error: there is no namespace nobody\n");
    let redis = ["--from", "redis://127.0.0.1:1"];
    place.fails(&[&["import", "default"], &redis[..]].concat(), 3);
    let said = place.fails(&["import", "x", "--from", "redis://a:hunter2@b/1"], 2);
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_namespace_lives_and_dies() {
    let place = Place::new();
    let made = place.json(&["namespace", "create", "own", "--password", "random"]);
    assert_eq!(made["done"], "created");
    let password = made["password"].as_str().unwrap();
    let text = place.ok(&["namespace", "password", "list", "own"]);
    assert!(
        !text.contains(password) && text.contains("PASSWORD"),
        "{text}"
    );
    let second = place.json(&["namespace", "password", "add", "own"]);
    assert_eq!(second["password_id"], 2);
    place.ok(&["namespace", "password", "remove", "own", "1"]);
    place.fails(&["namespace", "password", "remove", "own", "2"], 4);

    let bounds = ["--quota-bytes", "2GiB", "--quota-rows", "10"];
    place.ok(&[&["namespace", "quota", "own"], &bounds[..]].concat());
    place.ok(&["namespace", "freeze", "own"]);
    let listed = place.json(&["namespace", "list"]);
    let own = &listed[0];
    assert_eq!(own["name"], "own");
    assert_eq!(own["state"], "frozen");
    assert_eq!(own["quota_bytes"], 2_i64 << 30);
    assert_eq!(listed[1]["rows"], 3);
    let table = place.ok(&["namespace", "list"]);
    assert!(table.contains("10 rows, 2.0 GiB"), "{table}");

    place.ok(&["namespace", "unfreeze", "own"]);
    place.ok(&["namespace", "delete", "own"]);
    assert_eq!(place.ok(&["namespace", "purge"]), "nothing to purge\n");
    place.ok(&["namespace", "undelete", "own"]);
    place.ok(&["namespace", "delete", "own"]);
    let purged = place.ok(&["namespace", "purge", "own", "--grace", "0s"]);
    assert_eq!(purged, "own: purged\n");
    let orphans = place.json(&["namespace", "orphans", "--idle", "0s"]);
    assert_eq!(orphans[0]["name"], "prod");
}

#[test]
fn differences_and_history_are_shown() {
    let place = Place::new();
    place.ok(&["namespace", "create", "empty"]);
    let found = place.command(&["diff", "empty", "prod"]).assert().code(1);
    let text = String::from_utf8(found.get_output().stdout.clone()).unwrap();
    assert!(
        text.contains("added") && text.contains("greeting"),
        "{text}"
    );
    let file = format!("file:{}", place.path("prod.backup"));
    place.ok(&["diff", &file, "prod"]);
    place.fails(&["diff", &file, "prod", "--from", "1h"], 2);
    let versions = place.json(&["history", "prod", "--table", "KV", "--key", "greeting"]);
    assert_eq!(versions[0]["size"], 5);
    assert!(place.ok(&["history", "prod"]).contains("JobCounter"));
}
