//! Streams of requests, right and wrong, cut in every way.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use resp::{Limits, Parser, ProtocolError, Request, write_command};

/// What a stream was read as.
#[derive(Debug, PartialEq)]
struct Outcome {
    requests: Vec<Vec<Bytes>>,
    error: Option<ProtocolError>,
    rest: Bytes,
}

/// Reads `stream` as a connection would, in reads of at most the sizes of `cuts`
/// (over and over; 0 counts as 1); checks invariant 2 at each step.
fn read(stream: &[u8], cuts: &[usize], limits: Limits) -> Outcome {
    let mut parser = Parser::new(limits);
    let mut buffer = BytesMut::new();
    let mut outcome = Outcome {
        requests: Vec::new(),
        error: None,
        rest: Bytes::new(),
    };
    let mut cuts = cuts.iter().copied().cycle();
    let mut rest = stream;
    let mut sent = 0;
    while !rest.is_empty() && outcome.error.is_none() {
        parser.reserve(&mut buffer);
        let spare = buffer.capacity() - buffer.len();
        let piece = cuts
            .next()
            .unwrap_or(usize::MAX)
            .clamp(1, spare)
            .min(rest.len());
        buffer.extend_from_slice(&rest[..piece]);
        rest = &rest[piece..];
        sent += piece;
        assert!(
            buffer.capacity() <= 2 * sent + (32 << 10),
            "{} held",
            buffer.capacity()
        );
        loop {
            match parser.parse(&mut buffer) {
                Ok(Some(Request { args, .. })) => {
                    assert!(!args.is_empty());
                    outcome.requests.push(args);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(parser.parse(&mut buffer), Err(error), "an error stays");
                    outcome.error = Some(error);
                    break;
                }
            }
        }
    }
    if outcome.error.is_none() {
        outcome.rest = buffer.freeze();
    }
    outcome
}

fn written(requests: &[Vec<Vec<u8>>]) -> BytesMut {
    let mut out = BytesMut::new();
    for request in requests {
        write_command(&mut out, request);
    }
    out
}

fn requests() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let argument = prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        1 => vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'$'), Just(b'*'), Just(0)], 0..9),
        1 => vec(any::<u8>(), 1000..40_000),
    ];
    vec(vec(argument, 1..6), 0..6)
}

/// Streams near to what is valid: pieces of the grammar in any order.
fn near() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"*1\r\n$4\r\nPING\r\n".to_vec()),
        Just(b"*2\r\n".to_vec()),
        Just(b"$3\r\nabc\r\n".to_vec()),
        Just(b"$0\r\n\r\n".to_vec()),
        Just(b"*0\r\n*-1\r\n".to_vec()),
        Just(b"PING 'a b' \"\\x00\"\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"$536870913\r\n".to_vec()),
        (any::<i64>(), 0..4_usize).prop_map(|(number, kind)| {
            let mark = [b"*", b"$", b":", b"+"][kind];
            [&mark[..], number.to_string().as_bytes(), b"\r\n"].concat()
        }),
        (0..40_i64).prop_map(|number| format!("*{number}\r\n").into_bytes()),
        (0..40_i64).prop_map(|number| format!("${number}\r\n").into_bytes()),
        vec(any::<u8>(), 0..8),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_was_written_is_read(requests in requests(), cuts in vec(1..2000_usize, 1..8)) {
        let outcome = read(&written(&requests), &cuts, Limits::default());
        prop_assert_eq!(outcome.error, None);
        prop_assert!(outcome.rest.is_empty());
        let seen: Vec<Vec<Vec<u8>>> = outcome
            .requests
            .iter()
            .map(|args| args.iter().map(|arg| arg.to_vec()).collect())
            .collect();
        prop_assert_eq!(seen, requests);
    }

    #[test]
    fn the_cut_changes_nothing(stream in near(), cuts in vec(1..12_usize, 1..8)) {
        for limits in [Limits::default(), Limits::UNAUTHENTICATED, tight()] {
            let whole = read(&stream, &[usize::MAX], limits);
            prop_assert_eq!(&read(&stream, &cuts, limits), &whole);
            prop_assert_eq!(&read(&stream, &[1], limits), &whole);
        }
    }

    #[test]
    fn no_stream_makes_it_panic(stream in vec(any::<u8>(), 0..300), cuts in vec(1..9_usize, 1..4)) {
        let whole = read(&stream, &[usize::MAX], tight());
        prop_assert_eq!(read(&stream, &cuts, tight()), whole);
    }

    /// What a successor process needs to take over a connection.
    #[test]
    fn a_fresh_parser_goes_on_with_the_bytes_of_another(
        requests in requests(),
        at in any::<prop::sample::Index>(),
    ) {
        let stream = written(&requests);
        let (first, second) = stream.split_at(at.index(stream.len() + 1));
        let mut outcome = read(first, &[997], Limits::default());
        let continued = [&outcome.rest[..], second].concat();
        outcome.requests.extend(read(&continued, &[997], Limits::default()).requests);
        prop_assert_eq!(outcome.requests.len(), requests.len());
    }
}

