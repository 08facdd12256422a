//! A successor takes over under load; or fails, and nothing is lost.

use std::{cell::Cell, rc::Rc, time::Duration};

use resp::{Client, Reply, write_command};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use super::stage::{PATIENCE, Stage, call, locally, until, words};
use crate::front::{Ended, HandoverError, handover::Offer};

/// Clients that count without pause.
struct Load {
    counted: Rc<Cell<i64>>,
    stop: Rc<Cell<bool>>,
    tasks: Vec<JoinHandle<Vec<i64>>>,
}

impl Load {
    async fn start(connect: impl AsyncFn() -> Client, clients: usize) -> Self {
        let (counted, stop) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let mut tasks = Vec::new();
        for nth in 0..clients {
            let mut client = connect().await;
            let (counted, stop) = (counted.clone(), stop.clone());
            tasks.push(tokio::task::spawn_local(async move {
                let mut mine = Vec::new();
                let commands = [
                    words(&format!("HSET RAYa@KV {nth} v")),
                    words("INCRBY RAYa@JobCounter 1"),
                    words("PING"),
                ];
                while !stop.get() {
                    let replies = client.pipeline(&commands).await.unwrap();
                    let [Reply::Int(_), Reply::Int(number), Reply::Status(_)] = replies[..] else {
                        panic!("{replies:?}");
                    };
                    mine.push(number);
                    counted.set(counted.get() + 1);
                }
                mine
            }));
        }
        Self {
            counted,
            stop,
            tasks,
        }
    }

    async fn goes_on(&self) {
        let before = self.counted.get();
        until("the clients go on", || self.counted.get() >= before + 50).await;
    }

    /// Every number was given once.
    async fn check(self) {
        self.stop.set(true);
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(timeout(PATIENCE, task).await.unwrap().unwrap());
        }
        all.sort_unstable();
        let expected: Vec<i64> = (1..=self.counted.get()).collect();
        assert_eq!(all, expected);
    }
}

#[tokio::test]
async fn a_successor_takes_over_under_load() {
    locally(async {
        let stage = Stage::new();
        let first = stage.start().await;
        let idle = first.client().await;
        let load = Load::start(async || first.client().await, 20).await;
        load.goes_on().await;
        let second = stage.take_over().await.unwrap();
        assert_eq!(second.address, first.address);
        assert_eq!(first.ended().await, Ended::HandedOver);
        load.goes_on().await;
        let third = stage.take_over().await.unwrap();
        assert_eq!(second.ended().await, Ended::HandedOver);
        load.goes_on().await;
        assert_eq!(third.shared.report().connections, 21);
        let mut new = third.client().await;
        assert_eq!(call(&mut new, "HEXISTS RAYa@KV 0").await, Reply::Int(1));
        let mut idle = idle;
        assert_eq!(call(&mut idle, "PING").await, Reply::PONG);
        load.check().await;
        third.stop().await;
    })
    .await;
}

#[tokio::test]
async fn tls_connections_are_relayed_and_the_relays_handed_on() {
    locally(async {
        let stage = Stage::new().password("hunter2").certified();
        let first = stage.start().await;
        let target = stage.over_tls(first.target()).login(Some("a"), "hunter2");
        let load = Load::start(async || Client::connect(&target).await.unwrap(), 5).await;
        load.goes_on().await;
        let second = stage.take_over().await.unwrap();
        load.goes_on().await;
        let third = stage.take_over().await.unwrap();
        assert_eq!(second.ended().await, Ended::HandedOver);
        load.goes_on().await;
        // Who they are has come along, and new ones speak TLS to the newest.
        let mut new = Client::connect(&target).await.unwrap();
        assert_eq!(call(&mut new, "HEXISTS RAYa@KV 0").await, Reply::Int(1));
        load.check().await;
        drop(new);
        // The last relayed connection has gone.
        assert_eq!(first.ended().await, Ended::HandedOver);
        third.stop().await;
    })
    .await;
}

