//! HTTP/1.1 towards replicas, as odd as replicas can be: what is right arrives
//! whole, what is wrong is never taken for whole, and no answer is ever given
//! to another request.

use http::{HeaderMap, Method};
use tokio::time::Instant;

use crate::stage::{
    Plan, Stage,
    caller::{Answer, Ask, BOTH, Caller, ask, in_band},
    ms,
    raw::RawCaller,
    replica::{Replica, Turn},
    words::{self, DONE, finish, token},
};

async fn says(answer: &'static str) -> (Stage, Replica) {
    let replica = Replica::new("r1", async move |mut turn: Turn| {
        turn.write(answer).await;
    })
    .await;
    (Plan::at("east").replica(&replica).start(), replica)
}

#[tokio::test(flavor = "local")]
async fn a_replica_is_not_believed_about_itself() {
    let (stage, _replica) = says(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-tw-site: moon\r\nx-tw-replica: moon/r9\r\n\
         x-tw-attempts: moon/r9;ok;1\r\nx-tw-overhead-us: 99999999\r\nx-tw-reason: luck\r\n\r\nhi",
    )
    .await;
    let answer = ask(stage.address, get("/app/x")).await;
    assert_eq!(answer.header("x-tw-site"), Some("east"));
    assert_eq!(answer.header("x-tw-replica"), Some("east/r1"));
    assert_eq!(answer.header("x-tw-reason"), Some("local"));
    assert_eq!(answer.attempts(), ["east/r1;ok"]);
    let overhead: u64 = answer.header("x-tw-overhead-us").unwrap().parse().unwrap();
    assert!(overhead < 99_999_999);
    stage.end().await;
}

fn get(path: &str) -> Ask {
    Ask::new(Method::GET, path, "")
}

