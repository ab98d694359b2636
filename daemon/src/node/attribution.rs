//! Where a text came from, in full: the record behind `openledger attribute`.
//!
//! A node that took part in a training run holds what its attribution needs: checkpoint, sketches
//! and units. It attributes for its owner, free of charge; nothing is recorded or paid. Positions
//! are bytes of the text that they point into, always on character boundaries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use compute::infer::Sampling;
use compute::model::layout;
use compute::spans::SpanParams;
use protocol::attribution::{Share, UnitEvidence, WeighParams, Weights};
use protocol::codec::Wire;
use protocol::limits::{MAX_GENERATED_TOKENS, MAX_MANIFEST_BYTES, MAX_PROMPT_BYTES};
use protocol::manifest::Manifest;
use protocol::math::{PPM, split};
use protocol::node::Failure;
use protocol::{AccountId, DatanetId, Digest, EvmAddress, Hash, ModelId};
use serde::{Deserialize, Serialize};

use super::attributor::{Attributor, Evidence};
use super::blobs::Blobs;
use super::handle::{NodeHandle, TEMPERATURE_PPM};
use super::run_data::RunData;

/// Version of the record.
const SCHEMA: u32 = 1;
/// Most units of one record: what comes after them weighs less than all of these.
const MAX_UNITS: usize = 100_000;

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

/// What speaks for a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// Training on it made the exchange likelier.
    Gradient,
    /// The output holds a run of its words.
    Span,
    /// Both.
    Both,
    /// Nothing stands out anywhere, so that it is paid for its length.
    Pool,
    /// Nothing.
    None,
}

/// An account and its part of the contributors' share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContributorReport {
    /// The account.
    pub account: AccountId,
    /// Its owner's address.
    pub address: EvmAddress,
    /// What it would be paid, in ppm.
    pub share_ppm: u32,
    /// What gradient influence alone would pay.
    pub gradient_ppm: u32,
    /// What verbatim spans alone would pay.
    pub span_ppm: u32,
    /// How sure the share is, where that is known.
    pub confidence_ppm: Option<u32>,
}

/// A run of the output that a unit holds verbatim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkedSpan {
    /// First byte in the output.
    pub from: usize,
    /// First byte after it.
    pub to: usize,
    /// Its tokens.
    pub tokens: u32,
    /// The earliest unit that holds it.
    pub unit: Hash,
    /// Who owns it.
    pub owner: AccountId,
    /// How often it occurs in the data.
    pub count: u32,
    /// Evidence beyond chance, in thousandths of a bit.
    pub millibits: u64,
}

/// Where a span stands in a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Index of the span.
    pub span: usize,
    /// First byte in the unit's text.
    pub from: usize,
    /// First byte after it.
    pub to: usize,
}

/// The evidence for one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitLine {
    /// Its hash.
    pub unit: Hash,
    /// Its rank in the order of commitment.
    pub rank: u32,
    /// Who is paid for it.
    pub owner: AccountId,
    /// Its length in tokens.
    pub tokens: u32,
    /// Its cluster of duplicates.
    pub cluster: u64,
    /// Its influence: positive when training on it made the exchange likelier.
    pub score: i64,
    /// Evidence of the spans that it owns, in thousandths of a bit.
    pub span_millibits: u64,
    /// What speaks for it.
    pub kind: EvidenceKind,
    /// Its part of the contributors' share, in ppm; all units together make up one million.
    pub share_ppm: u32,
    /// The document that it begins in; only of the units that are shown.
    pub document: Option<String>,
    /// Its text; only of the units that are shown.
    pub text: Option<String>,
    /// The spans in its text.
    pub places: Vec<Place>,
}

/// What the numbers follow from: anyone with the same data gets the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The weights.
    pub checkpoint: Hash,
    /// The root of the sketches of all units.
    pub sketch_root: Digest,
    /// The units, in their order.
    pub snapshot: Hash,
    /// The tokenizer.
    pub tokenizer: Hash,
    /// Parameters of the model.
    pub parameters: u64,
    /// Units of the snapshot.
    pub units: usize,
    /// Accounts that own them.
    pub owners: usize,
}

/// The constants of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReport {
    /// Influence per token below which it counts as noise.
    pub floor_per_token: u64,
    /// Most of the weight that spans may take, in ppm.
    pub lambda_max_ppm: u32,
    /// Least evidence of a span, in thousandths of a bit.
    pub span_min_millibits: u64,
    /// Most occurrences of a span.
    pub span_max_count: u32,
    /// Information from which on a repetition of the prompt is an echo, in thousandths of a bit.
    pub echo_millibits: u64,
}

