//! Who may ask: whoever has a key, and without TLS only at this machine's own names.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Gateway;
use super::error::HttpError;
use super::keys::Key;
use crate::api::guard::names_this_machine;

/// Lets a request through with its [`Key`], or refuses it before its body is read.
pub(super) async fn guard(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    next: Next,
) -> Response {
    match check(&gateway, &request) {
        Ok(key) => {
            request.extensions_mut().insert(key);
            next.run(request).await
        }
        Err(error) => {
            let mut refused = error.into_response();
            // Strangers keep no connection.
            refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            refused
        }
    }
}

fn check(gateway: &Gateway, request: &Request) -> Result<Key, HttpError> {
    let headers = request.headers();
    // A certificate is for its names alone.
    if !gateway.is_secure && !names_this_machine(headers) {
        return Err(HttpError::wrong_host());
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|given| given.strip_prefix("Bearer ")).unwrap_or_default();
    let found = gateway.keys.find(given.trim()).map_err(|error| HttpError::keys(&error))?;
    let key = found.ok_or_else(HttpError::no_key)?;
    if gateway.stop.is_cancelled() {
        return Err(HttpError::shutting_down());
    }
    Ok(key)
}
