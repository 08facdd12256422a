//! Whatever a client or a replica sends, the answer is typed and nothing is
//! left behind.

use bytes::Bytes;
use bytesize::ByteSize;
use http::Method;
use tokio::time::Instant;

use crate::stage::{
    Plan,
    caller::{Answer, Ask, BOTH, Caller, ask},
    ms,
    raw::RawCaller,
    replica::{Replica, Turn},
};

const LIMIT: usize = 64 * 1024;

fn plan() -> Plan {
    Plan::at("east").with(|config| {
        config.body_limit = ByteSize(LIMIT as u64);
        config.client_idle = ms(200);
    })
}

/// Each mistake: what is asked, and how it is answered.
fn mistakes() -> Vec<(Ask, u16, &'static str)> {
    let to = |method, path| Ask::new(method, path, "{}");
    let chat = r#"{"model":"chat"}"#;
    vec![
        (Ask::post(""), 400, "malformed_body"),
        (Ask::post("{"), 400, "malformed_body"),
        (Ask::post("[]"), 400, "malformed_body"),
        (Ask::post("who are you?"), 400, "malformed_body"),
        (Ask::post(r#"{"model":"chat"}}"#), 400, "malformed_body"),
        (
            Ask::post(r#"{"model":"chat","model":"other"}"#),
            400,
            "malformed_body",
        ),
        (Ask::post(r#"{"model":7}"#), 400, "malformed_body"),
        (
            Ask::post(r#"{"model":{"name":"chat"}}"#),
            400,
            "malformed_body",
        ),
        (Ask::post("[".repeat(10_000)), 400, "malformed_body"),
        (
            Ask::post(format!(r#"{{"a":{}"#, "[".repeat(10_000))),
            400,
            "malformed_body",
        ),
        (Ask::post("{}"), 400, "missing_model"),
        (
            Ask::post(r#"{"messages":[{"model":"chat"}]}"#),
            400,
            "missing_model",
        ),
        (Ask::post(r#"{"model":"a b"}"#), 400, "invalid_model"),
        (Ask::post(r#"{"model":""}"#), 400, "invalid_model"),
        (Ask::post(r#"{"model":"nobody"}"#), 404, "model_not_found"),
        (to(Method::GET, "/v1/models/nobody"), 404, "model_not_found"),
        (to(Method::POST, "/v1/audio/speech"), 404, "unknown_route"),
        (to(Method::GET, "/"), 404, "unknown_route"),
        (
            to(Method::GET, "/v1/chat/completions"),
            405,
            "method_not_allowed",
        ),
        (to(Method::DELETE, "/v1/models"), 405, "method_not_allowed"),
        (
            Ask::post(chat).header("x-tw-timeout-ms", "soon"),
            400,
            "invalid_header",
        ),
        (
            Ask::post(chat).header("x-tw-timeout-ms", "0"),
            400,
            "invalid_header",
        ),
        (
            Ask::post(chat).header("x-tw-ttft-timeout-ms", "-1"),
            400,
            "invalid_header",
        ),
    ]
}

#[tokio::test(flavor = "local")]
async fn each_mistake_has_its_typed_answer() {
    let replica = Replica::well("r1").await;
    let stage = plan().replica(&replica).start();
    for wire in BOTH {
        let mut caller = Caller::new(wire, stage.address).await;
        for (nth, (what, status, code)) in mistakes().into_iter().enumerate() {
            // The connection survives every one of them.
            let answer = caller.ask(what).await;
            assert_eq!(answer.refusal(), (status, code.to_owned()), "mistake {nth}");
            assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
            assert_eq!(answer.header("allow").is_some(), status == 405);
            assert_eq!(answer.header("x-tw-site"), Some("east"));
            assert!(answer.header("x-request-id").is_some());
        }
        assert_eq!(caller.ask(Ask::chat()).await.status, 200);
    }
    assert_eq!(replica.times(), 2);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_declared_body_over_the_limit_is_refused_unread() {
    let replica = Replica::well("r1").await;
    let stage = plan().replica(&replica).start();
    for wire in BOTH {
        let (what, feed) = Ask::post("").fed(Some(LIMIT + 1));
        let mut caller = Caller::new(wire, stage.address).await;
        let answer = caller.ask(what).await;
        assert_eq!(answer.refusal(), (413, "body_too_large".to_owned()));
        drop(feed);
    }
    assert_eq!(replica.times(), 0);
    stage.end().await;
}

/// A body that names its model and then goes on and on.
async fn feed_too_much(feed: tokio::sync::mpsc::Sender<Bytes>) {
    let _ = feed
        .send(Bytes::from_static(br#"{"model":"chat","input":""#))
        .await;
    for _ in 0..=LIMIT / 1024 {
        // The gateway may have answered already.
        let _ = feed.send(Bytes::from(vec![b'x'; 1024])).await;
    }
    // Not closed: the gateway need not wait for the end to refuse it.
    feed.closed().await;
}

#[tokio::test(flavor = "local")]
async fn a_chunked_body_over_the_limit_is_refused_on_its_way() {
    for wire in BOTH {
        let replica = Replica::eager("r1", Turn::silence).await;
        let stage = plan().replica(&replica).start();
        let (what, feed) = Ask::post("").fed(None);
        let feeding = tokio::spawn(feed_too_much(feed));
        let mut caller = Caller::new(wire, stage.address).await;
        let answer = caller.ask(what).await;
        assert_eq!(answer.refusal(), (413, "body_too_large".to_owned()));
        // The replica got a part of it and is told to forget it; it is well.
        replica.was_left(0).await;
        assert_eq!(stage.gauge("tw_upstream_ejected"), 0.0);
        drop(caller);
        feeding.abort();
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_second_model_far_behind_is_caught_though_the_body_is_on_its_way() {
    for wire in BOTH {
        let replica = Replica::eager("r1", Turn::silence).await;
        let stage = plan().replica(&replica).start();
        let (what, feed) = Ask::post("").fed(None);
        let mut caller = Caller::new(wire, stage.address).await;
        let feeding = async {
            let front = format!(r#"{{"model":"chat","input":"{}""#, "x".repeat(30_000));
            feed.send(front.into()).await.unwrap();
            replica.was_asked(1).await;
            let back = Bytes::from_static(br#","model":"other"}"#);
            feed.send(back).await.unwrap();
        };
        let (answer, ()) = tokio::join!(caller.ask(what), feeding);
        assert_eq!(answer.refusal(), (400, "malformed_body".to_owned()));
        assert!(answer.text().contains("twice"), "{}", answer.text());
        replica.was_left(0).await;
        assert_eq!(replica.times(), 1);
        assert_eq!(stage.gauge("tw_upstream_ejected"), 0.0);
        drop((caller, feed));
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_that_stalls_in_its_body_is_refused() {
    for wire in BOTH {
        // Before the model is known, and after the body began to flow.
        for front in [r#"{"mod"#, r#"{"model":"chat","input":""#] {
            let replica = Replica::eager("r1", Turn::silence).await;
            let stage = plan().replica(&replica).start();
            let (what, feed) = Ask::post("").fed(None);
            feed.send(front.into()).await.unwrap();
            let began = Instant::now();
            let mut caller = Caller::new(wire, stage.address).await;
            let answer = caller.ask(what).await;
            assert!(began.elapsed() >= ms(190));
            assert_eq!(answer.refusal(), (408, "body_stalled".to_owned()));
            if replica.times() > 0 {
                replica.was_left(0).await;
                assert_eq!(stage.gauge("tw_upstream_ejected"), 0.0);
            }
            drop((caller, feed));
            stage.end().await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_that_drips_is_refused_once_a_drop_is_late() {
    let replica = Replica::eager("r1", Turn::silence).await;
    let stage = plan().replica(&replica).start();
    let mut caller = RawCaller::new(stage.address).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";
    caller.write(head).await.unwrap();
    let drip = async {
        for drop in br#"{"model":"chat""# {
            // Now and then in time, then slower and slower.
            if caller.write([*drop]).await.is_err() {
                break;
            }
            tokio::time::sleep(ms(if *drop == b'c' { 400 } else { 20 })).await;
        }
    };
    drip.await;
    let answer = caller.answer().await;
    assert_eq!(answer.refusal(), (408, "body_stalled".to_owned()));
    assert!(answer.head.contains("connection: close"));
    assert_eq!(caller.rest().await, "");
    assert_eq!(replica.times(), 0);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_replica_that_does_not_speak_http_is_told_apart() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 fine\r\n\r\n",
        "\0\u{1}\u{2}\u{3}\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
    ] {
        let replica = Replica::new("r1", async move |mut turn| {
            turn.write(garbage).await;
            turn.silence().await;
        })
        .await;
        let stage = plan().replica(&replica).start();
        let answer = ask(stage.address, Ask::chat()).await;
        assert_eq!(
            answer.refusal(),
            (502, "upstream_garbage".to_owned()),
            "{garbage:?}"
        );
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(answer.attempts(), ["east/r1;garbage"]);
        replica.was_left(0).await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_replica_that_breaks_within_a_short_answer_costs_a_retry() {
    let broken = Replica::new("r1", async |mut turn| {
        turn.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":")
            .await;
    })
    .await;
    let well = Replica::well("r2").await;
    let stage = plan().replica(&broken).replica(&well).start();
    let mut caller = Caller::new(BOTH[0], stage.address).await;
    while broken.times() == 0 {
        let response = caller.send(Ask::chat()).await.unwrap();
        let answer = Answer::of(response).await;
        assert_eq!((answer.status, answer.cut), (200, false));
        assert_eq!(answer.header("x-tw-replica"), Some("east/r2"));
    }
    drop(caller);
    stage.end().await;
}
