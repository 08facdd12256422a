//! `tradewind store` as an operator runs it: serve, look, hand over, stop.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use harness::{ports, process::Process, wait};
use serde_json::Value;

/// A process does what is expected of it within this, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// One store on an SQLite file, with ports of its own.
struct Store {
    process: Process,
    port: u16,
    admin: u16,
    systemd: UnixDatagram,
    dir: tempfile::TempDir,
}

fn clean(mut command: Command) -> Command {
    for variable in ["TRADEWIND_CONFIG", "TRADEWIND_DATABASE", "TRADEWIND_LOG"] {
        command.env_remove(variable);
    }
    command
}

fn database(dir: &Path) -> String {
    format!("sqlite://{}", dir.join("ray.db").display())
}

impl Store {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Its own file, so that a test can put another program in its place.
        let program = dir.path().join("tradewind");
        fs::hard_link(env!("CARGO_BIN_EXE_tradewind"), &program)
            .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_tradewind"), &program).map(drop))
            .unwrap();
        let [port, admin] = ports::free().unwrap();
        let systemd = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        systemd.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = clean(Command::new(program));
        command
            .args(["store", "serve", "--database", &database(dir.path())])
            .args(["--listen", &local(port), "--admin", &local(admin)])
            .arg("--socket")
            .arg(dir.path().join("store.sock"))
            .env("NOTIFY_SOCKET", dir.path().join("notify"));
        let process = Process::start("store", command, dir.path()).unwrap();
        let mut store = Self {
            process,
            port,
            admin,
            systemd,
            dir,
        };
        wait::until("the store's greeting", PATIENCE, async || {
            store.process.check_alive()?;
            anyhow::ensure!(store.process.log().contains("ready on "));
            Ok(())
        })
        .await
        .unwrap();
        store
    }

    /// Who systemd is told to be the main process.
    fn main_process(&self) -> u32 {
        let mut words = [0; 128];
        let length = self.systemd.recv(&mut words).unwrap();
        let words = std::str::from_utf8(&words[..length]).unwrap();
        let (main, ready) = words.split_once('\n').unwrap();
        assert_eq!(ready, "READY=1");
        main.strip_prefix("MAINPID=").unwrap().parse().unwrap()
    }

    fn socket(&self) -> String {
        self.dir.path().join("store.sock").display().to_string()
    }

    fn status(&self) -> anyhow::Result<Value> {
        let admin = format!("http://{}", local(self.admin));
        let done = output(&["store", "status", "--admin", &admin, "-o", "json"]);
        anyhow::ensure!(done.status.success(), "{}", self.process.log());
        let picture: Value = serde_json::from_slice(&done.stdout)?;
        Ok(picture["stores"][0]["report"].clone())
    }
}

