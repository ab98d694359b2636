//! Who may ask: whoever has the token, at this machine's own name.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Context, Problem};

/// Lets a request through, or refuses it before its body is read.
pub(super) async fn guard(
    State(context): State<Arc<Context>>,
    request: Request,
    next: Next,
) -> Response {
    match check(request.headers(), &context.token) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let mut refused = problem.into_response();
            // Strangers keep no connection.
            refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            refused
        }
    }
}

fn check(headers: &HeaderMap, token: &str) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !names_this_machine(headers) {
        return Err(Problem::wrong_host());
    }
    let given = text(header::AUTHORIZATION).strip_prefix("Bearer ").unwrap_or_default();
    if is_equal(given.as_bytes(), token.as_bytes()) { Ok(()) } else { Err(Problem::unauthorised()) }
}

/// Whether a request names this machine: one that a page of another name has sent here does not (DNS
/// rebinding).
pub(crate) fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let has_port = |(_, port): &(&str, &str)| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = host.rsplit_once(':').filter(has_port).map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

/// Compares in a time that does not tell how much was right.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        headers
    }

    #[test]
    fn token_and_host_are_both_needed() {
        assert_eq!(check(&headers("127.0.0.1:7412", "Bearer secret"), "secret"), Ok(()));
        assert_eq!(check(&headers("localhost", "Bearer secret"), "secret"), Ok(()));
        let code = |headers| check(&headers, "secret").unwrap_err().code;
        assert_eq!(code(headers("evil.example", "Bearer secret")), "wrong_host");
        assert_eq!(code(headers("127.0.0.1", "Bearer guess!")), "unauthorised");
        assert_eq!(code(headers("127.0.0.1", "secret")), "unauthorised");
        assert_eq!(code(HeaderMap::new()), "wrong_host");
        assert_eq!(check(&headers("[::1]:7412", "Bearer secret"), "secret"), Ok(()));
        assert_eq!(code(headers("[::1", "Bearer secret")), "wrong_host");
    }
}
