//! The gateway: a door for OpenAI's clients, to the models of this machine and to those that are bought.
//!
//! `/v1/models`, `/v1/completions` and `/v1/chat/completions` in the shapes of OpenAI's API, errors included.
//! Who asks always has a key. Without TLS only this machine is answered, and only under its own names (DNS
//! rebinding); nothing is said to pages of other origins. Bodies, connections and open requests are
//! bounded; whoever hangs up is answered no further.
//!
//! Who answers is a `backend::Backend`. What an answer may cost is on the books of the key before
//! anybody is asked (`booking`).

mod answer;
pub(crate) mod backend;
mod booking;
mod buying;
mod choice;
mod error;
mod guard;
mod journal;
pub(crate) mod keys;
pub(crate) mod local;
mod market;
mod of_node;
mod request;
mod routes;
mod shape;
mod stops;
mod turns;
mod wallet;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub(crate) use self::of_node::FIRST_KEY;
pub use self::of_node::NodeGateway;

use self::backend::Backend;
use self::keys::KeyRing;
use self::turns::Turns;
use crate::api::listener::{BoundedListener, Limits};

/// What connections to a gateway may take.
const LIMITS: Limits = Limits {
    connections: 512,
    head: Duration::from_secs(10),
    // A stream says something every few seconds; a whole answer may take its time.
    idle: Duration::from_secs(600),
    stall: Duration::from_secs(60),
};
/// Requests that are read or answered at a time; one more is told to come again.
const MAX_REQUESTS: usize = 256;
/// How long answers that were begun may take to end when the gateway stops.
const GRACE: Duration = Duration::from_secs(10);
/// How long it may take to tell those that did not end.
const TELL: Duration = Duration::from_secs(2);

/// Everything that a request may need.
pub(crate) struct Gateway {
    backend: Arc<dyn Backend>,
    keys: Arc<KeyRing>,
    turns: Turns,
    places: Arc<Semaphore>,
    /// Whether requests come through TLS, whose certificate names the machine.
    is_secure: bool,
    /// Whether somebody looks at the requests as they end.
    is_shown: bool,
    /// No request is begun any more.
    stop: CancellationToken,
    /// No answer is waited for any more.
    end: CancellationToken,
}

/// How a gateway is run.
pub(crate) struct Settings {
    pub(crate) keys: KeyRing,
    pub(crate) tls: Option<TlsAcceptor>,
    /// Whether each request is told of on standard error.
    pub(crate) is_shown: bool,
}

/// A gateway that runs.
pub(crate) struct GatewayServer {
    stop: CancellationToken,
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl GatewayServer {
    /// Opens the door on a bound port.
    pub(crate) fn start(
        listener: TcpListener,
        backend: Arc<dyn Backend>,
        settings: Settings,
    ) -> Self {
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let gateway = Arc::new(Gateway {
            backend,
            keys: Arc::new(settings.keys),
            turns: Turns::default(),
            places: Arc::new(Semaphore::new(MAX_REQUESTS)),
            is_secure: settings.tls.is_some(),
            is_shown: settings.is_shown,
            stop: stop.clone(),
            end: end.clone(),
        });
        let listener = BoundedListener::new(listener, LIMITS).with_tls(settings.tls);
        let served = axum::serve(listener, routes::router(gateway))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let task = tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the gateway ended");
            }
        });
        Self { stop, end, task }
    }

    /// Takes no more requests, lets those that were begun end for some seconds, and tells the others.
    pub(crate) async fn shutdown(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, &mut self.task).await.is_ok() {
            return;
        }
        self.end.cancel();
        if tokio::time::timeout(TELL, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}