#[tokio::test]
async fn half_a_request_and_half_an_answer_move_as_they_are() {
    locally(async {
        let stage = Stage::new();
        let first = stage.start().await;
        let mut client = first.client().await;
        let (inline, large) = ("x".repeat(16 << 10), "y".repeat(3 << 20));
        call(&mut client, &format!("HSET RAYa@KV f {inline} g {large}")).await;
        client
            .send_raw(b"*4\r\n$4\r\nHSET\r\n$7\r\nRAYa@KV\r\n$1\r")
            .await
            .unwrap();

        let mut stopped = TcpStream::connect(first.address).await.unwrap();
        let mut request = bytes::BytesMut::new();
        for _ in 0..1000 {
            write_command(&mut request, &["HGET", "RAYa@KV", "f"]);
        }
        write_command(&mut request, &["HGET", "RAYa@KV", "g"]);
        write_command(&mut request, &["PING"]);
        stopped.write_all(&request).await.unwrap();
        until("answers wait", || first.shared.report().waiting_bytes > 0).await;

        let second = stage.take_over().await.unwrap();
        client.send_raw(b"\nh\r\n$1\r\nv\r\n").await.unwrap();
        assert_eq!(client.reply().await.unwrap(), Reply::Int(1));
        let mut expected = format!("$16384\r\n{inline}\r\n").repeat(1000);
        expected.push_str(&format!("${}\r\n{large}\r\n+PONG\r\n", large.len()));
        let mut answer = vec![0; expected.len()];
        let read = timeout(PATIENCE, stopped.read_exact(&mut answer));
        read.await.unwrap().unwrap();
        assert!(answer == expected.as_bytes());
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn who_said_goodbye_and_does_not_listen_holds_nobody_up() {
    locally(async {
        let stage = Stage::new();
        let first = stage.start().await;
        let mut client = first.client().await;
        let value = "x".repeat(16 << 10);
        call(&mut client, &format!("HSET RAYa@KV f {value}")).await;
        let mut request = bytes::BytesMut::new();
        for _ in 0..1000 {
            write_command(&mut request, &["HGET", "RAYa@KV", "f"]);
        }
        write_command(&mut request, &["QUIT"]);
        let mut gone = TcpStream::connect(first.address).await.unwrap();
        gone.write_all(&request).await.unwrap();
        until("answers wait", || first.shared.report().waiting_bytes > 0).await;
        let second = stage.take_over().await.unwrap();
        assert_eq!(first.ended().await, Ended::HandedOver);
        assert_eq!(call(&mut client, "PING").await, Reply::PONG);
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_the_database_hands_nothing_over() {
    locally(async {
        let mut stage = Stage::new();
        stage.quiesce = Duration::from_millis(50);
        let first = stage.start().await;
        let mut client = first.client().await;
        let mut other = first.client().await;
        let state = first.freeze().await;
        client.send_raw(b"HSET RAYa@KV f v\r\n").await.unwrap();
        until("it waits", || first.shared.report().waiting_commands == 1).await;
        let refused = stage.take_over().await.err().unwrap();
        assert!(
            matches!(refused, HandoverError::Refused { .. }),
            "{refused}"
        );
        assert_eq!(call(&mut other, "PING").await, Reply::PONG);
        first.thaw(state);
        assert_eq!(client.reply().await.unwrap(), Reply::Int(1));
        assert_eq!(call(&mut client, "HGET RAYa@KV f").await, Reply::bulk("v"));
        first.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_successor_that_fails_gives_everything_back() {
    locally(async {
        let stage = Stage::new();
        let first = stage.start().await;
        let load = Load::start(async || first.client().await, 10).await;
        load.goes_on().await;
        let path = stage.config.handover_socket.as_ref().unwrap();
        for _ in 0..3 {
            // It has all and the database is free; then it dies.
            let (offer, _state) = Offer::ask(path).await.unwrap().unwrap();
            assert_eq!(offer.connections(), 10);
            drop(offer);
            load.goes_on().await;
        }
        // And one that works.
        let second = stage.take_over().await.unwrap();
        assert_eq!(first.ended().await, Ended::HandedOver);
        load.goes_on().await;
        load.check().await;
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_second_store_does_not_push_the_first_from_its_socket() {
    locally(async {
        let stage = Stage::new();
        let first = stage.start().await;
        let refused = crate::front::Door::open(&stage.config, None).await;
        let error = refused.err().unwrap().to_string();
        assert!(error.starts_with("another store serves behind"), "{error}");
        first.stop().await;
    })
    .await;
}
