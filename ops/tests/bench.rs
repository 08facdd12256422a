//! The benchmark as it is run: its own processes, no proxy, a fraction of a
//! second. What it measures is not looked at, only that it measures.

use assert_cmd::Command;

fn tradewind() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tradewind"));
    command.timeout(std::time::Duration::from_secs(60));
    command
}

#[test]
fn the_harness_measures_a_backend_without_a_proxy() {
    let output = tradewind()
        .args(["bench", "gateway", "--only", "direct", "-o", "json"])
        .args(["--rounds", "2", "--seconds", "0.1", "--samples", "20"])
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let report: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(report["version"], 1);
    assert_eq!(report["errors"], serde_json::json!([]));
    let rows = report["rows"].as_array().unwrap();
    let throughput = rows
        .iter()
        .find(|row| row["title"] == "requests a second")
        .unwrap();
    let cell = &throughput["cells"]["direct"];
    assert_eq!(cell["rounds"], 2);
    assert!(cell["low"].as_f64().unwrap() > 0.0);
}

#[test]
fn benchmarks_are_listed() {
    let assert = tradewind().arg("bench").assert().success();
    let listed = String::from_utf8_lossy(&assert.get_output().stdout);
    assert!(listed.starts_with("gateway "), "{listed}");
}

#[test]
fn the_harness_measures_a_redis() {
    let output = tradewind()
        .args(["bench", "store", "--only", "redis-always", "-o", "json"])
        .args(["--rounds", "2", "--seconds", "0.1", "--steady", "0.3"])
        .args(["--clusters", "10", "--rows", "500", "--idle", "50"])
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let report: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(report["version"], 1);
    assert_eq!(report["errors"], serde_json::json!([]));
    let rows = report["rows"].as_array().unwrap();
    for title in ["HSET, 50 clients", "scan of 500 rows"] {
        let row = rows.iter().find(|row| row["title"] == title).unwrap();
        let cell = &row["cells"]["redis-always"];
        assert_eq!(cell["rounds"], 2, "{title}");
        assert!(cell["low"].as_f64().unwrap() > 0.0, "{title}");
    }
}
