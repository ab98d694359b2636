//! The gateway of a running node: base models of its machine, and models of the network.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use protocol::Amount;
use protocol::eip712::EvmKey;
use tokio::net::TcpListener;

use super::backend::{Answering, Backend, Later, Offered, Question, Refused};
use super::keys::KeyRing;
use super::local::{ADAPTER_MEMORY, Local};
use super::market::Market;
use super::wallet::Wallet;
use super::{GatewayServer, Settings};
use crate::config::GatewayOptions;
use crate::memory;
use crate::node::NodeHandle;

/// The key that is made where there is none.
pub(crate) const FIRST_KEY: &str = "default";

/// A node's gateway that runs.
pub struct NodeGateway {
    server: GatewayServer,
    address: SocketAddr,
    key: Option<String>,
}

impl NodeGateway {
    /// Takes the port, so that a busy one is found before anything else is started.
    ///
    /// # Errors
    /// What is wrong with the address: it is another machine's, or in use.
    pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
        if !address.ip().is_loopback() {
            bail!(
                "{address} is not this machine alone, so keys and questions would be open to read on the way: \
                 give `gateway` an address like 127.0.0.1:11435"
            );
        }
        TcpListener::bind(address).await.with_context(|| {
            format!(
                "{address} cannot be listened on; choose another with --gateway (port 0 takes any)"
            )
        })
    }

    /// Answers on a bound port; what is bought is paid by `payer`.
    ///
    /// # Errors
    /// Where the books of receipts or keys cannot be opened.
    pub fn start(
        listener: TcpListener,
        node: NodeHandle,
        payer: EvmKey,
        dir: &Path,
        options: &GatewayOptions,
    ) -> Result<Self> {
        let address = listener.local_addr()?;
        let most = Amount(u128::from(options.gateway_deposits) * Amount::ONE_OPEN.0);
        let wallet = Wallet::open(node.clone(), payer, dir, most)?;
        let both = Both {
            local: Local::of_dir(dir, memory::half(), ADAPTER_MEMORY),
            market: Market::new(node, wallet),
        };
        let keys = KeyRing::of_dir(dir);
        let key = keys.first(FIRST_KEY)?;
        let settings = Settings { keys, tls: None, is_shown: false };
        Ok(Self { server: GatewayServer::start(listener, Arc::new(both), settings), address, key })
    }

    /// Where it answers, as OpenAI's clients want it.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The key that was made now, since there was none; it is told this once.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Takes no more requests, and lets those that were begun end.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

/// Both kinds of models behind one door.
struct Both {
    local: Local,
    market: Market,
}

impl Backend for Both {
    fn models(&self) -> Later<'_, Vec<Offered>> {
        Box::pin(async {
            let mut all = self.local.models().await;
            all.extend(self.market.models().await);
            all
        })
    }

    fn ask(&self, question: Question) -> Later<'_, Result<Answering, Refused>> {
        match self.market.offers(&question.model) {
            true => self.market.ask(question),
            false => self.local.ask(question),
        }
    }
}
