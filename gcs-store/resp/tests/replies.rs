//! Replies, written and read back, cut in every way.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use resp::{ProtocolError, Reply, ReplyLimits, ReplyParser};

fn reply() -> impl Strategy<Value = Reply> {
    let leaf = prop_oneof![
        "[ -~]{0,20}".prop_map(|text| Reply::Status(text.into())),
        "ERR [ -~]{0,20}".prop_map(|text| Reply::Error(text.into())),
        any::<i64>().prop_map(Reply::Int),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Reply::Bulk(bytes.into())),
        Just(Reply::Null),
        Just(Reply::NullArray),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| vec(inner, 0..6).prop_map(Reply::Array))
}

/// What a stream of replies was read as, and why reading ended.
fn read(stream: &[u8], piece: usize, limits: ReplyLimits) -> (Vec<Reply>, Option<ProtocolError>) {
    let mut parser = ReplyParser::new(limits);
    let mut buffer = BytesMut::new();
    let mut replies = Vec::new();
    for part in stream.chunks(piece) {
        buffer.extend_from_slice(part);
        loop {
            match parser.parse(&mut buffer) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

fn tight() -> ReplyLimits {
    ReplyLimits {
        bytes: 200,
        depth: 3,
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(replies in vec(reply(), 0..5), piece in 1..50_usize) {
        let mut stream = BytesMut::new();
        for reply in &replies {
            reply.encode(&mut stream);
        }
        let (seen, error) = read(&stream, piece, ReplyLimits::default());
        prop_assert_eq!(error, None);
        prop_assert_eq!(seen, replies);
    }

    #[test]
    fn no_stream_makes_it_panic(
        parts in vec(
            prop_oneof![
                vec(any::<u8>(), 0..6),
                (-3..9_i64).prop_map(|count| format!("*{count}\r\n").into_bytes()),
                (-3..9_i64).prop_map(|count| format!("${count}\r\n").into_bytes()),
                Just(b"+OK\r\n".to_vec()),
                Just(b":12\r\n".to_vec()),
                Just(b"abc\r\n".to_vec()),
            ],
            0..20,
        ),
        piece in 1..9_usize,
    ) {
        let stream = parts.concat();
        read(&stream, piece, tight());
        read(&stream, piece, ReplyLimits::default());
    }
}

#[test]
fn frames_are_the_bytes_as_they_came() {
    let mut buffer = BytesMut::from(&b"*2\r\n$1\r\n0\r\n*1\r\n$-1\r\n+OK\r\n:1"[..]);
    let mut parser = ReplyParser::default();
    let page = Bytes::from_static(b"*2\r\n$1\r\n0\r\n*1\r\n$-1\r\n");
    assert_eq!(parser.frame(&mut buffer), Ok(Some(page)));
    assert_eq!(
        parser.frame(&mut buffer),
        Ok(Some(Bytes::from_static(b"+OK\r\n")))
    );
    assert_eq!(parser.frame(&mut buffer), Ok(None));
}

#[test]
fn what_is_no_reply_is_told() {
    let error = |stream: &[u8]| read(stream, 64, tight()).1;
    assert_eq!(
        error(b"HTTP/1.1 400\r\n"),
        Some(ProtocolError::ReplyType(b'H'))
    );
    assert_eq!(error(b":x\r\n"), Some(ProtocolError::ReplyLine));
    assert_eq!(error(b"$-2\r\n"), Some(ProtocolError::ReplyLine));
    assert_eq!(error(b"$3\r\nabcd\r\n"), Some(ProtocolError::BulkEnd));
    assert_eq!(error(b"$300\r\n"), Some(ProtocolError::ReplyLength));
    assert_eq!(error(&b"*1\r\n".repeat(9)), Some(ProtocolError::ReplyDepth));
    assert_eq!(error(&[b'+'; 300]), Some(ProtocolError::ReplyLength));
}
