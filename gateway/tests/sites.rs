//! Two sites: when a call leaves, what its caller is told, and that it never
//! leaves twice.

use std::{cell::RefCell, rc::Rc, time::Instant};

use tokio::{net::TcpListener, sync::oneshot};

use crate::stage::{
    Plan, SOON, Stage,
    caller::{Answer, Ask, Caller, Wire, ask},
    ms,
    replica::{Refusing, Replica, Turn},
    soon, words,
};

/// A site with one replica.
async fn west(replica: &Replica) -> Stage {
    Plan::at("west").replica(replica).start()
}

/// What every answer from the other site says.
fn came_from_west(answer: &Answer, reason: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text(), words::answer("w1"));
    assert_eq!(answer.header("x-tw-site"), Some("west"));
    assert_eq!(answer.header("x-tw-replica"), Some("west/w1"));
    assert_eq!(answer.header("x-tw-reason"), Some(reason));
}

#[tokio::test(flavor = "local")]
async fn a_model_that_only_a_peer_serves_is_reached_there() {
    let replica = Replica::well("w1").await;
    let west = west(&replica).await;
    let east = Plan::at("east").peer("west", west.address).start();
    let named = Ask::chat().header("x-request-id", "mine-1");
    let answer = ask(east.address, named).await;
    came_from_west(&answer, "elsewhere");
    assert_eq!(answer.attempts(), ["west/gw;ok", "west/w1;ok"]);
    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
    let asked = &replica.asked()[0];
    assert_eq!(asked.header("x-request-id"), Some("mine-1"));
    assert!(asked.header("via").unwrap().contains("east"));
    east.end().await;
    west.end().await;
}

#[tokio::test(flavor = "local")]
async fn what_has_no_room_here_spills() {
    let (release, held) = oneshot::channel::<()>();
    let held = RefCell::new(Some(held));
    let local = Replica::new("e1", async move |turn| {
        let held = held.borrow_mut().take();
        if let Some(held) = held {
            held.await.unwrap();
        }
        turn.well().await;
    })
    .await;
    let replica = Replica::well("w1").await;
    let west = west(&replica).await;
    let plan = Plan::at("east").target("e1", local.address, Some(1));
    let east = plan.peer("west", west.address).start();
    let first = ask(east.address, Ask::chat());
    let then = async {
        local.was_asked(1).await;
        came_from_west(&ask(east.address, Ask::chat()).await, "spill");
        release.send(()).unwrap();
    };
    let (first, ()) = tokio::join!(first, then);
    assert_eq!(first.header("x-tw-replica"), Some("east/e1"));
    // There is room again.
    let answer = ask(east.address, Ask::chat()).await;
    assert_eq!(answer.header("x-tw-reason"), Some("local"));
    east.end().await;
    west.end().await;
}

