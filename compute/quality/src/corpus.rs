//! The contributors' texts, cut into what is trained on, what is held out, and what a base reads.

use std::sync::Arc;

use compute::attribute::unrolled::{Optimizer, Recipe};
use compute::attribute::{Preconditioner, SketchSpec};
use compute::device::Engine;
use compute::formats::{Checkpoint, Tokenizer};
use compute::model::ModelConfig;
use compute::train::shard::{self, ShardInput};
use compute::train::{ShardHyper, TrainingPreset, outer};
use protocol::Hash;

use crate::baselines::bm25;
use crate::methods::{QualityError, Tuning};

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
    /// The shape of the decoder.
    pub model: ModelConfig,
    /// Tokens of a unit that are predicted.
    pub unit: usize,
    /// Training units of each contributor.
    pub units: usize,
    /// Number of retrainings, each without other contributors.
    pub masks: usize,
    /// Held-out units that are attributed, drawn in turn from the contributors.
    pub queries: usize,
    /// Held-out units of each contributor; what follows them is the base model's.
    pub held_out: usize,
    /// Queries and continuations to pass over, in multiples of their numbers: tuning uses others.
    pub skip: usize,
    /// Held-out units whose contributor is to be named.
    pub continuations: usize,
    /// Tokens of a quotation.
    pub quotation: usize,
    /// AdamW steps of the base model.
    pub base_steps: u32,
    /// The run whose data is attributed.
    pub recipe: Recipe,
    /// Constants of the methods.
    pub tuning: Tuning,
    /// What masks and parameters are drawn from.
    pub seed: u64,
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
            // By `tune`.
            tuning: Tuning { sketch_ppm: 10_000_000, ekfac_ppm: 1_000_000, side: 16, skipped: 0 },
            seed: 1,
        }
    }

    /// The constants of tier 1 as nodes serve it.
    pub(super) fn served(&self) -> Tuning {
        let standard = SketchSpec::standard(Hash::ZERO, 0, &self.model);
        Tuning {
            sketch_ppm: Preconditioner::DAMPING_PPM,
            side: standard.side,
            skipped: standard.linears.first().copied().unwrap_or(0),
            ..self.tuning
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
    pub(super) fn new(setting: &Setting, sources: &[Source]) -> Result<Self, QualityError> {
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
    pub(super) fn base(&self, setting: &Setting) -> Result<Vec<f32>, QualityError> {
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
        let input =
            ShardInput { checkpoint: Arc::new(start), adapter: None, units, seed: [7; 32], hyper };
        let update = shard::run(&Engine::cpu(), &input)?.payload;
        Ok(outer::step(&input.checkpoint, &[update], 1_000_000)?.values().to_vec())
    }

    /// The training units of a contributor.
    pub(super) fn of(&self, owner: usize) -> impl Iterator<Item = &Vec<u32>> {
        let is_own = move |(other, _): &(&usize, &Vec<u32>)| **other == owner;
        self.owners.iter().zip(&self.training).filter(is_own).map(|(_, unit)| unit)
    }

    /// Held-out units, in turn from every contributor.
    pub(super) fn queries(&self, setting: &Setting) -> Result<Vec<Vec<u32>>, QualityError> {
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
