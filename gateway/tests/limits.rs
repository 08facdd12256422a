//! Limits on time and on requests in flight, each with its own code.

use std::{net::SocketAddr, time::Instant};

use discovery_client::Application;
use gateway::{
    Config,
    config::{ApplicationConfig, OwnLimits},
};
use socket2::{Domain, Socket, Type};
use tokio::{net::TcpStream, sync::oneshot, time::timeout};

use crate::stage::{
    Plan,
    caller::{Answer, Ask, ask, in_band},
    ms,
    replica::{Replica, Turn},
    words::{self, token},
};

/// Asks the only replica, which is silent or worse; returns the refusal after
/// `least` milliseconds at least.
async fn refused(plan: Plan, what: Ask, least: u64) -> (u16, String) {
    let stage = plan.start();
    let began = Instant::now();
    let answer = ask(stage.address, what).await;
    assert!(began.elapsed() >= ms(least), "{:?}", began.elapsed());
    assert!(began.elapsed() < ms(least + 5000), "{:?}", began.elapsed());
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    stage.end().await;
    answer.refusal()
}

fn timed(change: impl FnOnce(&mut Config)) -> Plan {
    Plan::at("east").with(change)
}

fn code(code: &str) -> (u16, String) {
    (504, code.to_owned())
}

/// A listener that takes no connection any more: its queue is full.
struct Full {
    socket: Socket,
    _waiting: Vec<TcpStream>,
}

impl Full {
    async fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let mut full = Self {
            socket,
            _waiting: Vec::new(),
        };
        // The kernel drops what asks for a place beyond the queue.
        while let Ok(taken) = timeout(ms(300), TcpStream::connect(full.address())).await {
            full._waiting.push(taken.unwrap());
        }
        full
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }
}

#[tokio::test(flavor = "local")]
async fn connecting_has_a_limit() {
    let full = Full::new().await;
    let plan = timed(|config| config.limits.connect = ms(200));
    let plan = plan.target("r1", full.address(), None);
    assert_eq!(
        refused(plan, Ask::chat(), 200).await,
        code("connect_timeout")
    );
}

#[tokio::test(flavor = "local")]
async fn the_first_byte_has_a_limit() {
    let replica = Replica::new("r1", Turn::silence).await;
    let plan = timed(|config| config.limits.first_byte = ms(200)).replica(&replica);
    assert_eq!(
        refused(plan, Ask::chat(), 200).await,
        code("first_byte_timeout")
    );
    replica.was_left(0).await;
}

#[tokio::test(flavor = "local")]
async fn the_first_token_has_a_limit() {
    let opens = async |mut turn: Turn| {
        turn.open().await;
        // Not an event yet.
        turn.chunk("data: {").await;
        turn.silence().await;
    };
    let replica = Replica::new("r1", opens).await;
    let plan = timed(|config| config.limits.first_token = ms(200)).replica(&replica);
    assert_eq!(
        refused(plan, Ask::stream(), 200).await,
        code("first_token_timeout")
    );
    // A caller may want it sooner than the configuration does.
    let replica = Replica::new("r1", opens).await;
    let hasty = Ask::stream().header("x-tw-ttft-timeout-ms", "200");
    let plan = timed(|_| {}).replica(&replica);
    assert_eq!(refused(plan, hasty, 200).await, code("first_token_timeout"));
}

#[tokio::test(flavor = "local")]
async fn the_whole_has_a_limit_that_a_caller_may_change_up_to_the_cap() {
    let replica = Replica::new("r1", Turn::silence).await;
    let plan = timed(|config| config.limits.total = ms(200)).replica(&replica);
    assert_eq!(refused(plan, Ask::chat(), 200).await, code("total_timeout"));
    let hasty = Ask::chat().header("x-tw-timeout-ms", "200");
    let plan = timed(|_| {}).replica(&replica);
    assert_eq!(refused(plan, hasty, 200).await, code("total_timeout"));
    let patient = Ask::chat().header("x-tw-timeout-ms", "86400000");
    let plan = timed(|config| config.limit_cap = ms(300)).replica(&replica);
    assert_eq!(refused(plan, patient, 300).await, code("total_timeout"));
}

#[tokio::test(flavor = "local")]
async fn an_application_may_have_limits_of_its_own() {
    let replica = Replica::new("r1", Turn::silence).await;
    let own = |config: &mut Config| {
        config.applications.push(ApplicationConfig {
            name: Application::new("other").unwrap(),
            route: None,
            limits: OwnLimits {
                first_byte: Some(ms(200)),
                ..OwnLimits::default()
            },
            repeatable: false,
        });
    };
    let what = Ask::post(r#"{"model":"other"}"#);
    assert_eq!(
        refused(timed(own).replica(&replica), what, 200).await,
        code("first_byte_timeout")
    );
}

#[tokio::test(flavor = "local")]
async fn the_whole_limit_ends_a_stream_in_band() {
    let replica = Replica::new("r1", async |mut turn| {
        turn.open().await;
        while turn.event(&token("r1", "more")).await {
            tokio::time::sleep(ms(20)).await;
        }
    })
    .await;
    let stage = timed(|config| config.limits.total = ms(400))
        .replica(&replica)
        .start();
    let began = Instant::now();
    let answer = ask(stage.address, Ask::stream()).await;
    assert!(began.elapsed() >= ms(400));
    let events = answer.events();
    assert_eq!(in_band(events.last().unwrap()), "total_timeout");
    // The replica did nothing wrong.
    assert_eq!(stage.gauge("tw_upstream_ejected"), 0.0);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_full_replica_is_not_asked() {
    let (release, held) = oneshot::channel::<()>();
    let held = std::cell::RefCell::new(Some(held));
    let replica = Replica::new("r1", async move |turn| {
        let held = held.borrow_mut().take();
        if let Some(held) = held {
            held.await.unwrap();
        }
        turn.well().await;
    })
    .await;
    let stage = timed(|_| {}).target("r1", replica.address, Some(1)).start();
    let first = ask(stage.address, Ask::chat());
    let then = async {
        replica.was_asked(1).await;
        let answer = ask(stage.address, Ask::chat()).await;
        assert_eq!(answer.refusal(), (503, "no_capacity".to_owned()));
        assert_eq!(answer.header("retry-after"), Some("1"));
        // It is worth another try.
        assert_eq!(answer.header("x-should-retry"), None);
        assert_eq!(stage.gauge("tw_upstream_in_flight"), 1.0);
        release.send(()).unwrap();
    };
    let (first, ()): (Answer, ()) = tokio::join!(first, then);
    assert_eq!(first.status, 200);
    assert_eq!(ask(stage.address, Ask::chat()).await.status, 200);
    assert_eq!(replica.times(), 2);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_429_without_a_time_is_handed_out() {
    let body = words::error("rate_limit_exceeded");
    let said = body.clone();
    let replica = Replica::new("r1", async move |turn| {
        turn.answer("429 Too Many Requests", "x-own: 1\r\n", &said)
            .await;
    })
    .await;
    let stage = timed(|_| {}).replica(&replica).start();
    let answer = ask(stage.address, Ask::chat()).await;
    assert_eq!((answer.status, answer.text()), (429, body.as_str()));
    assert_eq!(answer.header("x-own"), Some("1"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(replica.times(), 1);
    assert_eq!(stage.gauge("tw_upstream_ejected"), 0.0);
    stage.end().await;
}
