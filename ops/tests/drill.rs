//! `tradewind dev` and `tradewind drill` as processes.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A process does what is expected of it within this, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn tradewind() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tradewind"))
}

/// A running demonstration on free ports; killed when dropped.
struct Dev {
    folder: tempfile::TempDir,
    child: Child,
    state: Value,
}

impl Dev {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = tradewind();
        command
            .args([
                "dev",
                "-o",
                "json",
                "--base-port",
                "0",
                "--replicas",
                "1",
                "--state-dir",
            ])
            .arg(folder.path());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = loop {
            let line: Value =
                serde_json::from_str(&lines.next().expect("dev ended").unwrap()).unwrap();
            if line["event"] == "ready" {
                break line;
            }
        };
        // Whoever follows its events reads on.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            folder,
            child,
            state: ready["state"].clone(),
        }
    }

    fn control(&self) -> &str {
        self.state["control"].as_str().unwrap()
    }

    /// Every process but the supervisor.
    fn pids(&self) -> Vec<i32> {
        let sites = self.state["sites"].as_array().unwrap().iter();
        let processes = sites.flat_map(|site| site["processes"].as_array().unwrap());
        processes
            .map(|process| i32::try_from(process["pid"].as_u64().unwrap()).unwrap())
            .collect()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Gone already is as good.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(50));
    }
}

/// Whether a process runs; one that only waits to be reaped does not.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| {
        !matches!(
            stat.rsplit(") ")
                .next()
                .and_then(|rest| rest.chars().next()),
            Some('Z' | 'X')
        )
    })
}

fn drill(dev: &Dev, arguments: &[&str]) -> Output {
    tradewind()
        .args([
            "drill",
            "run",
            "dc-loss",
            "--dev",
            dev.control(),
            "-o",
            "json",
        ])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_site_lost_under_load_costs_no_request() {
    let dev = Dev::start();
    for mode in ["kill", "stop"] {
        let ledger = dev.folder.path().join(format!("{mode}.jsonl"));
        let output = drill(
            &dev,
            &[
                "--site",
                "east",
                "--mode",
                mode,
                "--for",
                "3s",
                "--warmup",
                "3s",
                "--streams",
                "4",
                "--ledger",
                ledger.to_str().unwrap(),
            ],
        );
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        // What hangs on the speed of this machine is for the drill to judge;
        // what is lost or not is not.
        for claim in report["hypothesis"].as_array().unwrap() {
            let statement = claim["statement"].as_str().unwrap();
            let timed = statement.contains("within");
            assert!(timed || claim["held"] == true, "{mode}: {claim}");
        }
        assert!(
            report["unary"]["sent"].as_u64().unwrap() > 200,
            "{report:#}"
        );
        assert_eq!(report["broken_streams"]["silent"], 0, "{report:#}");
        let succeeded = report["outcome"] == "SUCCEEDED";
        assert_eq!(output.status.code(), Some(if succeeded { 0 } else { 1 }));
        let lines = fs::read_to_string(ledger).unwrap();
        let count = |kind: &str| lines.matches(&format!("{{\"line\":\"{kind}\"")).count();
        assert_eq!(count("intent"), count("outcome"));
        assert_eq!((count("fault"), count("restored")), (1, 1));
    }
}

#[test]
fn what_must_not_be_broken_is_refused() {
    let dev = Dev::start();
    assert_eq!(drill(&dev, &["--site", "front"]).status.code(), Some(4));
    assert_eq!(drill(&dev, &["--site", "mars"]).status.code(), Some(4));
    let nobody = tradewind()
        .args(["drill", "run", "dc-loss", "--dev", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(3));
    let second = tradewind()
        .args(["dev", "--base-port", "0", "--state-dir"])
        .arg(dev.folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && text.contains("another `tradewind dev` runs on"),
        "{text}"
    );
}

#[test]
fn a_supervisor_that_stops_takes_everything_along() {
    let mut dev = Dev::start();
    let pids = dev.pids();
    assert!(pids.iter().copied().all(runs));
    dev.signal(Signal::TERM);
    assert!(dev.child.wait().unwrap().success());
    assert!(!pids.iter().copied().any(runs), "a process was left behind");
    assert!(!dev.folder.path().join("dev.json").exists());
}

#[test]
fn a_supervisor_that_is_killed_takes_everything_along() {
    let dev = Dev::start();
    let pids = dev.pids();
    dev.signal(Signal::KILL);
    until("the children die with the supervisor", || {
        !pids.iter().copied().any(runs)
    });
}
