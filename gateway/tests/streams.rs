//! Streams: event by event as they come, at the client's pace, and never ended
//! as if they were whole when they are not.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Instant,
};

use http::Method;
use tokio::{sync::mpsc, time::timeout};

use crate::stage::{
    Plan, Stage,
    caller::{Ask, BOTH, Caller, Events, Wire, ask, in_band},
    ms,
    raw::RawCaller,
    replica::{Replica, Turn},
    until,
    words::{DONE, finish, token},
};

async fn stage(script: impl AsyncFn(Turn) + 'static) -> (Stage, Replica) {
    let replica = Replica::new("r1", script).await;
    let plan = Plan::at("east").with(|config| config.limits.between_tokens = ms(400));
    (plan.replica(&replica).start(), replica)
}

/// The events of a stream over `wire`, which must end cleanly.
async fn stream(wire: Wire, stage: &Stage) -> Vec<String> {
    let mut caller = Caller::new(wire, stage.address).await;
    let response = caller.send(Ask::stream()).await.unwrap();
    Events::of(response).rest().await
}

#[tokio::test(flavor = "local")]
async fn a_cut_stream_ends_with_an_error_at_an_event_boundary() {
    let half = [
        "",
        "d",
        "data: {\"choices\":[{\"delta\":{\"content\":\"ha",
        "data: {}\n",
    ];
    for wire in BOTH {
        for cut in half {
            for clean in [true, false] {
                let (stage, _replica) = stage(async move |mut turn| {
                    turn.open().await;
                    turn.event(&token("r1", "one")).await;
                    turn.event(&token("r1", "two")).await;
                    if !cut.is_empty() {
                        turn.chunk(cut).await;
                    }
                    // Either a reset or the end of the connection without the
                    // last chunk.
                    if clean { drop(turn) } else { turn.reset() }
                })
                .await;
                let events = stream(wire, &stage).await;
                // A reset may overtake what was sent before it.
                let (last, before) = events.split_last().unwrap();
                assert_eq!(in_band(last), "upstream_broken");
                let whole = [token("r1", "one"), token("r1", "two")];
                assert!(whole.starts_with(before), "{before:?}");
                assert!(!clean || before.len() == 2, "{before:?}");
                stage.end().await;
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_clean_end_without_a_reason_is_an_error() {
    for wire in BOTH {
        let (stage, _replica) = stage(async |mut turn| {
            turn.open().await;
            turn.event(&token("r1", "one")).await;
            turn.close().await;
        })
        .await;
        let events = stream(wire, &stage).await;
        assert_eq!(events.len(), 2);
        assert_eq!(in_band(&events[1]), "upstream_broken");
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn s11_a_reset_after_the_reason_is_finalised_all_the_same() {
    let told = Rc::new(Cell::new(false));
    let read = Rc::clone(&told);
    let (stage, _replica) = stage(async move |mut turn| {
        turn.open().await;
        turn.event(&finish("r1")).await;
        // Once the client has it, the reset cannot overtake it.
        until("the client reads", || read.get()).await;
        turn.reset();
    })
    .await;
    let mut caller = Caller::new(Wire::Http1, stage.address).await;
    let mut events = Events::of(caller.send(Ask::stream()).await.unwrap());
    assert_eq!(events.next().await, Some(finish("r1")));
    told.set(true);
    assert_eq!(events.rest().await, [DONE]);
    drop(caller);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_stream_that_stalls_is_ended_with_its_own_code() {
    for wire in BOTH {
        let (stage, replica) = stage(async |mut turn| {
            turn.open().await;
            turn.event(&token("r1", "one")).await;
            turn.silence().await;
        })
        .await;
        let began = Instant::now();
        let events = stream(wire, &stage).await;
        assert!(began.elapsed() >= ms(390));
        assert_eq!(events.len(), 2);
        assert_eq!(in_band(&events[1]), "between_tokens_timeout");
        // Nothing more is generated for nobody.
        replica.was_left(0).await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn each_event_arrives_before_the_next_one_is_made() {
    for wire in BOTH {
        let (next, told) = mpsc::channel::<()>(1);
        let told = RefCell::new(Some(told));
        let (stage, _replica) = stage(async move |mut turn| {
            let mut told = told.borrow_mut().take().unwrap();
            turn.open().await;
            for nth in 0..20 {
                turn.event(&token("r1", &nth.to_string())).await;
                told.recv().await.unwrap();
            }
            turn.event(&finish("r1")).await;
            turn.event(DONE).await;
            turn.close().await;
        })
        .await;
        let mut caller = Caller::new(wire, stage.address).await;
        let mut events = Events::of(caller.send(Ask::stream()).await.unwrap());
        for nth in 0..20 {
            assert_eq!(events.next().await, Some(token("r1", &nth.to_string())));
            next.send(()).await.unwrap();
        }
        assert_eq!(events.rest().await, [finish("r1"), DONE.to_owned()]);
        drop(caller);
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_that_does_not_read_stops_the_replica() {
    /// What the kernel's buffers of four sockets may take, and no more: a
    /// gateway that reads ahead would take all that is there.
    const MOST: usize = 96 << 20;
    const THERE: usize = 512 << 20;
    let written = Rc::new(Cell::new(0));
    let count = Rc::clone(&written);
    let event = token("r1", &"x".repeat(64 * 1024));
    let (stage, replica) = stage(async move |mut turn| {
        turn.open().await;
        while count.get() < THERE && turn.event(&event).await {
            count.set(count.get() + event.len());
        }
    })
    .await;
    let mut caller = RawCaller::new(stage.address).await;
    let body = r#"{"model":"chat","stream":true}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    caller.write(request).await.unwrap();
    replica.was_asked(1).await;
    // Still for a second means stopped: unhindered, it writes hundreds of
    // megabytes in that time.
    let began = Instant::now();
    let mut before = usize::MAX;
    while written.get() != before {
        before = written.get();
        assert!(
            began.elapsed() < ms(20_000) && before < MOST,
            "{before} bytes"
        );
        tokio::time::sleep(ms(1000)).await;
    }
    assert!((1..MOST).contains(&before), "{before} bytes");
    drop(caller);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn an_answer_that_is_not_ours_to_read_is_cut_when_it_breaks() {
    for wire in BOTH {
        for head in [
            "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n",
            "content-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n",
            "content-length: 1000000\r\n",
        ] {
            let told = Rc::new(Cell::new(false));
            let read = Rc::clone(&told);
            let (stage, _replica) = stage(async move |mut turn| {
                turn.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n")).await;
                turn.chunk("data: one\n\n").await;
                until("the client reads", || read.get()).await;
                turn.reset();
            })
            .await;
            let mut caller = Caller::new(wire, stage.address).await;
            let what = Ask::new(Method::GET, "/app/stream", "");
            let response = caller.send(what).await.unwrap();
            assert_eq!(response.status(), 200);
            told.set(true);
            let answer = crate::stage::caller::Answer::of(response).await;
            assert!(answer.cut, "{answer:?}");
            drop(caller);
            stage.end().await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_stream_may_last_longer_than_any_silence_in_it() {
    let (stage, _replica) = stage(async |mut turn| {
        turn.open().await;
        for _ in 0..6 {
            turn.event(&token("r1", "more")).await;
            // Less than the limit between tokens; twice it in all.
            tokio::time::sleep(ms(150)).await;
        }
        turn.event(&finish("r1")).await;
        turn.event(DONE).await;
        turn.close().await;
    })
    .await;
    let answer = timeout(ms(10_000), ask(stage.address, Ask::stream())).await;
    let events = answer.unwrap().events();
    assert_eq!((events.len(), events[7].as_str()), (8, DONE));
    stage.end().await;
}
