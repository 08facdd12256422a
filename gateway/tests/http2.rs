//! HTTP/2 with prior knowledge, on the port that also speaks HTTP/1.1.

use std::{cell::Cell, rc::Rc};

use futures_util::future::join_all;
use http::Version;

use crate::stage::{
    Plan,
    caller::{Answer, Ask, Caller, Events, Wire, ask},
    replica::Replica,
    until,
    words::{self, DONE, finish, token},
};

#[tokio::test(flavor = "local")]
async fn both_versions_share_the_port() {
    let replica = Replica::well("r1").await;
    let stage = Plan::at("east").replica(&replica).start();
    for (wire, version) in [
        (Wire::Http1, Version::HTTP_11),
        (Wire::Http2, Version::HTTP_2),
    ] {
        let mut caller = Caller::new(wire, stage.address).await;
        let response = caller.send(Ask::chat()).await.unwrap();
        assert_eq!(response.version(), version);
        assert_eq!(Answer::of(response).await.text(), words::answer("r1"));
    }
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn calls_on_one_connection_do_not_wait_for_each_other() {
    const CALLS: usize = 50;
    // Nobody is answered before everybody has asked.
    let asked = Rc::new(Cell::new(0));
    let count = Rc::clone(&asked);
    let replica = Replica::new("r1", async move |mut turn| {
        count.set(count.get() + 1);
        until("all have asked", || count.get() == CALLS).await;
        if turn.nth % 2 == 0 {
            return turn.well().await;
        }
        turn.open().await;
        turn.event(&token("r1", "one")).await;
        turn.event(&finish("r1")).await;
        turn.event(DONE).await;
        turn.close().await;
    })
    .await;
    let plan = Plan::at("east").with(|config| config.cores = std::num::NonZeroUsize::new(2));
    let stage = plan.replica(&replica).start();
    let first = Caller::new(Wire::Http2, stage.address).await;
    let calls = (0..CALLS).map(|_| {
        let mut caller = first.beside();
        async move {
            let response = caller.send(Ask::stream()).await.unwrap();
            let kind = response.headers()["content-type"].clone();
            if kind == "application/json" {
                return Answer::of(response).await.text() == words::answer("r1");
            }
            let whole = [token("r1", "one"), finish("r1"), DONE.to_owned()];
            Events::of(response).rest().await == whole
        }
    });
    assert!(join_all(calls).await.into_iter().all(|right| right));
    // One connection to the gateway, one a call to the replica.
    assert_eq!(stage.gauge("tw_http_connections"), 1.0);
    assert_eq!(replica.times(), CALLS);
    drop(first);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_connection_serves_call_after_call() {
    let replica = Replica::well("r1").await;
    let stage = Plan::at("east").replica(&replica).start();
    for wire in [Wire::Http1, Wire::Http2] {
        let mut caller = Caller::new(wire, stage.address).await;
        for _ in 0..20 {
            assert_eq!(caller.ask(Ask::chat()).await.status, 200);
        }
        assert_eq!(stage.gauge("tw_http_connections"), 1.0);
        drop(caller);
        stage.settle().await;
    }
    assert_eq!(ask(stage.address, Ask::chat()).await.status, 200);
    stage.end().await;
}