/// Limits small enough for random streams to reach.
fn tight() -> Limits {
    Limits {
        arguments: 5,
        bulk_bytes: 30,
        request_bytes: 90,
        inline_bytes: 12,
        unauthenticated: false,
    }
}

fn error_of(stream: &[u8], limits: Limits) -> Option<String> {
    read(stream, &[usize::MAX], limits)
        .error
        .map(|error| error.to_string())
}

#[test]
fn errors_speak_as_redis_does() {
    for (stream, text) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*99999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"PING \"a\r\n", "unbalanced quotes in request"),
        (&b"x".repeat((64 << 10) + 1), "too big inline request"),
    ] {
        let expected = format!("Protocol error: {text}");
        assert_eq!(error_of(stream, Limits::default()), Some(expected));
    }
}

#[test]
fn before_the_login_little_is_accepted() {
    let limits = Limits::UNAUTHENTICATED;
    assert_eq!(
        error_of(b"*11\r\n", limits).as_deref(),
        Some("Protocol error: unauthenticated multibulk length")
    );
    assert_eq!(
        error_of(b"*1\r\n$16385\r\n", limits).as_deref(),
        Some("Protocol error: unauthenticated bulk length")
    );
    assert_eq!(error_of(b"*10\r\n$16384\r\n", limits), None);
}

#[test]
fn a_login_lifts_the_limits_for_what_is_pipelined_behind_it() {
    let mut buffer = BytesMut::new();
    write_command(&mut buffer, &["AUTH", "secret"]);
    write_command(&mut buffer, &["HMGET"; 600]);
    let mut parser = Parser::new(Limits::UNAUTHENTICATED);
    let login = parser.parse(&mut buffer).unwrap().unwrap();
    assert_eq!(login.verb(), &"AUTH");
    parser.set_limits(Limits::default());
    assert_eq!(parser.parse(&mut buffer).unwrap().unwrap().args.len(), 600);
}

#[test]
fn a_person_with_nc_is_answered() {
    let outcome = read(b"\r\nPING\r\nping 'hello there'\n", &[3], Limits::default());
    assert_eq!(
        outcome.requests,
        [vec![&b"PING"[..]], vec![b"ping", b"hello there"]]
    );
}

#[test]
fn an_announced_length_allocates_nothing() {
    let mut parser = Parser::new(Limits::default());
    let mut buffer = BytesMut::from(&b"*60000\r\n$536870912\r\n0123456789"[..]);
    assert_eq!(parser.parse(&mut buffer), Ok(None));
    parser.reserve(&mut buffer);
    assert!(
        buffer.capacity() <= 32 << 10,
        "{} reserved",
        buffer.capacity()
    );
}

#[test]
fn arguments_together_are_bounded() {
    let limits = Limits {
        request_bytes: 100,
        ..Limits::default()
    };
    assert_eq!(error_of(b"*2\r\n$50\r\n", limits), None);
    let stream = [&b"*2\r\n$50\r\n"[..], &[b'a'; 50], b"\r\n$50\r\n"].concat();
    assert_eq!(
        read(&stream, &[7], limits).error,
        Some(ProtocolError::RequestLength)
    );
}

/// Invariant 1. Were each piece to look at the whole again, the first stream
/// alone would cost half a terabyte of reading.
#[test]
fn small_pieces_of_large_requests_cost_linear_time() {
    let began = Instant::now();

    let value = vec![b'v'; 128 << 20];
    let mut stream = BytesMut::new();
    let command: [&[u8]; 4] = [b"HSET", b"key", b"field", &value];
    write_command(&mut stream, &command);
    let outcome = read(&stream, &[16 << 10], Limits::default());
    assert_eq!(outcome.requests[0][3].len(), value.len());

    let mut stream = BytesMut::new();
    write_command(&mut stream, &[""; 60_000]);
    assert_eq!(
        read(&stream, &[1], Limits::default()).requests[0].len(),
        60_000
    );

    let stream = [&[b'i'; 60_000][..], b"\n"].concat();
    assert_eq!(
        read(&stream, &[1], Limits::default()).requests[0][0].len(),
        60_000
    );

    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
}
