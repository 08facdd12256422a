//! A stop: nothing new is taken, what is under way is finished, and the end
//! comes within the grace.

use std::{cell::RefCell, rc::Rc, time::Instant};

use tokio::{net::TcpStream, sync::oneshot};

use crate::stage::{
    Plan, SOON, Stage,
    caller::{Answer, Ask, BOTH, Caller, Events, Wire},
    ms,
    raw::RawCaller,
    replica::{Replica, Turn},
    words::{self, DONE, finish, token},
};

/// Waits until nobody listens any more.
async fn closed(stage: &Stage) {
    let began = Instant::now();
    while TcpStream::connect(stage.address).await.is_ok() {
        assert!(began.elapsed() < SOON, "it still listens");
        tokio::time::sleep(ms(5)).await;
    }
}

/// A replica that holds its second half of each answer back until it is let go.
async fn holding(calls: usize) -> (Replica, Vec<oneshot::Sender<()>>) {
    let (release, held): (Vec<_>, Vec<_>) = (0..calls).map(|_| oneshot::channel::<()>()).unzip();
    let held = Rc::new(RefCell::new(held));
    let replica = Replica::new("r1", async move |mut turn: Turn| {
        let held = held.borrow_mut().pop().unwrap();
        if turn.nth == 0 {
            turn.open().await;
            turn.event(&token("r1", "one")).await;
            held.await.unwrap();
            turn.event(&finish("r1")).await;
            turn.event(DONE).await;
            return turn.close().await;
        }
        held.await.unwrap();
        turn.well().await;
    })
    .await;
    (replica, release)
}

#[tokio::test(flavor = "local")]
async fn what_is_under_way_is_finished_and_nothing_new_taken() {
    for wire in BOTH {
        let (replica, release) = holding(2).await;
        let mut stage = Plan::at("east").replica(&replica).start();
        // On HTTP/2 both share one connection.
        let mut streaming = Caller::new(wire, stage.address).await;
        let mut unary = match wire {
            Wire::Http1 => Caller::new(wire, stage.address).await,
            Wire::Http2 => streaming.beside(),
        };
        let mut idle = Caller::new(wire, stage.address).await;
        let mut events = Events::of(streaming.send(Ask::stream()).await.unwrap());
        assert_eq!(events.next().await, Some(token("r1", "one")));
        let story = async {
            replica.was_asked(2).await;
            stage.stop.cancel();
            closed(&stage).await;
            // Who is idle is sent away at once.
            idle.ended().await;
            if wire == Wire::Http2 {
                // GOAWAY: the connection takes nothing new.
                let mut late = streaming.beside();
                let began = Instant::now();
                while late
                    .send(Ask::new(http::Method::GET, "/v1/models", ""))
                    .await
                    .is_ok()
                {
                    assert!(began.elapsed() < SOON, "it takes new calls");
                }
            }
            for release in release {
                release.send(()).unwrap();
            }
        };
        let (response, ()) = tokio::join!(unary.send(Ask::chat()), story);
        let answer = Answer::of(response.unwrap()).await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, words::answer("r1").as_str())
        );
        if wire == Wire::Http1 {
            assert_eq!(answer.header("connection"), Some("close"));
        }
        assert_eq!(events.rest().await, [finish("r1"), DONE.to_owned()]);
        // The gateway hangs up by itself, and that was all.
        streaming.ended().await;
        stage.ended().await;
        assert_eq!(replica.times(), 2);
    }
}

#[tokio::test(flavor = "local")]
async fn when_the_grace_is_over_what_is_left_is_cut() {
    for wire in BOTH {
        let replica = Replica::new("r1", async |mut turn| {
            if turn.nth == 0 {
                turn.open().await;
                turn.event(&token("r1", "one")).await;
            }
            turn.silence().await;
        })
        .await;
        let plan = Plan::at("east").with(|config| config.drain_grace = ms(300));
        let mut stage = plan.replica(&replica).start();
        let mut streaming = Caller::new(wire, stage.address).await;
        let mut unary = Caller::new(wire, stage.address).await;
        let response = streaming.send(Ask::stream()).await.unwrap();
        let story = async {
            replica.was_asked(2).await;
            let began = Instant::now();
            stage.stop.cancel();
            stage.ended().await;
            assert!(began.elapsed() >= ms(300));
            assert!(began.elapsed() < ms(5000), "{:?}", began.elapsed());
        };
        let (answered, ()) = tokio::join!(unary.send(Ask::chat()), story);
        assert!(answered.is_err());
        let answer = Answer::of(response).await;
        assert!(answer.cut, "{answer:?}");
        replica.was_left(0).await;
        replica.was_left(1).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_in_the_middle_of_its_head_does_not_hold_the_end_up() {
    let mut stage = Plan::at("east")
        .with(|config| config.drain_grace = ms(300))
        .start();
    let mut caller = RawCaller::new(stage.address).await;
    caller.write("POST /v1/chat/compl").await.unwrap();
    let mut served = Caller::new(Wire::Http1, stage.address).await;
    assert_eq!(served.ask(Ask::chat()).await.status, 404);
    stage.stop.cancel();
    stage.ended().await;
    assert_eq!(caller.rest().await, "");
}

#[tokio::test(flavor = "local")]
async fn an_idle_gateway_ends_at_once() {
    let mut stage = Plan::at("east")
        .with(|config| config.drain_grace = SOON)
        .start();
    let mut callers = [
        Caller::new(Wire::Http1, stage.address).await,
        Caller::new(Wire::Http2, stage.address).await,
    ];
    for caller in &mut callers {
        assert_eq!(caller.ask(Ask::chat()).await.status, 404);
    }
    let began = Instant::now();
    stage.stop.cancel();
    stage.ended().await;
    assert!(began.elapsed() < ms(5000), "{:?}", began.elapsed());
}
