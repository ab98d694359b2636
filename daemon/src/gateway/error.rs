//! Errors as OpenAI's API tells them, so that its clients understand them.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::backend::Refused;
use super::keys::KeyError;

/// Tells OpenAI's clients whether to ask again by themselves.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// The kind of error that whoever asks can mend.
const INVALID: &str = "invalid_request_error";

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct HttpError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    kind: &'static str,
    code: Option<&'static str>,
    /// The field that is wrong.
    param: Option<String>,
    /// When to ask again, in seconds.
    retry_after: Option<u32>,
}

impl HttpError {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, message: message.into(), kind, code, param: None, retry_after: None }
    }

    /// A field has a value that it cannot have.
    pub(crate) fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, INVALID, Some("invalid_value"), message);
        Self { param: Some(param.into()), ..error }
    }

    /// A field asks for what is not done here.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: Some("unsupported_parameter"), ..Self::field(param, message) }
    }

    /// The body is no JSON object, or not even text.
    pub(crate) fn body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, None, message)
    }

    pub(crate) fn too_large(most: usize) -> Self {
        let message = format!("the body has more than the {most} bytes that are read; ask less");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, None, message)
    }

    pub(crate) fn slow_body() -> Self {
        let message = "the body did not come in time; send it again";
        Self::new(StatusCode::REQUEST_TIMEOUT, INVALID, None, message)
    }

    pub(crate) fn no_key() -> Self {
        let message = "no valid API key: send `Authorization: Bearer sk-…`; `openledger serve key add NAME` makes one";
        Self::new(StatusCode::UNAUTHORIZED, INVALID, Some("invalid_api_key"), message)
    }

    pub(crate) fn wrong_host() -> Self {
        let message = "without TLS, requests to 127.0.0.1, [::1] and localhost alone are answered";
        Self::new(StatusCode::FORBIDDEN, INVALID, Some("wrong_host"), message)
    }

    pub(crate) fn unknown_url(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, INVALID, Some("unknown_url"), message)
    }

    pub(crate) fn wrong_method() -> Self {
        let message = "this URL takes another method: GET to look at models, POST to ask them";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, Some("wrong_method"), message)
    }

    /// Too many requests are open.
    pub(crate) fn busy(message: impl Into<String>, seconds: u32) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let error = Self::new(status, "requests", Some("rate_limit_exceeded"), message);
        Self { retry_after: Some(seconds), ..error }
    }

    pub(crate) fn shutting_down() -> Self {
        let message = "the gateway is stopping; ask again when it is back";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "server_error", Some("shutting_down"), message)
    }

    /// The answer was begun, and nobody ends it.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "server_error", Some("server_failed"), message)
    }

    /// The file of the keys is not to be used.
    pub(crate) fn keys(error: &KeyError) -> Self {
        tracing::error!(%error, "the keys cannot be read or changed");
        let message = "the keys cannot be read or changed here; whoever runs the gateway sees why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", Some("keys"), message)
    }

    /// The error as it stands in a body, and in a stream that has begun.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        } })
    }

    /// Whether asking again could help, where clients would guess wrong: they ask again whatever is 429.
    fn is_final(&self) -> bool {
        self.code == Some("insufficient_quota")
    }
}

impl From<Refused> for HttpError {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        let quota = |status| {
            Self::new(status, "insufficient_quota", Some("insufficient_quota"), message.clone())
        };
        match refused {
            Refused::UnknownModel(_) => {
                let status = StatusCode::NOT_FOUND;
                let error = Self::new(status, INVALID, Some("model_not_found"), message);
                Self { param: Some("model".to_owned()), ..error }
            }
            Refused::NoChat(_) => Self::unsupported("model", message),
            Refused::TooLong(_) => {
                let error = Self::body(message);
                Self { code: Some("context_length_exceeded"), ..error }
            }
            Refused::Invalid(_) => Self::body(message),
            Refused::OverBudget { .. } => quota(StatusCode::TOO_MANY_REQUESTS),
            Refused::NoFunds(_) => quota(StatusCode::PAYMENT_REQUIRED),
            Refused::Busy(seconds) => Self::busy(message, seconds),
            Refused::Failed(_) => Self::failed(message),
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // What was not read is in the way of what comes next.
        let is_unread = [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT];
        if is_unread.contains(&self.status) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.is_final() {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_status_and_code_that_clients_know() {
        let told = |refused: Refused| {
            let response = HttpError::from(refused.clone()).into_response();
            let header = |name| response.headers().get(name).cloned();
            let retry = (header(header::RETRY_AFTER), header(SHOULD_RETRY));
            let code = HttpError::from(refused).code;
            (response.status().as_u16(), code.unwrap_or_default(), retry)
        };
        let value = |text: &'static str| Some(HeaderValue::from_static(text));
        let (none, never) = ((None, None), (None, value("false")));
        let over = || Refused::OverBudget { price: "2 OPEN".to_owned(), most: "1 OPEN".to_owned() };
        let text = || "why".to_owned();
        for (refused, expected) in [
            (Refused::UnknownModel(text()), (404, "model_not_found", none.clone())),
            (Refused::NoChat(text()), (400, "unsupported_parameter", none.clone())),
            (Refused::TooLong(text()), (400, "context_length_exceeded", none.clone())),
            (Refused::Invalid(text()), (400, "", none.clone())),
            (over(), (429, "insufficient_quota", never.clone())),
            (Refused::NoFunds(text()), (402, "insufficient_quota", never)),
            (Refused::Busy(7), (429, "rate_limit_exceeded", (value("7"), None))),
            (Refused::Failed(text()), (502, "server_failed", none)),
        ] {
            assert_eq!(told(refused), expected);
        }
    }
}