#[tokio::test(flavor = "local")]
async fn every_framing_of_an_answer_arrives_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        // The chunks count, whatever length is claimed beside them.
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 90\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        // What follows the end is nobody's.
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ] {
        for wire in BOTH {
            let (stage, replica) = says(answer).await;
            let mut caller = Caller::new(wire, stage.address).await;
            for nth in 1..=2 {
                let got = caller.ask(get("/app/x")).await;
                assert_eq!((got.status, got.cut), (200, false), "{answer:?}");
                assert_eq!(got.text(), "hello", "{answer:?}");
                assert_eq!(replica.times(), nth);
            }
            drop(caller);
            stage.end().await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn an_answer_that_breaks_its_framing_is_never_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nffffffffffffffffff\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nhello",
    ] {
        for wire in BOTH {
            let (stage, _replica) = says(answer).await;
            let mut caller = Caller::new(wire, stage.address).await;
            // Nothing, or a part and a break, or a typed error.
            if let Ok(response) = caller.send(get("/app/x")).await {
                let got = Answer::of(response).await;
                assert!(got.cut || got.status == 502, "{answer:?}: {got:?}");
            }
            drop(caller);
            stage.end().await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn an_answer_without_a_body_has_none() {
    for (method, answer, status, length) in [
        (
            Method::HEAD,
            "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n",
            200,
            Some("500"),
        ),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        (
            Method::GET,
            "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n",
            304,
            None,
        ),
        (
            Method::PUT,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            200,
            Some("0"),
        ),
    ] {
        for wire in BOTH {
            let (stage, _replica) = says(answer).await;
            let mut caller = Caller::new(wire, stage.address).await;
            for _ in 0..2 {
                let got = caller.ask(Ask::new(method.clone(), "/app/x", "")).await;
                assert_eq!(
                    (got.status, got.cut, got.text()),
                    (status, false, ""),
                    "{answer:?}"
                );
                assert_eq!(got.header("content-length"), length, "{answer:?}");
            }
            drop(caller);
            stage.end().await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn an_answer_that_trickles_in_is_put_together() {
    let replica = Replica::new("r1", async |mut turn: Turn| {
        let body = words::answer("r1");
        let (front, back) = body.split_at(40);
        let whole = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
             {:x}\r\n{front}\r\n{:x}\r\n{back}\r\n0\r\n\r\n",
            front.len(),
            back.len()
        );
        for byte in whole.as_bytes() {
            turn.write([*byte]).await;
            tokio::task::yield_now().await;
        }
        turn.again();
    })
    .await;
    let stage = Plan::at("east").replica(&replica).start();
    for _ in 0..3 {
        assert_eq!(
            ask(stage.address, Ask::chat()).await.text(),
            words::answer("r1")
        );
    }
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_stream_of_a_declared_length_can_still_end_in_an_error() {
    let events = |words: &[String]| {
        words
            .iter()
            .map(|word| format!("data: {word}\n\n"))
            .collect::<String>()
    };
    let one = token("r1", "one");
    // Cut within its length, and whole but for its last word.
    for (sent, declared_more, last) in [
        (events(std::slice::from_ref(&one)), 100, "upstream_broken"),
        (events(&[one.clone(), finish("r1")]), 0, DONE),
    ] {
        for wire in BOTH {
            let said = sent.clone();
            let replica = Replica::new("r1", async move |mut turn: Turn| {
                let length = said.len() + declared_more;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n");
                turn.write(head + &said).await;
            })
            .await;
            let stage = Plan::at("east").replica(&replica).start();
            let mut caller = Caller::new(wire, stage.address).await;
            let answer = caller.ask(Ask::stream()).await;
            assert!(!answer.cut);
            let events = answer.events();
            assert_eq!(events[0], one);
            match events.last().unwrap().as_str() {
                DONE => assert_eq!(last, DONE),
                error => assert_eq!(in_band(error), last),
            }
            drop(caller);
            stage.end().await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn an_early_answer_is_heard_and_its_connection_not_used_again() {
    let replica = Replica::eager("r1", async |turn: Turn| {
        if turn.nth == 0 {
            return turn
                .answer("413 Payload Too Large", "", &words::error("too_long"))
                .await;
        }
        let mut turn = turn;
        turn.read_body().await.unwrap();
        turn.well().await;
    })
    .await;
    let stage = Plan::at("east").replica(&replica).start();
    let (what, feed) = Ask::post("").fed(None);
    feed.send(r#"{"model":"chat","input":""#.into())
        .await
        .unwrap();
    let mut caller = Caller::new(BOTH[1], stage.address).await;
    // The rest of the body never comes.
    let answer = caller.ask(what).await;
    assert_eq!(answer.refusal(), (413, "too_long".to_owned()));
    drop(feed);
    let answer = ask(stage.address, Ask::chat()).await;
    assert_eq!(answer.attempts(), ["east/r1;ok"]);
    assert_eq!(replica.asked()[1].method, "POST");
    drop(caller);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn a_replica_gets_the_request_as_it_was_meant() {
    let replica = Replica::well("r1").await;
    let stage = Plan::at("east").replica(&replica).start();
    let mut caller = RawCaller::new(stage.address).await;
    let head = "PATCH /app/a%20b?c=%2F&d HTTP/1.1\r\nHost: elsewhere\r\nX-Mine: 1\r\nx-mine: 2\r\n\
        connection: keep-alive, x-hop\r\nx-hop: 1\r\nKeep-Alive: timeout=5\r\nte: trailers\r\n\
        expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n";
    caller.write(head).await.unwrap();
    caller
        .write("5;x=y\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n")
        .await
        .unwrap();
    let mut answer = caller.answer().await;
    if answer.status == 100 {
        answer = caller.answer().await;
    }
    assert_eq!((answer.status, answer.body), (200, words::answer("r1")));
    let asked = replica.asked().pop().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("PATCH", "/app/a%20b?c=%2F&d")
    );
    assert_eq!(asked.body, b"hello");
    assert_eq!(
        asked.header("host"),
        Some(replica.address.to_string().as_str())
    );
    let mine: Vec<_> = asked.headers.get_all("x-mine").iter().collect();
    assert_eq!(mine, ["1", "2"]);
    for hop in ["x-hop", "keep-alive", "te", "expect", "connection"] {
        assert_eq!(asked.header(hop), None, "{hop}");
    }
    assert_eq!(asked.header("x-forwarded-for"), Some("127.0.0.1"));
    drop(caller);
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn what_an_idle_replica_says_is_an_answer_to_nobody() {
    let replica = Replica::new("r1", async |turn: Turn| {
        let mut turn = turn;
        if turn.nth == 0 {
            let body = "well";
            turn.write(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{body}"
            ))
            .await;
            tokio::time::sleep(ms(30)).await;
            turn.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong")
                .await;
            turn.until_left().await;
            return;
        }
        turn.answer("200 OK", "", "right").await;
    })
    .await;
    let stage = Plan::at("east").replica(&replica).start();
    assert_eq!(ask(stage.address, get("/app/x")).await.text(), "well");
    // Used again before or after the replica spoke out of turn.
    let began = Instant::now();
    while replica.times() < 2 {
        // Only what came before the question can be told apart.
        tokio::time::sleep(ms(60)).await;
        assert_eq!(ask(stage.address, get("/app/x")).await.text(), "right");
        assert!(began.elapsed() < ms(10_000));
    }
    replica.was_left(0).await;
    stage.end().await;
}

#[tokio::test(flavor = "local")]
async fn headers_of_an_answer_pass_hop_by_hop_ones_aside() {
    let (stage, _replica) = says(
        "HTTP/1.1 200 OK\r\nX-Own: 1\r\nx-own: 2\r\nset-cookie: a=b\r\nconnection: close, x-hop\r\n\
         x-hop: 1\r\nkeep-alive: timeout=5\r\ncontent-length: 2\r\n\r\n{}",
    )
    .await;
    for wire in BOTH {
        let mut caller = Caller::new(wire, stage.address).await;
        let answer: Answer = caller.ask(get("/app/x")).await;
        let all = |headers: &HeaderMap, name: &str| {
            headers.get_all(name).iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(all(&answer.headers, "x-own"), ["1", "2"]);
        assert_eq!(answer.header("set-cookie"), Some("a=b"));
        for hop in ["x-hop", "keep-alive", "connection"] {
            assert_eq!(answer.header(hop), None, "{hop}");
        }
    }
    stage.end().await;
}
