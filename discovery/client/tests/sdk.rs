//! The client SDK against small gateways that die, fall silent or break off.

#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is a failure with a place"
)]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use discovery_client::{
    Address, Cursor, Endpoint, EndpointId, Event, Index, Key, Kind, Life, Site, State,
    sdk::{Call, Cause, Client, Config, Error, Standing},
};
use futures_util::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::Instant,
};

type Body = BoxBody<Bytes, std::io::Error>;

/// What a gateway of these tests does with a call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// Answers with its name.
    Answer,
    /// Answers the call with this status, and `x-should-retry` if given.
    Refuse(u16, Option<&'static str>),
    /// Sends half the answer, then dies with all its connections.
    DieInMidAnswer,
    /// Streams three events and `[DONE]`.
    Stream,
    /// Streams three events, then dies with all its connections.
    DieInMidStream,
    /// Streams three events, then nothing more, alive.
    Stall,
    /// Streams three events, then an error event.
    ErrorInBand,
    /// Streams three events and ends as if that were all.
    EndEarly,
    /// Takes the call and never answers it.
    Hang,
}

struct Gateway {
    address: Address,
    calls: Arc<AtomicUsize>,
    aborted: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Gateway {
    async fn start(name: &'static str, manner: Manner) -> Self {
        Self::listen(
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            name,
            manner,
        )
    }

    fn listen(listener: TcpListener, name: &'static str, manner: Manner) -> Self {
        let address = Address::from(listener.local_addr().unwrap());
        let calls = Arc::new(AtomicUsize::new(0));
        let aborted = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let (seen, gone) = (Arc::clone(&calls), Arc::clone(&aborted));
        tasks.spawn(async move {
            let death = Arc::new(Notify::new());
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = death.notified() => return,
                };
                let (seen, gone, death) =
                    (Arc::clone(&seen), Arc::clone(&gone), Arc::clone(&death));
                let service = service_fn(move |request| {
                    handle(
                        request,
                        name,
                        manner,
                        Arc::clone(&seen),
                        Arc::clone(&gone),
                        Arc::clone(&death),
                    )
                });
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    // A client that goes away is no failure of these tests.
                    let _ended = connection.await;
                });
            }
        });
        Self {
            address,
            calls,
            aborted,
            tasks,
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn kill(mut self) -> std::net::SocketAddr {
        self.tasks.shutdown().await;
        self.address.authority().parse().unwrap()
    }
}

struct Aborts(Arc<AtomicUsize>);

impl Drop for Aborts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

async fn handle(
    request: Request<Incoming>,
    name: &'static str,
    manner: Manner,
    calls: Arc<AtomicUsize>,
    aborted: Arc<AtomicUsize>,
    death: Arc<Notify>,
) -> Result<Response<Body>, Infallible> {
    let whole = |text: &str| {
        Full::new(Bytes::copy_from_slice(text.as_bytes()))
            .map_err(|never| match never {})
            .boxed()
    };
    if request.uri().path() == "/v1/models" {
        return Ok(Response::new(whole("{}")));
    }
    calls.fetch_add(1, Ordering::SeqCst);
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .map_or("-", |value| value.to_str().unwrap())
            .to_owned()
    };
    let echo = format!(
        "{name} {} {} {}",
        header("x-request-id"),
        header("x-tw-timeout-ms"),
        header("idempotency-key")
    );
    let answer = Response::builder()
        .header("x-tw-site", name)
        .header("x-tw-replica", format!("{name}/r1"));
    let events = ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"];
    let answer = answer.header(
        "content-type",
        match manner {
            Manner::Stream
            | Manner::DieInMidStream
            | Manner::Stall
            | Manner::ErrorInBand
            | Manner::EndEarly => "text/event-stream",
            _ => "application/json",
        },
    );
    let streamed = |last: Vec<&'static str>, then: Manner| {
        let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
        let events: Vec<_> = events.into_iter().chain(last).collect();
        let (aborted, death) = (Arc::clone(&aborted), Arc::clone(&death));
        tokio::spawn(async move {
            for event in events {
                if sender
                    .send(Ok(Frame::data(Bytes::from_static(event.as_bytes()))))
                    .await
                    .is_err()
                {
                    aborted.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            match then {
                Manner::DieInMidStream | Manner::DieInMidAnswer => death.notify_one(),
                Manner::Stall => {
                    sender.closed().await;
                    aborted.fetch_add(1, Ordering::SeqCst);
                }
                _ => {}
            }
            if matches!(then, Manner::DieInMidStream | Manner::DieInMidAnswer) {
                std::future::pending::<()>().await;
            }
        });
        BodyExt::boxed(StreamBody::new(
            tokio_stream::wrappers::ReceiverStream::new(receiver),
        ))
    };
    let body = match manner {
        Manner::Answer => whole(&echo),
        Manner::Refuse(status, retry) => {
            let answer = answer.status(status);
            let answer = match retry {
                Some(value) => answer.header("x-should-retry", value),
                None => answer,
            };
            return Ok(answer.body(whole("{\"error\":{}}")).unwrap());
        }
        Manner::Hang => {
            let _aborts = Aborts(Arc::clone(&aborted));
            std::future::pending().await
        }
        Manner::Stream => streamed(vec!["data: [DONE]\n\n"], manner),
        Manner::ErrorInBand => streamed(
            vec!["data: {\"error\":{\"message\":\"gone\",\"code\":\"upstream_broken\"}}\n\n"],
            manner,
        ),
        Manner::DieInMidAnswer | Manner::DieInMidStream | Manner::Stall | Manner::EndEarly => {
            streamed(vec![], manner)
        }
    };
    Ok(answer.body(body).unwrap())
}

