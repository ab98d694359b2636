//! Where a text came from, in full: the record behind `openledger attribute`.
//!
//! A node that took part in a training run holds what its attribution needs: checkpoint, sketches
//! and units. It attributes for its owner, free of charge; nothing is recorded or paid.

mod record;
mod units;

use std::collections::BTreeSet;
use std::sync::Arc;

use compute::model::layout;
use compute::serve::Sampling;
use compute::spans::SpanParams;
use protocol::attribution::{Share, WeighParams, Weights};
use protocol::limits::{MAX_GENERATED_TOKENS, MAX_PROMPT_BYTES};
use protocol::node::Failure;
use protocol::{AccountId, DatanetId, Digest, EvmAddress, Hash, ModelId};
use serde::{Deserialize, Serialize};

pub use self::record::{
    AttributionReport, ContributorReport, EvidenceKind, MarkedSpan, Place, RuleReport, Sources,
    UnitLine,
};
use self::units::{bytes_of, name_documents, unit_lines};
use super::attributor::{Attributor, Evidence};
use super::handle::NodeHandle;
use super::run_data::RunData;
use super::worker::sampling;

/// Version of the record.
const SCHEMA: u32 = 1;

/// What is to be attributed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeRequest {
    /// The prompt.
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
    #[error("the prompt is empty; the model needs some text to go on from")]
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
        "checkpoint, sketches and units of model {model} do not make a whole here now \
         ({failure:?}); the node's log says why, and another node of the network may have them"
    )]
    Broken {
        /// The model.
        model: ModelId,
        /// What kind of failure it is.
        failure: Failure,
    },
}

/// What the computing thread finds.
struct Found {
    prompt: Vec<u32>,
    output: Vec<u32>,
    evidence: Evidence,
    snapshot: Hash,
}

impl NodeHandle {
    /// Attributes a text, or an answer of the model, with what this node holds.
    ///
    /// # Errors
    /// [`AttributeError`] saying what is missing and where it can be had.
    pub async fn attribute(
        &self,
        model: ModelId,
        request: AttributeRequest,
    ) -> Result<AttributionReport, AttributeError> {
        let chain = self.chain();
        let (ordered, order) = chain.model(model).ok_or(AttributeError::UnknownModel(model))?;
        let worker = &self.inner.worker;
        let run = worker.run_data(model).ok_or(AttributeError::NotHeld(model))?;
        let ready = self.model_ready(model).ok_or(AttributeError::NotReady(model))?;
        let (prompt, output) = tokens(model, &run, &request)?;
        let broken = |failure| AttributeError::Broken { model, failure };
        let checkpoint = worker.load(model).await.map_err(broken)?;
        let sampling = sampling(request.max_tokens, request.seed);
        let found = worker.thread.run(move |state| {
            let loaded = state.attributors.get(&(model, checkpoint));
            find(loaded.ok_or(Failure::Unavailable)?, prompt, output, &sampling)
        });
        let found = found.await.map_err(broken)?;
        let mut report = assemble(&run, &request, &found, ready).map_err(broken)?;
        (report.model, report.datanet) = (model, order.datanet);
        for contributor in &mut report.contributors {
            let account = chain.account(contributor.account);
            contributor.address = account.map_or(EvmAddress::ZERO, |account| account.owner);
        }
        let contributions = chain.snapshot(order.datanet, *ordered);
        let contributions: Vec<_> = contributions.iter().map(|c| (c.units, c.manifest)).collect();
        name_documents(&worker.blobs, &contributions, &mut report.units).await;
        Ok(report)
    }
}

