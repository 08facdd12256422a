//! When a call is sent again: the budget, what may be repeated, and that every
//! attempt sends the same bytes.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;

use crate::stage::{
    Plan, SOON, Stage,
    caller::{Answer, Ask, ask},
    ms,
    replica::{Refusing, Replica, Turn},
    until,
};

/// Asks until the gateway lets the call reach somebody.
async fn reach(stage: &Stage) -> Answer {
    let began = Instant::now();
    loop {
        let answer = ask(stage.address, Ask::chat()).await;
        if !answer.attempts().is_empty() {
            return answer;
        }
        assert_eq!(answer.refusal(), (503, "no_healthy_replica".to_owned()));
        assert!(began.elapsed() < SOON);
    }
}

#[tokio::test(flavor = "local")]
async fn a_spent_budget_ends_retries() {
    let broken = async |turn: Turn| turn.answer("503 Service Unavailable", "", "{}").await;
    let (one, two) = (
        Replica::new("r1", broken).await,
        Replica::new("r2", broken).await,
    );
    let plan = Plan::at("east").with(|config| {
        config.retry.ratio = 0.0;
        config.retry.reserve = 2;
        config.health.backoff = ms(1);
        config.health.backoff_max = ms(1);
    });
    let stage = plan.replica(&one).replica(&two).start();
    // A call that finds the second one still left alone spends nothing.
    let mut retries = 0;
    let over = || stage.gauge("tw_attempt_over_budget_total");
    let began = Instant::now();
    while over() == 0.0 {
        retries += reach(&stage).await.attempts().len() - 1;
        assert!(began.elapsed() < SOON);
    }
    assert_eq!(retries, 2);
    for _ in 0..5 {
        let answer = reach(&stage).await;
        assert_eq!(answer.attempts().len(), 1);
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn only_what_may_be_done_twice_is_repeated() {
    for (method, repeated) in [
        (Method::POST, false),
        (Method::PATCH, false),
        (Method::PUT, true),
        (Method::DELETE, true),
        (Method::GET, true),
    ] {
        let first = Rc::new(Cell::new(true));
        let each = || {
            let first = Rc::clone(&first);
            async move |turn: Turn| match first.replace(false) {
                true => turn.reset(),
                false => turn.well().await,
            }
        };
        let one = Replica::new("r1", each()).await;
        let two = Replica::new("r2", each()).await;
        let stage = Plan::at("east").replica(&one).replica(&two).start();
        let answer = ask(stage.address, Ask::new(method, "/app/pay", "1 EUR")).await;
        let times = one.times() + two.times();
        if repeated {
            assert_eq!((answer.status, times), (200, 2));
        } else {
            // It may have been acted upon.
            assert_eq!(answer.refusal(), (502, "upstream_reset".to_owned()));
            assert_eq!(answer.header("x-should-retry"), Some("false"));
            assert_eq!(times, 1);
        }
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_post_that_reached_nobody_is_repeated() {
    let (refusing, well) = (Refusing::new(), Replica::well("r2").await);
    let plan = Plan::at("east").target("r1", refusing.address(), None);
    let stage = plan.replica(&well).start();
    let began = Instant::now();
    loop {
        let pay = Ask::new(Method::POST, "/app/pay?n=1", "1 EUR");
        let answer = ask(stage.address, pay).await;
        assert_eq!(answer.status, 200);
        if answer.attempts() == ["east/r1;refused", "east/r2;ok"] {
            break;
        }
        assert!(began.elapsed() < SOON, "the refusing one was never tried");
    }
    let asked = well.asked().pop().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/app/pay?n=1")
    );
    assert_eq!(asked.body, b"1 EUR");
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_went_stale_is_nobodys_failure() {
    let replica = Replica::new("r1", async |turn| match turn.nth {
        // Hangs up on the connection it had kept.
        1 => turn.reset(),
        _ => turn.well().await,
    })
    .await;
    // No retry is in the budget, and none is needed.
    let plan =
        Plan::at("east").with(|config| (config.retry.reserve, config.retry.ratio) = (0, 0.0));
    let stage = plan.replica(&replica).start();
    assert_eq!(ask(stage.address, Ask::chat()).await.status, 200);
    let answer = ask(stage.address, Ask::chat()).await;
    assert_eq!(answer.attempts(), ["east/r1;stale", "east/r1;ok"]);
    assert_eq!(stage.gauge("tw_upstream_ejected"), 0.0);
    stage.end().await;
}

/// 300 kB that name the model in front and differ everywhere.
fn large_body() -> Bytes {
    let mut body = br#"{"model":"chat","input":""#.to_vec();
    body.extend(
        (0u32..300_000).map(|nth| b'a' + (nth.wrapping_mul(2_654_435_761) >> 27) as u8 % 26),
    );
    body.extend(br#""}"#);
    body.into()
}

#[tokio::test(flavor = "local")]
async fn a_large_body_is_sent_again_byte_for_byte() {
    for declared in [true, false] {
        for read_before_reset in [0, 100_000, usize::MAX] {
            let first = Rc::new(Cell::new(true));
            let each = || {
                let first = Rc::clone(&first);
                async move |mut turn: Turn| {
                    if !first.replace(false) {
                        turn.read_body().await.unwrap();
                        return turn.well().await;
                    }
                    let mut read = 0;
                    while read < read_before_reset {
                        match turn.read_some().await.unwrap() {
                            0 => break,
                            bytes => read += bytes,
                        }
                    }
                    turn.reset();
                }
            };
            let (one, two) = (
                Replica::eager("r1", each()).await,
                Replica::eager("r2", each()).await,
            );
            let stage = Plan::at("east").replica(&one).replica(&two).start();
            let body = large_body();
            let what = if declared {
                Ask::post(body.clone())
            } else {
                let (what, feed) = Ask::post("").fed(None);
                let body = body.clone();
                tokio::spawn(async move {
                    for piece in body.chunks(10_000) {
                        feed.send(Bytes::copy_from_slice(piece)).await.unwrap();
                    }
                });
                what
            };
            let answer = ask(stage.address, what).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.attempts().len(), 2);
            let served = if answer.header("x-tw-replica") == Some("east/r1") {
                one
            } else {
                two
            };
            assert!(served.asked().pop().unwrap().body == body);
            stage.end().await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_body_beyond_the_replay_memory_gets_one_attempt() {
    let replica = async |turn: Turn| turn.reset();
    let (one, two) = (
        Replica::new("r1", replica).await,
        Replica::new("r2", replica).await,
    );
    let plan = Plan::at("east").with(|config| config.replay_memory = bytesize::ByteSize::kib(64));
    let stage = plan.replica(&one).replica(&two).start();
    let answer = ask(stage.address, Ask::post(large_body())).await;
    assert_eq!(answer.refusal(), (502, "upstream_reset".to_owned()));
    let asked = [one.asked(), two.asked()].concat();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].body == large_body());
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s15_a_replica_that_flaps_is_asked_ever_more_seldom_and_returns() {
    let well = Rc::new(Cell::new(false));
    let state = Rc::clone(&well);
    let flapping = Replica::new("r1", async move |turn| match state.get() {
        true => turn.well().await,
        false => turn.reset(),
    })
    .await;
    let steady = Replica::well("r2").await;
    let plan = Plan::at("east").with(|config| {
        config.health.backoff = ms(50);
        config.health.backoff_max = ms(2000);
    });
    let stage = plan.replica(&flapping).replica(&steady).start();
    let asking = Rc::new(RefCell::new(Vec::new()));
    let calls = async {
        loop {
            let answer = ask(stage.address, Ask::chat()).await;
            asking.borrow_mut().push(answer.status);
        }
    };
    let story = async {
        // Broken: probes at 50, 100, 200 ms after the failure before.
        flapping.was_asked(4).await;
        let asked = flapping.asked();
        let gaps: Vec<Duration> = asked.windows(2).map(|two| two[1].at - two[0].at).collect();
        for (nth, gap) in gaps.iter().enumerate() {
            assert!(*gap >= ms(45 << nth), "{gaps:?}");
        }
        // Well: the next probe brings it back.
        well.set(true);
        let ejected = || stage.sum("tw_upstream_ejected", "east/r1");
        until("it returns", || ejected() == 0.0).await;
        let times = flapping.times();
        flapping.was_asked(times + 3).await;
        // Broken again: it is left alone for longer than at first.
        well.set(false);
        until("it is ejected", || ejected() == 1.0).await;
        let struck = flapping.times();
        flapping.was_asked(struck + 1).await;
        let asked = flapping.asked();
        assert!(asked[struck].at - asked[struck - 1].at >= ms(300));
    };
    tokio::select! {
        () = story => {}
        () = calls => {}
    }
    assert!(asking.borrow().iter().all(|status| *status == 200));
    stage.end().await;
}
