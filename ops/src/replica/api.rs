//! The routes of a demo replica.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use discovery_client::{Application, EndpointId, Site};
use http::{HeaderMap, header};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    answer::{Dialect, FINGERPRINT, Head, Usage},
    ask::{self, Embed, Encoding, Generate, Pace},
    journal::Journal,
    refusal::Refusal,
    speech::{Speech, count},
    stream::Script,
    vector,
};

/// What the routes need to know.
pub(super) struct Demo {
    pub(super) site: Site,
    pub(super) id: EndpointId,
    pub(super) models: Vec<Application>,
    pub(super) pace: Pace,
    pub(super) journal: Journal,
}

type Shared = State<Arc<Demo>>;

/// Largest body it takes, in bytes.
const BODY_LIMIT: usize = 64 << 20;

pub(super) fn router(demo: Arc<Demo>) -> Router {
    Router::new()
        .route(
            "/health",
            get(async || Json(json!({"status": "ok", "owned_by": FINGERPRINT}))),
        )
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .route("/v1/embeddings", post(embeddings))
        .fallback(async || Refusal::unknown_path())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(demo)
}

impl Demo {
    fn name(&self) -> String {
        format!("{}/{}", self.site, self.id)
    }

    fn offers(&self, model: &str) -> Result<(), Refusal> {
        let known = self.models.iter().any(|offered| offered.as_str() == model);
        if known {
            Ok(())
        } else {
            Err(Refusal::unknown_model(model))
        }
    }

    fn card(model: &Application) -> Value {
        json!({"id": model, "object": "model", "created": 0, "owned_by": FINGERPRINT})
    }
}

async fn models(State(demo): Shared) -> Json<Value> {
    Json(json!({"object": "list", "data": demo.models.iter().map(Demo::card).collect::<Vec<_>>()}))
}

async fn model(State(demo): Shared, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let found = demo.models.iter().find(|model| model.as_str() == id);
    found
        .map(|model| Json(Demo::card(model)))
        .ok_or_else(|| Refusal::unknown_model(&id))
}

async fn chat(demo: Shared, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    generate(&demo, &headers, &body, Dialect::Chat).await
}

async fn completions(demo: Shared, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    generate(&demo, &headers, &body, Dialect::Text).await
}

async fn generate(
    demo: &Demo,
    headers: &HeaderMap,
    body: &[u8],
    dialect: Dialect,
) -> Result<Response, Refusal> {
    let mut ask: Generate = ask::read(body)?;
    demo.offers(&ask.model)?;
    let wish = ask.demo.over(headers)?;
    let pace = wish.pace(demo.pace)?;
    let question = ask.question(dialect == Dialect::Chat)?;
    let speech = Speech::new(&demo.name(), &question.last, wish.tokens()?, ask.most());
    let completion = u64::try_from(speech.tokens.len()).unwrap_or(u64::MAX);
    let usage = Usage {
        prompt: count(&question.whole),
        completion,
    };
    let request_id = request_id(headers);
    let mut entry = demo.journal.begin(&request_id, &ask.model);
    let prefix = if dialect == Dialect::Chat {
        "chatcmpl"
    } else {
        "cmpl"
    };
    let head = Head {
        dialect,
        id: format!("{prefix}-{request_id}"),
        model: ask.model,
        created: now_s(),
    };
    if ask.stream {
        let include_usage = ask
            .stream_options
            .is_some_and(|options| options.include_usage);
        let script = Script {
            head,
            speech,
            usage,
            include_usage,
            pace,
        };
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        return Ok((headers, Body::from_stream(script.play(entry))).into_response());
    }
    // A caller that goes away drops this future here, and the entry with it.
    sleep(pace.delay).await;
    entry.tokens = usage.completion;
    let answer = head.whole(&speech.tokens.concat(), speech.finish_reason(), usage);
    entry.finish();
    Ok(Json(answer).into_response())
}

async fn embeddings(
    State(demo): Shared,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let ask: Embed = ask::read(&body)?;
    demo.offers(&ask.model)?;
    let pace = ask.demo.over(&headers)?.pace(demo.pace)?;
    let dimensions = ask.dimensions.unwrap_or(vector::DIMENSIONS);
    if !(1..=vector::DIMENSIONS).contains(&dimensions) {
        return Err(Refusal::invalid(
            "dimensions",
            format!("dimensions must be 1 to {}", vector::DIMENSIONS),
        ));
    }
    let texts = ask.input.all();
    if texts.is_empty() {
        return Err(Refusal::invalid(
            "input",
            "input must hold at least one text",
        ));
    }
    let entry = demo.journal.begin(&request_id(&headers), &ask.model);
    sleep(pace.delay).await;
    let embedded = |(index, text): (usize, &String)| {
        let vector = vector::embed(text, dimensions);
        let embedding = match ask.encoding_format.unwrap_or(Encoding::Float) {
            Encoding::Float => json!(vector),
            Encoding::Base64 => json!(vector::base64(&vector)),
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = texts.iter().enumerate().map(embedded).collect();
    let tokens: u64 = texts.iter().map(|text| count(text)).sum();
    entry.finish();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(
        Json(json!({"object": "list", "data": data, "model": ask.model, "usage": usage}))
            .into_response(),
    )
}

/// The caller's, so that its lines can be found; otherwise one by the clock.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    given.unwrap_or_else(|| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        format!("demo-{:x}", now.as_nanos())
    })
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
