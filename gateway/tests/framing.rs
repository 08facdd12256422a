//! Bytes that are not quite HTTP, written by hand.

use tokio::time::Instant;

use crate::stage::{
    Plan, SOON, Stage, ms,
    raw::{RawCaller, raw},
    replica::{Replica, Turn},
    words,
};

const CHAT: &str = r#"{"model":"chat"}"#;

fn post(headers: &str) -> String {
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

async fn stage() -> (Stage, Replica) {
    let replica = Replica::well("r1").await;
    (Plan::at("east").replica(&replica).start(), replica)
}

#[tokio::test(flavor = "local")]
async fn a_request_with_two_lengths_is_refused_and_smuggles_nothing() {
    let (stage, replica) = stage().await;
    let (length, encoding) = ("Content-Length: 6", "transfer-Encoding: chunked");
    for [one, two] in [[length, encoding], [encoding, length]] {
        let head = post(&format!("{one}\r\nx-between: 1\r\n{two}\r\n"));
        let smuggled = format!("GET /app/smuggled HTTP/1.1\r\nhost: x\r\n\r\n{}", post(""));
        let whole = format!("{head}0\r\n\r\n{smuggled}");
        // In one piece, and cut anywhere.
        for cut in [0, 4, head.len() - 20, head.len() - 3, head.len()] {
            let mut caller = RawCaller::new(stage.address).await;
            let (front, back) = whole.split_at(cut);
            caller.write(front).await.unwrap();
            // Most often read apart then; what is promised holds either way.
            tokio::task::yield_now().await;
            // The gateway may have hung up already.
            let _ = caller.write(back).await;
            let answer = caller.answer().await;
            assert_eq!(
                answer.refusal(),
                (400, "two_lengths".to_owned()),
                "cut at {cut}"
            );
            assert!(answer.head.contains("connection: close"));
            assert_eq!(caller.rest().await, "");
        }
    }
    assert_eq!(replica.times(), 0);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn two_lengths_that_drip_in_are_caught_too() {
    let (stage, replica) = stage().await;
    let head = post("content-length: 6\r\nx-between: 1\r\ntransfer-encoding: chunked\r\n");
    let mut caller = RawCaller::new(stage.address).await;
    for byte in head.as_bytes() {
        caller.write([*byte]).await.unwrap();
        // So that most bytes are read alone; what is promised holds anyway.
        tokio::time::sleep(ms(1)).await;
    }
    let answer = caller.answer().await;
    assert_eq!(answer.refusal(), (400, "two_lengths".to_owned()));
    assert_eq!(caller.rest().await, "");
    assert_eq!(replica.times(), 0);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_head_that_is_not_finished_in_time_is_refused() {
    let plan = Plan::at("east").with(|config| config.client_idle = ms(200));
    let stage = plan.start();
    // Silent in its middle, or dripping on for ever.
    for drips in [false, true] {
        let mut caller = RawCaller::new(stage.address).await;
        let began = Instant::now();
        caller
            .write("POST /v1/chat/completions HTTP/1.1\r\nx: ")
            .await
            .unwrap();
        while drips && caller.write("x").await.is_ok() {
            assert!(began.elapsed() < SOON, "it reads on");
            tokio::time::sleep(ms(20)).await;
        }
        let text = caller.rest().await;
        assert!(began.elapsed() >= ms(190), "{text}");
        // To a client that writes on, a reset may overtake the answer.
        assert!(drips || text.starts_with("HTTP/1.1 408 "), "{text}");
        assert!(
            drips || text.contains("\"code\":\"head_timeout\""),
            "{text}"
        );
    }
    // A client that asks now and then is not in the middle of anything.
    let mut caller = RawCaller::new(stage.address).await;
    for _ in 0..3 {
        caller
            .write("GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(caller.answer().await.status, 200);
        tokio::time::sleep(ms(300)).await;
    }
    drop(caller);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn two_lengths_are_caught_on_a_connection_in_use() {
    let (stage, replica) = stage().await;
    let mut caller = RawCaller::new(stage.address).await;
    let good = post(&format!("content-length: {}\r\n", CHAT.len())) + CHAT;
    caller.write(&good).await.unwrap();
    assert_eq!(caller.answer().await.body, words::answer("r1"));
    let bad = post("content-length: 5\r\ntransfer-encoding: chunked\r\n") + "0\r\n\r\n";
    caller.write(bad).await.unwrap();
    assert_eq!(
        caller.answer().await.refusal(),
        (400, "two_lengths".to_owned())
    );
    assert_eq!(caller.rest().await, "");
    assert_eq!(replica.times(), 1);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn differing_lengths_are_refused() {
    let (stage, replica) = stage().await;
    let twice = post("content-length: 16\r\ncontent-length: 3\r\n") + CHAT;
    assert_eq!(raw(stage.address, twice).await.status, 400);
    let nonsense = post("content-length: -1\r\n") + CHAT;
    assert_eq!(raw(stage.address, nonsense).await.status, 400);
    assert_eq!(replica.times(), 0);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_head_beyond_bounds_is_refused() {
    let (stage, replica) = stage().await;
    let many: String = (0..10_000).map(|nth| format!("x-{nth}: 1\r\n")).collect();
    let huge = format!("x-huge: {}\r\n", "x".repeat(1 << 20));
    let path = "x".repeat(200_000);
    let long = format!("GET /{path} HTTP/1.1\r\nhost: x\r\n\r\n");
    for (head, statuses) in [
        (post(&many), [431, 431]),
        (post(&huge), [431, 431]),
        (long, [414, 431]),
    ] {
        let mut caller = RawCaller::new(stage.address).await;
        // The gateway answers before it has read all of it.
        let _ = caller.write(head).await;
        let text = caller.rest().await;
        let status = text.get(9..12).and_then(|status| status.parse().ok());
        // Or the reset of what was not read overtook the answer.
        assert!(
            status.is_none_or(|status: u16| statuses.contains(&status)),
            "{text}"
        );
    }
    // With all of it read, the answer is always seen.
    let many: String = (0..1000).map(|nth| format!("x-{nth}: 1\r\n")).collect();
    assert_eq!(raw(stage.address, post(&many)).await.status, 431);
    assert_eq!(replica.times(), 0);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_broken_chunk_is_the_callers_mistake() {
    for broken in [
        "zz\r\n",
        "5\r\n{\"mod",
        "-1\r\n\r\n",
        "ffffffffffffffffff\r\n",
    ] {
        let replica = Replica::eager("r1", Turn::silence).await;
        let stage = Plan::at("east").replica(&replica).start();
        for front in ["", "19\r\n{\"model\":\"chat\",\"input\":\"\r\n"] {
            let mut caller = RawCaller::new(stage.address).await;
            let whole = post("transfer-encoding: chunked\r\n") + front + broken;
            caller.write(whole).await.unwrap();
            // The second is cut short instead.
            if broken.starts_with('5') {
                tokio::io::AsyncWriteExt::shutdown(&mut caller.stream)
                    .await
                    .unwrap();
                caller.rest().await;
                continue;
            }
            let answer = caller.answer().await;
            assert_eq!(
                answer.refusal(),
                (400, "body_cut_short".to_owned()),
                "{broken:?}"
            );
            caller.rest().await;
        }
        assert_eq!(stage.gauge("tw_upstream_ejected"), 0.0);
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_of_the_last_century_is_served() {
    let (stage, _replica) = stage().await;
    let mut caller = RawCaller::new(stage.address).await;
    let head = "POST /v1/chat/completions HTTP/1.0\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{CHAT}", CHAT.len());
    caller.write(request).await.unwrap();
    let text = caller.rest().await;
    assert!(text.starts_with("HTTP/1.0 200"), "{text}");
    assert!(text.ends_with(&words::answer("r1")), "{text}");
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_stream_for_a_client_of_the_last_century_ends_with_the_connection() {
    let replica = Replica::new("r1", async |mut turn| {
        turn.open().await;
        turn.event(&words::finish("r1")).await;
        turn.event(words::DONE).await;
        turn.close().await;
    })
    .await;
    let stage = Plan::at("east").replica(&replica).start();
    let mut caller = RawCaller::new(stage.address).await;
    let body = r#"{"model":"chat","stream":true}"#;
    let head = "POST /v1/chat/completions HTTP/1.0\r\n";
    caller
        .write(format!(
            "{head}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
        .unwrap();
    let text = caller.rest().await;
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(!text.to_lowercase().contains("transfer-encoding"), "{text}");
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn requests_in_one_piece_are_answered_in_order() {
    let (stage, replica) = stage().await;
    let mut caller = RawCaller::new(stage.address).await;
    let chat = post(&format!("content-length: {}\r\n", CHAT.len())) + CHAT;
    let models = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    caller.write(format!("{chat}{models}{chat}")).await.unwrap();
    assert_eq!(caller.answer().await.body, words::answer("r1"));
    assert!(caller.answer().await.body.contains("\"object\":\"list\""));
    assert_eq!(caller.answer().await.body, words::answer("r1"));
    assert_eq!(replica.times(), 2);
    drop(caller);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn noise_on_the_port_leaves_nothing_behind() {
    let (stage, replica) = stage().await;
    let noises: [&[u8]; 6] = [
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{\"mo",
    ];
    for noise in noises {
        let mut caller = RawCaller::new(stage.address).await;
        caller.write(noise).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut caller.stream)
            .await
            .unwrap();
        caller.rest().await;
    }
    assert_eq!(replica.times(), 0);
    stage.end().await;
}