/// The whole record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributionReport {
    /// Version of this schema.
    pub schema: u32,
    /// The model.
    pub model: ModelId,
    /// What it was trained on.
    pub datanet: DatanetId,
    /// The prompt.
    pub prompt: String,
    /// The output.
    pub output: String,
    /// Seed of the draws when the model wrote the output; none when it was given.
    pub seed: Option<u64>,
    /// Prompt tokens.
    pub tokens_in: usize,
    /// Output tokens.
    pub tokens_out: usize,
    /// The contributors by falling share.
    pub contributors: Vec<ContributorReport>,
    /// The part of the shares that spans decide, in ppm.
    pub lambda_ppm: u32,
    /// Nothing was significant: the shares are everybody's part of the data.
    pub is_pool: bool,
    /// Information of the output, in thousandths of a bit.
    pub output_millibits: u64,
    /// The verbatim spans in the order of the output.
    pub spans: Vec<MarkedSpan>,
    /// The units by falling share.
    pub units: Vec<UnitLine>,
    /// What the numbers follow from.
    pub sources: Sources,
    /// The constants of the rule.
    pub rule: RuleReport,
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
        let workshop = &self.inner.workshop;
        let run = workshop.run_data(model).ok_or(AttributeError::NotHeld(model))?;
        let ready = self.model_ready(model).ok_or(AttributeError::NotReady(model))?;
        let (prompt, output) = tokens(&run, &request)?;
        let broken = |failure| AttributeError::Broken { model, failure };
        let checkpoint = workshop.load(model).await.map_err(broken)?;
        let sampling = Sampling {
            tokens: request.max_tokens,
            temperature_ppm: TEMPERATURE_PPM,
            top: 0,
            seed: request.seed,
        };
        let found = workshop.bench.run(move |bench| {
            let loaded = bench.attributors.get(&(model, checkpoint));
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
        name_documents(&workshop.blobs, &contributions, &mut report.units).await;
        Ok(report)
    }
}

/// The tokens of what was asked, within bounds.
fn tokens(
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
    // A valid tokenizer encodes every text.
    let encode = |text: &str| run.tokenizer.encode(text).unwrap_or_default();
    let output = output.as_deref().map(encode);
    match &output {
        Some(output) if output.len() > MAX_GENERATED_TOKENS as usize => {
            Err(AttributeError::LongOutput)
        }
        _ => Ok((encode(prompt), output)),
    }
}

fn find(
    attributor: &Attributor,
    prompt: Vec<u32>,
    output: Option<Vec<u32>>,
    sampling: &Sampling,
) -> Result<Found, Failure> {
    let output = match output {
        Some(output) => output,
        None => attributor.generate(&prompt, sampling)?,
    };
    let evidence = attributor.attribute(&prompt, &output)?;
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

/// Where some tokens stand in the text that all of them make.
fn bytes_of(run: &RunData, tokens: &[u32], text: &str, (start, len): (u32, u32)) -> (usize, usize) {
    let at = |token: u32| {
        let head = tokens.get(..token as usize).unwrap_or(tokens);
        // Every id was made by this tokenizer.
        let head = run.tokenizer.decode(head).unwrap_or_default();
        common(&head, text)
    };
    (at(start), at(start.saturating_add(len)))
}

/// Length of the common beginning: a character that a cut went through belongs to what follows.
fn common(head: &str, text: &str) -> usize {
    let same = head.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
    text.floor_char_boundary(same)
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
        confidence_ppm: None,
    };
    let mut reports: Vec<_> = accounts.iter().map(report).collect();
    reports.sort_by_key(|report| (std::cmp::Reverse(report.share_ppm), report.account));
    reports
}

fn part(shares: &[Share], account: AccountId) -> u32 {
    shares.iter().find(|share| share.account == account).map_or(0, |share| share.ppm)
}

/// The evidence of the units by falling share, those that are shown with their text.
fn unit_lines(run: &RunData, request: &AttributeRequest, evidence: &Evidence) -> Vec<UnitLine> {
    let shares = unit_shares(&evidence.units, &evidence.weights);
    let line = |(rank, (unit, (share_ppm, kind))): (usize, (&UnitEvidence, _))| UnitLine {
        unit: unit.unit,
        rank: u32::try_from(rank).unwrap_or(u32::MAX),
        owner: unit.owner,
        tokens: unit.tokens,
        cluster: unit.cluster,
        score: unit.score,
        span_millibits: unit.span_millibits,
        kind,
        share_ppm,
        document: None,
        text: None,
        places: Vec::new(),
    };
    let mut lines: Vec<_> = evidence.units.iter().zip(shares).enumerate().map(line).collect();
    lines.sort_by_key(|line| (std::cmp::Reverse(line.share_ppm), line.rank));
    let top = (request.units as usize).min(MAX_UNITS);
    let shown: BTreeSet<u32> = lines.iter().take(top).map(|line| line.rank).collect();
    let is_shown = |line: &UnitLine| line.span_millibits > 0 || shown.contains(&line.rank);
    if request.is_full {
        lines.truncate(MAX_UNITS);
    } else {
        lines.retain(is_shown);
    }
    for line in lines.iter_mut().filter(|line| is_shown(line)) {
        let Some(unit) = run.units.get(line.rank as usize) else { continue };
        let spans = evidence.spans.spans.iter().enumerate();
        let here = spans.filter(|(_, span)| span.unit == line.rank);
        let place = |(span, found): (usize, &compute::spans::Span)| {
            let (from, to) = bytes_of(run, &unit.tokens, &unit.text, (found.position, found.len));
            Place { span, from, to }
        };
        line.places = here.map(place).collect();
        line.text = Some(unit.text.clone());
    }
    lines
}

