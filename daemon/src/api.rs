//! The HTTP API of a node: on this machine only, always with a token.
//!
//! The address and the token are in `api.json` of the data directory, readable by its owner only;
//! whoever can read that file may command the node. A web page cannot: it has no token, and a
//! request that names another host than this machine is refused (DNS rebinding). Bodies are bounded.
//! Errors are `application/problem+json` with a `code` that does not change.

mod attribution;
mod bases;
mod client;
mod convert;
pub(crate) mod guard;
pub(crate) mod listener;
mod problem;
mod routes;
mod statement;
pub mod types;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use storage::durable::write_atomic;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::client::{ApiError, Client};
pub use self::problem::Problem;

use crate::keys::{KeysError, random_bytes};
use crate::network::NetworkFile;
use crate::node::NodeHandle;

/// The file with the address and the token.
pub(crate) const API_FILE: &str = "api.json";
/// How long open requests may take to finish at shutdown.
const GRACE: Duration = Duration::from_secs(2);

/// What connections to the API may take.
const LIMITS: listener::Limits = listener::Limits {
    connections: 128,
    head: Duration::from_secs(10),
    // Longer than the client waits for an answer.
    idle: Duration::from_secs(330),
    stall: Duration::from_secs(330),
};

/// What `api.json` holds.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Access {
    pub(crate) url: String,
    pub(crate) token: String,
    /// The process that serves, for people who look.
    pub(crate) pid: u32,
}

/// Why the API did not start.
#[derive(Debug, thiserror::Error)]
pub enum ApiStartError {
    /// Another process has the port.
    #[error(
        "port {port} of this machine is in use, so the API cannot start; choose another with \
         --api-port (0 takes any), or stop the other process"
    )]
    PortInUse {
        /// The port that was asked for.
        port: u16,
    },
    /// The port cannot be listened on for another reason.
    #[error("the API cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// No randomness for the token.
    #[error(transparent)]
    Token(#[from] KeysError),
    /// The token file cannot be written.
    #[error("cannot save the API's token: {0}")]
    Write(#[from] storage::DiskError),
}

/// Everything a request may need.
pub(crate) struct Context {
    pub(crate) node: NodeHandle,
    pub(crate) network: NetworkFile,
    /// The address of the operator, who registers participants.
    pub(crate) operator: protocol::EvmAddress,
    pub(crate) token: String,
}

/// A running API.
#[derive(Debug)]
pub struct ApiServer {
    file: PathBuf,
    url: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl ApiServer {
    /// Takes the port, so that a busy one is found before anything else is started.
    ///
    /// # Errors
    /// [`ApiStartError`] naming the port and the fix.
    pub async fn bind(port: u16) -> Result<TcpListener, ApiStartError> {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        TcpListener::bind(address).await.map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => ApiStartError::PortInUse { port },
            _ => ApiStartError::Listen { address, source },
        })
    }

    /// Serves a node on a bound port and writes `api.json`.
    ///
    /// # Errors
    /// [`ApiStartError`] when there is no randomness or the disk refuses.
    pub fn start(
        listener: TcpListener,
        dir: &Path,
        node: NodeHandle,
        network: NetworkFile,
        operator: protocol::EvmAddress,
    ) -> Result<Self, ApiStartError> {
        let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let fail = |source| ApiStartError::Listen { address: unknown, source };
        let address = listener.local_addr().map_err(fail)?;
        let token = hex::encode(random_bytes()?);
        let url = format!("http://{address}");
        let access = Access { url: url.clone(), token: token.clone(), pid: std::process::id() };
        let context = Arc::new(Context { node, network, operator, token });
        let stop = CancellationToken::new();
        let router = routes::router(context);
        let listener = listener::BoundedListener::new(listener, LIMITS);
        let served =
            axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let task = tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the API ended");
            }
        });
        let file = dir.join(API_FILE);
        let text = serde_json::to_vec(&access).expect("plain data has a JSON form");
        write_atomic(&file, &text)?;
        Ok(Self { file, url, stop, task })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends the open requests and takes `api.json` away.
    pub async fn shutdown(mut self) {
        // Best effort: a file that stays names a port where nobody answers.
        let _ = std::fs::remove_file(&self.file);
        self.stop.cancel();
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}
