//! Errors of the API (RFC 9457), with codes that programs can rely on.

use axum::Json;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::node::Refusal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::node::{AttributeError, PromptLength};
use crate::words::explain;

/// What an error is marked with.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// An error as the API tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The kind of error; it does not change between versions.
    pub code: String,
    /// The kind in words.
    pub title: String,
    /// What happened, and what to do.
    pub detail: String,
}

impl Problem {
    fn new(status: StatusCode, code: &str, title: &str, detail: String) -> Self {
        let (code, title) = (code.to_owned(), title.to_owned());
        Self { status: status.as_u16(), code, title, detail }
    }

    pub(crate) fn unauthorised() -> Self {
        let detail = "send `Authorization: Bearer TOKEN` with the token of api.json".to_owned();
        Self::new(StatusCode::UNAUTHORIZED, "unauthorised", "no valid token", detail)
    }

    pub(crate) fn wrong_host() -> Self {
        let detail = "this API answers requests to 127.0.0.1 and localhost only".to_owned();
        Self::new(StatusCode::FORBIDDEN, "wrong_host", "the request names another host", detail)
    }

    /// What the server itself refused before a route saw it.
    pub(super) fn of_status(status: StatusCode, said: &str) -> Self {
        let title = status.canonical_reason().unwrap_or("refused");
        let (code, detail) = match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                ("too_large", "the request is longer than this path takes; send it in parts")
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                ("wrong_method", "this path takes another method: GET to read, POST to command")
            }
            _ => ("invalid", said),
        };
        Self::new(status, code, title, detail.to_owned())
    }

    pub(crate) fn invalid(detail: impl ToString) -> Self {
        let title = "the request is not valid";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", title, detail.to_string())
    }

    pub(crate) fn not_found(detail: impl ToString) -> Self {
        let title = "not found";
        Self::new(StatusCode::NOT_FOUND, "not_found", title, detail.to_string())
    }

    pub(crate) fn not_ready(detail: impl ToString) -> Self {
        let title = "the node is not ready for this";
        Self::new(StatusCode::CONFLICT, "not_ready", title, detail.to_string())
    }

    /// Why a text was not attributed, told apart by what can be done about it.
    pub(crate) fn of_attribution(error: &AttributeError) -> Self {
        use AttributeError as E;
        match error {
            E::UnknownModel(_) => Self::not_found(error),
            E::NotReady(_) | E::Broken { .. } => Self::not_ready(error),
            E::NotHeld(_) => {
                let title = "the node does not hold this model's data";
                Self::new(StatusCode::CONFLICT, "not_held", title, error.to_string())
            }
            E::Base(_) | E::EmptyPrompt | E::EmptyOutput | E::LongPrompt(_) | E::LongOutput => {
                Self::invalid(error)
            }
        }
    }

    /// An error of the node, told apart by what caused it.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let detail = explain(error);
        if error.downcast_ref::<Refusal>().is_some() {
            let title = "the node refuses to serve this";
            return Self::new(StatusCode::PAYMENT_REQUIRED, "refused", title, detail);
        }
        if error.downcast_ref::<PromptLength>().is_some() {
            return Self::invalid(detail);
        }
        if error.downcast_ref::<contracts_abi::TxError>().is_some() {
            let title = "the chain did not take the transaction";
            return Self::new(StatusCode::BAD_GATEWAY, "chain", title, detail);
        }
        let title = "the node could not do this";
        Self::new(StatusCode::CONFLICT, "failed", title, detail)
    }
}

/// What a request is answered.
pub(super) type Answer<T> = Result<Json<T>, Problem>;

/// Reads a body strictly: an unknown field is an error that names it.
pub(super) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(Problem::invalid)
}

#[allow(clippy::needless_pass_by_value, reason = "the shape of map_err")]
pub(super) fn failed(error: anyhow::Error) -> Problem {
    Problem::of(&error)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, CONTENT_TYPE)];
        (status, kind, Json(self)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use protocol::ModelId;
    use protocol::node::Failure;

    use super::*;

    #[test]
    fn refused_attributions_are_told_apart() {
        let model = ModelId(4);
        let code = |error| Problem::of_attribution(&error).code;
        assert_eq!(code(AttributeError::UnknownModel(model)), "not_found");
        assert_eq!(code(AttributeError::NotReady(model)), "not_ready");
        let failure = Failure::Unavailable;
        assert_eq!(code(AttributeError::Broken { model, failure }), "not_ready");
        assert_eq!(code(AttributeError::EmptyOutput), "invalid");
        let elsewhere = Problem::of_attribution(&AttributeError::NotHeld(model));
        assert_eq!((elsewhere.status, elsewhere.code.as_str()), (409, "not_held"));
        assert!(elsewhere.detail.contains("openledger infer 4"), "{}", elsewhere.detail);
    }
}
