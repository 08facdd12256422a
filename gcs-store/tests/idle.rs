//! Ten thousand heads that say nothing: what they cost, and that they live.
//!
//! Alone in its process, for it measures the process's memory. Both ends of
//! each connection are in it, and of the clients' only what the kernel does not
//! hold counts: nothing for plain ones.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use gcs_store::{Config, Handle, Store, config::Tls};
use resp::{Client, Reply, Target};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a connection may take.
const EACH: u64 = 32 << 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// How many connections the bound on descriptors allows, two for each.
fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).unwrap();
    let descriptors = limit.maximum.unwrap_or(1 << 20);
    usize::try_from(descriptors.saturating_sub(400) / 2)
        .unwrap()
        .min(10_000)
}

/// Memory of this process that is in use.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kilobytes.parse::<u64>().unwrap() << 10
}

struct Running {
    handle: Handle,
    stop: CancellationToken,
    run: JoinHandle<Result<(), gcs_store::Error>>,
}

impl Running {
    async fn start(config: Config) -> Self {
        let store = Store::open(config).await.unwrap();
        let handle = store.handle();
        let stop = CancellationToken::new();
        let run = tokio::spawn(store.run(stop.clone()));
        handle.settled().await;
        Self { handle, stop, run }
    }

    async fn has(&self, connections: usize) {
        let began = Instant::now();
        while self.handle.report().await.unwrap().connections != connections {
            assert!(began.elapsed() < PATIENCE, "not {connections} connections");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.run.await.unwrap().unwrap();
    }
}

fn config(folder: &std::path::Path) -> Config {
    Config {
        database: format!("sqlite://{}", folder.join("store.db").display()),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..Config::default()
    }
}

fn ask(client: &mut TcpStream) {
    client
        .write_all(b"*3\r\n$4\r\nHGET\r\n$7\r\nRAYa@KV\r\n$1\r\nf\r\n")
        .unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"$-1\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_costs_little() {
    let folder = tempfile::tempdir().unwrap();
    let store = Running::start(config(folder.path())).await;
    let address = store.handle.local_addr();
    let count = connections();
    assert!(count >= 500, "too few descriptors: `ulimit -Hn` is {count}");
    // What the first ones bring about is not theirs.
    let mut clients: Vec<_> = (0..50)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    clients.iter_mut().for_each(ask);
    let before = resident();
    let measured = count - clients.len();
    while clients.len() < count {
        // No more at a time than the kernel's queue holds.
        let some = (count - clients.len()).min(100);
        clients.extend((0..some).map(|_| TcpStream::connect(address).unwrap()));
        store.has(clients.len()).await;
    }
    clients.iter_mut().for_each(ask);
    let each = resident().saturating_sub(before) / measured as u64;
    println!("{count} idle connections, {each} bytes each");
    assert!(each <= EACH, "{each} bytes");
    clients.iter_mut().for_each(ask);
    drop(clients);
    store.has(0).await;

    // TLS: both ends are ours, so half of it is the store's, about.
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = Tls {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        client_ca: None,
    };
    fs::write(&tls.cert, made.cert.pem()).unwrap();
    fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    store.stop().await;
    let store = Running::start(Config {
        tls: Some(tls),
        ..config(folder.path())
    })
    .await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let target = Target::new(store.handle.local_addr().to_string()).tls(Arc::new(client), name);
    let count = (connections() / 2).min(1_000);
    let mut clients = Vec::with_capacity(count);
    let mut before = 0;
    // The first ones use memory that is there from before.
    for nth in 0..count {
        if nth == count / 2 {
            before = resident();
        }
        let mut client = Client::connect(&target).await.unwrap();
        let reply = client.call(&["HGET", "RAYa@KV", "f"]).await.unwrap();
        assert_eq!(reply, Reply::Null);
        clients.push(client);
    }
    let each = resident().saturating_sub(before) / (count - count / 2) as u64;
    println!("{count} idle TLS connections, {each} bytes each, both ends");
    assert!(each <= 3 * EACH, "{each} bytes");
    drop(clients);
    store.stop().await;
}
