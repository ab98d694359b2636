//! The `nano` decoder on real text, as the network uses it: a base model, then a run on the
//! contributors' data that can be unrolled.
//!
//! The base is trained by AdamW shards on text that nobody is paid for; the attributed run goes on
//! from it by stochastic gradient descent.

use std::sync::Arc;

use serde::Serialize;

use super::baselines::bm25;
use super::methods::{Lds, Methods, QualityError, Tuning};
use super::provenance::{self, Provenance, continuations};
use super::truth::{Truth, draw_masks};
use crate::attribution::unrolled::{Difference, Optimizer, Recipe, Run};
use crate::attribution::{Network, TextNetwork};
use crate::checkpoint::Checkpoint;
use crate::engine::Engine;
use crate::model::ModelConfig;
use crate::outer;
use crate::preset::TrainingPreset;
use crate::shard::{self, ShardHyper, ShardInput};
use crate::tokenizer::Tokenizer;

/// What one contributor brings.
#[derive(Clone, Debug)]
pub struct Source {
    /// A name for people.
    pub name: String,
    /// The text; its beginning is trained on, what follows is held out.
    pub text: String,
}

/// The size of a measurement.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The decoder.
    pub model: ModelConfig,
    /// Tokens of a unit that are predicted.
    pub unit: usize,
    /// Training units of each contributor.
    pub units: usize,
    /// Retrainings.
    pub masks: usize,
    /// Held-out units that are attributed, drawn in turn from the contributors.
    pub queries: usize,
    /// Held-out units of each contributor; what follows them is the base model's.
    pub held_out: usize,
    /// First of the contributors' held-out units to draw queries from: tuning uses others.
    pub skip: usize,
    /// Held-out units whose contributor is to be named.
    pub continuations: usize,
    /// Tokens of a quotation.
    pub quotation: usize,
    /// AdamW steps of the base model.
    pub base_steps: u32,
    /// The run.
    pub recipe: Recipe,
    /// Constants of the methods.
    pub tuning: Tuning,
    /// What masks and parameters are drawn from.
    pub seed: u64,
}

/// Scores of one measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Linear datamodelling scores, by contributor.
    #[serde(flatten)]
    pub lds: Lds,
    /// Contributors.
    pub contributors: usize,
    /// Retrainings.
    pub masks: usize,
    /// Mean loss of the queries before and after training, in nats per token.
    pub loss: (f64, f64),
    /// Whose text? Without verbatim overlap.
    pub plain: Provenance,
    /// And with.
    pub quoted: Provenance,
}

impl Setting {
    /// The reported setting.
    pub const fn full() -> Self {
        Self {
            model: ModelConfig::nano(),
            unit: 64,
            units: 16,
            masks: 40,
            queries: 12,
            held_out: 24,
            skip: 0,
            continuations: 200,
            quotation: 16,
            base_steps: 400,
            recipe: Recipe {
                optimizer: Optimizer::SgdMomentum { momentum_ppm: 900_000 },
                steps: 96,
                batch: 8,
                learning_rate_ppm: 10_000,
                warmup: 8,
                decay_ppm: 0,
                clip_milli: 0,
                seed: 1,
            },
            tuning: Tuning { sketch_ppm: 100_000, ekfac_ppm: 100_000, side: 16, skipped: 0 },
            seed: 1,
        }
    }

    /// A setting for tests.
    pub const fn small() -> Self {
        let full = Self::full();
        let recipe = Recipe { steps: 24, ..full.recipe };
        Self {
            model: ModelConfig::tiny(),
            unit: 32,
            units: 6,
            masks: 12,
            queries: 4,
            continuations: 12,
            base_steps: 60,
            recipe,
            ..full
        }
    }
}

/// A tokenised corpus: training units first, then whatever is asked about.
pub(super) struct Corpus {
    pub(super) tokenizer: Tokenizer,
    pub(super) owners: Vec<usize>,
    pub(super) training: Vec<Vec<u32>>,
    /// Held-out units of each contributor.
    pub(super) held_out: Vec<Vec<Vec<u32>>>,
    /// Units of the base model.
    base: Vec<Vec<u32>>,
}

