//! Where a text came from: the evidence behind `openledger attribute`.
//!
//! A node that took part in a training run holds what its attribution needs: checkpoint, sketches
//! and units. It attributes for its owner, free of charge; nothing is recorded or paid.

mod documents;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use compute::run::RunData;
use compute::serve::{Attributor, Evidence, Sampling, ServeError};
use protocol::attribution::{UnitShare, WeighParams, unit_shares};
use protocol::chain::ChainView;
use protocol::limits::{MAX_GENERATED_TOKENS, MAX_PROMPT_BYTES};
use protocol::node::Failure;
use protocol::{AccountId, DatanetId, Digest, EvmAddress, Hash, ModelId};

use self::documents::name_documents;
use super::failures::not_served;
use super::handle::{NodeHandle, why};

/// Most units that one attribution lists: what comes after them weighs less than all of these.
const MAX_UNITS: usize = 100_000;

/// What is to be attributed.
#[derive(Debug, Clone)]
pub struct AttributeQuery {
    /// The text that comes before.
    pub prompt: String,
    /// A text that somebody wrote after the prompt; without one the model writes it.
    pub output: Option<String>,
    /// Tokens to generate.
    pub max_tokens: u32,
    /// Seed of the draws.
    pub seed: u64,
    /// Units to be shown with their text, besides those that own a span.
    pub units: u32,
    /// Whether to list the evidence of every unit.
    pub is_full: bool,
}

/// Why a text could not be attributed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// The chain knows no such model.
    #[error("there is no model {0}; `openledger model ls` lists them")]
    UnknownModel(ModelId),
    /// No run made it.
    #[error(
        "model {0} is a base: what it was trained on is not known, and nobody is paid as its contributor"
    )]
    Base(ModelId),
    /// The model exists, and its data are not here.
    #[error(
        "this node does not hold the data of model {0}. A node holds them once it has an account \
         and has fetched the Datanet (`openledger status` says what it waits for). Or ask the node \
         that serves the model: `openledger infer {0} TEXT` costs a fee and names the contributors"
    )]
    NotHeld(ModelId),
    /// The run is not finished.
    #[error("model {0} is still in training; `openledger model ls` shows how far it is")]
    NotReady(ModelId),
    /// There is no prompt to answer.
    #[error("the prompt is empty; give the model some text to go on from")]
    EmptyPrompt,
    /// There is no output.
    #[error("the output is empty; there is nothing to attribute")]
    EmptyOutput,
    /// The prompt is too long.
    #[error("the prompt has {0} bytes; at most {MAX_PROMPT_BYTES} are attributed")]
    LongPrompt(usize),
    /// The output is too long.
    #[error("the output is too long; at most {MAX_GENERATED_TOKENS} tokens are attributed")]
    LongOutput,
    /// A part of the model cannot be read or fetched, or does not fit the rest.
    #[error(
        "this node cannot load model {model} with its sketches and units: {}; another node of the \
         network may have them",
        why(*failure)
    )]
    Broken {
        /// The model that was asked about.
        model: ModelId,
        /// What kind of failure it is.
        failure: Failure,
    },
}

/// Where a text came from.
#[derive(Debug)]
pub struct Attribution {
    pub(crate) model: ModelId,
    pub(crate) datanet: DatanetId,
    /// What the model was trained on: its units, with their text.
    pub(crate) run: Arc<RunData>,
    pub(crate) query: AttributeQuery,
    pub(crate) exchange: Exchange,
    /// The units that are listed, by falling share.
    pub(crate) units: Vec<RankedUnit>,
    /// The documents that the units which are shown begin in, by rank of the unit.
    pub(crate) documents: BTreeMap<u32, String>,
    /// The owners' addresses of the contributors.
    pub(crate) addresses: BTreeMap<AccountId, EvmAddress>,
    pub(crate) checkpoint: Hash,
    pub(crate) sketch_root: Digest,
}

/// The text that is attributed, and the evidence for it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Token ids of the prompt.
    pub(crate) prompt: Vec<u32>,
    /// Token ids of the output.
    pub(crate) output: Vec<u32>,
    pub(crate) evidence: Evidence,
    /// Binds the units that the evidence is drawn from, and their order.
    pub(crate) snapshot: Hash,
}

/// A unit by its share.
#[derive(Debug)]
pub(crate) struct RankedUnit {
    /// Its rank in the order of commitment.
    pub(crate) rank: u32,
    pub(crate) share: UnitShare,
    /// Whether its text is shown.
    pub(crate) is_shown: bool,
}

