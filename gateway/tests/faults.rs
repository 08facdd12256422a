//! The faults of a public failover bench, in one site of two replicas: what
//! the caller gets, and what each replica was asked.

use std::{cell::Cell, rc::Rc, time::Instant};

use gateway::Config;

use crate::stage::{
    Plan, Stage,
    caller::{Answer, Ask, Caller, Events, Wire, ask},
    ms,
    replica::{Asked, Replica, Turn},
    words::{self, DONE, finish, token, usage},
};

/// A stage with two replicas of one script, which is told how many requests
/// either of them had before.
struct Pair {
    stage: Stage,
    replicas: [Replica; 2],
}

impl Pair {
    async fn new(script: impl AsyncFn(usize, Turn) + 'static) -> Self {
        Self::with(|_| {}, script).await
    }

    async fn with(
        change: impl FnOnce(&mut Config),
        script: impl AsyncFn(usize, Turn) + 'static,
    ) -> Self {
        let (count, script) = (Rc::new(Cell::new(0)), Rc::new(script));
        let each = move || {
            let (count, script) = (Rc::clone(&count), Rc::clone(&script));
            async move |turn: Turn| script(count.replace(count.get() + 1), turn).await
        };
        let replicas = [
            Replica::new("r1", each()).await,
            Replica::new("r2", each()).await,
        ];
        let plan = Plan::at("east").with(change);
        let stage = plan.replica(&replicas[0]).replica(&replicas[1]).start();
        Self { stage, replicas }
    }

    async fn ask(&self, what: Ask) -> Answer {
        ask(self.stage.address, what).await
    }

    /// Every request of either, in the order they came, with whose it was.
    fn asked(&self) -> Vec<(String, Asked)> {
        let of = |replica: &Replica| {
            let name = format!("east/{}", replica.id);
            let all = replica.asked().into_iter();
            all.map(|asked| (name.clone(), asked)).collect::<Vec<_>>()
        };
        let mut all = [of(&self.replicas[0]), of(&self.replicas[1])].concat();
        all.sort_by_key(|(_, asked)| asked.at);
        all
    }

    /// Who was asked, in order.
    fn order(&self) -> Vec<String> {
        self.asked().into_iter().map(|(name, _)| name).collect()
    }

    /// Proves that the answer is that of the second of two replicas, after the
    /// first one failed with `cause`, and tells of it truly.
    fn second_served(&self, answer: &Answer, cause: &str) {
        let order = self.order();
        assert_eq!(order.len(), 2, "{order:?}");
        assert_ne!(order[0], order[1]);
        let attempts = [format!("{};{cause}", order[0]), format!("{};ok", order[1])];
        assert_eq!(answer.attempts(), attempts);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-tw-replica"), Some(order[1].as_str()));
        assert_eq!(answer.header("x-tw-site"), Some("east"));
        assert_eq!(answer.header("x-tw-reason"), Some("local"));
        assert_eq!(answer.header("x-should-retry"), None);
    }

    /// The same for a whole answer: its model and usage are the server's own.
    fn second_answered(&self, answer: &Answer, cause: &str) {
        self.second_served(answer, cause);
        let served = answer.header("x-tw-replica").unwrap().replace("east/", "");
        assert_eq!(answer.text(), words::answer(&served));
    }
}

const LIMITED: &str = "retry-after: 2\r\n";

