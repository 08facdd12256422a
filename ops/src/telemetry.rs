//! Logs and traces of the process.
//!
//! Logs go to standard error, so that access lines and results have standard
//! output for themselves. Traces are batched and sent by OTLP over gRPC from a
//! thread of their own; when the collector is slow or away, spans are dropped
//! and requests never wait.
//!
//! Invariants:
//! 1. Without `telemetry.otlp` no tracer exists and nothing is recorded
//!    (`without_a_collector_there_is_no_tracer`).
//! 2. A stop sends what is left, but not for longer than [`FLUSH`]
//!    (`a_dead_collector_delays_a_stop_by_no_more_than_the_flush`).

use std::{env, time::Duration};

use anyhow::Context;
use opentelemetry::{KeyValue, global::BoxedTracer, trace::TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    build::BUILD,
    config::{Config, Format, Log, Otlp},
};

/// Overrides `log.level`.
const LEVEL: &str = "TRADEWIND_LOG";

/// Spans that may wait for the collector.
const QUEUE: usize = 8192;

/// Spans of one export.
const BATCH: usize = 512;

/// The longest a span waits before it is sent.
const DELAY: Duration = Duration::from_secs(1);

/// Deadline of one export.
const EXPORT: Duration = Duration::from_secs(5);

/// Deadline of the last export, at a stop.
const FLUSH: Duration = Duration::from_secs(2);

/// Begins to log, for the whole process.
///
/// # Errors
/// If `TRADEWIND_LOG` is no filter, or logging has begun before.
pub fn log(log: &Log) -> anyhow::Result<()> {
    let level = env::var(LEVEL).unwrap_or_else(|_| log.level.clone());
    let filter = EnvFilter::builder()
        .with_regex(false)
        .parse(&level)
        .with_context(|| {
            format!("{LEVEL}: {level:?} is not a filter such as info or info,gateway=debug")
        })?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = match log.format {
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
        Format::Human => lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_target(false)
            .try_init(),
    };
    begun.map_err(|error| anyhow::anyhow!("cannot begin to log: {error}"))
}

/// Sends traces until it is stopped.
#[derive(Debug)]
pub struct Traces {
    provider: Option<SdkTracerProvider>,
}

impl Traces {
    /// Begins to send, if the configuration says where to. Connects in the
    /// background; must be called inside the control runtime.
    ///
    /// # Errors
    /// If a secret cannot be read or a header cannot be sent.
    pub fn begin(config: &Config) -> anyhow::Result<Self> {
        let provider = match &config.telemetry.otlp {
            Some(otlp) => Some(provider(config, otlp).context("telemetry.otlp")?),
            None => None,
        };
        Ok(Self { provider })
    }

    /// What the data plane records spans with.
    pub fn tracer(&self) -> Option<BoxedTracer> {
        self.provider
            .as_ref()
            .map(|provider| BoxedTracer::new(Box::new(provider.tracer("tradewind"))))
    }

    /// Sends what is left, and stops.
    pub async fn stop(self) {
        let Some(provider) = self.provider else {
            return;
        };
        let flushed =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last traces were lost"),
            Err(error) => tracing::warn!(%error, "the last traces were lost"),
        }
    }
}

fn provider(config: &Config, otlp: &Otlp) -> anyhow::Result<SdkTracerProvider> {
    let mut headers = MetadataMap::new();
    for (name, secret) in &otlp.headers {
        let key: AsciiMetadataKey = name.parse().with_context(|| format!("headers.{name}"))?;
        // The parser's error is left out: it could quote the secret.
        let mut value = AsciiMetadataValue::try_from(secret.read()?).map_err(|_| {
            anyhow::anyhow!("headers.{name}: the secret has characters a header cannot hold")
        })?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(otlp.endpoint.as_str())
        .with_timeout(EXPORT)
        .with_metadata(headers)
        .build()?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let resource = Resource::builder()
        .with_service_name("tradewind")
        .with_attributes([
            KeyValue::new("service.version", BUILD.version),
            KeyValue::new(
                "service.instance.id",
                format!("{}/{}", config.site, config.id),
            ),
            KeyValue::new("tradewind.site", config.site.to_string()),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(
            BatchSpanProcessor::builder(exporter)
                .with_batch_config(batches)
                .build(),
        )
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            otlp.sample_ratio,
        ))))
        .with_resource(resource)
        .build())
}

#[cfg(test)]
mod tests;
