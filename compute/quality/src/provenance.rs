//! Whose text is this? The top contributor for held-out continuations, by each kind of evidence.
//!
//! A continuation is a held-out unit, cut into a prompt and an output. Without overlap the model never
//! saw a word of it in that order; with overlap, as after a model that quotes, a stretch of the output
//! is replaced by one from the same contributor's training units. The scores go through the rule that
//! pays ([`protocol::attribution::weigh`]).

use protocol::attribution::{
    Share, UnitEvidence, WeighParams, Weights, leader, noise_floor, weigh,
};
use protocol::{AccountId, Hash};
use serde::Serialize;

use crate::corpus::{Corpus, Setting};
use crate::methods::{Methods, QualityError};
use compute::attribute::Network;
use compute::spans::{SpanIndex, SpanParams, SpanUnit, Spans};

/// Part of the continuations, 0 to 1, whose top contributor is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Provenance {
    /// Number of continuations.
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
    /// By naming anybody: what chance gives.
    pub random: f64,
}

/// Held-out units with the contributors they are from.
pub(super) struct Continuations {
    pub(super) units: Vec<Vec<u32>>,
    pub(super) owners: Vec<usize>,
}

impl Continuations {
    /// Held-out units as they are, or with a quotation.
    pub(super) fn new(
        corpus: &Corpus,
        setting: &Setting,
        quoted: bool,
    ) -> Result<Self, QualityError> {
        let contributors = corpus.held_out.len();
        let skipped = setting.skip * setting.continuations.div_ceil(contributors);
        let mut units = Vec::new();
        for number in 0..setting.continuations {
            let (owner, rank) = (number % contributors, skipped + number / contributors);
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
        Ok(Self { units, owners })
    }

    /// Part of them, 0 to 1, for which `leads` names the contributor.
    fn right(&self, leads: impl Iterator<Item = Option<usize>>) -> f64 {
        let right = leads.zip(&self.owners).filter(|(lead, owner)| *lead == Some(**owner)).count();
        right as f64 / self.units.len().max(1) as f64
    }
}

/// What is known about one output, by training unit.
pub(super) struct Evidence {
    units: Vec<UnitEvidence>,
    output_millibits: u64,
}

impl Evidence {
    /// The evidence for each of some units, which are the queries of `methods`.
    pub(super) fn of<N: Network>(
        methods: &Methods<'_, N>,
        corpus: &Corpus,
        setting: &Setting,
        asked: &[Vec<u32>],
    ) -> Result<Vec<Self>, QualityError> {
        let hashes: Vec<Hash> = (0..corpus.training.len()).map(name).collect();
        let indexed = hashes.iter().zip(&corpus.training);
        let indexed: Vec<_> = indexed.map(|(&hash, tokens)| SpanUnit { hash, tokens }).collect();
        let tokenizer = corpus.tokenizer.hash();
        let index = SpanIndex::build(tokenizer, corpus.tokenizer.vocab(), &indexed)?;
        let scores = methods.sketch_scores(setting.served())?;
        let of_one = |(unit, scores): (&Vec<u32>, Vec<i64>)| {
            let (prompt, output) = unit.split_at(setting.unit / 4);
            let found = index.attribute(tokenizer, prompt, output, SpanParams::DEFAULT)?;
            let spans = found.by_unit(hashes.len());
            let units = scores.into_iter().zip(spans).enumerate();
            let units = units.map(|(rank, (score, span_millibits))| UnitEvidence {
                unit: hashes[rank],
                owner: account(corpus.owners[rank]),
                cluster: rank as u64,
                tokens: corpus.training[rank].len() as u32,
                score,
                span_millibits,
            });
            Ok(Self { units: units.collect(), output_millibits: found.output_millibits })
        };
        asked.iter().zip(scores).map(of_one).collect()
    }

    /// The rule that pays.
    pub(super) fn weigh(&self, params: WeighParams) -> Result<Weights, QualityError> {
        Ok(weigh(&self.units, self.output_millibits, params)?)
    }

    /// The noise floor that the scores declare by their lowest part.
    pub(super) fn floor(&self, tail_ppm: u32) -> u64 {
        noise_floor(&self.units, tail_ppm)
    }
}

/// The contributor with the largest share.
pub(super) fn lead(shares: &[Share]) -> Option<usize> {
    leader(shares).map(|account| account.0 as usize - 1)
}

/// Part of the continuations whose top contributor by the rule is right, under a noise floor by the
/// lowest part of the scores and so much weight for spans.
pub(super) fn ruled(
    asked: &Continuations,
    evidence: &[Evidence],
    tail_ppm: u32,
    lambda_max_ppm: u32,
) -> Result<f64, QualityError> {
    let lead = |one: &Evidence| {
        let params = WeighParams { floor_per_token: one.floor(tail_ppm), lambda_max_ppm };
        Ok(lead(&one.weigh(params)?.shares))
    };
    let leads = evidence.iter().map(lead).collect::<Result<Vec<_>, QualityError>>()?;
    Ok(asked.right(leads.into_iter()))
}

/// Measures continuations that are the queries of `methods`.
pub(super) fn measure<N: Network>(
    methods: &Methods<'_, N>,
    corpus: &Corpus,
    setting: &Setting,
    asked: &Continuations,
) -> Result<Provenance, QualityError> {
    let evidence = Evidence::of(methods, corpus, setting, &asked.units)?;
    let weights = evidence.iter().map(|one| one.weigh(WeighParams::DEFAULT));
    let weights = weights.collect::<Result<Vec<Weights>, _>>()?;
    let by = |scores: Vec<Vec<f64>>| {
        let best =
            |scores: &Vec<f64>| (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        asked.right(scores.iter().map(best))
    };
    Ok(Provenance {
        of: asked.units.len(),
        gradient: asked.right(weights.iter().map(|weights| lead(&weights.gradient))),
        spans: asked.right(weights.iter().map(|weights| lead(&weights.spans))),
        both: asked.right(weights.iter().map(|weights| lead(&weights.shares))),
        bm25: by(methods.by_contributor(&corpus.bm25(&asked.units)?)),
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
