//! A site whose process is killed and started again knows its replicas.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use discovery_client::{
    Address, Application, Endpoint, EndpointId, Key, Kind, Life, Registry as _, RemoteRegistry,
    Site, State,
};
use serde_json::json;

/// A process does what is expected of it within this, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than the test: nobody renews it.
const LEASE: Duration = Duration::from_secs(60);

struct Serving {
    child: Child,
    gateway: u16,
    registry: u16,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has told by then.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Serving {
    fn start(
        folder: &std::path::Path,
        [gateway, admin, registry]: [u16; 3],
        durable: bool,
    ) -> Self {
        let local = |port: u16| format!("127.0.0.1:{port}");
        let config = json!({
            "site": "east",
            "gateway": { "listen": local(gateway), "cores": 1, "access_log": "off" },
            "admin": { "listen": local(admin) },
            "registry": { "listen": local(registry), "durable": durable },
            "store": { "database": format!("sqlite://{}/east.db", folder.display()) },
        });
        let file = folder.join("site.yaml");
        // Every JSON document is a YAML one.
        fs::write(&file, config.to_string()).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tradewind"))
            .args(["serve", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            gateway,
            registry,
        }
    }

    /// The status of the first answer that the gateway gives at all.
    fn first_answer(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = ask(self.gateway) {
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway does not answer");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn ask(port: u16) -> Option<String> {
    let body = r#"{"model":"chat","messages":[]}"#;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: east\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split(' ').nth(1)?.to_owned())
}

/// Answers every request with `200`, until the test ends.
fn replica() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || answer(stream.unwrap()));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    // The body's last byte ends the request.
    while !request.ends_with(b"}") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&piece[..read]),
        }
    }
    // The gateway may have gone by now.
    let _sent = stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\
          connection: close\r\n\r\n{}",
    );
}

async fn register(port: u16, replica: u16) {
    let registry = RemoteRegistry::new("test", Address::new(format!("127.0.0.1:{port}")).unwrap());
    let endpoint = Endpoint {
        key: Key {
            site: Site::new("east").unwrap(),
            id: EndpointId::new("r1").unwrap(),
        },
        kind: Kind::Replica,
        address: Address::new(format!("127.0.0.1:{replica}")).unwrap(),
        applications: vec![Application::new("chat").unwrap()],
        state: State::Serving,
        capacity: None,
        life: Life::begin(),
    };
    let registry = registry.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = registry.register(endpoint.clone(), LEASE).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn until_answered(site: &Serving) {
    let deadline = Instant::now() + PATIENCE;
    while ask(site.gateway).as_deref() != Some("200") {
        assert!(Instant::now() < deadline, "the replica is not reached");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the record is in the file.
fn is_written(folder: &std::path::Path) -> bool {
    ["east.db", "east.db-wal"].iter().any(|name| {
        fs::read(folder.join(name))
            .is_ok_and(|file| file.windows(4).any(|bytes| bytes == br#""r1""#))
    })
}

/// Registers a replica, kills the site's process and starts it again; returns
/// the first status it answers with. Nobody registers the replica again.
async fn first_answer_after_a_kill(durable: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let held: [TcpListener; 3] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = held.each_ref().map(|it| it.local_addr().unwrap().port());
    drop(held);
    let site = Serving::start(folder.path(), ports, durable);
    register(site.registry, replica()).await;
    until_answered(&site);
    if durable {
        let deadline = Instant::now() + PATIENCE;
        while !is_written(folder.path()) {
            assert!(Instant::now() < deadline, "the record is not written down");
            thread::sleep(Duration::from_millis(5));
        }
    }
    drop(site);
    Serving::start(folder.path(), ports, durable).first_answer()
}

#[tokio::test]
async fn a_killed_site_knows_its_replicas_at_its_first_answer() {
    assert_eq!(first_answer_after_a_kill(true).await, "200");
    assert_ne!(
        first_answer_after_a_kill(false).await,
        "200",
        "in memory alone nothing is left, or the test proves nothing"
    );
}