#[tokio::test(flavor = "local")]
async fn what_fails_here_is_taken_over_there() {
    let (refusing, replica) = (Refusing::new(), Replica::well("w1").await);
    let west = west(&replica).await;
    let plan = Plan::at("east").target("e1", refusing.address(), None);
    let east = plan.peer("west", west.address).start();
    let answer = ask(east.address, Ask::chat()).await;
    came_from_west(&answer, "failover");
    let attempts = ["east/e1;refused", "west/gw;ok", "west/w1;ok"];
    assert_eq!(answer.attempts(), attempts);
    // It is known to be broken now, and costs no attempt.
    let answer = ask(east.address, Ask::chat()).await;
    came_from_west(&answer, "failover");
    assert_eq!(answer.attempts(), attempts[1..]);
    east.end().await;
    west.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_call_is_never_forwarded_twice() {
    // A third site, which only the second knows.
    let replica = Replica::well("n1").await;
    let north = Plan::at("north").replica(&replica).start();
    let west = Plan::at("west").peer("north", north.address).start();
    let east = Plan::at("east").peer("west", west.address).start();
    let answer = ask(east.address, Ask::chat()).await;
    assert_eq!(answer.refusal(), (404, "model_not_found".to_owned()));
    // From its own callers the second takes the call there.
    let answer = ask(west.address, Ask::chat()).await;
    assert_eq!(answer.header("x-tw-replica"), Some("north/n1"));
    // The mark alone is enough.
    let marked = Ask::chat().header("via", "1.1 nginx, 2.0 south (tradewind)");
    let answer = ask(west.address, marked).await;
    assert_eq!(answer.refusal(), (404, "model_not_found".to_owned()));
    assert_eq!(replica.times(), 1);
    for stage in [east, west, north] {
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_caller_may_forbid_leaving() {
    let (refusing, replica) = (Refusing::new(), Replica::well("w1").await);
    let west = west(&replica).await;
    let plan = Plan::at("east").target("e1", refusing.address(), None);
    let east = plan.peer("west", west.address).start();
    let stay = || Ask::chat().header("x-tw-no-fallback", "1");
    let answer = ask(east.address, stay()).await;
    assert_eq!(answer.refusal(), (502, "upstream_refused".to_owned()));
    assert_eq!(answer.attempts(), ["east/e1;refused"]);
    assert_eq!(replica.times(), 0);
    came_from_west(&ask(east.address, Ask::chat()).await, "failover");
    east.end().await;
    west.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_peers_refusal_is_no_failure_of_the_peer() {
    let (refusing, replica) = (Refusing::new(), Replica::well("n1").await);
    let north = Plan::at("north").replica(&replica).start();
    // One peer's replicas are down, another peer never had any.
    let west = Plan::at("west")
        .target("w1", refusing.address(), None)
        .start();
    let south = Plan::at("south").start();
    let plan = Plan::at("east").peer("west", west.address);
    let plan = plan.peer("south", south.address);
    let east = plan.peer("north", north.address).start();
    let mut refused_by = [false; 2];
    let began = Instant::now();
    while refused_by != [true; 2] {
        assert!(began.elapsed() < SOON, "{refused_by:?}");
        let answer = ask(east.address, Ask::chat()).await;
        assert_eq!(answer.text(), words::answer("n1"));
        for (seen, peer) in refused_by.iter_mut().zip(["west", "south"]) {
            *seen |= answer
                .attempts()
                .contains(&format!("{peer}/gw;peer_refused"));
        }
        assert_eq!(
            east.gauge("tw_upstream_ejected"),
            0.0,
            "{:?}",
            answer.attempts()
        );
    }
    for stage in [east, west, south, north] {
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn the_time_left_travels_with_the_call() {
    let silent = Replica::new("e1", Turn::silence).await;
    let replica = Replica::well("w1").await;
    let west = west(&replica).await;
    let plan = Plan::at("east").with(|config| config.limits.first_byte = ms(400));
    let east = plan.replica(&silent).peer("west", west.address).start();
    let hasty = Ask::chat().header("x-tw-timeout-ms", "9000");
    came_from_west(&ask(east.address, hasty).await, "failover");
    let asked = &replica.asked()[0];
    let left: u64 = asked.header("x-tw-timeout-ms").unwrap().parse().unwrap();
    assert!((1..=8600).contains(&left), "{left} ms left");
    east.end().await;
    west.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_stream_from_the_other_site_is_a_stream() {
    let replica = Replica::new("w1", async |mut turn| {
        turn.open().await;
        turn.event(&words::token("w1", "well")).await;
        turn.reset();
    })
    .await;
    let west = west(&replica).await;
    let east = Plan::at("east").peer("west", west.address).start();
    let answer = ask(east.address, Ask::stream()).await;
    // The break there is told once, in band.
    let events = answer.events();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0], words::token("w1", "well"));
    assert_eq!(crate::stage::caller::in_band(&events[1]), "upstream_broken");
    assert!(!answer.cut);
    east.end().await;
    west.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_peer_that_went_silent_is_left_within_a_second() {
    // As of a stopped process: its kernel takes connections and bytes, nobody
    // answers.
    let stopped = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let replica = Replica::well("w1").await;
    let west = west(&replica).await;
    let plan = Plan::at("east").peer("north", stopped.local_addr().unwrap());
    let east = plan.peer("west", west.address).start();
    let taken = Rc::new(RefCell::new(Vec::new()));
    let keep = Rc::clone(&taken);
    let taking = tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = stopped.accept().await {
            keep.borrow_mut().push(stream);
        }
    });
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        let answer = ask(east.address, Ask::chat()).await;
        came_from_west(&answer, "elsewhere");
        if answer.attempts() == ["north/gw;reset", "west/gw;ok", "west/w1;ok"] {
            // 750 ms of silence are enough; a busy machine may add to it.
            assert!(asked.elapsed() < ms(1500), "{:?}", asked.elapsed());
            break;
        }
        assert!(began.elapsed() < SOON, "the silent peer was never tried");
    }
    assert!(!taken.borrow().is_empty());
    // Whoever asks now does not wait for it.
    let asked = Instant::now();
    came_from_west(&ask(east.address, Ask::chat()).await, "elsewhere");
    assert!(asked.elapsed() < ms(400), "{:?}", asked.elapsed());
    taking.abort();
    east.end().await;
    west.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_client_gone_here_is_a_client_gone_there() {
    let replica = Replica::new("w1", Turn::silence).await;
    let west = west(&replica).await;
    let east = Plan::at("east").peer("west", west.address).start();
    for wire in [Wire::Http1, Wire::Http2] {
        let before = replica.times();
        let mut caller = Caller::new(wire, east.address).await;
        tokio::select! {
            _ = caller.send(Ask::chat()) => panic!("it answered"),
            () = replica.was_asked(before + 1) => {}
        }
        drop(caller);
        soon("the replica sees it", replica.was_left(before)).await;
    }
    east.end().await;
    west.end().await;
}