impl NodeHandle {
    /// Attributes a text, or an answer of the model, with what this node holds.
    ///
    /// # Errors
    /// [`AttributeError`] saying what is missing and where it can be had.
    pub async fn attribute(
        &self,
        model: ModelId,
        query: AttributeQuery,
    ) -> Result<Attribution, AttributeError> {
        let chain = self.chain();
        if chain.base(model).is_some() {
            return Err(AttributeError::Base(model));
        }
        let (_, order) = chain.model(model).ok_or(AttributeError::UnknownModel(model))?;
        let worker = &self.inner.worker;
        let run = worker.run_data(model).ok_or(AttributeError::NotHeld(model))?;
        let (ready, sketch_root) =
            self.model_ready(model).ok_or(AttributeError::NotReady(model))?;
        let (prompt, output) = tokens(model, &run, &query)?;
        let broken = |failure| AttributeError::Broken { model, failure };
        let checkpoint = worker.load(model).await.map_err(broken)?;
        let sampling = Sampling::usual(query.max_tokens, query.seed);
        let exchange = worker.thread.run(move |state| {
            let loaded = state.attributor(&(model, checkpoint))?;
            attribute(loaded, prompt, output, &sampling).map_err(not_served)
        });
        let exchange = exchange.await.map_err(broken)?;
        let units = ranked(&exchange.evidence, &query);
        let shown = units.iter().filter(|unit| unit.is_shown).map(|unit| unit.rank).collect();
        let documents = name_documents(&worker.blobs, &chain, model, &shown).await;
        Ok(Attribution {
            model,
            datanet: order.datanet,
            addresses: addresses(&chain, &exchange.evidence),
            run,
            query,
            exchange,
            units,
            documents,
            checkpoint: ready,
            sketch_root,
        })
    }
}

/// The tokens of what was asked, within bounds.
fn tokens(
    model: ModelId,
    run: &RunData,
    request: &AttributeQuery,
) -> Result<(Vec<u32>, Option<Vec<u32>>), AttributeError> {
    let AttributeQuery { prompt, output, max_tokens, .. } = request;
    let length = output.as_ref().map_or(*max_tokens as usize, String::len);
    if prompt.len() > MAX_PROMPT_BYTES {
        return Err(AttributeError::LongPrompt(prompt.len()));
    }
    if prompt.is_empty() && output.is_none() {
        return Err(AttributeError::EmptyPrompt);
    }
    if length == 0 {
        return Err(AttributeError::EmptyOutput);
    }
    // A token holds at most some dozen bytes: what is far longer is not even encoded.
    if length > MAX_GENERATED_TOKENS as usize * if output.is_some() { 64 } else { 1 } {
        return Err(AttributeError::LongOutput);
    }
    let encode = |text: &str| {
        run.tokenizer.encode(text).map_err(|error| {
            tracing::error!(%error, %model, "the tokenizer does not encode a text");
            AttributeError::Broken { model, failure: Failure::Invalid }
        })
    };
    let output = output.as_deref().map(encode).transpose()?;
    match &output {
        Some(output) if output.len() > MAX_GENERATED_TOKENS as usize => {
            Err(AttributeError::LongOutput)
        }
        _ => Ok((encode(prompt)?, output)),
    }
}

fn attribute(
    attributor: &Attributor,
    prompt: Vec<u32>,
    output: Option<Vec<u32>>,
    sampling: &Sampling,
) -> Result<Exchange, ServeError> {
    let (output, evidence) = match output {
        Some(output) => {
            let evidence = attributor.attribute(&prompt, &output)?;
            (output, evidence)
        }
        // As a paid use is answered, to the last part per million.
        None => {
            let (transcript, evidence) = attributor.answer(&prompt, sampling)?;
            (transcript.output, evidence)
        }
    };
    Ok(Exchange { prompt, output, evidence, snapshot: attributor.snapshot() })
}

/// The units that are listed, by falling share.
fn ranked(evidence: &Evidence, query: &AttributeQuery) -> Vec<RankedUnit> {
    let shares = unit_shares(&evidence.units, &evidence.weights, WeighParams::DEFAULT);
    let mut all: Vec<_> = (0u32..).zip(shares).collect();
    all.sort_by_key(|(rank, share)| (std::cmp::Reverse(share.ppm()), *rank));
    let top = (query.units as usize).min(MAX_UNITS);
    let owns_span = |rank: u32| {
        let unit = evidence.units.get(rank as usize);
        unit.is_some_and(|unit| unit.span_millibits > 0)
    };
    let units = all.into_iter().enumerate().map(|(place, (rank, share))| RankedUnit {
        rank,
        share,
        is_shown: place < top || owns_span(rank),
    });
    if query.is_full {
        units.take(MAX_UNITS).collect()
    } else {
        units.filter(|unit| unit.is_shown).collect()
    }
}

/// The addresses of the owners of all accounts that any of the shares names.
fn addresses(chain: &ChainView, evidence: &Evidence) -> BTreeMap<AccountId, EvmAddress> {
    let weights = &evidence.weights;
    let lists = [&weights.shares, &weights.gradient, &weights.spans];
    let accounts: BTreeSet<AccountId> =
        lists.into_iter().flatten().map(|share| share.account).collect();
    let address = |id: AccountId| Some((id, chain.account(id)?.owner));
    accounts.into_iter().filter_map(address).collect()
}
