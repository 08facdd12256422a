//! What stands on the wire: the subset, pipelines, large values, nonsense.

use bytes::Bytes;
use resp::{Client, Reply, write_command};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::stage::{PATIENCE, Stage, call, locally, refused, words};

fn bulks(items: &[&str]) -> Reply {
    Reply::Array(items.iter().map(Reply::bulk).collect())
}

#[tokio::test]
async fn the_handshake_of_ray_is_answered() {
    locally(async {
        let store = Stage::new().start().await;
        let mut client = store.client().await;
        assert_eq!(call(&mut client, "INFO SENTINEL").await, Reply::bulk(""));
        let cluster = Reply::bulk("# Cluster\r\ncluster_enabled:0\r\n");
        assert_eq!(call(&mut client, "INFO CLUSTER").await, cluster);
        assert_eq!(call(&mut client, "DEL DUMMY").await, Reply::Int(0));
        assert_eq!(call(&mut client, "PING").await, Reply::PONG);
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_subset_is_spoken() {
    locally(async {
        let store = Stage::new().start().await;
        let mut client = store.client().await;
        for (line, reply) in [
            ("HSET RAYa@KV f v", Reply::Int(1)),
            ("hset RAYa@KV f w", Reply::Int(0)),
            ("HSET RAYa@KV f 1 g 2 h 3", Reply::Int(2)),
            ("HSETNX RAYa@KV f x", Reply::Int(0)),
            ("HGET RAYa@KV f", Reply::bulk("1")),
            ("HGET RAYa@KV none", Reply::Null),
            ("HEXISTS RAYa@KV g", Reply::Int(1)),
            ("HLEN RAYa@KV", Reply::Int(3)),
            ("HDEL RAYa@KV g none", Reply::Int(1)),
            ("INCRBY RAYa@JobCounter 1", Reply::Int(1)),
            ("INCRBY RAYa@JobCounter 41", Reply::Int(42)),
            ("GET RAYa@JobCounter", Reply::bulk("42")),
            ("SELECT 0", Reply::OK),
            ("COMMAND DOCS", Reply::Array(Vec::new())),
            ("PING hello", Reply::bulk("hello")),
        ] {
            assert_eq!(call(&mut client, line).await, reply, "{line}");
        }
        let fields = call(&mut client, "HMGET RAYa@KV h none f").await;
        let expected = vec![Reply::bulk("3"), Reply::Null, Reply::bulk("1")];
        assert_eq!(fields, Reply::Array(expected));
        let page = call(&mut client, "HSCAN RAYa@KV 0 COUNT 1000").await;
        let all = Reply::Array(vec![Reply::bulk("0"), bulks(&["f", "1", "h", "3"])]);
        assert_eq!(page, all);
        let Reply::Array(page) = call(&mut client, "SCAN 0 MATCH RAYa@* COUNT 1000").await else {
            panic!("no page");
        };
        assert_eq!(page[1], bulks(&["RAYa@JobCounter", "RAYa@KV"]));
        assert_eq!(call(&mut client, "UNLINK RAYa@KV").await, Reply::Int(1));
        assert_eq!(call(&mut client, "DEL RAYa@KV").await, Reply::Int(0));
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn five_thousand_commands_are_answered_in_order() {
    locally(async {
        let store = Stage::new().start().await;
        let mut client = store.client().await;
        let commands: Vec<_> = (0..5_000)
            .map(|nth| match nth % 4 {
                0 => words(&format!("HSET RAYa@KV f{nth} v{nth}")),
                1 => words(&format!("PING {nth}")),
                2 => words(&format!("HGET RAYa@KV f{}", nth - 2)),
                _ => words("HSET RAYa@KV"),
            })
            .collect();
        let replies = client.pipeline(&commands).await.unwrap();
        for (nth, reply) in replies.into_iter().enumerate() {
            match nth % 4 {
                0 => assert_eq!(reply, Reply::Int(1)),
                1 => assert_eq!(reply, Reply::bulk(nth.to_string())),
                2 => assert_eq!(reply, Reply::bulk(format!("v{}", nth - 2))),
                _ => assert!(reply.as_error().unwrap().starts_with("ERR wrong number")),
            }
        }
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn large_values_keep_their_place_among_small_ones() {
    locally(async {
        let store = Stage::new().start().await;
        let mut client = store.client().await;
        let large = |nth: u8| Bytes::from(vec![nth; 1_300_000 + usize::from(nth)]);
        let mut commands: Vec<Vec<Bytes>> = Vec::new();
        for nth in 0..6 {
            let field = Bytes::from(format!("f{nth}"));
            let key = Bytes::from_static(b"RAYa@KV");
            commands.push(vec!["HSET".into(), key.clone(), field.clone(), large(nth)]);
            commands.push(vec!["PING".into(), field.clone()]);
            commands.push(vec!["HGET".into(), key.clone(), field.clone()]);
            commands.push(vec!["HSET".into(), key.clone(), "small".into(), field]);
            commands.push(vec!["HGET".into(), key, "small".into()]);
        }
        let replies = client.pipeline(&commands).await.unwrap();
        for nth in 0..6_u8 {
            let at = usize::from(nth) * 5;
            assert_eq!(replies[at], Reply::Int(1));
            assert_eq!(replies[at + 1], Reply::bulk(format!("f{nth}")));
            assert!(replies[at + 2] == Reply::Bulk(large(nth)), "value {nth}");
            assert_eq!(replies[at + 4], Reply::bulk(format!("f{nth}")));
        }
        let (mut cursor, mut read) = ("0".to_owned(), Vec::new());
        loop {
            let line = format!("HSCAN RAYa@KV {cursor} COUNT 1000");
            let Reply::Array(page) = call(&mut client, &line).await else {
                panic!("no page");
            };
            let [Reply::Bulk(next), Reply::Array(pairs)] = &page[..] else {
                panic!("no cursor and pairs");
            };
            read.extend(pairs.clone());
            cursor = String::from_utf8(next.to_vec()).unwrap();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(read.len(), 14);
        for nth in 0..6_u8 {
            assert!(read[usize::from(nth) * 2 + 1] == Reply::Bulk(large(nth)));
        }
        store.stop().await;
    })
    .await;
}

/// Sends bytes and reads until the store closes the connection.
async fn answer_to(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("the store closes the connection").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn who_does_not_speak_resp_is_told_and_closed() {
    locally(async {
        let store = Stage::new().start().await;
        for (bytes, error) in [
            ("*3\r\n$4\r\nHSET\r\n$536870913\r\n", "invalid bulk length"),
            ("*1\r\n$-1\r\n", "invalid bulk length"),
            ("*1\r\n$-9223372036854775808\r\n", "invalid bulk length"),
            ("*100000000\r\n", "invalid multibulk length"),
            ("*x\r\n", "invalid multibulk length"),
            ("*1\r\n:1\r\n", "expected '$', got ':'"),
            ("*1\r\n$4\r\nPINGxx", "not followed by CRLF"),
            ("PING \"x\r\n", "unbalanced quotes"),
        ] {
            let answer = answer_to(store.address, bytes.as_bytes()).await;
            let told = answer.starts_with("-ERR Protocol error: ") && answer.contains(error);
            assert!(told, "{bytes:?}: {answer:?}");
        }
        // What was asked before is answered before.
        let answer = answer_to(store.address, b"PING\r\n*1\r\n$4\r\nPING\r\n*x\r\n").await;
        assert!(answer.starts_with("+PONG\r\n+PONG\r\n-ERR Protocol error"));
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_person_may_type_and_say_goodbye() {
    locally(async {
        let store = Stage::new().start().await;
        let typed = b"\r\nping\r\nhset RAYa@KV f \"a b\"\r\nhget RAYa@KV f\r\nQUIT\r\nPING\r\n";
        let answer = answer_to(store.address, typed).await;
        assert_eq!(answer, "+PONG\r\n:1\r\n$3\r\na b\r\n+OK\r\n");
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn who_stops_sending_still_gets_the_answers() {
    locally(async {
        let store = Stage::new().start().await;
        let mut stream = TcpStream::connect(store.address).await.unwrap();
        let mut request = bytes::BytesMut::new();
        for nth in 0..100 {
            write_command(&mut request, &words(&format!("HSET RAYa@KV f{nth} v")));
        }
        stream.write_all(&request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let read = timeout(PATIENCE, stream.read_to_string(&mut answer));
        read.await.unwrap().unwrap();
        assert_eq!(answer, ":1\r\n".repeat(100));
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_unknown_verb_is_answered_and_counted() {
    locally(async {
        let store = Stage::new().start().await;
        let mut client = store.client().await;
        let error = refused(&mut client, "EVAL script 1 RAYa@KV").await;
        assert!(error.starts_with("ERR unknown command 'EVAL'"));
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(store.metrics.collector());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("tw_store_unknown_commands_total 1"), "{text}");
        assert_eq!(call(&mut client, "PING").await, Reply::PONG);
        store.stop().await;
    })
    .await;
}

#[tokio::test]
async fn requests_come_in_pieces() {
    locally(async {
        let store = Stage::new().start().await;
        let mut client: Client = store.client().await;
        let mut request = bytes::BytesMut::new();
        write_command(&mut request, &["HSET", "RAYa@KV", "field", "value"]);
        for byte in &request {
            client.send_raw(&[*byte]).await.unwrap();
        }
        assert_eq!(client.reply().await.unwrap(), Reply::Int(1));
        store.stop().await;
    })
    .await;
}