#[tokio::test(flavor = "local")]
async fn s01_a_429_goes_elsewhere_and_is_not_asked_before_its_time() {
    let pair = Pair::new(async |nth, turn| match nth {
        0 => turn.answer("429 Too Many Requests", LIMITED, "{}").await,
        _ => turn.well().await,
    })
    .await;
    let answer = pair.ask(Ask::chat()).await;
    pair.second_answered(&answer, "429");
    // Goes on asking until the limited one is asked again.
    let limited = pair.order()[0].clone();
    let began = Instant::now();
    while pair.order().iter().filter(|name| **name == limited).count() < 2 {
        assert!(began.elapsed() < ms(10_000), "never asked again");
        assert_eq!(pair.ask(Ask::chat()).await.status, 200);
        tokio::time::sleep(ms(20)).await;
    }
    let asked = pair.asked();
    let mut times = asked.iter().filter(|(name, _)| *name == limited);
    let (first, second) = (times.next().unwrap().1.at, times.next().unwrap().1.at);
    assert!(second - first >= ms(2000), "{:?}", second - first);
    pair.stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s01_the_only_replica_is_waited_for() {
    let replica = Replica::new("r1", async |turn| match turn.nth {
        0 => turn.answer("429 Too Many Requests", LIMITED, "{}").await,
        _ => turn.well().await,
    })
    .await;
    let stage = Plan::at("east").replica(&replica).start();
    let answer = ask(stage.address, Ask::chat()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.attempts(), ["east/r1;429", "east/r1;ok"]);
    let asked = replica.asked();
    assert!(asked[1].at - asked[0].at >= ms(2000));
    // The wait is not the gateway's own doing.
    let overhead: u64 = answer.header("x-tw-overhead-us").unwrap().parse().unwrap();
    assert!(overhead < 1_000_000, "{overhead} us");
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s02_a_429_for_ever_is_handed_out_after_a_few_attempts() {
    let after = "retry-after: 1\r\n";
    let pair = Pair::new(async move |_, turn| {
        let body = words::error("rate_limit_exceeded");
        turn.answer("429 Too Many Requests", after, &body).await;
    })
    .await;
    let began = Instant::now();
    let answer = pair.ask(Ask::chat()).await;
    assert!(began.elapsed() < ms(4000), "{:?}", began.elapsed());
    assert_eq!(answer.refusal(), (429, "rate_limit_exceeded".to_owned()));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!((2..=4).contains(&pair.order().len()), "{:?}", pair.order());
    for replica in &pair.replicas {
        let asked = replica.asked();
        assert!(!asked.is_empty());
        let gaps = asked.windows(2).map(|two| two[1].at - two[0].at);
        assert!(gaps.into_iter().all(|gap| gap >= ms(1000)));
    }
    pair.stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s03_one_500_is_retried_once_on_the_same_replica() {
    let pair = Pair::new(async |nth, turn| match nth {
        0 => turn.answer("500 Internal Server Error", "", "{}").await,
        _ => turn.well().await,
    })
    .await;
    let answer = pair.ask(Ask::chat()).await;
    let order = pair.order();
    assert_eq!(order.len(), 2);
    assert_eq!(order[0], order[1]);
    let attempts = [format!("{};500", order[0]), format!("{};ok", order[0])];
    assert_eq!(answer.attempts(), attempts);
    assert_eq!(answer.status, 200);
    pair.stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s03_a_500_for_ever_is_handed_out_once_attempts_are_spent() {
    let pair = Pair::new(async |_, turn| {
        let body = words::error("broken");
        turn.answer("500 Internal Server Error", "", &body).await;
    })
    .await;
    let answer = pair.ask(Ask::chat()).await;
    assert_eq!(answer.refusal(), (500, "broken".to_owned()));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(answer.header("x-tw-replica"), None);
    let order = pair.order();
    assert_eq!(order.len(), 4);
    assert!(order[0] == order[1] && order[2] == order[3] && order[1] != order[2]);
    pair.stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s04_a_503_goes_elsewhere_and_is_left_alone() {
    let pair = Pair::new(async |_, turn| match turn.id {
        "r1" => turn.answer("503 Service Unavailable", "", "{}").await,
        _ => turn.well().await,
    })
    .await;
    let began = Instant::now();
    while pair.replicas[0].times() == 0 {
        assert_eq!(pair.ask(Ask::chat()).await.status, 200);
    }
    for _ in 0..50 {
        assert_eq!(pair.ask(Ask::chat()).await.status, 200);
    }
    // The first back-off is half a second, and each one doubles it.
    let most = 2 + began.elapsed().as_millis() / 500;
    assert!(pair.replicas[0].times() <= usize::try_from(most).unwrap());
    pair.stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s05_a_reset_before_the_head_is_retried_at_once() {
    let pair = Pair::new(async |nth, turn| match nth {
        0 => turn.reset(),
        _ => turn.well().await,
    })
    .await;
    let answer = pair.ask(Ask::chat()).await;
    pair.second_answered(&answer, "reset");
    let asked = pair.asked();
    assert!(asked[1].1.at - asked[0].1.at < ms(1000));
    assert_eq!(asked[0].1.body, asked[1].1.body);
    pair.stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s06_a_silent_replica_is_given_up_and_not_asked_again() {
    let limit = |config: &mut Config| config.limits.first_byte = ms(300);
    let pair = Pair::with(limit, async |nth, turn| match nth {
        0 => turn.silence().await,
        _ => turn.well().await,
    })
    .await;
    let answer = pair.ask(Ask::chat()).await;
    pair.second_answered(&answer, "first_byte_timeout");
    let asked = pair.asked();
    assert!(asked[1].1.at - asked[0].1.at >= ms(290));
    // It is told that nobody waits any more.
    let silent = &pair.replicas[usize::from(asked[0].0 == "east/r2")];
    silent.was_left(0).await;
    pair.stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s07_a_late_first_token_goes_elsewhere() {
    let limit = |config: &mut Config| config.limits.first_token = ms(300);
    let pair = Pair::with(limit, async |nth, mut turn| {
        turn.open().await;
        if nth == 0 {
            return turn.silence().await;
        }
        turn.event(&token(turn.id, "well")).await;
        turn.event(&finish(turn.id)).await;
        turn.event(DONE).await;
        turn.close().await;
    })
    .await;
    let answer = pair.ask(Ask::stream()).await;
    pair.second_served(&answer, "first_token_timeout");
    let served = answer.header("x-tw-replica").unwrap().replace("east/", "");
    let whole = [token(&served, "well"), finish(&served), DONE.to_owned()];
    assert_eq!(answer.events(), whole);
    pair.stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s10_a_malformed_event_is_skipped_and_the_stream_goes_on() {
    let pair = Pair::new(async |_, mut turn| {
        turn.open().await;
        turn.event(&token(turn.id, "well")).await;
        turn.event("{\"choices\":[{\"delta\":{\"cont").await;
        turn.event(&finish(turn.id)).await;
        turn.event(DONE).await;
        turn.close().await;
    })
    .await;
    let mut caller = Caller::new(Wire::Http1, pair.stage.address).await;
    let response = caller.send(Ask::stream()).await.unwrap();
    let events = Events::of(response).rest().await;
    let served = pair.order()[0].replace("east/", "");
    let whole = [token(&served, "well"), finish(&served), DONE.to_owned()];
    assert_eq!(events, whole);
    assert_eq!(pair.stage.gauge("tw_http_events_skipped_total"), 1.0);
    drop(caller);
    pair.stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s11_a_stream_without_done_that_gave_a_reason_is_finalised() {
    let pair = Pair::new(async |_, mut turn| {
        turn.open().await;
        turn.event(&token(turn.id, "well")).await;
        turn.event(&finish(turn.id)).await;
        turn.event(&usage(turn.id)).await;
        turn.close().await;
    })
    .await;
    let mut caller = Caller::new(Wire::Http1, pair.stage.address).await;
    let response = caller.send(Ask::stream()).await.unwrap();
    let events = Events::of(response).rest().await;
    let served = pair.order()[0].replace("east/", "");
    let whole = [
        token(&served, "well"),
        finish(&served),
        usage(&served),
        DONE.to_owned(),
    ];
    assert_eq!(events, whole);
    drop(caller);
    pair.stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn s12_and_s13_what_is_the_callers_own_is_handed_to_it() {
    for (status, code) in [
        ("400 Bad Request", "context_length_exceeded"),
        ("400 Bad Request", "content_filter"),
        ("404 Not Found", "model_not_loaded"),
        ("413 Payload Too Large", "too_long"),
        ("422 Unprocessable Entity", "bad_schema"),
    ] {
        let body = words::error(code);
        let said = body.clone();
        let pair = Pair::new(async move |_, turn| turn.answer(status, "", &said).await).await;
        let answer = pair.ask(Ask::chat()).await;
        assert_eq!(answer.text(), body);
        assert!(status.starts_with(&answer.status.to_string()));
        let order = pair.order();
        assert_eq!(order.len(), 1, "{code}");
        assert_eq!(answer.attempts(), [format!("{};ok", order[0])]);
        assert_eq!(answer.header("x-tw-replica"), Some(order[0].as_str()));
        assert_eq!(pair.stage.gauge("tw_upstream_ejected"), 0.0);
        pair.stage.end().await;
    }
}
