//! What happens at the bounds: waiting, never failing.

use std::num::NonZeroUsize;

use bytesize::ByteSize;
use resp::{Reply, write_command};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::stage::{PATIENCE, Stage, call, locally, until, words};

#[tokio::test]
async fn without_its_database_the_store_waits_and_answers_pings() {
    locally(async {
        let store = Stage::new().start().await;
        let (mut writes, mut pings) = (store.client().await, store.client().await);
        let state = store.freeze().await;
        writes
            .send_raw(b"HSET RAYa@KV f v\r\nPING\r\nHGET RAYa@KV f\r\n")
            .await
            .unwrap();
        until("a command waits", || {
            store.shared.report().waiting_commands == 2
        })
        .await;
        for _ in 0..10 {
            assert_eq!(call(&mut pings, "PING").await, Reply::PONG);
        }
        store.thaw(state);
        for reply in [Reply::Int(1), Reply::PONG, Reply::bulk("v")] {
            assert_eq!(writes.reply().await.unwrap(), reply);
        }
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_read_until_so_many_commands_wait() {
    locally(async {
        let store = Stage::bounded(10, ByteSize::mib(64)).start().await;
        let mut client = store.client().await;
        call(&mut client, "HSET RAYa@KV f v").await;
        let state = store.freeze().await;
        let commands: Vec<_> = (0..1000)
            .map(|nth| words(&format!("HSET RAYa@KV f{nth} v")))
            .collect();
        let (mut reader, mut writer) = client.split();
        for command in &commands {
            writer.push(command);
        }
        writer.flush().await.unwrap();
        until("ten wait", || store.shared.report().waiting_commands == 10).await;
        assert_eq!(call(&mut store.client().await, "PING").await, Reply::PONG);
        assert_eq!(store.shared.report().waiting_commands, 10);
        store.thaw(state);
        for _ in &commands {
            assert_eq!(reader.reply().await.unwrap(), Reply::Int(1));
        }
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn all_connections_are_read_until_so_many_bytes_wait() {
    locally(async {
        let limit = ByteSize::mib(1);
        let store = Stage::bounded(16_384, limit).start().await;
        let value = "x".repeat(8 << 10);
        let state = store.freeze().await;
        let mut tasks = Vec::new();
        for client in 0..4 {
            let mut connection = store.client().await;
            let commands: Vec<_> = (0..200)
                .map(|nth| words(&format!("HSET RAYa@KV {client}-{nth} {value}")))
                .collect();
            tasks.push(tokio::task::spawn_local(async move {
                connection.pipeline(&commands).await.unwrap()
            }));
        }
        until("the bound is reached", || {
            store.shared.report().waiting_bytes >= limit.as_u64()
        })
        .await;
        // One who waits for nothing is heard.
        let mut idle = store.client().await;
        for _ in 0..50 {
            assert_eq!(call(&mut idle, "PING").await, Reply::PONG);
        }
        let waiting = store.shared.report().waiting_bytes;
        assert!(
            waiting < limit.as_u64() + (128 << 10),
            "{waiting} bytes wait"
        );
        store.thaw(state);
        for task in tasks {
            let replies = timeout(PATIENCE, task).await.unwrap().unwrap();
            assert!(replies.iter().all(|reply| *reply == Reply::Int(1)));
        }
        assert_eq!(store.shared.report().waiting_bytes, 0);
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn large_values_beyond_the_bound_take_turns() {
    locally(async {
        let store = Stage::bounded(16_384, ByteSize::mib(1)).start().await;
        let mut tasks = Vec::new();
        for client in 0..4 {
            let mut connection = store.client().await;
            let value = client.to_string().repeat(3 << 20);
            tasks.push(tokio::task::spawn_local(async move {
                let hset = format!("HSET RAYa@KV f{client} {value}");
                let commands = [words(&hset), words(&format!("HGET RAYa@KV f{client}"))];
                let replies = connection.pipeline(&commands).await.unwrap();
                assert!(replies == [Reply::Int(1), Reply::bulk(value)]);
            }));
        }
        for task in tasks {
            timeout(PATIENCE, task).await.expect("no deadlock").unwrap();
        }
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_neither_closed_nor_written_ahead() {
    locally(async {
        let store = Stage::new().start().await;
        let mut client = store.client().await;
        let value = "x".repeat(16 << 10);
        call(&mut client, &format!("HSET RAYa@KV f {value}")).await;
        let count = 3000;
        let mut request = bytes::BytesMut::new();
        for _ in 0..count {
            write_command(&mut request, &["HGET", "RAYa@KV", "f"]);
        }
        let mut stopped = TcpStream::connect(store.address).await.unwrap();
        stopped.write_all(&request).await.unwrap();
        until("answers wait", || store.shared.report().waiting_bytes > 0).await;
        for _ in 0..100 {
            assert_eq!(call(&mut client, "PING").await, Reply::PONG);
        }
        let mut answer = vec![0; count * ("$16384\r\n\r\n".len() + value.len())];
        let read = timeout(PATIENCE, stopped.read_exact(&mut answer));
        read.await.unwrap().unwrap();
        assert_eq!(store.shared.report().waiting_bytes, 0);
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    locally(async {
        let mut stage = Stage::new();
        stage.config.connections_max = NonZeroUsize::new(2).unwrap();
        let store = stage.start().await;
        let (mut first, _second) = (store.client().await, store.client().await);
        assert_eq!(call(&mut first, "PING").await, Reply::PONG);
        until("both are there", || store.shared.report().connections == 2).await;
        let mut third = store.client().await;
        let reply = third.reply().await.unwrap();
        assert_eq!(reply.as_error(), Some("ERR max number of clients reached"));
        drop((first, third));
        until("one went", || store.shared.report().connections == 1).await;
        let mut fourth = store.client().await;
        assert_eq!(call(&mut fourth, "PING").await, Reply::PONG);
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn slow_commands_are_remembered() {
    locally(async {
        let mut stage = Stage::new();
        stage.config.slow = std::time::Duration::from_nanos(1);
        let store = stage.start().await;
        let mut client = store.client().await;
        call(&mut client, "HSET RAYa@KV f secret").await;
        let slow = store.shared.report().slow;
        assert_eq!(
            (slow[0].verb, slow[0].key.as_deref()),
            ("hset", Some("RAYa@KV"))
        );
        let path = stage.config.handover_socket.as_ref().unwrap();
        let shown = crate::front::handover::status(path).await.unwrap().unwrap();
        assert_eq!(shown["slow"][0]["verb"], "hset");
        assert_eq!(shown["standing"], "active");
        assert!(!shown.to_string().contains("secret"));
        store.stop().await;
    })
    .await;
}
