//! The admin listener over real sockets.

use std::net::Ipv4Addr;

use discovery_client::{Event, Index};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    task::JoinHandle,
};

use super::*;

struct Running {
    address: SocketAddr,
    facts: Arc<Facts>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn running() -> Running {
    let mut index = Index::new();
    let at = discovery_client::Cursor {
        generation: 1,
        revision: 7,
    };
    index.apply(Event::Reset {
        at,
        endpoints: Vec::new(),
    });
    let (_, view) = watch::channel(Arc::new(index.snapshot()));
    let facts = Arc::new(Facts {
        site: "east".parse().unwrap(),
        id: "gateway".parse().unwrap(),
        roles: vec![crate::config::Role::Registry],
        started: Instant::now(),
        gateway: None,
        registry: None,
        store: None,
        view: Some(view),
        link: None,
        peers: None,
        draining: CancellationToken::new(),
    });
    let admin = Admin::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let (address, stop) = (admin.local_addr(), CancellationToken::new());
    let task = tokio::spawn(admin.run(facts.clone(), stop.clone()));
    Running {
        address,
        facts,
        stop,
        task,
    }
}

impl Running {
    /// Everything that comes back after `text` until the connection ends.
    async fn send(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The other end may have heard enough before it has read everything.
        let _ = stream.write_all(text.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        ))
        .await
    }
}

#[tokio::test]
async fn readiness_turns_when_the_process_leaves_and_liveness_does_not() {
    let admin = running().await;
    assert!(admin.get("/readyz").await.starts_with("HTTP/1.1 200"));
    admin.facts.draining.cancel();
    let answer = admin.get("/readyz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("\"ready\":false"),
        "{answer}"
    );
    assert!(admin.get("/livez").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_head_beyond_its_bounds_is_refused() {
    let admin = running().await;
    let long = format!(
        "GET /livez HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(MAX_HEAD)
    );
    assert!(admin.send(&long).await.starts_with("HTTP/1.1 431"));
    let many = format!(
        "GET /livez HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(MAX_HEADERS + 1)
    );
    assert!(admin.send(&many).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_its_connection() {
    let admin = running().await;
    let began = Instant::now();
    let answer = admin.send("GET /livez HTTP/1.1\r\nhost: ").await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        began.elapsed() >= HEAD && began.elapsed() < LIFETIME,
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_bound_wait_their_turn() {
    let admin = running().await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(TcpStream::connect(admin.address).await.unwrap());
    }
    // Each idle one is accepted before the next request can be.
    let mut waiting = TcpStream::connect(admin.address).await.unwrap();
    waiting
        .write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    let early = timeout(Duration::from_millis(100), waiting.read(&mut byte)).await;
    assert!(
        early.is_err(),
        "it was answered while the bound was reached"
    );
    drop(idle);
    assert_eq!(waiting.read(&mut byte).await.unwrap(), 1);
}

#[tokio::test]
async fn a_stop_ends_the_listener() {
    let admin = running().await;
    let _idle = TcpStream::connect(admin.address).await.unwrap();
    admin.stop.cancel();
    timeout(LAST + Duration::from_secs(5), admin.task)
        .await
        .unwrap()
        .unwrap();
}
