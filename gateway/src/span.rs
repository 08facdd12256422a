//! One span a request and one an attempt, joined to the caller's trace.
//!
//! Only where traces are exported. Otherwise the caller's `traceparent` passes
//! through untouched, and nothing here runs.
//!
//! Source: W3C Trace Context; OpenTelemetry semantic conventions for HTTP and
//! GenAI.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use opentelemetry::{
    Context, KeyValue,
    global::{BoxedSpan, BoxedTracer},
    trace::{
        Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
        TraceState, Tracer,
    },
};

/// The caller's place in its trace.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Makes spans.
#[derive(Clone)]
pub(crate) struct Tracing(Arc<BoxedTracer>);

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracing")
    }
}

/// A span that has begun.
pub(crate) struct Span(BoxedSpan);

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(self.0.span_context()).finish()
    }
}

impl Tracing {
    /// Makes spans with `tracer`.
    #[must_use]
    pub(crate) fn new(tracer: BoxedTracer) -> Self {
        Self(Arc::new(tracer))
    }

    /// The span of a request, below the caller's if `headers` name one.
    #[must_use]
    pub(crate) fn request(
        &self,
        method: &Method,
        path: &str,
        id: &HeaderValue,
        headers: &HeaderMap,
    ) -> Span {
        let builder = self
            .0
            .span_builder(format!("{method} {path}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", method.to_string()),
                KeyValue::new("url.path", path.to_owned()),
                KeyValue::new(
                    "tradewind.request.id",
                    id.to_str().unwrap_or_default().to_owned(),
                ),
            ]);
        let parent = match caller(headers) {
            Some(caller) => Context::new().with_remote_span_context(caller),
            None => Context::new(),
        };
        Span(self.0.build_with_context(builder, &parent))
    }

    /// The span of an attempt at `target`, below `request`.
    #[must_use]
    pub(crate) fn attempt(&self, request: &Span, target: &str) -> Span {
        let builder = self
            .0
            .span_builder("attempt")
            .with_kind(SpanKind::Client)
            .with_attributes([KeyValue::new("tradewind.target", target.to_owned())]);
        let parent = Context::new().with_remote_span_context(request.0.span_context().clone());
        Span(self.0.build_with_context(builder, &parent))
    }
}

impl Span {
    /// The header that puts the next process below this span.
    #[must_use]
    pub(crate) fn traceparent(&self) -> Option<HeaderValue> {
        let context = self.0.span_context();
        let text = format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8()
        );
        HeaderValue::try_from(text).ok()
    }

    /// The attempt is over.
    pub(crate) fn end(mut self, cause: &'static str) {
        self.0
            .set_attribute(KeyValue::new("tradewind.cause", cause));
        if cause != "ok" {
            self.0.set_status(Status::error(cause));
        }
        self.0.end();
    }

    /// The request is over.
    pub(crate) fn end_request(
        mut self,
        outcome: &'static str,
        application: &str,
        status: u16,
        code: Option<&'static str>,
    ) {
        self.0
            .set_attribute(KeyValue::new("tradewind.outcome", outcome));
        self.0.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status),
        ));
        if !application.is_empty() {
            self.0.set_attribute(KeyValue::new(
                "gen_ai.request.model",
                application.to_owned(),
            ));
        }
        if let Some(code) = code {
            self.0.set_attribute(KeyValue::new("error.type", code));
        }
        if status >= 500 || matches!(outcome, "broken") {
            self.0.set_status(Status::error(code.unwrap_or(outcome)));
        }
        self.0.end();
    }
}

/// The caller's span, if `traceparent` is well formed.
fn caller(headers: &HeaderMap) -> Option<SpanContext> {
    let text = headers.get(&TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = (version.len(), trace.len(), span.len(), flags.len());
    if lengths != (2, 32, 16, 2) || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let state = headers
        .get(&TRACESTATE)
        .and_then(|state| state.to_str().ok()?.parse::<TraceState>().ok());
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        state.unwrap_or_default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_parent_is_joined() {
        let with = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_static(text));
            caller(&headers)
        };
        let good = with("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(
            good.trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert!(good.is_sampled() && good.is_remote());
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-zzf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(with(bad).is_none(), "{bad}");
        }
    }
}