/// Accepts connections and never says a word, as a stopped process does.
async fn silent() -> (Address, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    (address, tasks)
}

/// Passes bytes to a gateway until told to swallow them: what is connected
/// stays so and nobody answers, not even pings.
async fn muffled(to: &Address) -> (Address, Arc<Notify>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    let (hush, target) = (Arc::new(Notify::new()), to.authority().to_owned());
    let mut tasks = JoinSet::new();
    let quiet = Arc::clone(&hush);
    tasks.spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = tokio::net::TcpStream::connect(target).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
            () = quiet.notified() => {}
        }
        let mut held = vec![client];
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    (address, hush, tasks)
}

fn a_call() -> Call {
    Call::new(
        Request::post("/v1/chat/completions")
            .body(Bytes::from_static(b"{}"))
            .unwrap(),
    )
}

fn client(addresses: &[&Address]) -> Client {
    Client::new(
        Config::default(),
        addresses.iter().map(|address| ((*address).clone(), None)),
    )
    .unwrap()
}

async fn ready(client: &Client, count: usize) {
    until(|| {
        client
            .proxies()
            .iter()
            .filter(|proxy| proxy.standing == Standing::Ready)
            .count()
            == count
    })
    .await;
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "the condition did not come true within 10 s"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn headers_go_through_and_the_outcome_says_who_answered() {
    let east = Gateway::start("east", Manner::Answer).await;
    let client = client(&[&east.address]);
    let request = Request::post("/x")
        .header("x-request-id", "mine")
        .header("idempotency-key", "k");
    let call = Call::new(request.body(Bytes::new()).unwrap()).timeout(Duration::from_secs(5));
    let answer = client.call(call).await.unwrap();
    let words: Vec<_> = std::str::from_utf8(&answer.body)
        .unwrap()
        .split(' ')
        .collect();
    assert_eq!((words[0], words[1], words[3]), ("east", "mine", "k"));
    assert!((1..=5000).contains(&words[2].parse::<u64>().unwrap()));
    assert_eq!(answer.outcome.site.as_deref(), Some("east"));
    assert_eq!(answer.outcome.replica.as_deref(), Some("east/r1"));
    assert_eq!(
        (answer.outcome.attempts.len(), answer.outcome.proxy()),
        (1, Some(&east.address))
    );
    client.close().await;
}

#[tokio::test]
async fn the_own_sites_gateways_come_first() {
    let east = Gateway::start("east", Manner::Answer).await;
    let west = Gateway::start("west", Manner::Answer).await;
    let site = |name| Some(Site::new(name).unwrap());
    let config = Config {
        site: site("west"),
        ..Config::default()
    };
    let known = [
        (east.address.clone(), site("east")),
        (west.address.clone(), site("west")),
    ];
    let client = Client::new(config, known).unwrap();
    ready(&client, 2).await;
    for _ in 0..20 {
        assert_eq!(
            client.call(a_call()).await.unwrap().outcome.site.as_deref(),
            Some("west")
        );
    }
    assert_eq!(east.calls(), 0);
}

#[tokio::test]
async fn a_dead_gateway_is_gone_round() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = Address::from(dead.local_addr().unwrap());
    drop(dead);
    let west = Gateway::start("west", Manner::Answer).await;
    let client = client(&[&nobody, &west.address]);
    for _ in 0..20 {
        assert_eq!(
            client.call(a_call()).await.unwrap().outcome.site.as_deref(),
            Some("west")
        );
    }
}