/// The tokens of what was asked, within bounds.
fn tokens(
    model: ModelId,
    run: &RunData,
    request: &AttributeRequest,
) -> Result<(Vec<u32>, Option<Vec<u32>>), AttributeError> {
    let AttributeRequest { prompt, output, max_tokens, .. } = request;
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

fn find(
    attributor: &Attributor,
    prompt: Vec<u32>,
    output: Option<Vec<u32>>,
    sampling: &Sampling,
) -> Result<Found, Failure> {
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
    Ok(Found { prompt, output, evidence, snapshot: attributor.snapshot() })
}

/// Everything but the names, which are on chain and in manifests.
fn assemble(
    run: &Arc<RunData>,
    request: &AttributeRequest,
    found: &Found,
    (checkpoint, sketch_root): (Hash, Digest),
) -> Result<AttributionReport, Failure> {
    let evidence = &found.evidence;
    let text = run.tokenizer.decode(&found.output).map_err(|_| Failure::Invalid)?;
    let spans: Vec<MarkedSpan> = evidence
        .spans
        .spans
        .iter()
        .map(|span| {
            let (from, to) = bytes_of(run, &found.output, &text, (span.start, span.len));
            let unit = run.units.get(span.unit as usize);
            MarkedSpan {
                from,
                to,
                tokens: span.len,
                unit: unit.map_or(Hash::ZERO, |unit| unit.hash),
                owner: unit.map(|unit| unit.owner).unwrap_or_default(),
                count: span.count,
                millibits: span.millibits,
            }
        })
        .collect();
    let parameters = layout::tensors(&run.shape).iter().map(|tensor| tensor.len() as u64).sum();
    let owners: BTreeSet<AccountId> = run.units.iter().map(|unit| unit.owner).collect();
    let (rule, span_rule) = (WeighParams::DEFAULT, SpanParams::DEFAULT);
    Ok(AttributionReport {
        schema: SCHEMA,
        model: ModelId(0),
        datanet: DatanetId(0),
        prompt: request.prompt.clone(),
        output: text,
        seed: request.output.is_none().then_some(request.seed),
        tokens_in: found.prompt.len(),
        tokens_out: found.output.len(),
        contributors: contributors(&evidence.weights),
        lambda_ppm: evidence.weights.lambda_ppm,
        is_pool: evidence.weights.pool,
        output_millibits: evidence.spans.output_millibits,
        spans,
        units: unit_lines(run, request, evidence),
        sources: Sources {
            checkpoint,
            sketch_root,
            snapshot: found.snapshot,
            tokenizer: run.tokenizer.hash(),
            parameters,
            units: run.units.len(),
            owners: owners.len(),
        },
        rule: RuleReport {
            floor_per_token: rule.floor_per_token,
            lambda_max_ppm: rule.lambda_max_ppm,
            span_min_millibits: span_rule.min_millibits,
            span_max_count: span_rule.max_count,
            echo_millibits: span_rule.echo_millibits,
        },
    })
}

/// The contributors by falling share, without their addresses.
fn contributors(weights: &Weights) -> Vec<ContributorReport> {
    let lists = [&weights.shares, &weights.gradient, &weights.spans];
    let accounts: BTreeSet<AccountId> =
        lists.iter().flat_map(|list| list.iter().map(|share| share.account)).collect();
    let report = |account: &AccountId| ContributorReport {
        account: *account,
        address: EvmAddress::ZERO,
        share_ppm: part(&weights.shares, *account),
        gradient_ppm: part(&weights.gradient, *account),
        span_ppm: part(&weights.spans, *account),
        confidence_ppm: confidence(weights, *account),
    };
    let mut reports: Vec<_> = accounts.iter().map(report).collect();
    reports.sort_by_key(|report| (std::cmp::Reverse(report.share_ppm), report.account));
    reports
}

/// How sure an account's share is; `None` where nothing was significant, so that all share the pool.
fn confidence(weights: &Weights, account: AccountId) -> Option<u32> {
    let mut of = weights.shares.iter().zip(&weights.confidence);
    let own = of.find(|(share, _)| share.account == account).map(|(_, ppm)| *ppm);
    own.filter(|_| !weights.pool)
}

fn part(shares: &[Share], account: AccountId) -> u32 {
    shares.iter().find(|share| share.account == account).map_or(0, |share| share.ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contributors_come_by_falling_share_with_all_that_is_known() {
        let list = |parts: &[(u64, u32)]| -> Vec<Share> {
            let share = |(id, ppm): &(u64, u32)| Share { account: AccountId(*id), ppm: *ppm };
            parts.iter().map(share).collect()
        };
        let weights = Weights {
            shares: list(&[(2, 600_000), (4, 100_000), (9, 300_000)]),
            confidence: vec![900_000, 100_000, 500_000],
            gradient: list(&[(2, 857_143), (4, 142_857)]),
            spans: list(&[(9, 1_000_000)]),
            lambda_ppm: 300_000,
            pool: false,
        };
        let listed = contributors(&weights);
        let parts = |c: &ContributorReport| (c.account.0, c.share_ppm, c.gradient_ppm, c.span_ppm);
        let expected =
            [(2, 600_000, 857_143, 0), (9, 300_000, 0, 1_000_000), (4, 100_000, 142_857, 0)];
        assert_eq!(listed.iter().map(parts).collect::<Vec<_>>(), expected);
        let sure: Vec<_> = listed.iter().map(|c| c.confidence_ppm).collect();
        assert_eq!(sure, [Some(900_000), Some(500_000), Some(100_000)]);
        let pool = contributors(&Weights { pool: true, ..weights });
        assert!(pool.iter().all(|c| c.confidence_ppm.is_none()));
    }
}
