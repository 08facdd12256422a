//! The client goes away, and the replica learns of it at once: before the
//! head, before the first token, in mid-stream, and on a unary call.

use std::time::{Duration, Instant};

use crate::stage::{
    Plan,
    caller::{Ask, BOTH, Caller, Events, Wire},
    ms,
    replica::{Replica, Turn},
    words::token,
};

/// How soon the replica must see it.
const WITHIN: Duration = ms(100);
/// Of so many tries one must be in time: a machine under load may run nobody
/// for longer than the promise.
const TRIES: usize = 5;

/// When the client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// The replica was asked for a stream and says nothing.
    BeforeHead,
    /// The head of the stream is there.
    BeforeToken,
    /// So are some tokens.
    MidStream,
    /// The replica was asked for a whole answer, and works.
    Unary,
}

/// Asks, goes away at its time, and returns how long it took the replica to
/// see that.
async fn gone(wire: Wire, when: When) -> Duration {
    let replica = Replica::new("r1", async move |mut turn: Turn| {
        match when {
            When::BeforeHead | When::Unary => {}
            When::BeforeToken => drop(turn.open().await),
            When::MidStream => {
                turn.open().await;
                turn.event(&token("r1", "one")).await;
            }
        }
        turn.silence().await;
    })
    .await;
    let stage = Plan::at("east").replica(&replica).start();
    let mut caller = Caller::new(wire, stage.address).await;
    // Another request on the same connection stays what it is.
    let what = if when == When::Unary {
        Ask::chat()
    } else {
        Ask::stream()
    };
    let left = if when == When::MidStream {
        let mut events = Events::of(caller.send(what).await.unwrap());
        assert_eq!(events.next().await, Some(token("r1", "one")));
        leave(wire, caller, events)
    } else {
        tokio::select! {
            answered = caller.send(what) => panic!("it answered: {answered:?}"),
            () = replica.was_asked(1) => {}
        }
        leave(wire, caller, ())
    };
    let seen = replica.was_left(0).await;
    drop(left.1);
    stage.end().await;
    seen.saturating_duration_since(left.0)
}

/// Hangs up on HTTP/1.1; on HTTP/2 lets go of the request alone, and keeps the
/// connection.
fn leave(wire: Wire, caller: Caller, answer: impl Sized) -> (Instant, Option<Caller>) {
    let now = Instant::now();
    drop(answer);
    (now, (wire == Wire::Http2).then_some(caller))
}

async fn is_seen_in_time(when: When) {
    for wire in BOTH {
        let mut took = Vec::new();
        while took.last().is_none_or(|took| *took > WITHIN) {
            assert!(took.len() < TRIES, "{wire:?} {when:?}: {took:?}");
            took.push(gone(wire, when).await);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_gone_before_the_head_is_seen() {
    is_seen_in_time(When::BeforeHead).await;
}

#[tokio::test(flavor = "local")]
async fn a_client_gone_before_the_first_token_is_seen() {
    is_seen_in_time(When::BeforeToken).await;
}

#[tokio::test(flavor = "local")]
async fn a_client_gone_in_mid_stream_is_seen() {
    is_seen_in_time(When::MidStream).await;
}

#[tokio::test(flavor = "local")]
async fn a_client_gone_on_a_unary_call_is_seen() {
    is_seen_in_time(When::Unary).await;
}

#[tokio::test(flavor = "local")]
async fn a_client_gone_while_it_still_sends_is_seen() {
    for wire in BOTH {
        let replica = Replica::eager("r1", Turn::silence).await;
        let stage = Plan::at("east").replica(&replica).start();
        let (what, feed) = Ask::post("").fed(None);
        let mut caller = Caller::new(wire, stage.address).await;
        feed.send(r#"{"model":"chat","input":""#.into())
            .await
            .unwrap();
        tokio::select! {
            answered = caller.send(what) => panic!("it answered: {answered:?}"),
            () = replica.was_asked(1) => {}
        }
        drop(caller);
        replica.was_left(0).await;
        drop(feed);
        stage.end().await;
    }
}