fn output(arguments: &[&str]) -> Output {
    let mut command = clean(Command::new(env!("CARGO_BIN_EXE_tradewind")));
    command.args(arguments).output().unwrap()
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A client of the store that sends bytes and knows what comes back.
struct Client(TcpStream);

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(local(port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn ask(&mut self, words: &[&str], answer: &str) {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.write_all(request.as_bytes()).unwrap();
        let mut heard = vec![0; answer.len()];
        self.0.read_exact(&mut heard).unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), answer, "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_serves_is_seen_hands_over_and_stops() {
    let mut store = Store::start().await;
    let log = store.process.log();
    for said in [
        format!("export RAY_REDIS_ADDRESS={}", local(store.port)),
        "export RAY_external_storage_namespace=".to_owned(),
        format!("tradewind store handover --socket {}", store.socket()),
    ] {
        assert!(log.contains(&said), "{said} is not in\n{log}");
    }
    let first = store.main_process();
    assert_eq!(
        first,
        store.process.pid().as_raw_nonzero().get().unsigned_abs()
    );

    let mut client = Client::connect(store.port);
    client.ask(&["PING"], "+PONG\r\n");
    client.ask(&["DEL", "DUMMY"], ":0\r\n");
    client.ask(&["HSET", "RAYprod@KV", "f", "v"], ":1\r\n");

    let report = store.status().unwrap();
    assert_eq!(report["pid"], first);
    assert_eq!(report["engine"]["standing"], "active");
    assert_eq!(report["listen"], local(store.port));
    let metrics = get(store.admin, "/metrics");
    for series in ["tw_store_active 1", "tw_store_connections ", "tw_ready 1"] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
    let database = database(store.dir.path());
    let overview = output(&["store", "status", "--database", &database]);
    let overview = String::from_utf8(overview.stdout).unwrap();
    assert!(overview.contains("database    sqlite"), "{overview}");

    let done = output(&[
        "store",
        "handover",
        "--socket",
        &store.socket(),
        "-o",
        "json",
    ]);
    let log = store.process.log();
    assert!(
        done.status.success(),
        "{}\n{log}",
        String::from_utf8_lossy(&done.stderr)
    );
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["predecessor"], first);
    assert_eq!(done["connections"], 1);
    assert_eq!(done["relayed"], 0);
    let second = store.main_process();
    assert_eq!(done["successor"], second);
    // At once again: whoever answers at the socket can be asked.
    let done = output(&["store", "handover", "--socket", &store.socket()]);
    let said = String::from_utf8(done.stdout).unwrap();
    let third = store.main_process();
    let expected = format!("process {third} serves in place of {second}\n");
    assert!(
        said.starts_with(&expected),
        "{said}\n{}",
        store.process.log()
    );
    // The old process goes by itself; the connection and the value stay.
    assert!(store.process.end(PATIENCE).await.unwrap().success());
    client.ask(&["HGET", "RAYprod@KV", "f"], "$1\r\nv\r\n");
    client.ask(&["HSET", "RAYprod@KV", "f", "w"], ":0\r\n");
    wait::until("the admin listener", PATIENCE, async || {
        TcpStream::connect(local(store.admin))?;
        Ok(())
    })
    .await
    .unwrap();
    wait::until("the status", PATIENCE, async || {
        anyhow::ensure!(store.status()?["pid"] == third);
        Ok(())
    })
    .await
    .unwrap();

    let third = rustix::process::Pid::from_raw(i32::try_from(third).unwrap()).unwrap();
    rustix::process::kill_process(third, rustix::process::Signal::TERM).unwrap();
    let mut rest = Vec::new();
    client.0.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
    wait::until("the end", PATIENCE, async || {
        let alive = store.process.members();
        anyhow::ensure!(alive.is_empty(), "{alive:?}");
        Ok(())
    })
    .await
    .unwrap();
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(local(port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_does_not_come_up_changes_nothing() {
    let mut store = Store::start().await;
    let mut client = Client::connect(store.port);
    client.ask(&["HSET", "RAYprod@KV", "f", "v"], ":1\r\n");
    let program = store.dir.path().join("tradewind");
    let broken = store.dir.path().join("broken");
    fs::write(&broken, "#!/bin/sh\nsleep 1\nexit 7\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&broken, &program).unwrap();

    let done = output(&["store", "handover", "--socket", &store.socket()]);
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("the store goes on as before"), "{said}");
    store.process.check_alive().unwrap();
    client.ask(&["HGET", "RAYprod@KV", "f"], "$1\r\nv\r\n");
    assert!(store.process.log().contains("this process serves on"));
}

#[test]
fn what_cannot_be_is_said_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let said = |arguments: &[&str], code| {
        let done = output(&[&["store", "serve"], arguments].concat());
        assert_eq!(done.status.code(), Some(code));
        String::from_utf8(done.stderr).unwrap()
    };
    let open = said(
        &[
            "--database",
            &database(dir.path()),
            "--listen",
            "10.0.0.5:6379",
        ],
        2,
    );
    assert!(
        open.contains("--listen: 10.0.0.5:6379 is not allowed") && open.contains("--allow-open")
    );
    let secret = said(&["--database", "postgres://ray:hunter2@db/ray"], 2);
    assert!(secret.contains("a URL without a password") && !secret.contains("hunter2"));
    let nowhere = said(&["--database", "sqlite:///nowhere/at/all/ray.db"], 1);
    assert!(nowhere.contains("/nowhere/at/all"), "{nowhere}");
    assert!(said(&[], 2).contains("--database"));
}

#[test]
fn a_handover_without_a_store_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let done = output(&["store", "handover", "--socket", socket.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(3));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("no store answers at"), "{said}");
}
