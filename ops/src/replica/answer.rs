//! The JSON of answers and chunks, as the OpenAI API writes them.

use serde_json::{Value, json};

/// Says in every answer what made it.
pub(super) const FINGERPRINT: &str = "tradewind-demo";

/// Which of the two dialects of text generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Chat,
    Text,
}

/// What all chunks of one answer share.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) dialect: Dialect,
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) prompt: u64,
    pub(super) completion: u64,
}

impl Usage {
    pub(super) fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        })
    }
}

impl Head {
    fn wrap(&self, object: &str, choices: &Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": FINGERPRINT, "choices": choices,
        })
    }

    /// The whole answer at once.
    pub(super) fn whole(&self, text: &str, finish_reason: &str, usage: Usage) -> Value {
        let mut answer = match self.dialect {
            Dialect::Chat => self.wrap(
                "chat.completion",
                &json!([{
                    "index": 0, "message": {"role": "assistant", "content": text, "refusal": null},
                    "logprobs": null, "finish_reason": finish_reason,
                }]),
            ),
            Dialect::Text => self.wrap(
                "text_completion",
                &json!([{
                    "index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason,
                }]),
            ),
        };
        answer["usage"] = usage.json();
        answer
    }

    /// The chunk before the first token of a chat.
    pub(super) fn opening(&self) -> Option<Value> {
        (self.dialect == Dialect::Chat)
            .then(|| self.chunk(&json!({"role": "assistant", "content": ""}), None))
    }

    /// One token.
    pub(super) fn token(&self, token: &str) -> Value {
        match self.dialect {
            Dialect::Chat => self.chunk(&json!({"content": token}), None),
            Dialect::Text => self.chunk(&json!(token), None),
        }
    }

    /// The chunk with the finish reason.
    pub(super) fn closing(&self, finish_reason: &str) -> Value {
        match self.dialect {
            Dialect::Chat => self.chunk(&json!({}), Some(finish_reason)),
            Dialect::Text => self.chunk(&json!(""), Some(finish_reason)),
        }
    }

    /// The chunk with the usage and no choice.
    pub(super) fn usage(&self, usage: Usage) -> Value {
        let mut chunk = match self.dialect {
            Dialect::Chat => self.wrap("chat.completion.chunk", &json!([])),
            Dialect::Text => self.wrap("text_completion", &json!([])),
        };
        chunk["usage"] = usage.json();
        chunk
    }

    fn chunk(&self, piece: &Value, finish_reason: Option<&str>) -> Value {
        match self.dialect {
            Dialect::Chat => self.wrap(
                "chat.completion.chunk",
                &json!([{
                    "index": 0, "delta": piece, "logprobs": null, "finish_reason": finish_reason,
                }]),
            ),
            Dialect::Text => self.wrap(
                "text_completion",
                &json!([{
                    "index": 0, "text": piece, "logprobs": null, "finish_reason": finish_reason,
                }]),
            ),
        }
    }
}
