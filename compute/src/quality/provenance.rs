//! Whose text is this? The top contributor for held-out continuations, by each kind of evidence.
//!
//! A continuation is a held-out unit, cut into a prompt and an output. Without overlap the model never
//! saw a word of it in that order; with overlap, as after a model that quotes, a stretch of the output
//! is replaced by one from the same contributor's training units. The scores go through the rule that
//! pays ([`protocol::attribution::weigh`]).

use protocol::attribution::{Share, UnitEvidence, WeighParams, Weights, leader, weigh};
use protocol::{AccountId, Hash};
use serde::Serialize;

use super::language::{Corpus, Setting};
use super::methods::{Methods, QualityError};
use crate::attribution::Network;
use crate::spans::{SpanIndex, SpanParams, SpanUnit, Spans};

/// Part of the continuations, 0 to 1, whose top contributor is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Provenance {
    /// Continuations.
    pub of: usize,
    /// By gradient influence alone (tier 1).
    pub gradient: f64,
    /// By verbatim spans alone.
    pub spans: f64,
    /// By the rule that pays, which has both.
    pub both: f64,
    /// By words in common.
    pub bm25: f64,
    /// By similarity of activations.
    pub embedding: f64,
    /// By the plain product of gradients.
    pub grad_dot: f64,
    /// Naming anybody.
    pub random: f64,
}

/// Held-out units with the contributors they are from: as they are, or with a quotation.
pub(super) fn continuations(
    corpus: &Corpus,
    setting: &Setting,
    quoted: bool,
) -> Result<(Vec<Vec<u32>>, Vec<usize>), QualityError> {
    let contributors = corpus.held_out.len();
    let mut units = Vec::new();
    for number in 0..setting.continuations {
        let (owner, rank) = (number % contributors, number / contributors);
        // From the end: the queries of the other measurements are taken from the beginning.
        let held_out = corpus.held_out[owner].iter().rev().nth(rank);
        let mut unit = held_out.ok_or(QualityError::Setting("too few held-out units"))?.clone();
        if quoted {
            let own: Vec<&Vec<u32>> = corpus.of(owner).collect();
            let source = own[rank % own.len()];
            let (from, to) = (setting.unit / 2, setting.unit / 2 + setting.quotation);
            unit[from..to].copy_from_slice(&source[from..to]);
        }
        units.push(unit);
    }
    let owners = (0..units.len()).map(|number| number % contributors).collect();
    Ok((units, owners))
}

/// Measures continuations that are the queries of `methods`.
pub(super) fn measure<N: Network>(
    methods: &Methods<'_, N>,
    corpus: &Corpus,
    setting: &Setting,
    (units, owners): (&[Vec<u32>], &[usize]),
) -> Result<Provenance, QualityError> {
    let hashes: Vec<Hash> = (0..corpus.training.len()).map(name).collect();
    let indexed = hashes.iter().zip(&corpus.training);
    let indexed: Vec<_> = indexed.map(|(&hash, tokens)| SpanUnit { hash, tokens }).collect();
    let vocab = corpus.tokenizer.vocab();
    let index = SpanIndex::build(corpus.tokenizer.hash(), vocab, &indexed)?;
    let scores = methods.sketch_scores(setting.tuning)?;
    let mut counts = [0usize; 3];
    for ((unit, scores), &owner) in units.iter().zip(scores).zip(owners) {
        let (prompt, output) = unit.split_at(setting.unit / 4);
        let found =
            index.attribute(corpus.tokenizer.hash(), prompt, output, SpanParams::DEFAULT)?;
        let spans = found.by_unit(hashes.len());
        let evidence: Vec<UnitEvidence> = scores
            .into_iter()
            .zip(spans)
            .enumerate()
            .map(|(rank, (score, span_millibits))| UnitEvidence {
                unit: hashes[rank],
                owner: account(corpus.owners[rank]),
                cluster: rank as u64,
                tokens: corpus.training[rank].len() as u32,
                score,
                span_millibits,
            })
            .collect();
        let Weights { shares, gradient, spans, .. } =
            weigh(&evidence, found.output_millibits, WeighParams::DEFAULT)?;
        let right = |shares: &[Share]| usize::from(leader(shares) == Some(account(owner)));
        let all = [right(&gradient), right(&spans), right(&shares)];
        counts.iter_mut().zip(all).for_each(|(count, right)| *count += right);
    }
    let part = |count: usize| count as f64 / units.len().max(1) as f64;
    let by = |scores: Vec<Vec<f64>>| {
        let best =
            |scores: &Vec<f64>| (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        part(scores.iter().zip(owners).filter(|(s, owner)| best(s) == Some(**owner)).count())
    };
    Ok(Provenance {
        of: units.len(),
        gradient: part(counts[0]),
        spans: part(counts[1]),
        both: part(counts[2]),
        bm25: by(methods.by_contributor(&corpus.bm25(units)?)),
        embedding: by(methods.embedding()?),
        grad_dot: by(methods.grad_dot()?),
        random: by(methods.random(setting.seed)),
    })
}

fn account(owner: usize) -> AccountId {
    AccountId(owner as u64 + 1)
}

fn name(rank: usize) -> Hash {
    Hash(*blake3::hash(&rank.to_be_bytes()).as_bytes())
}
