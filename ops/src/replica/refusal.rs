//! A refusal in the form of the OpenAI API.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) param: Option<&'static str>,
    pub(super) code: &'static str,
}

impl Refusal {
    pub(super) fn invalid(
        param: impl Into<Option<&'static str>>,
        message: impl Into<String>,
    ) -> Self {
        let (status, param, code) = (StatusCode::BAD_REQUEST, param.into(), "invalid_value");
        Self {
            status,
            message: message.into(),
            param,
            code,
        }
    }

    pub(super) fn unknown_model(model: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: format!("this demo replica does not offer the model {model:?}"),
            param: Some("model"),
            code: "model_not_found",
        }
    }

    pub(super) fn unknown_path() -> Self {
        let (status, message) = (
            StatusCode::NOT_FOUND,
            "there is nothing at this path".to_owned(),
        );
        Self {
            status,
            message,
            param: None,
            code: "unknown_url",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self {
            status,
            message,
            param,
            code,
        } = self;
        let error = serde_json::json!({
            "message": message, "type": "invalid_request_error", "param": param, "code": code,
        });
        (status, Json(serde_json::json!({ "error": error }))).into_response()
    }
}