impl Corpus {
    fn new(setting: &Setting, sources: &[Source]) -> Result<Self, QualityError> {
        let texts = sources.iter().map(|source| source.text.as_str());
        let tokenizer = Tokenizer::train(texts, setting.model.vocab)?;
        let (mut owners, mut training) = (Vec::new(), Vec::new());
        let (mut held_out, mut base) = (Vec::new(), Vec::new());
        for (owner, source) in sources.iter().enumerate() {
            let ids = tokenizer.encode(&source.text)?;
            let mut units: Vec<Vec<u32>> =
                ids.chunks_exact(setting.unit + 1).map(<[u32]>::to_vec).collect();
            if units.len() <= setting.units + setting.held_out {
                return Err(QualityError::Setting("a contributor's text is too short"));
            }
            base.extend(units.split_off(setting.units + setting.held_out));
            held_out.push(units.split_off(setting.units));
            owners.extend(std::iter::repeat_n(owner, units.len()));
            training.extend(units);
        }
        Ok(Self { tokenizer, owners, training, held_out, base })
    }

    /// The base model's parameters.
    fn base(&self, setting: &Setting) -> Result<Vec<f32>, QualityError> {
        let start = Checkpoint::init(&setting.model, self.tokenizer.hash(), setting.seed)?;
        let hyper = ShardHyper {
            steps: setting.base_steps,
            batch: setting.recipe.batch,
            context: setting.unit as u32,
            warmup: setting.base_steps / 10,
            keep: 4096,
            ..TrainingPreset::demo().hyper
        };
        let units = self.base.clone();
        let input = ShardInput { checkpoint: Arc::new(start), units, seed: [7; 32], hyper };
        let update = shard::run(&Engine::cpu(), &input)?.payload;
        Ok(outer::step(&input.checkpoint, &[update], 1_000_000)?.values().to_vec())
    }

    /// The training units of a contributor.
    pub(super) fn of(&self, owner: usize) -> impl Iterator<Item = &Vec<u32>> {
        let is_own = move |(other, _): &(&usize, &Vec<u32>)| **other == owner;
        self.owners.iter().zip(&self.training).filter(is_own).map(|(_, unit)| unit)
    }

    /// Held-out units, in turn from every contributor.
    fn queries(&self, setting: &Setting) -> Result<Vec<Vec<u32>>, QualityError> {
        let rounds = setting.queries.div_ceil(self.held_out.len());
        let step = (self.held_out.len() / setting.queries.max(1)).max(1);
        let query = |number: usize| {
            let owner = (number * step + setting.skip) % self.held_out.len();
            let rank = setting.skip * rounds + number * step / self.held_out.len();
            self.held_out[owner].get(rank).cloned()
        };
        let queries: Option<Vec<_>> = (0..setting.queries).map(query).collect();
        queries.ok_or(QualityError::Setting("too few held-out units"))
    }

    /// A unit as words.
    pub(super) fn words(&self, unit: &[u32]) -> Result<Vec<String>, QualityError> {
        let text = self.tokenizer.decode(unit)?.to_lowercase();
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        Ok(words.map(str::to_owned).collect())
    }

    /// BM25 of the training units for other units.
    pub(super) fn bm25(&self, queries: &[Vec<u32>]) -> Result<Vec<Vec<f64>>, QualityError> {
        let words = |units: &[Vec<u32>]| -> Result<Vec<_>, QualityError> {
            units.iter().map(|unit| self.words(unit)).collect()
        };
        Ok(bm25(&words(&self.training)?, &words(queries)?))
    }
}

