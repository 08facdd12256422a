//! Spans, as a collector receives them.

use std::{collections::BTreeMap, time::Instant};

use opentelemetry::trace::{Span, Tracer};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::*;

/// Keeps what it is sent.
struct Collector(mpsc::UnboundedSender<(MetadataMap, ExportTraceServiceRequest)>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, export) = request.into_parts();
        self.0.send((metadata, export)).unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn configured(endpoint: &str, token: &std::path::Path) -> Config {
    let secret = format!("${{file:{}}}", token.display());
    let text = format!(
        "site: east\ntelemetry: {{otlp: {{endpoint: '{endpoint}', headers: {{authorization: '{secret}'}}}}}}"
    );
    crate::config::parse(&text, "site.yaml", None).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_what_is_left_with_its_origin_and_its_secret() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, mut received) = mpsc::unbounded_channel();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server =
        tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    let server = tokio::spawn(server.serve_with_incoming(incoming));
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "hunter2\n").unwrap();

    let traces = Traces::begin(&configured(&address, &token)).unwrap();
    traces.tracer().unwrap().start("chat").end();
    traces.stop().await;

    let (metadata, export) = received.recv().await.unwrap();
    assert_eq!(metadata.get("authorization").unwrap(), "hunter2");
    let spans = &export.resource_spans[0];
    let attributes: BTreeMap<_, _> = spans
        .resource
        .iter()
        .flat_map(|resource| &resource.attributes)
        .filter_map(|it| match it.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some((it.key.as_str(), text.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(
        (attributes["service.name"], attributes["tradewind.site"]),
        ("tradewind", "east")
    );
    assert_eq!(spans.scope_spans[0].spans[0].name, "chat");
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_delays_a_stop_by_no_more_than_the_flush() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "hunter2").unwrap();
    let traces = Traces::begin(&configured(&address, &token)).unwrap();
    traces.tracer().unwrap().start("chat").end();
    let began = Instant::now();
    traces.stop().await;
    assert!(
        began.elapsed() < FLUSH + Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn without_a_collector_there_is_no_tracer() {
    assert!(
        Traces::begin(&Config::default())
            .unwrap()
            .tracer()
            .is_none()
    );
}
