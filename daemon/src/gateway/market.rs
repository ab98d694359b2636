//! Models of the network, bought answer by answer from whoever serves them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::ask::Ask;
use protocol::chain::ModelPublication;
use protocol::limits::MAX_PROMPT_BYTES;
use protocol::model::RunModel;
use protocol::{AccountId, Amount, ModelId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::backend::{Answering, Backend, Later, Offered, Prompt, Question, Refused};
use super::buying::{Buying, Lost, Server};
use super::wallet::Wallet;
use crate::node::NodeHandle;
use crate::words::amount_in_open;

/// How names of models begin; their number follows.
const PREFIX: &str = "model-";
/// How long a server that did not keep to what it said is asked nothing more.
const SHUNNED: Duration = Duration::from_secs(600);
/// Most tokens of an answer where nothing is said.
const DEFAULT_TOKENS: u32 = 256;
/// Parts of an answer that wait for whoever reads it.
const UNREAD: usize = 64;

/// Buys answers with a wallet, over a node's network.
#[derive(Debug, Clone)]
pub(crate) struct Market {
    node: NodeHandle,
    wallet: Arc<Wallet>,
    shunned: Arc<Mutex<BTreeMap<AccountId, Instant>>>,
}

impl Backend for Market {
    fn models(&self) -> Later<'_, Vec<Offered>> {
        Box::pin(async {
            let chain = self.node.chain();
            let offered = |model: ModelId| {
                let offer = chain.publication(model)?;
                let owner = format!("account {}", offer.server);
                let chats = self.chats(model);
                Some(Offered { id: format!("{PREFIX}{model}"), owner, chats })
            };
            let runs = chain.models().map(|(_, model)| model.id);
            let mut all: Vec<_> = runs.chain(chain.bases().map(|(id, _)| id)).collect();
            all.sort_unstable();
            all.into_iter().filter_map(offered).collect()
        })
    }

    fn ask(&self, question: Question) -> Later<'_, Result<Answering, Refused>> {
        Box::pin(self.buy(question))
    }
}

impl Market {
    /// Buys over the network of a node.
    pub(crate) fn new(node: NodeHandle, wallet: Wallet) -> Self {
        Self { node, wallet: Arc::new(wallet), shunned: Arc::default() }
    }

    /// Whether somebody serves a model of that name.
    pub(crate) fn offers(&self, name: &str) -> bool {
        number(name).is_some_and(|model| self.node.chain().publication(model).is_some())
    }

    /// Whether a model may hold conversations: one that was trained from nothing has no way of writing them.
    fn chats(&self, model: ModelId) -> bool {
        let chain = self.node.chain();
        chain.base(model).is_some()
            || chain
                .order(model)
                .is_ok_and(|order| matches!(order.config.model, RunModel::Adapter(_)))
    }

    async fn buy(&self, question: Question) -> Result<Answering, Refused> {
        let offer = self.offer(&question.model)?;
        let ask = self.asked(&question, &offer)?;
        let mut server = self.connect(&offer).await?;
        let told = |lost| self.told(offer.server, Amount::ZERO, lost);
        let (purchase, promised) = server.quote(&ask, &offer).await.map_err(told)?;
        let beyond = || Refused::Invalid("its price is beyond all numbers".to_owned());
        let price = purchase.most().ok_or_else(beyond)?;
        if let Some(most) = question.most.filter(|most| price > *most) {
            let [price, most] = [price, most].map(amount_in_open);
            return Err(Refused::OverBudget { price, most });
        }
        self.wallet.cover(&purchase, price, promised).await?;
        let (tokens_in, enough) = (purchase.tokens_in(), CancellationToken::new());
        let (say, said) = mpsc::channel(UNREAD);
        let wallet = Arc::clone(&self.wallet);
        let mut buying = Buying::new(wallet, server, purchase, (say, enough.clone()));
        // Nothing is said before the server has taken the first payment.
        buying.begin(promised).await.map_err(told)?;
        let market = self.clone();
        tokio::spawn(async move {
            if let Err(lost) = buying.run().await {
                let told = market.told(offer.server, buying.spent(), lost);
                buying.tell(Err(told)).await;
            }
        });
        Ok(Answering { tokens_in, most: price, enough, said })
    }

    /// Who serves a model at which price, as the chain says.
    fn offer(&self, name: &str) -> Result<ModelPublication, Refused> {
        let unknown = || Refused::UnknownModel(name.to_owned());
        let chain = self.node.chain();
        let offer = chain.publication(number(name).ok_or_else(unknown)?).copied();
        let offer = offer.ok_or_else(unknown)?;
        let shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_shunned = shunned.get(&offer.server).is_some_and(|at| at.elapsed() < SHUNNED);
        if is_shunned {
            let text = format!(
                "account {}, which alone serves {name}, did not keep to what it said a moment ago; it is \
                 asked again in some minutes",
                offer.server
            );
            return Err(Refused::Failed(text));
        }
        Ok(offer)
    }

    /// What whoever asked is told. A server whose fault it is, is asked nothing more for a while.
    fn told(&self, server: AccountId, paid: Amount, lost: Lost) -> Refused {
        if lost.is_servers_fault(paid) {
            self.shun(server);
        }
        lost.told
    }

    fn shun(&self, server: AccountId) {
        let mut shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.retain(|_, at| at.elapsed() < SHUNNED);
        shunned.insert(server, Instant::now());
    }

    fn asked(&self, question: &Question, offer: &ModelPublication) -> Result<Ask, Refused> {
        let (prompt, chats) = (&question.prompt, self.chats(offer.model));
        if matches!(prompt, Prompt::Chat(_)) && !chats {
            return Err(Refused::NoChat(question.model.clone()));
        }
        if prompt.size() > MAX_PROMPT_BYTES {
            let text =
                format!("the prompt has {} bytes; {MAX_PROMPT_BYTES} are the most", prompt.size());
            return Err(Refused::Invalid(text));
        }
        if question.logprobs.is_some() {
            let text =
                "models of the network give no probabilities of tokens yet; ask without logprobs";
            return Err(Refused::Invalid(text.to_owned()));
        }
        Ok(Ask {
            payer: self.wallet.payer(),
            model: offer.model,
            prompt: prompt.clone(),
            max_tokens: question.max_tokens.unwrap_or(DEFAULT_TOKENS),
            temperature_ppm: question.temperature_ppm,
            top_p_ppm: question.top_p_ppm,
            top_k: question.top_k,
            seed: question.seed,
        })
    }

    async fn connect(&self, offer: &ModelPublication) -> Result<Server, Refused> {
        let chain = self.node.chain();
        let gone = || {
            let text = format!("account {}, which serves it, cannot be reached now", offer.server);
            Refused::Failed(text)
        };
        let node = chain.account(offer.server).ok_or_else(gone)?.node;
        let (reader, writer) = self.node.open_stream(node).await.map_err(|_| gone())?;
        Ok(Server::new(reader, writer))
    }
}

fn number(name: &str) -> Option<ModelId> {
    name.strip_prefix(PREFIX)?.parse().ok().map(ModelId)
}
