//! What is told of requests: spans below the caller's, and one access line
//! each, whatever became of it.

use std::path::Path;

use gateway::config::AccessLog;
use opentelemetry::{
    global::BoxedTracer,
    trace::{SpanKind, TracerProvider},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use serde_json::Value;

use crate::stage::{
    Plan,
    caller::{Ask, BOTH, Caller, ask},
    replica::{Refusing, Replica},
    words::token,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A tracer whose spans can be looked at.
struct Spans {
    exporter: InMemorySpanExporter,
    provider: SdkTracerProvider,
}

impl Spans {
    fn new() -> Self {
        let exporter = InMemorySpanExporter::default();
        let builder = SdkTracerProvider::builder().with_simple_exporter(exporter.clone());
        Self {
            exporter,
            provider: builder.build(),
        }
    }

    fn tracer(&self) -> BoxedTracer {
        BoxedTracer::new(Box::new(self.provider.tracer("test")))
    }

    fn of(&self, kind: &SpanKind) -> Vec<SpanData> {
        let spans = self.exporter.get_finished_spans().unwrap();
        let same = |span: &SpanData| {
            std::mem::discriminant(&span.span_kind) == std::mem::discriminant(kind)
        };
        spans.into_iter().filter(same).collect()
    }
}

fn attribute(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().find(|pair| pair.key.as_str() == key);
    found.map_or_else(String::new, |pair| pair.value.to_string())
}

#[tokio::test(flavor = "local")]
async fn spans_lead_from_the_caller_to_the_replica() {
    let spans = Spans::new();
    let (refusing, replica) = (Refusing::new(), Replica::well("w1").await);
    let west = Plan::at("west")
        .replica(&replica)
        .traced(spans.tracer())
        .start();
    let plan = Plan::at("east").target("e1", refusing.address(), None);
    let east = plan
        .peer("west", west.address)
        .traced(spans.tracer())
        .start();
    let joined = Ask::chat()
        .header("traceparent", PARENT)
        .header("tracestate", "a=1");
    assert_eq!(ask(east.address, joined).await.status, 200);
    east.end().await;
    west.end().await;

    // Caller > east > attempt > west > attempt > replica, one attempt refused.
    let servers = spans.of(&SpanKind::Server);
    let clients = spans.of(&SpanKind::Client);
    assert_eq!((servers.len(), clients.len()), (2, 3));
    for span in servers.iter().chain(&clients) {
        assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    }
    let below = |parent: &str| {
        let all = servers.iter().chain(&clients);
        all.filter(|span| span.parent_span_id.to_string() == parent)
            .collect::<Vec<_>>()
    };
    let id = |span: &SpanData| span.span_context.span_id().to_string();
    let [request] = below("00f067aa0ba902b7")[..] else {
        panic!("one request at the first gateway");
    };
    assert_eq!(attribute(request, "gen_ai.request.model"), "chat");
    assert_eq!(attribute(request, "http.response.status_code"), "200");
    let [first, second] = below(&id(request))[..] else {
        panic!("two attempts there");
    };
    assert_eq!(attribute(first, "tradewind.target"), "east/e1");
    assert_eq!(attribute(first, "tradewind.cause"), "refused");
    assert_eq!(attribute(second, "tradewind.target"), "west/gw");
    let [remote] = below(&id(second))[..] else {
        panic!("one request at the second gateway");
    };
    let [last] = below(&id(remote))[..] else {
        panic!("one attempt there");
    };
    assert_eq!(attribute(last, "tradewind.target"), "west/w1");
    let asked = &replica.asked()[0];
    let context = format!("00-{TRACE}-{}-01", id(last));
    assert_eq!(asked.header("traceparent"), Some(context.as_str()));
    assert_eq!(asked.header("tracestate"), Some("a=1"));
}

#[tokio::test(flavor = "local")]
async fn a_request_without_a_trace_begins_one() {
    let (spans, replica) = (Spans::new(), Replica::well("r1").await);
    let stage = Plan::at("east")
        .replica(&replica)
        .traced(spans.tracer())
        .start();
    assert_eq!(ask(stage.address, Ask::chat()).await.status, 200);
    stage.end().await;
    let (servers, clients) = (spans.of(&SpanKind::Server), spans.of(&SpanKind::Client));
    assert_eq!((servers.len(), clients.len()), (1, 1));
    assert_eq!(clients[0].parent_span_id, servers[0].span_context.span_id());
    let asked = &replica.asked()[0];
    let context = asked.header("traceparent").unwrap();
    assert!(context.contains(&clients[0].span_context.span_id().to_string()));
}

#[tokio::test(flavor = "local")]
async fn a_client_that_went_away_leaves_whole_spans() {
    let spans = Spans::new();
    let replica = Replica::new("r1", crate::stage::replica::Turn::silence).await;
    let stage = Plan::at("east")
        .replica(&replica)
        .traced(spans.tracer())
        .start();
    let mut caller = Caller::new(BOTH[0], stage.address).await;
    tokio::select! {
        answered = caller.send(Ask::chat()) => panic!("it answered: {answered:?}"),
        () = replica.was_asked(1) => {}
    }
    drop(caller);
    replica.was_left(0).await;
    stage.end().await;
    let (servers, clients) = (spans.of(&SpanKind::Server), spans.of(&SpanKind::Client));
    assert_eq!((servers.len(), clients.len()), (1, 1));
    assert_eq!(attribute(&servers[0], "tradewind.outcome"), "client_gone");
}

#[tokio::test(flavor = "local")]
async fn without_a_tracer_the_callers_context_passes_untouched() {
    let replica = Replica::well("r1").await;
    let stage = Plan::at("east").replica(&replica).start();
    let odd = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more";
    for context in [PARENT, odd] {
        let what = Ask::chat()
            .header("traceparent", context)
            .header("baggage", "k=v");
        assert_eq!(ask(stage.address, what).await.status, 200);
        let asked = replica.asked().pop().unwrap();
        assert_eq!(asked.header("traceparent"), Some(context));
        assert_eq!(asked.header("baggage"), Some("k=v"));
    }
    assert_eq!(ask(stage.address, Ask::chat()).await.status, 200);
    assert_eq!(replica.asked()[2].header("traceparent"), None);
    stage.end().await;
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[tokio::test(flavor = "local")]
async fn each_request_has_one_access_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let replica = Replica::new("r1", async |mut turn| match turn.asked().path.as_str() {
        "/app/silent" => turn.silence().await,
        "/v1/completions" => {
            turn.open().await;
            turn.event(&token("r1", "one")).await;
            turn.reset();
        }
        _ => turn.well().await,
    })
    .await;
    let log = AccessLog::File(path.clone());
    let plan = Plan::at("east").with(|config| config.access_log = log);
    let stage = plan.replica(&replica).start();
    let named = |ask: Ask, id: &str| ask.header("x-request-id", id);
    ask(stage.address, named(Ask::chat(), "well")).await;
    ask(stage.address, named(Ask::post("{"), "mistaken")).await;
    let quoted = Ask::new(http::Method::GET, "/a%22b/\"c\\", "");
    ask(stage.address, named(quoted, "nowhere")).await;
    for (wire, id) in BOTH.into_iter().zip(["gone-1", "gone-2"]) {
        let before = replica.times();
        let mut caller = Caller::new(wire, stage.address).await;
        let silent = Ask::new(http::Method::GET, "/app/silent", "");
        tokio::select! {
            answered = caller.send(named(silent, id)) => panic!("it answered: {answered:?}"),
            () = replica.was_asked(before + 1) => {}
        }
        drop(caller);
        replica.was_left(before).await;
    }
    let broken = Ask::new(http::Method::POST, "/v1/completions", r#"{"model":"chat"}"#);
    ask(stage.address, named(broken, "broken")).await;
    stage.end().await;

    let lines = lines(&path);
    let told = |id: &str| {
        let mut found = lines.iter().filter(|line| line["request_id"] == id);
        let line = found.next().unwrap();
        assert!(found.next().is_none(), "{id} is told twice");
        let field = |name: &str| line[name].as_str().unwrap().to_owned();
        (
            line["status"].as_u64().unwrap(),
            field("outcome"),
            field("code"),
        )
    };
    let row = |status, outcome: &str, code: &str| (status, outcome.to_owned(), code.to_owned());
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert_eq!(told("well"), row(200, "answered", ""));
    assert_eq!(told("mistaken"), row(400, "own", "malformed_body"));
    assert_eq!(told("nowhere"), row(404, "own", "unknown_route"));
    assert_eq!(told("gone-1"), row(0, "client_gone", ""));
    assert_eq!(told("gone-2"), row(0, "client_gone", ""));
    assert_eq!(told("broken"), row(200, "broken", "upstream_broken"));
}
