//! A real Redis as the judge of what this crate claims to do as Redis does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use harness::redis::Redis;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use resp::{Client, Limits, Parser, Pattern, ProtocolError, Reply, Request, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

async fn redis() -> (tempfile::TempDir, Redis) {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path(), &[]).await.expect("a Redis");
    (folder, redis)
}

/// All that Redis says to `stream` until it, or we, have no more to say.
async fn said_by_redis(address: SocketAddr, stream: &[u8]) -> Bytes {
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    let (mut read, mut write) = connection.split();
    let talk = async {
        let writing = async {
            // Redis may close before it has read all that is wrong.
            let _closed = write.write_all(stream).await;
            let _closed = write.shutdown().await;
        };
        let mut said = Vec::new();
        let (_, _reset) = tokio::join!(writing, read.read_to_end(&mut said));
        said
    };
    timeout(LIMIT, talk)
        .await
        .expect("an answer in time")
        .into()
}

/// What a server on this crate would say, were `ECHO` and `PING` all it knew.
fn said_by_us(stream: &[u8]) -> Bytes {
    let mut parser = Parser::new(Limits::default());
    let mut buffer = BytesMut::from(stream);
    let mut out = BytesMut::new();
    loop {
        match parser.parse(&mut buffer) {
            Ok(Some(request)) => reply(request).encode(&mut out),
            Ok(None) => return out.freeze(),
            Err(error) => {
                resp::write_error(&mut out, &format!("ERR {error}"));
                return out.freeze();
            }
        }
    }
}

fn reply(Request { mut args, .. }: Request) -> Reply {
    let verb = args[0].to_ascii_lowercase();
    match (&verb[..], args.len()) {
        (b"ping", 1) => Reply::PONG,
        (b"ping" | b"echo", 2) => Reply::Bulk(args.swap_remove(1)),
        (b"ping" | b"echo", _) => Reply::Error(
            format!(
                "ERR wrong number of arguments for '{}' command",
                String::from_utf8_lossy(&verb)
            )
            .into(),
        ),
        other => panic!("{} is not asked here", other.0.escape_ascii()),
    }
}

#[tokio::test]
async fn protocol_errors_are_worded_as_redis_words_them() {
    let (_folder, redis) = redis().await;
    let ping = b"*1\r\n$4\r\nPING\r\n";
    // Without its end: Redis accepts a longer line when it comes in one read.
    let too_long = b"x".repeat((64 << 10) + 1);
    let streams: &[&[u8]] = &[
        b"*x\r\n",
        b"*\r\n",
        b"*+1\r\n",
        b"*01\r\n",
        b"*-0\r\n",
        b"* 1\r\n",
        b"*2147483648\r\n",
        b"*9223372036854775808\r\n",
        b"*0\r\n*-1\r\n*-9223372036854775808\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n\r\n",
        b"*1\r\n*1\r\n",
        b"*1\r\n'\r\n",
        b"*1\r\n\\\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$+4\r\nPING\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$9223372036854775808\r\n",
        b"PING \"a\r\n",
        b"PING 'a'b\r\n",
        b"\r\n\n  \r\nPING\n",
        b"ping hello\r\n*2\r\n$4\r\necho\r\n$2\r\n\r\n\r\n",
    ];
    let streams = streams
        .iter()
        .map(|stream| [&ping[..], stream, ping].concat());
    for stream in streams.chain([too_long]) {
        let (theirs, ours) = (
            said_by_redis(redis.address(), &stream).await,
            said_by_us(&stream),
        );
        assert_eq!(
            ours,
            theirs,
            "{}",
            stream[..stream.len().min(99)].escape_ascii()
        );
    }
}

#[tokio::test]
async fn words_of_a_line_are_those_redis_reads() {
    let (_folder, redis) = redis().await;
    let mut runner = TestRunner::new(Config::default());
    let line = vec(
        prop::sample::select(&b"aab x10f\t  \"\"''\\\\nrt\xff"[..]),
        0..14,
    );
    let mut refused = 0;
    for _ in 0..500 {
        let text = line.new_tree(&mut runner).unwrap().current();
        let stream = [b"ECHO ", &text[..], b"\r\n"].concat();
        let (theirs, ours) = (
            said_by_redis(redis.address(), &stream).await,
            said_by_us(&stream),
        );
        assert_eq!(ours, theirs, "{}", stream.escape_ascii());
        refused += usize::from(ours == format!("-ERR {}\r\n", ProtocolError::Quotes));
    }
    assert!(
        (50..450).contains(&refused),
        "{refused} of 500 refused: too one-sided to tell"
    );
}

#[tokio::test]
async fn patterns_match_what_redis_matches() {
    let (_folder, redis) = redis().await;
    let mut client = Client::connect(&Target::new(redis.address().to_string()))
        .await
        .unwrap();
    let mut runner = TestRunner::new(Config::default());
    // Left out: the empty subject, and ranges up to bytes over 127, where Redis
    // depends on the machine.
    let subject = vec(prop::sample::select(&b"aaabbc[]^-\\*?\r\n\0"[..]), 1..7);
    let subjects: BTreeSet<Vec<u8>> = (0..2000)
        .map(|_| subject.new_tree(&mut runner).unwrap().current())
        .collect();
    for chunk in subjects.iter().collect::<Vec<_>>().chunks(500) {
        let mut command: Vec<&[u8]> = vec![b"HSET", b"subjects"];
        command.extend(chunk.iter().flat_map(|subject| [&subject[..], b""]));
        client.call(&command).await.unwrap();
    }
    let pattern = vec(prop::sample::select(&b"abc**??[]^-\\\n\0"[..]), 0..9);
    for _ in 0..2000 {
        let pattern = pattern.new_tree(&mut runner).unwrap().current();
        let command: [&[u8]; 7] = [
            b"HSCAN",
            b"subjects",
            b"0",
            b"MATCH",
            &pattern,
            b"COUNT",
            b"100000",
        ];
        let Reply::Array(mut page) = client.call(&command).await.unwrap() else {
            panic!("no page")
        };
        let Some(Reply::Array(items)) = page.pop() else {
            panic!("no items")
        };
        let theirs: BTreeSet<Vec<u8>> = items
            .into_iter()
            .step_by(2)
            .map(|item| match item {
                Reply::Bulk(bytes) => bytes.to_vec(),
                other => panic!("{other:?}"),
            })
            .collect();
        let compiled = Pattern::parse(&pattern);
        let ours: BTreeSet<Vec<u8>> = subjects
            .iter()
            .filter(|subject| compiled.matches(subject))
            .cloned()
            .collect();
        assert_eq!(ours, theirs, "{}", pattern.escape_ascii());
    }
}
