//! `tradewind serve` as a process: starts, answers, leaves in order.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A process does what is expected of it within this, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One `tradewind serve` with ports of its own.
struct Site {
    name: &'static str,
    gateway: u16,
    admin: u16,
    registry: u16,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

/// Ports that were free a moment ago.
fn free_ports() -> [u16; 3] {
    let held: [TcpListener; 3] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

impl Site {
    fn new(name: &'static str) -> Self {
        let [gateway, admin, registry] = free_ports();
        Self {
            name,
            gateway,
            admin,
            registry,
            dir: tempfile::tempdir().unwrap(),
            child: None,
        }
    }

    /// Starts with the defaults, the ports and `more` keys.
    fn start(&mut self, more: Value) {
        self.start_as(more, &[]);
    }

    fn start_as(&mut self, more: Value, arguments: &[&str]) {
        let mut config = json!({
            "site": self.name,
            "gateway": { "listen": local(self.gateway), "cores": 1, "access_log": "off" },
            "admin": { "listen": local(self.admin) },
            "registry": { "listen": local(self.registry) },
            "drain": { "spread": "300ms" },
        });
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        // Every JSON document is a YAML one.
        let file = self.dir.path().join("site.yaml");
        fs::write(&file, config.to_string()).unwrap();
        let log = fs::File::create(self.log()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tradewind"))
            .arg("serve")
            .arg("-c")
            .arg(&file)
            .args(arguments)
            .env_remove("TRADEWIND_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("log")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    /// Status and body of a GET, if it is answered.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(local(self.admin)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    fn readiness(&self) -> Option<u16> {
        self.get("/readyz").map(|(status, _)| status)
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.get("/admin/v1/status").unwrap().1).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("{} did not end:\n{}", self.name, self.said());
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "{}: not {what} in time:\n{}",
                self.name,
                self.said()
            );
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn replica() -> Value {
    json!([{ "id": "one", "address": "127.0.0.1:9", "applications": ["chat"] }])
}

#[test]
fn a_site_serves_tells_of_itself_and_leaves_in_order() {
    let mut site = Site::new("east");
    site.start(json!({ "replicas": replica() }));
    site.until("ready", |site| site.readiness() == Some(200));
    assert_eq!(site.get("/livez").unwrap(), (200, "ok\n".to_owned()));
    assert_eq!(site.get("/nothing").unwrap().0, 404);

    let (_, metrics) = site.get("/metrics").unwrap();
    for series in [
        "tw_build_info{version=",
        "tw_ready 1",
        "tw_discovery_endpoints{kind=\"replica\",state=\"serving\"} 1",
        "tw_discovery_endpoints{kind=\"gateway\",state=\"serving\"} 1",
        "tw_http_in_flight 0",
        "# EOF",
    ] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
    let report = site.report();
    assert_eq!(report["site"], "east");
    assert_eq!(report["gateway"], format!("http://{}", local(site.gateway)));
    assert_eq!(report["endpoints"].as_array().unwrap().len(), 2);

    site.signal(Signal::TERM);
    site.until("unready", |site| site.readiness() == Some(503));
    assert!(site.get("/readyz").unwrap().1.contains("draining"));
    let own = |report: &Value| {
        let endpoints = report["endpoints"].as_array().unwrap();
        endpoints
            .iter()
            .find(|endpoint| endpoint["kind"] == "gateway")
            .unwrap()["state"]
            .clone()
    };
    site.until("known to drain", |site| own(&site.report()) == "draining");
    // While the news spreads, clients that have not heard it are still served.
    assert!(TcpStream::connect(local(site.gateway)).is_ok());
    assert_eq!(site.end().code(), Some(0), "{}", site.said());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut site = Site::new("east");
    site.start(json!({ "replicas": replica(), "drain": { "spread": "1m" } }));
    site.until("ready", |site| site.readiness() == Some(200));
    site.signal(Signal::INT);
    site.until("unready", |site| site.readiness() == Some(503));
    site.signal(Signal::INT);
    assert_eq!(site.end().code(), Some(1));
    assert!(site.said().contains("ending at once"), "{}", site.said());
}

#[test]
fn a_taken_address_is_named_by_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for key in ["gateway", "admin", "registry"] {
        let mut site = Site::new("east");
        match key {
            "gateway" => site.gateway = port,
            "admin" => site.admin = port,
            _ => site.registry = port,
        }
        site.start(json!({}));
        assert_eq!(site.end().code(), Some(1));
        let said = site.said();
        assert!(
            said.contains(&format!("{key}.listen")) && said.contains(&local(port)),
            "{said}"
        );
        assert_eq!(
            said.matches("cannot listen").count(),
            1,
            "a cause is told once: {said}"
        );
    }
}

#[test]
fn two_sites_hear_of_each_other_until_one_is_gone() {
    let (mut east, mut west) = (Site::new("east"), Site::new("west"));
    let peer = |site: &Site| json!([{ "site": site.name, "registry": [local(site.registry)] }]);
    east.start(json!({ "replicas": replica(), "federation": { "peers": peer(&west) } }));
    west.start(json!({ "federation": { "peers": peer(&east) } }));
    // West has no replica of its own: it is ready once it knows east's.
    west.until("ready", |west| west.readiness() == Some(200));
    let report = west.report();
    assert_eq!(
        (&report["peers"][0]["site"], &report["peers"][0]["up"]),
        (&json!("east"), &json!(true))
    );
    let peer = |report: &Value| {
        report["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["kind"] == "peer")
    };
    assert!(peer(&report), "{report}");

    east.signal(Signal::KILL);
    west.until("alone", |west| !peer(&west.report()));
    assert_eq!(west.report()["peers"][0]["up"], false);
    assert_eq!(west.readiness(), Some(503));
}

#[test]
fn a_gateway_uses_the_registry_of_another_process() {
    let (mut registry, mut gateway) = (Site::new("east"), Site::new("east"));
    registry.start_as(
        json!({ "id": "registry", "replicas": replica() }),
        &["--role", "registry"],
    );
    registry.until("ready", |it| it.readiness() == Some(200));
    gateway.start_as(
        json!({ "connect": [local(registry.registry)] }),
        &["--role", "gateway"],
    );
    gateway.until("ready", |it| it.readiness() == Some(200));
    registry.until("told", |it| {
        it.report()["endpoints"].as_array().unwrap().len() == 2
    });

    // The last state is kept without the registry.
    registry.signal(Signal::KILL);
    gateway.until("cut off", |it| it.said().contains("was cut"));
    assert_eq!(gateway.readiness(), Some(200));
    assert_eq!(gateway.report()["endpoints"].as_array().unwrap().len(), 2);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.end().code(), Some(0), "{}", gateway.said());
}
