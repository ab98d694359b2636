//! JSON-RPC over HTTP as a client that trusts nobody: bounded answers, deadlines, typed errors.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::Bytes;
use alloy::transports::http::reqwest::{Client, Url, header, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Bytes of an answer at most.
pub(crate) const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an RPC call gave no usable answer.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The URL can't be used.
    #[error("{0:?} is not an http or https URL; write it like http://127.0.0.1:8545")]
    Url(String),
    /// Nothing listens there, or the connection broke before the answer.
    #[error("the chain's RPC at {url} does not answer ({reason}); check the URL and that it runs")]
    Unreachable { url: String, reason: String },
    /// The answer is larger than any honest one.
    #[error("the chain's RPC answered {method} with more than {limit} bytes; use another RPC")]
    TooLarge {
        method: &'static str,
        /// What an answer may have.
        limit: usize,
    },
    /// The answer is not what the method returns.
    #[error("the chain's RPC answered {method} with nonsense ({reason}); use another RPC")]
    Malformed {
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The server refused, with a JSON-RPC error.
    #[error("the chain's RPC refused {method}: {message} (code {code})")]
    Refused {
        method: &'static str,
        /// The error's code; 3 for a revert.
        code: i64,
        /// The error's text.
        message: String,
        /// Revert data, where there is any.
        data: Option<Bytes>,
    },
}

/// The code by which servers say that they were asked too often or for too much.
const LIMIT_EXCEEDED: i64 = -32_005;

impl RpcError {
    /// Whether no answer came, or one that nothing was done: the same call may be made again. What a call
    /// sends may have arrived all the same, so it has to be the same to the byte.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { code: LIMIT_EXCEEDED, .. })
    }

    /// Whether the same question may be answered later. What a server says that is overloaded, or
    /// behind a proxy that is, may be anything; only a URL that is none stays wrong.
    pub const fn may_pass(&self) -> bool {
        !matches!(self, Self::Url(_))
    }
}

/// Installs the process's TLS provider, unless there is one. HTTP clients need it even for plain
/// URLs when the workspace's features meet.
pub fn install_crypto_provider() {
    // An error only says that another provider was installed first, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client of one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct HttpRpc {
    client: Client,
    url: Url,
    next_id: std::sync::Arc<AtomicU64>,
}

#[derive(Deserialize)]
struct Answer {
    id: Value,
    #[serde(default)]
    result: Value,
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    message: String,
    #[serde(default)]
    data: Value,
}

impl HttpRpc {
    pub(crate) fn new(url: &str) -> Result<Self, RpcError> {
        let parsed: Url = url.parse().map_err(|_| RpcError::Url(url.to_owned()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(RpcError::Url(url.to_owned()));
        }
        install_crypto_provider();
        let client = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| RpcError::Unreachable {
                url: url.to_owned(),
                reason: chain_of(&error),
            })?;
        Ok(Self { client, url: parsed, next_id: std::sync::Arc::default() })
    }

    /// Calls a method and reads its result as `T`.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, RpcError> {
        self.call_within(method, params, ANSWER_LIMIT).await
    }

    /// [`Self::call`] with an answer of at most `limit` bytes.
    pub(crate) async fn call_within<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        limit: usize,
    ) -> Result<T, RpcError> {
        let malformed = |reason: String| RpcError::Malformed { method, reason };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let bytes = self.post(method, body.to_string(), limit).await?;
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        if answer.id != id {
            return Err(malformed(format!("the answer is to call {}, not {id}", answer.id)));
        }
        match answer.error {
            Some(ErrorObject { code, message, data }) => {
                let message = message.chars().take(1_024).collect();
                let data = revert_data(&data);
                Err(RpcError::Refused { method, code, message, data })
            }
            None => {
                serde_json::from_value(answer.result).map_err(|error| malformed(error.to_string()))
            }
        }
    }

    async fn post(
        &self,
        method: &'static str,
        body: String,
        limit: usize,
    ) -> Result<Vec<u8>, RpcError> {
        let unreachable =
            |reason: String| RpcError::Unreachable { url: self.url.to_string(), reason };
        let request = self.client.post(self.url.clone());
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        let mut answer =
            request.send().await.map_err(|error| unreachable(chain_of(&error.without_url())))?;
        let status = answer.status();
        let mut bytes = Vec::new();
        loop {
            let chunk = answer
                .chunk()
                .await
                .map_err(|error| unreachable(chain_of(&error.without_url())))?;
            let Some(chunk) = chunk else { break };
            if bytes.len() + chunk.len() > limit {
                return Err(RpcError::TooLarge { method, limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        // Some servers send JSON-RPC errors with an HTTP error status: read those bodies too.
        if status.is_success() || bytes.starts_with(b"{") {
            Ok(bytes)
        } else {
            Err(unreachable(format!("HTTP status {status}")))
        }
    }
}

/// Revert data: a hexadecimal string, or (as some servers do) an object that holds one.
fn revert_data(data: &Value) -> Option<Bytes> {
    let text = data.as_str().or_else(|| data.get("data")?.as_str())?;
    text.parse().ok()
}

/// An error with its causes, which reqwest keeps apart.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
