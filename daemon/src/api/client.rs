//! The client of the API: what the command line and the demo speak through.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{API_FILE, Access, Problem};

/// How long a request may take: an inference or an evaluation on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of an answer at most.
const MAX_ANSWER: usize = 257 << 20;

/// Why the node gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no `api.json`, or nobody answers where it points to.
    #[error(
        "the node of {} does not answer; start it with `openledger node run --dir {}`; if it was \
         started, its log says what it waits for",
        .0.display(), .0.display()
    )]
    NotRunning(PathBuf),
    /// The file with the token cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Access {
        /// The file with the token.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection broke.
    #[error("the node stopped answering; see its log")]
    Broken(#[source] reqwest::Error),
    /// The node refused.
    #[error("{} ({})", .0.detail, .0.code)]
    Problem(Problem),
    /// The answer is not what the path returns.
    #[error(
        "the node's answer to {path} cannot be read ({reason}); check that this program and the node \
         have the same version"
    )]
    Malformed {
        /// The path that was asked.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// Talks to the node of a data directory.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    access: Access,
    dir: PathBuf,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.access.url)
    }
}

impl Client {
    /// The node of a data directory.
    ///
    /// # Errors
    /// [`ApiError::NotRunning`] when it left no token.
    pub fn of_dir(dir: &Path) -> Result<Self, ApiError> {
        let path = dir.join(API_FILE);
        let wrong = |reason: String| ApiError::Access { path: path.clone(), reason };
        let text = std::fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ApiError::NotRunning(dir.to_owned()),
            _ => wrong(error.to_string()),
        })?;
        let access = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        contracts_abi::install_crypto_provider();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(ApiError::Broken)?;
        Ok(Self { http, access, dir: dir.to_owned() })
    }

    /// Asks.
    ///
    /// # Errors
    /// [`ApiError`] saying what to do.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.send(path, self.request(Method::GET, path)).await
    }

    /// Commands.
    ///
    /// # Errors
    /// [`ApiError`] saying what to do.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ApiError> {
        self.send(path, self.request(Method::POST, path).json(body)).await
    }

    /// Asks for bytes.
    ///
    /// # Errors
    /// [`ApiError`] saying what to do.
    pub async fn bytes(&self, path: &str) -> Result<Vec<u8>, ApiError> {
        self.answer(self.request(Method::GET, path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/api/v1{path}", self.access.url);
        self.http.request(method, url).bearer_auth(&self.access.token)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        path: &str,
        request: RequestBuilder,
    ) -> Result<T, ApiError> {
        let bytes = self.answer(request).await?;
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Malformed {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Vec<u8>, ApiError> {
        let broken = |error: reqwest::Error| {
            if error.is_connect() {
                ApiError::NotRunning(self.dir.clone())
            } else {
                ApiError::Broken(error)
            }
        };
        let mut response = request.send().await.map_err(broken)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(broken)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MAX_ANSWER {
                let reason = format!("it is longer than {MAX_ANSWER} bytes");
                return Err(ApiError::Malformed { path: response.url().path().to_owned(), reason });
            }
        }
        if status == StatusCode::OK { Ok(bytes) } else { Err(refusal(status, &bytes)) }
    }
}

fn refusal(status: StatusCode, bytes: &[u8]) -> ApiError {
    let unnamed = || Problem {
        status: status.as_u16(),
        code: "http".to_owned(),
        title: status.to_string(),
        detail: String::from_utf8_lossy(&bytes[..bytes.len().min(500)]).into_owned(),
    };
    ApiError::Problem(serde_json::from_slice(bytes).unwrap_or_else(|_| unnamed()))
}
