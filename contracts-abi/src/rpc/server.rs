//! The HTTP server around a [`DevChain`]: start, timer, shutdown.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::methods::Backend;
use super::wire;
use crate::devchain::{DevChain, DevConfig, OpenError};

/// Bytes of a request body at most.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// How long open connections may take to finish at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Blocks whose states can be asked for, and which can be taken back on a chain in memory.
const KEPT_PAST: usize = 128;

/// When blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mining {
    /// One per transaction, as it comes.
    OnDemand,
    /// One per period, empty or not.
    Every(Duration),
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What the chain starts with.
    pub chain: DevConfig,
    /// Where it lives; `None` keeps it in memory.
    pub dir: Option<PathBuf>,
    /// Where to listen; loopback and any free port by default.
    pub listen: SocketAddr,
    /// When blocks are made.
    pub mining: Mining,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            chain: DevConfig::default(),
            dir: None,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            mining: Mining::OnDemand,
        }
    }
}

/// Why a server did not start.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The chain could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The address can't be listened on.
    #[error("cannot listen on {address}: {source}; choose another port")]
    Listen { address: SocketAddr, source: std::io::Error },
    /// The period between blocks is zero.
    #[error("the time between blocks must be longer than zero")]
    ZeroPeriod,
    /// The address is not on this machine alone.
    #[error("{0} is not a loopback address; the development accounts' keys are public")]
    NotLoopback(SocketAddr),
}

/// Serves a development chain as JSON-RPC over HTTP, on loopback only.
#[derive(Debug)]
pub struct DevChainServer;

impl DevChainServer {
    /// Opens the chain and serves it until the handle is shut down or dropped.
    pub async fn start(config: ServerConfig) -> Result<DevChainHandle, StartError> {
        let address = config.listen;
        if !address.ip().is_loopback() {
            return Err(StartError::NotLoopback(address));
        }
        if config.mining == Mining::Every(Duration::ZERO) {
            return Err(StartError::ZeroPeriod);
        }
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let mut chain = match &config.dir {
            Some(dir) => DevChain::open(config.chain, dir)?,
            None => DevChain::new(config.chain),
        };
        chain.keep_past(KEPT_PAST);
        let on_demand = config.mining == Mining::OnDemand;
        let backend = Arc::new(Mutex::new(Backend::new(chain, on_demand)));
        let stop = CancellationToken::new();
        let mut tasks = vec![tokio::spawn(serve(listener, Arc::clone(&backend), stop.clone()))];
        if let Mining::Every(period) = config.mining {
            tasks.push(tokio::spawn(mine_every(period, Arc::clone(&backend), stop.clone())));
        }
        Ok(DevChainHandle { address, stop, tasks })
    }
}

/// A running server. Dropping it stops the server without waiting for it.
#[derive(Debug)]
pub struct DevChainHandle {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl DevChainHandle {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops the server and waits until the port is free and the block log is closed.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        for mut task in std::mem::take(&mut self.tasks) {
            if tokio::time::timeout(SHUTDOWN_GRACE, &mut task).await.is_err() {
                task.abort();
                let _aborted = task.await;
            }
        }
    }
}

impl Drop for DevChainHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

type Shared = Arc<Mutex<Backend>>;

async fn serve(listener: TcpListener, backend: Shared, stop: CancellationToken) {
    let router = Router::new()
        .route("/", post(handle))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(backend);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the JSON-RPC server ended");
    }
}

async fn mine_every(period: Duration, backend: Shared, stop: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let backend = Arc::clone(&backend);
        let mined = tokio::task::spawn_blocking(move || lock(&backend).mine()).await;
        if let Ok(Err(error)) = mined {
            tracing::error!(%error, "no more blocks are made");
            return;
        }
    }
}

async fn handle(State(backend): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refused) = refuse_browsers(&headers) {
        return refused.into_response();
    }
    let answered = tokio::task::spawn_blocking(move || {
        let mut backend = lock(&backend);
        wire::answer(&body, |method, params| backend.call(method, params))
            .map(|answer| answer.to_string())
    });
    match answered.await {
        Ok(Some(answer)) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Locks the chain. A panic while it was locked may have lost the state, so the panic is passed on
/// to whoever asks next instead of an answer from a broken chain.
fn lock(backend: &Mutex<Backend>) -> MutexGuard<'_, Backend> {
    backend.lock().expect("no call panics")
}

/// Refuses what a web page could send without asking.
fn refuse_browsers(headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = text(header::CONTENT_TYPE);
    if !content_type.to_ascii_lowercase().starts_with("application/json") {
        let hint = "send JSON-RPC with the header Content-Type: application/json";
        return Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, hint));
    }
    let host = text(header::HOST);
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if matches!(name, "127.0.0.1" | "localhost" | "[::1]" | "") {
        None
    } else {
        Some((StatusCode::FORBIDDEN, "this development chain answers on loopback only"))
    }
}
