//! What replicas say.

use serde_json::{Value, json};

pub(crate) const DONE: &str = "[DONE]";

/// A whole chat answer of the replica `by`.
pub(crate) fn answer(by: &str) -> String {
    json!({
        "id": "chat-1", "object": "chat.completion", "model": format!("chat@{by}"),
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": format!("I am {by}.")}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
    })
    .to_string()
}

/// One token of a stream.
pub(crate) fn token(by: &str, word: &str) -> String {
    chunk(by, &json!({"content": word}), &Value::Null)
}

/// The end of a stream, with the reason.
pub(crate) fn finish(by: &str) -> String {
    chunk(by, &json!({}), &json!("stop"))
}

fn chunk(by: &str, delta: &Value, finish_reason: &Value) -> String {
    json!({
        "id": "chat-1", "object": "chat.completion.chunk", "model": format!("chat@{by}"),
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    })
    .to_string()
}

/// What a stream's client is told of usage when it asked for it.
pub(crate) fn usage(by: &str) -> String {
    json!({
        "id": "chat-1", "object": "chat.completion.chunk", "model": format!("chat@{by}"),
        "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    })
    .to_string()
}

/// A replica's own error.
pub(crate) fn error(code: &str) -> String {
    json!({"error": {"message": "no", "type": "invalid_request_error", "param": null, "code": code}})
        .to_string()
}