/// What of its owner's share each unit earned, and by what: every owner's share is divided among
/// its clusters as the rule weighed them, to the last part per million.
fn unit_shares(units: &[UnitEvidence], weights: &Weights) -> Vec<(u32, EvidenceKind)> {
    let mut first = BTreeMap::<u64, usize>::new();
    let mut bits = vec![0u128; units.len()];
    for (rank, unit) in units.iter().enumerate() {
        // The earliest of a cluster stands for all of it.
        let canonical = *first.entry(unit.cluster).or_insert(rank);
        bits[canonical] = bits[canonical].saturating_add(u128::from(unit.span_millibits));
    }
    let mut owned = BTreeMap::<AccountId, Vec<usize>>::new();
    for rank in first.into_values() {
        owned.entry(units[rank].owner).or_default().push(rank);
    }
    let floor = u128::from(WeighParams::DEFAULT.floor_per_token);
    let gain = |rank: usize| {
        let noise = floor.saturating_mul(u128::from(units[rank].tokens));
        u128::try_from(units[rank].score).unwrap_or(0).saturating_sub(noise)
    };
    let mut shares = vec![(0u32, EvidenceKind::None); units.len()];
    for (owner, ranks) in owned {
        let share = u128::from(part(&weights.shares, owner));
        let of = |ppm: u32, weight: u32| u128::from(ppm) * u128::from(weight);
        let gradient = of(part(&weights.gradient, owner), PPM - weights.lambda_ppm.min(PPM));
        let spans = of(part(&weights.spans, owner), weights.lambda_ppm);
        let halves = split(share, &[gradient, spans]).unwrap_or_else(|| vec![0, 0]);
        let divide = |total: u128, weight: &dyn Fn(usize) -> u128| {
            let weights: Vec<u128> = ranks.iter().map(|rank| weight(*rank)).collect();
            split(total, &weights).unwrap_or_else(|| vec![0; ranks.len()])
        };
        let parts = match weights.pool {
            true => [divide(share, &|rank| u128::from(units[rank].tokens)), vec![0; ranks.len()]],
            false => [divide(halves[0], &gain), divide(halves[1], &|rank| bits[rank])],
        };
        for ((rank, a), b) in ranks.iter().zip(&parts[0]).zip(&parts[1]) {
            let kind = match (weights.pool, gain(*rank) > 0, bits[*rank] > 0) {
                (true, ..) => EvidenceKind::Pool,
                (_, true, true) => EvidenceKind::Both,
                (_, true, false) => EvidenceKind::Gradient,
                (_, false, true) => EvidenceKind::Span,
                (_, false, false) => EvidenceKind::None,
            };
            shares[*rank] = (u32::try_from(a + b).unwrap_or(PPM), kind);
        }
    }
    shares
}

/// Says of each unit that is shown which document it begins in.
async fn name_documents(blobs: &Blobs, contributions: &[(u32, Hash)], units: &mut [UnitLine]) {
    let mut manifests = BTreeMap::<Hash, Option<Manifest>>::new();
    for line in units.iter_mut().filter(|line| line.text.is_some()) {
        let mut before = 0u32;
        for (count, hash) in contributions {
            let index = line.rank.wrapping_sub(before);
            before = before.saturating_add(*count);
            if line.rank >= before {
                continue;
            }
            if !manifests.contains_key(hash) {
                let bytes = blobs.obtain(*hash, MAX_MANIFEST_BYTES as u64, &[]).await;
                let manifest = bytes.ok().and_then(|bytes| Manifest::from_bytes(&bytes).ok());
                manifests.insert(*hash, manifest);
            }
            let manifest = manifests.get(hash).and_then(Option::as_ref);
            line.document = manifest.and_then(|manifest| document_of(manifest, index as usize));
            break;
        }
    }
}

