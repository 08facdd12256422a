//! Corners where an answer, a place or a bound was once lost.

use bytes::Bytes;

use crate::stage::{
    Plan,
    caller::{Answer, Ask, BOTH, Caller, Events, Wire, ask, in_band},
    ms,
    raw::RawCaller,
    replica::{Replica, Turn},
    words::{self, token},
};

#[tokio::test(flavor = "local")]
async fn without_replay_memory_a_request_still_arrives_whole() {
    let body = br#"{"model":"chat","input":"all of it"}"#;
    for declared in [Some(body.len()), None] {
        let replica = Replica::well("r1").await;
        let plan = Plan::at("east").with(|config| config.replay_memory = bytesize::ByteSize(0));
        let stage = plan.replica(&replica).start();
        let (what, feed) = Ask::post("").fed(declared);
        let mut caller = Caller::new(Wire::Http1, stage.address).await;
        let feeding = async {
            for piece in body.chunks(7) {
                feed.send(Bytes::from_static(piece)).await.unwrap();
            }
            drop(feed);
        };
        let (response, ()) = tokio::join!(caller.send(what), feeding);
        assert_eq!(Answer::of(response.unwrap()).await.status, 200);
        assert_eq!(replica.asked()[0].body, body);
        drop(caller);
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_body_that_cannot_be_kept_until_it_can_be_routed_is_refused() {
    let replica = Replica::well("r1").await;
    let plan = Plan::at("east").with(|config| config.replay_memory = bytesize::ByteSize(0));
    let stage = plan.replica(&replica).start();
    let late = format!(r#"{{"input":"{}","model":"chat"}}"#, "x".repeat(200_000));
    let answer = ask(stage.address, Ask::post(late)).await;
    assert_eq!(answer.refusal(), (503, "no_replay_memory".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_slow_upload_is_not_the_replicas_silence() {
    let replica = Replica::eager("r1", async |mut turn| {
        turn.read_body().await.unwrap();
        turn.well().await;
    })
    .await;
    let plan = Plan::at("east").with(|config| config.limits.first_byte = ms(200));
    let stage = plan.replica(&replica).start();
    let (what, feed) = Ask::post("").fed(None);
    let mut caller = Caller::new(Wire::Http1, stage.address).await;
    let feeding = async {
        feed.send(Bytes::from_static(br#"{"model":"chat","input":""#))
            .await
            .unwrap();
        // In all three times the limit; no pause reaches `client_idle`.
        for _ in 0..6 {
            tokio::time::sleep(ms(100)).await;
            feed.send(Bytes::from_static(b"x")).await.unwrap();
        }
        feed.send(Bytes::from_static(br#""}"#)).await.unwrap();
        drop(feed);
    };
    let (response, ()) = tokio::join!(caller.send(what), feeding);
    assert_eq!(Answer::of(response.unwrap()).await.status, 200);
    assert_eq!(stage.gauge("tw_upstream_ejected"), 0.0);
    drop(caller);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn half_an_http2_preface_is_not_waited_for() {
    let plan = Plan::at("east").with(|config| config.client_idle = ms(200));
    let stage = plan.start();
    let mut caller = RawCaller::new(stage.address).await;
    caller.write("PRI * HTTP/2").await.unwrap();
    assert!(caller.rest().await.starts_with("HTTP/1.1 408 "));
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_model_that_writes_done_is_not_done() {
    for wire in BOTH {
        let said = token("r1", r#"data: [DONE] "finish_reason":"stop""#);
        let says = said.clone();
        let replica = Replica::new("r1", async move |mut turn: Turn| {
            turn.open().await;
            turn.event(&says).await;
            turn.reset();
        })
        .await;
        let stage = Plan::at("east").replica(&replica).start();
        let mut caller = Caller::new(wire, stage.address).await;
        let response = caller.send(Ask::stream()).await.unwrap();
        let events = Events::of(response).rest().await;
        assert_eq!(events[0], said);
        assert_eq!(in_band(&events[1]), "upstream_broken");
        drop(caller);
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_failed_answer_gives_its_place_back_before_the_next_attempt() {
    let replica = Replica::new("r1", async |mut turn: Turn| {
        if turn.nth == 0 {
            turn.write(
                "HTTP/1.1 500 Oops\r\ncontent-type: text/plain\r\n\
                 transfer-encoding: chunked\r\n\r\n4\r\noops\r\n0\r\n\r\n",
            )
            .await;
            turn.again();
        } else {
            turn.well().await;
        }
    })
    .await;
    let plan = Plan::at("east").target("r1", replica.address, Some(1));
    let stage = plan.start();
    let answer = ask(stage.address, Ask::chat()).await;
    assert_eq!(answer.text(), words::answer("r1"));
    assert_eq!(answer.attempts(), ["east/r1;500", "east/r1;ok"]);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_compressed_stream_passes_unread() {
    let replica = Replica::new("r1", async |mut turn: Turn| {
        turn.write(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\
             content-length: 6\r\n\r\nsqueez",
        )
        .await;
    })
    .await;
    let stage = Plan::at("east").replica(&replica).start();
    let answer = ask(stage.address, Ask::stream()).await;
    assert_eq!((answer.status, answer.text()), (200, "squeez"));
    assert_eq!(stage.gauge("tw_upstream_ejected"), 0.0);
    stage.end().await;
}
