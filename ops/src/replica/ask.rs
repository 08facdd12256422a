//! What a request asks for: its body, and the pace its headers or its `demo`
//! extension set.

use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;

use super::refusal::Refusal;

/// How fast to answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// To the first token, or to a unary answer.
    pub(super) delay: Duration,
    /// Of a stream.
    pub(super) tokens_per_s: f64,
}

/// `demo` in a body.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    delay_ms: Option<u64>,
    tokens_per_s: Option<f64>,
    tokens: Option<usize>,
}

/// Longest answer that may be asked for, in tokens.
const MOST_TOKENS: usize = 1_000_000;

impl Wish {
    /// Headers come before the body.
    pub(super) fn over(self, headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self {
            delay_ms: number(headers, "x-demo-delay-ms")?.or(self.delay_ms),
            tokens_per_s: number(headers, "x-demo-tokens-per-s")?.or(self.tokens_per_s),
            tokens: number(headers, "x-demo-tokens")?.or(self.tokens),
        })
    }

    pub(super) fn pace(&self, usual: Pace) -> Result<Pace, Refusal> {
        let tokens_per_s = self.tokens_per_s.unwrap_or(usual.tokens_per_s);
        if !(0.001..=1e9).contains(&tokens_per_s) {
            return Err(Refusal::invalid(
                "demo",
                "tokens_per_s must be 0.001 to 1e9",
            ));
        }
        Ok(Pace {
            delay: self.delay_ms.map_or(usual.delay, Duration::from_millis),
            tokens_per_s,
        })
    }

    pub(super) fn tokens(&self) -> Result<Option<usize>, Refusal> {
        match self.tokens {
            Some(tokens) if tokens > MOST_TOKENS => {
                Err(Refusal::invalid("demo", "tokens must be at most 1000000"))
            }
            tokens => Ok(tokens),
        }
    }
}

fn number<T: std::str::FromStr>(
    headers: &HeaderMap,
    name: &'static str,
) -> Result<Option<T>, Refusal> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Refusal::invalid(None, format!("{name} is not a number")))
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    role: String,
    #[serde(default)]
    content: Content,
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Content {
    #[default]
    Nothing,
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts
                .iter()
                .map(|part| part.text.as_str())
                .collect::<Vec<_>>()
                .join(" "),
        }
    }
}

/// One text or several; token numbers stand for themselves.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Texts {
    One(String),
    Several(Vec<String>),
    Tokens(Vec<u64>),
    SeveralTokens(Vec<Vec<u64>>),
}

impl Texts {
    pub(super) fn all(self) -> Vec<String> {
        let words = |tokens: Vec<u64>| {
            tokens
                .iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        match self {
            Self::One(text) => vec![text],
            Self::Several(texts) => texts,
            Self::Tokens(tokens) => vec![words(tokens)],
            Self::SeveralTokens(lists) => lists.into_iter().map(words).collect(),
        }
    }
}

/// The body of a chat completion or a completion. What a demo has no use for is
/// ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Generate {
    pub(super) model: String,
    messages: Option<Vec<Message>>,
    prompt: Option<Texts>,
    #[serde(default)]
    pub(super) stream: bool,
    #[serde(default)]
    pub(super) stream_options: Option<StreamOptions>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    n: Option<u32>,
    #[serde(default)]
    pub(super) demo: Wish,
}

/// What is said to a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// All of it, for counting.
    pub(super) whole: String,
    /// What is answered: the last word of the user.
    pub(super) last: String,
}

impl Generate {
    pub(super) fn most(&self) -> Option<usize> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    pub(super) fn question(&mut self, chat: bool) -> Result<Question, Refusal> {
        if self.n.is_some_and(|n| n != 1) {
            return Err(Refusal::invalid(
                "n",
                "a demo replica makes one choice: n must be 1",
            ));
        }
        if !chat {
            let missing = || Refusal::invalid("prompt", "prompt is missing");
            let whole = self.prompt.take().ok_or_else(missing)?.all().join(" ");
            return Ok(Question {
                last: whole.clone(),
                whole,
            });
        }
        let messages = self.messages.take().unwrap_or_default();
        if messages.is_empty() {
            return Err(Refusal::invalid(
                "messages",
                "messages must hold at least one message",
            ));
        }
        let last = messages
            .iter()
            .rfind(|message| message.role == "user")
            .or(messages.last());
        let last = last
            .map(|message| message.content.text())
            .unwrap_or_default();
        let whole = messages
            .iter()
            .map(|message| message.content.text())
            .collect::<Vec<_>>()
            .join(" ");
        Ok(Question { whole, last })
    }
}

/// The body of an embeddings request.
#[derive(Debug, Deserialize)]
pub(super) struct Embed {
    pub(super) model: String,
    pub(super) input: Texts,
    pub(super) encoding_format: Option<Encoding>,
    pub(super) dimensions: Option<usize>,
    #[serde(default)]
    pub(super) demo: Wish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    Float,
    Base64,
}

/// Reads a body.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal {
        code: "invalid_json",
        ..Refusal::invalid(None, format!("the body is not valid: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_the_users_last_word() {
        let mut ask: Generate = read(
            br#"{"model":"m","messages":[{"role":"system","content":"be short"},
                {"role":"user","content":[{"type":"text","text":"hello"},{"type":"image_url"}]},
                {"role":"assistant","content":null}], "temperature": 0.5}"#,
        )
        .unwrap();
        let question = ask.question(true).unwrap();
        assert_eq!(
            (question.last.trim(), question.whole.trim()),
            ("hello", "be short hello")
        );
    }

    #[test]
    fn headers_come_before_the_body() {
        let mut headers = HeaderMap::new();
        headers.insert("x-demo-delay-ms", "7".parse().unwrap());
        let wish = Wish {
            delay_ms: Some(1),
            tokens: Some(3),
            ..Wish::default()
        }
        .over(&headers)
        .unwrap();
        let usual = Pace {
            delay: Duration::ZERO,
            tokens_per_s: 50.0,
        };
        assert_eq!(
            wish.pace(usual).unwrap(),
            Pace {
                delay: Duration::from_millis(7),
                tokens_per_s: 50.0
            }
        );
        assert_eq!(wish.tokens().unwrap(), Some(3));
        headers.insert("x-demo-tokens", "many".parse().unwrap());
        assert!(Wish::default().over(&headers).is_err());
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let refused = |body: &[u8], chat| {
            read::<Generate>(body)
                .and_then(|mut ask| ask.question(chat))
                .unwrap_err()
        };
        assert_eq!(refused(b"{", true).code, "invalid_json");
        assert_eq!(
            refused(br#"{"model":"m","messages":[]}"#, true).param,
            Some("messages")
        );
        assert_eq!(refused(br#"{"model":"m"}"#, false).param, Some("prompt"));
        assert_eq!(
            refused(br#"{"model":"m","prompt":"x","n":2}"#, false).param,
            Some("n")
        );
    }
}