#[tokio::test]
async fn a_gateway_that_never_spoke_is_never_asked() {
    let (mute, _tasks) = silent().await;
    let west = Gateway::start("west", Manner::Answer).await;
    let client = client(&[&mute, &west.address]);
    for _ in 0..20 {
        assert_eq!(
            client.call(a_call()).await.unwrap().outcome.attempts.len(),
            1
        );
    }
}

#[tokio::test]
async fn a_gateway_that_falls_silent_is_noticed_within_a_second() {
    let east = Gateway::start("east", Manner::Hang).await;
    let west = Gateway::start("west", Manner::Answer).await;
    let (muffled, hush, _tasks) = muffled(&east.address).await;
    let site = |name| Some(Site::new(name).unwrap());
    let config = Config {
        site: site("east"),
        ..Config::default()
    };
    let client = Client::new(
        config,
        [
            (muffled, site("east")),
            (west.address.clone(), site("west")),
        ],
    )
    .unwrap();
    ready(&client, 2).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(a_call()).await }
    });
    until(|| east.calls() == 1).await;
    hush.notify_one();
    let began = Instant::now();
    let answer = call.await.unwrap().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "took {:?}",
        began.elapsed()
    );
    assert_eq!(answer.outcome.site.as_deref(), Some("west"));
    assert_eq!(answer.outcome.attempts[0].cause, Some(Cause::Silent));
    // From now on nobody waits for it.
    let began = Instant::now();
    assert_eq!(
        client.call(a_call()).await.unwrap().outcome.attempts.len(),
        1
    );
    assert!(began.elapsed() < Duration::from_millis(200));
}

#[tokio::test]
async fn an_idle_connection_that_falls_silent_is_noticed_too() {
    let east = Gateway::start("east", Manner::Answer).await;
    let (muffled, hush, _tasks) = muffled(&east.address).await;
    let client = client(&[&muffled]);
    ready(&client, 1).await;
    hush.notify_one();
    let began = Instant::now();
    until(|| client.proxies()[0].standing != Standing::Ready).await;
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "took {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_gateway_that_dies_in_mid_answer_costs_a_retry() {
    let east = Gateway::start("east", Manner::DieInMidAnswer).await;
    let west = Gateway::start("west", Manner::Answer).await;
    let site = |name| Some(Site::new(name).unwrap());
    let config = Config {
        site: site("east"),
        ..Config::default()
    };
    let known = [
        (east.address.clone(), site("east")),
        (west.address.clone(), site("west")),
    ];
    let client = Client::new(config, known).unwrap();
    ready(&client, 2).await;
    let answer = client.call(a_call()).await.unwrap();
    assert_eq!(answer.outcome.site.as_deref(), Some("west"));
    assert!(matches!(
        answer.outcome.attempts[0].cause,
        Some(Cause::BrokenOff { received: 1.. })
    ));
    assert!(
        std::str::from_utf8(&answer.body)
            .unwrap()
            .starts_with("west"),
        "an answer is of one gateway"
    );
}

#[tokio::test]
async fn a_call_marked_once_is_not_repeated() {
    let east = Gateway::start("east", Manner::DieInMidAnswer).await;
    let west = Gateway::start("west", Manner::Answer).await;
    let site = |name| Some(Site::new(name).unwrap());
    let config = Config {
        site: site("east"),
        ..Config::default()
    };
    let known = [
        (east.address.clone(), site("east")),
        (west.address.clone(), site("west")),
    ];
    let client = Client::new(config, known).unwrap();
    ready(&client, 2).await;
    assert!(matches!(
        client.call(a_call().once()).await,
        Err(Error::Failed {
            cause: Cause::BrokenOff { .. },
            ..
        })
    ));
    assert_eq!((east.calls(), west.calls()), (1, 0));
}

