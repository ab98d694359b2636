//! Every method on one trained network, by contributor.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use protocol::Hash;
use protocol::attribution::WeighError;
use serde::Serialize;

use crate::truth::Truth;
use compute::attribute::unrolled::{Difference, Run, UnrollError};
use compute::attribute::{
    AssembleError, Direction, EkFac, EkFacError, FitError, Network, OutputSketch, Preconditioner,
    QueryError, ScoreError, Sketch, SketchPart, SketchSet, SketchSpec, Targets, TextError,
    products, projections,
};
use compute::device::{DeviceFault, Engine, guarded};
use compute::formats::CheckpointError;
use compute::formats::TokenizerError;
use compute::spans;
use compute::train::outer::OuterError;
use compute::train::shard::ShardError;

/// Constants of the methods, tuned on other masks and queries than are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tuning {
    /// Damping of tier 1's preconditioner, in parts per million of a block's mean eigenvalue.
    pub sketch_ppm: u32,
    /// Damping of tier 2, likewise.
    pub ekfac_ppm: u32,
    /// Rows and columns of a projected gradient.
    pub side: u16,
    /// Linear maps to leave out of the sketches, from the first on.
    pub skipped: u16,
}

/// Why quality could not be measured.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant is the error of one step")]
pub enum QualityError {
    #[error(transparent)]
    Unroll(#[from] UnrollError),
    #[error(transparent)]
    EkFac(#[from] EkFacError),
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    #[error(transparent)]
    Fit(#[from] FitError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Score(#[from] ScoreError),
    #[error(transparent)]
    Device(#[from] DeviceFault),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Shard(#[from] ShardError),
    #[error(transparent)]
    Outer(#[from] OuterError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Index(#[from] spans::BuildError),
    #[error(transparent)]
    Spans(#[from] spans::QueryError),
    #[error(transparent)]
    Weigh(#[from] WeighError),
    #[error("the gradients are not finite: training diverged")]
    NotFinite,
    #[error("the setting can't be measured: {0}")]
    Setting(&'static str),
}

/// Linear datamodelling scores of the tiers and of what they are compared with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lds {
    /// Tier 1: sketches, int8, with a fitted preconditioner.
    pub t1: f64,
    /// Tier 2: EK-FAC.
    pub t2: f64,
    /// Tier 3: the unrolled run.
    pub t3: f64,
    /// What the tiers are compared with, by name.
    pub baselines: BTreeMap<&'static str, f64>,
}

/// A trained network, its training set and its queries.
pub struct Methods<'a, N: Network> {
    /// The network with its samples: the training set first, then the queries.
    pub network: &'a N,
    /// The recorded run on all data.
    pub run: &'a Run<'a, N>,
    /// The contributor of each of the first samples: the training set.
    pub owners: &'a [usize],
    /// Number of contributors.
    pub contributors: usize,
    /// Samples that are queries.
    pub queries: &'a [usize],
}

/// Scores per query and contributor.
pub type Scores = Vec<Vec<f64>>;

impl<N: Network> Methods<'_, N> {
    fn training(&self) -> Vec<usize> {
        (0..self.owners.len()).collect()
    }

    /// Sums scores of samples to their contributors.
    pub fn by_contributor(&self, scores: &[Vec<f64>]) -> Scores {
        let sum = |scores: &Vec<f64>| {
            let mut sums = vec![0.0; self.contributors];
            self.owners.iter().zip(scores).for_each(|(&owner, score)| sums[owner] += score);
            sums
        };
        scores.iter().map(sum).collect()
    }

    /// Every method that needs nothing but the network against `truth`; `exact` is tier 3.
    pub(super) fn lds(
        &self,
        truth: &Truth,
        tuning: Tuning,
        exact: &Scores,
        seed: u64,
    ) -> Result<Lds, QualityError> {
        Ok(Lds {
            t1: truth.lds(&self.sketches(tuning)?),
            t2: truth.lds(&self.ekfac(&[tuning.ekfac_ppm])?[0]),
            t3: truth.lds(exact),
            baselines: BTreeMap::from([
                ("grad_dot", truth.lds(&self.grad_dot()?)),
                ("tracin", truth.lds(&self.tracin()?)),
                ("embedding", truth.lds(&self.embedding()?)),
                ("random", truth.lds(&self.random(seed))),
                ("equal_split", truth.lds(&self.equal_split())),
            ]),
        })
    }

    /// Tier 1: the integer scores of int8 sketches and int16 queries.
    pub fn sketches(&self, tuning: Tuning) -> Result<Scores, QualityError> {
        let scores = self.sketch_scores(tuning)?;
        let floats = |scores: Vec<i64>| scores.into_iter().map(|score| score as f64).collect();
        Ok(self.by_contributor(&scores.into_iter().map(floats).collect::<Vec<_>>()))
    }

    /// Tier 1's integer scores, per query and sample.
    pub fn sketch_scores(&self, tuning: Tuning) -> Result<Vec<Vec<i64>>, QualityError> {
        let spec = self.spec(tuning);
        let name = |sample: usize| Hash(*blake3::hash(&sample.to_be_bytes()).as_bytes());
        let size = |sample: usize| self.network.size(sample) as u32;
        let training = self.training();
        let sketches = self
            .raw_sketches(&spec, &training)?
            .into_iter()
            .zip(&training)
            .map(|(values, &i)| Sketch::quantise(name(i), size(i), &values, spec.block()))
            .collect::<Option<Vec<_>>>()
            .ok_or(QualityError::NotFinite)?;
        let units: Vec<_> = training.iter().map(|&i| (name(i), size(i))).collect();
        let part = SketchPart { spec: spec.id(), first: 0, sketches };
        let set = SketchSet::assemble(spec.clone(), &units, vec![part])?;
        let preconditioner = Preconditioner::fit(&set, tuning.sketch_ppm)?;
        let mut scores = Vec::new();
        for values in self.raw_sketches(&spec, self.queries)? {
            let query = preconditioner.query(&OutputSketch { spec: spec.id(), values })?;
            scores.push(set.scores(&query)?);
        }
        Ok(scores)
    }

    fn spec(&self, tuning: Tuning) -> SketchSpec {
        let bytes: Vec<u8> =
            self.run.parameters().iter().flat_map(|value| value.to_be_bytes()).collect();
        SketchSpec {
            checkpoint: Hash(*blake3::hash(&bytes).as_bytes()),
            seed: 1,
            side: tuning.side,
            linears: (tuning.skipped..self.network.linears().len() as u16).collect(),
        }
    }

    /// The projections of tier 1, per linear map: of inputs, then of outputs, row by row.
    pub(super) fn signs(&self, tuning: Tuning) -> Result<Vec<[Vec<f32>; 2]>, DeviceFault> {
        let engine = Engine::cpu();
        let values = |matrix: Tensor<2>| -> Vec<f32> {
            matrix.try_into_vec_as().expect("an unreadable device is caught by guarded")
        };
        guarded(|| {
            projections(&self.spec(tuning), &self.network.linears(), engine.device())
                .into_iter()
                .map(|projection| [values(projection.input), values(projection.output)])
                .collect()
        })
    }

    /// Unquantised sketches of samples.
    fn raw_sketches(
        &self,
        spec: &SketchSpec,
        samples: &[usize],
    ) -> Result<Vec<Vec<f32>>, DeviceFault> {
        let engine = Engine::cpu();
        let projections = projections(spec, &self.network.linears(), engine.device());
        let mut sketches = vec![Vec::with_capacity(spec.dims()); samples.len()];
        for (places, batch) in compute::attribute::batches(self.network, samples) {
            let captured = self.network.capture(self.run.parameters(), &batch, Targets::Given)?;
            for projection in &projections {
                let layer = &captured[projection.linear];
                let blocks = projection.sketch(layer.input.clone(), layer.gradient.clone());
                for (&place, block) in places.iter().zip(blocks.chunks_exact(spec.block())) {
                    sketches[place].extend_from_slice(block);
                }
            }
        }
        Ok(sketches)
    }

    /// The queries' gradients at `parameters`.
    fn directions(&self, parameters: &[f32]) -> Result<Vec<Direction>, DeviceFault> {
        let queries = self.queries.iter();
        queries.map(|&query| Direction::gradient(self.network, parameters, query)).collect()
    }

    /// Products of the queries' gradients at `parameters` with those of the training set.
    fn products(
        &self,
        parameters: &[f32],
        directions: &[Direction],
    ) -> Result<Scores, DeviceFault> {
        products(self.network, parameters, &self.training(), directions)
    }

    /// Tier 2: EK-FAC, one result per damping.
    pub fn ekfac(&self, dampings_ppm: &[u32]) -> Result<Vec<Scores>, QualityError> {
        let parameters = self.run.parameters();
        let fitted = EkFac::fit(self.network, parameters, &self.training(), 1)?;
        let gradients = self.directions(parameters)?;
        let solved = dampings_ppm
            .iter()
            .flat_map(|&damping| gradients.iter().map(move |g| (g, damping)))
            .map(|(gradient, damping)| fitted.precondition(gradient, damping))
            .collect::<Result<Vec<_>, _>>()?;
        let scores = self.by_contributor(&self.products(parameters, &solved)?);
        Ok(scores.chunks(self.queries.len()).map(<[_]>::to_vec).collect())
    }

    /// Tier 3: the exact derivative through the run.
    pub fn unrolled(
        &self,
        difference: Difference,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Scores, QualityError> {
        let parameters = self.run.parameters();
        let score = |index: usize| {
            let query = self.queries[index];
            let measured = self.network.gradient(parameters, &[query], &[1.0])?;
            let scores = self.run.influence(&measured.values, difference);
            progress(index);
            scores
        };
        let scores = crate::truth::parallel(self.queries.len(), &score)?;
        Ok(self.by_contributor(&scores))
    }
}