/// The document that a unit begins in: packs are cut from the documents, one after the other.
fn document_of(manifest: &Manifest, unit: usize) -> Option<String> {
    let unit = manifest.units.get(unit)?;
    let packs = manifest.packs.get(..unit.pack as usize)?;
    let start: u64 = packs.iter().map(|(_, length)| length).sum::<u64>() + u64::from(unit.offset);
    let mut end = 0u64;
    let holds = |document: &&protocol::manifest::Document| {
        end = end.saturating_add(document.length);
        start < end
    };
    manifest.documents.iter().find(holds).map(|document| document.name.clone())
}

#[cfg(test)]
mod tests {
    use protocol::attribution::weigh;

    use super::*;

    fn unit(rank: u16, owner: u64, score: i64, span_millibits: u64) -> UnitEvidence {
        let mut hash = [0; 32];
        hash[..2].copy_from_slice(&rank.to_be_bytes());
        UnitEvidence {
            unit: Hash(hash),
            owner: AccountId(owner),
            cluster: u64::from(rank),
            tokens: 100 + u32::from(rank),
            score,
            span_millibits,
        }
    }

    fn shares(units: &[UnitEvidence]) -> (Weights, Vec<(u32, EvidenceKind)>) {
        let weights = weigh(units, 100_000, WeighParams::DEFAULT).unwrap();
        let shares = unit_shares(units, &weights);
        (weights, shares)
    }

    #[test]
    fn units_divide_their_owners_shares_to_the_last_part() {
        let mut copy = unit(5, 2, 900, 7_000);
        copy.cluster = 1;
        let units = [
            unit(0, 1, 301, 0),
            unit(1, 1, 77, 20_000),
            unit(2, 2, 130, 33_000),
            unit(3, 3, -50, 17_000),
            unit(4, 3, -9, 0),
            copy,
        ];
        let (weights, shares) = shares(&units);
        for share in &weights.shares {
            let own = units.iter().zip(&shares).filter(|(unit, _)| unit.owner == share.account);
            assert_eq!(own.map(|(_, (ppm, _))| ppm).sum::<u32>(), share.ppm);
        }
        let kinds: Vec<_> = shares.iter().map(|(_, kind)| *kind).collect();
        use EvidenceKind::{Both, Gradient, None, Span};
        assert_eq!(kinds, [Gradient, Both, Both, Span, None, None]);
        assert_eq!(shares[5].0, 0, "a copy is paid through the first of its cluster");
        assert!(shares[0].0 > shares[1].0 / 2 && shares[4].0 == 0);
    }

    #[test]
    fn a_pool_pays_units_for_their_length() {
        let (weights, shares) = shares(&[unit(0, 1, -1, 0), unit(1, 1, 0, 0), unit(2, 2, -5, 0)]);
        assert!(weights.pool);
        assert!(shares.iter().all(|(ppm, kind)| *ppm > 0 && *kind == EvidenceKind::Pool));
        assert_eq!(shares.iter().map(|(ppm, _)| ppm).sum::<u32>(), PPM);
    }

    #[test]
    fn contributors_come_by_falling_share() {
        let (weights, _) =
            shares(&[unit(0, 4, 100, 0), unit(1, 2, 300, 0), unit(2, 9, -1, 20_000)]);
        let listed = contributors(&weights);
        assert!(listed.is_sorted_by_key(|c| std::cmp::Reverse(c.share_ppm)));
        assert_eq!(listed.iter().map(|c| c.share_ppm).sum::<u32>(), PPM);
        let spans = listed.iter().find(|c| c.account == AccountId(9)).unwrap();
        assert_eq!((spans.gradient_ppm, spans.span_ppm), (0, PPM));
    }

    #[test]
    fn a_cut_through_a_character_falls_before_it() {
        assert_eq!(common("Gr\u{fffd}", "Größe"), 2);
        assert_eq!(common("Größe", "Größe"), 7);
        assert_eq!(common("", "x"), 0);
    }

    #[test]
    fn units_are_named_after_the_document_that_they_begin_in() {
        let document = |name: &str, length| protocol::manifest::Document {
            name: name.to_owned(),
            length,
            hash: Hash::ZERO,
        };
        let unit = |pack, offset| protocol::manifest::Unit { pack, offset, length: 10 };
        let manifest = Manifest {
            documents: vec![document("a", 15), document("b", 25)],
            packs: vec![(Hash::ZERO, 20), (Hash::ZERO, 20)],
            units: vec![unit(0, 0), unit(0, 10), unit(1, 0), unit(1, 10)],
        };
        let names: Vec<_> = (0..5).map(|unit| document_of(&manifest, unit)).collect();
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(names, [name("a"), name("a"), name("b"), name("b"), None]);
    }
}