/// Measures all methods against real retraining.
pub fn measure(
    setting: &Setting,
    sources: &[Source],
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Report, QualityError> {
    let corpus = Corpus::new(setting, sources)?;
    let asked = corpus.queries(setting)?;
    let (plain, plain_owners) = continuations(&corpus, setting, false)?;
    let (quoted, quoted_owners) = continuations(&corpus, setting, true)?;
    let sets = [corpus.training.clone(), asked.clone(), plain.clone(), quoted.clone()];
    let ends: Vec<usize> = sets
        .iter()
        .scan(0, |end, set| {
            *end += set.len();
            Some(*end)
        })
        .collect();
    let samples = |set: usize| (ends[set - 1]..ends[set]).collect::<Vec<usize>>();
    let network = TextNetwork::new(&Engine::cpu(), &setting.model, sets.concat())?;
    let (owners, contributors, queries) = (&corpus.owners, sources.len(), samples(1));
    let start = &corpus.base(setting)?;
    let run = Run::record(&network, start, setting.recipe, &vec![1.0; owners.len()])?;
    let methods = Methods { network: &network, run: &run, owners, contributors, queries: &queries };
    let loss = |parameters: &[f32]| -> Result<f64, QualityError> {
        let sum: f64 = network.losses(parameters, &queries)?.iter().sum();
        Ok(sum / (queries.len() * setting.unit) as f64)
    };
    let loss = (loss(start)?, loss(run.parameters())?);
    progress(&format!("language: trained, loss {:.3} -> {:.3}", loss.0, loss.1));
    let named = |set: usize, units: &[Vec<u32>], owners: &[usize]| {
        let methods = Methods { queries: &samples(set), ..methods };
        provenance::measure(&methods, &corpus, setting, (units, owners))
    };
    let plain = named(2, &plain, &plain_owners)?;
    let quoted = named(3, &quoted, &quoted_owners)?;
    progress("language: continuations named");
    let masks = draw_masks(contributors, setting.masks, setting.seed);
    let told = |done: usize| progress(&format!("language: retrained {done}/{}", setting.masks));
    let truth = Truth::retrain(&network, start, setting.recipe, owners, &queries, masks, &told)?;
    let told = |query: usize| progress(&format!("language: unrolled for query {query}"));
    let exact = methods.unrolled(Difference::DEFAULT, &told)?;
    let mut lds = methods.lds(&truth, setting.tuning, &exact, setting.seed)?;
    lds.baselines.insert("bm25", truth.lds(&methods.by_contributor(&corpus.bm25(&asked)?)));
    Ok(Report { lds, contributors, masks: setting.masks, loss, plain, quoted })
}

/// Linear datamodelling scores of tiers 1 and 2 over a grid of dampings, on queries and masks that
/// [`measure`] does not use: (tier, damping in parts per million, score).
pub fn tune(
    setting: &Setting,
    sources: &[Source],
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Vec<(String, u32, f64)>, QualityError> {
    const GRID: [u32; 6] = [1_000, 10_000, 100_000, 300_000, 1_000_000, 10_000_000];
    let setting = Setting { skip: 1, seed: setting.seed + 1000, ..setting.clone() };
    let corpus = Corpus::new(&setting, sources)?;
    let sequences = [corpus.training.clone(), corpus.queries(&setting)?].concat();
    let network = TextNetwork::new(&Engine::cpu(), &setting.model, sequences)?;
    let (owners, contributors) = (&corpus.owners, sources.len());
    let queries: Vec<usize> = (corpus.training.len()..network.samples()).collect();
    let start = &corpus.base(&setting)?;
    let run = Run::record(&network, start, setting.recipe, &vec![1.0; owners.len()])?;
    let methods = Methods { network: &network, run: &run, owners, contributors, queries: &queries };
    let masks = draw_masks(contributors, setting.masks, setting.seed);
    let told = |done: usize| progress(&format!("tuning: retrained {done}/{}", setting.masks));
    let recipe = setting.recipe;
    let truth = Truth::retrain(&network, start, recipe, owners, &queries, masks, &told)?;
    let mut found = Vec::new();
    for sketch_ppm in GRID {
        for skipped in [0, network.linears().len() as u16 - 7] {
            let tuning = Tuning { sketch_ppm, skipped, ..setting.tuning };
            let name = format!("t1 from {skipped}");
            found.push((name, sketch_ppm, truth.lds(&methods.sketches(tuning)?)));
        }
    }
    for (damping, scores) in GRID.into_iter().zip(methods.ekfac(&GRID)?) {
        found.push(("t2".to_owned(), damping, truth.lds(&scores)));
    }
    Ok(found)
}