#[tokio::test]
async fn the_gateways_word_on_retries_is_obeyed() {
    let spent = Gateway::start("east", Manner::Refuse(503, Some("false"))).await;
    let one = client(&[&spent.address]);
    assert_eq!(
        one.call(a_call()).await.unwrap().status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(spent.calls(), 1);
    let bad = Gateway::start("east", Manner::Refuse(400, None)).await;
    let one = client(&[&bad.address]);
    assert_eq!(
        one.call(a_call()).await.unwrap().status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(bad.calls(), 1);
}

#[tokio::test]
async fn a_gateway_in_trouble_is_left_for_another_and_ejected() {
    let east = Gateway::start("east", Manner::Refuse(502, None)).await;
    let west = Gateway::start("west", Manner::Answer).await;
    let both = client(&[&east.address, &west.address]);
    ready(&both, 2).await;
    for _ in 0..30 {
        assert_eq!(both.call(a_call()).await.unwrap().status, StatusCode::OK);
    }
    assert!(east.calls() < 10, "asked {} times", east.calls());
    assert_eq!(
        both.proxies()
            .iter()
            .find(|proxy| proxy.address == east.address)
            .unwrap()
            .standing,
        Standing::Ejected
    );
}

#[tokio::test]
async fn without_any_gateway_a_call_ends_in_time_and_typed() {
    let (mute, _tasks) = silent().await;
    let config = Config {
        patience: Duration::from_millis(100),
        ..Config::default()
    };
    let client = Client::new(config, [(mute, None)]).unwrap();
    assert!(matches!(
        client.call(a_call()).await,
        Err(Error::NoProxy { known: 1, .. })
    ));
}

#[tokio::test]
async fn the_deadline_ends_a_call_that_hangs_and_cancels_it() {
    let east = Gateway::start("east", Manner::Hang).await;
    let client = client(&[&east.address]);
    let call = a_call().timeout(Duration::from_millis(150));
    assert!(matches!(
        client.call(call).await,
        Err(Error::Deadline { .. })
    ));
    until(|| east.aborted.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn dropping_a_call_cancels_it() {
    let east = Gateway::start("east", Manner::Hang).await;
    let client = client(&[&east.address]);
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(a_call()).await }
    });
    until(|| east.calls() == 1).await;
    call.abort();
    until(|| east.aborted.load(Ordering::SeqCst) == 1 && client.proxies()[0].in_flight == 0).await;
}

#[tokio::test]
async fn a_stream_yields_its_events_and_ends() {
    let east = Gateway::start("east", Manner::Stream).await;
    let client = client(&[&east.address]);
    let stream = client.stream(a_call()).await.unwrap();
    assert_eq!(stream.outcome().replica.as_deref(), Some("east/r1"));
    let events: Vec<_> = stream
        .map(|event| event.unwrap().data().unwrap())
        .collect()
        .await;
    assert_eq!(events, ["1", "2", "3", "[DONE]"]);
    assert_eq!(client.proxies()[0].in_flight, 0);
}

#[tokio::test]
async fn a_stream_cut_in_the_middle_ends_with_a_typed_error() {
    for manner in [Manner::DieInMidStream, Manner::EndEarly] {
        let east = Gateway::start("east", manner).await;
        let client = client(&[&east.address]);
        let mut stream = client.stream(a_call()).await.unwrap();
        for _ in 0..3 {
            stream.next().await.unwrap().unwrap();
        }
        let last = stream.next().await;
        assert!(
            matches!(last, Some(Err(Error::StreamBroken { events: 3, .. }))),
            "{manner:?}: {last:?}"
        );
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_stream_of_a_silent_gateway_ends_within_a_second() {
    let east = Gateway::start("east", Manner::Stall).await;
    let (muffled, hush, _tasks) = muffled(&east.address).await;
    let client = client(&[&muffled]);
    let mut stream = client.stream(a_call()).await.unwrap();
    for _ in 0..3 {
        stream.next().await.unwrap().unwrap();
    }
    hush.notify_one();
    let began = Instant::now();
    let last = stream.next().await;
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "took {:?}",
        began.elapsed()
    );
    assert!(
        matches!(last, Some(Err(Error::StreamBroken { events: 3, .. }))),
        "{last:?}"
    );
}

#[tokio::test]
async fn an_error_event_ends_the_stream_typed() {
    let east = Gateway::start("east", Manner::ErrorInBand).await;
    let client = client(&[&east.address]);
    let mut stream = client.stream(a_call()).await.unwrap();
    for _ in 0..3 {
        stream.next().await.unwrap().unwrap();
    }
    let Some(Err(Error::InBand {
        code,
        message,
        events,
        ..
    })) = stream.next().await
    else {
        panic!("no error")
    };
    assert_eq!(
        (code.as_deref(), &*message, events),
        (Some("upstream_broken"), "gone", 3)
    );
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_refusal_where_a_stream_was_wanted_is_handed_out() {
    let east = Gateway::start("east", Manner::Refuse(404, None)).await;
    let client = client(&[&east.address]);
    let Err(Error::NotAStream(answer)) = client.stream(a_call()).await else {
        panic!("no refusal")
    };
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn dropping_a_stream_cancels_it() {
    let east = Gateway::start("east", Manner::Stall).await;
    let client = client(&[&east.address]);
    let stream = client.stream(a_call()).await.unwrap();
    drop(stream);
    until(|| east.aborted.load(Ordering::SeqCst) == 1 && client.proxies()[0].in_flight == 0).await;
}

#[tokio::test]
async fn a_gateway_that_comes_back_is_used_again() {
    let east = Gateway::start("east", Manner::Answer).await;
    let client = client(&[&east.address]);
    ready(&client, 1).await;
    let socket = east.kill().await;
    until(|| client.proxies()[0].standing != Standing::Ready).await;
    let listener = tokio::net::TcpSocket::new_v4().unwrap();
    listener.set_reuseaddr(true).unwrap();
    listener.bind(socket).unwrap();
    let _east = Gateway::listen(listener.listen(16).unwrap(), "east", Manner::Answer);
    assert_eq!(client.call(a_call()).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn gateways_are_learned_from_snapshots_and_the_last_good_set_stays() {
    let east = Gateway::start("east", Manner::Answer).await;
    let west = Gateway::start("west", Manner::Answer).await;
    let endpoint = |site: &str, kind, address: &Address| {
        let key = Key {
            site: Site::new(site).unwrap(),
            id: EndpointId::new("gateway").unwrap(),
        };
        let (state, life) = (
            State::Serving,
            Life {
                incarnation: 1,
                version: 0,
            },
        );
        Arc::new(Endpoint {
            key,
            kind,
            address: address.clone(),
            applications: Vec::new(),
            state,
            capacity: None,
            life,
        })
    };
    let snapshot = |revision, endpoints| {
        let mut index = Index::new();
        index.apply(Event::Reset {
            at: Cursor {
                generation: 1,
                revision,
            },
            endpoints,
        });
        Arc::new(index.snapshot())
    };
    let near = endpoint("east", Kind::Gateway, &east.address);
    let far = endpoint("west", Kind::Peer, &west.address);
    let (sender, view) = watch::channel(snapshot(1, vec![near, Arc::clone(&far)]));
    let config = Config {
        site: Some(Site::new("east").unwrap()),
        ..Config::default()
    };
    let client = Client::follow(config, view).unwrap();
    ready(&client, 2).await;
    assert_eq!(
        client.call(a_call()).await.unwrap().outcome.site.as_deref(),
        Some("east")
    );
    sender.send_replace(snapshot(2, vec![far]));
    until(|| client.proxies().len() == 1).await;
    assert_eq!(
        client.call(a_call()).await.unwrap().outcome.site.as_deref(),
        Some("west")
    );
    sender.send_replace(snapshot(3, Vec::new()));
    drop(sender);
    assert_eq!(
        client.call(a_call()).await.unwrap().outcome.site.as_deref(),
        Some("west")
    );
}
