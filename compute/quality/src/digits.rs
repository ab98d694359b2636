//! A classifier of handwritten digits: small enough to retrain hundreds of times in a minute.
//!
//! 64 pixels, 32 tanh units, 10 classes, 2,410 parameters. The contributors hold equal parts of the
//! training set, and a tenth of them label theirs at random.

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::Serialize;

use crate::methods::{Lds, Methods, QualityError, Scores, Tuning};
use crate::stats::{mean, spearman};
use crate::truth::{Truth, draw_masks};
use compute::attribute::unrolled::{Difference, Optimizer, Recipe, Run};
use compute::attribute::{Gradient, Network, Targets, row_sums, sampled, weighted};
use compute::device::{DeviceFault, Engine, guarded};
use compute::math::Stream;
use compute::model::{Captured, Probe, token_losses};

const PIXELS: usize = 64;
const HIDDEN: usize = 32;
const CLASSES: usize = 10;
const IMAGES: &[u8] = include_bytes!("../../data/digits/digits.bin");

/// The size of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Number of training images.
    pub training: usize,
    /// Contributors, who hold equal parts of them.
    pub contributors: usize,
    /// Number of retrainings, each without other contributors.
    pub masks: usize,
    /// Images that are attributed.
    pub queries: usize,
    /// The run whose data is attributed.
    pub recipe: Recipe,
    /// Constants of the methods.
    pub tuning: Tuning,
    /// What data, labels and masks are drawn from.
    pub seed: u64,
}

/// Scores of one measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Linear datamodelling scores.
    #[serde(flatten)]
    pub lds: Lds,
    /// Mean over queries of Spearman's correlation of tier 3 with leaving out one contributor.
    pub t3_loo: f64,
    /// Part of the queries that the model classifies right.
    pub accuracy: f64,
}

impl Setting {
    /// The reported setting.
    pub const fn full() -> Self {
        let optimizer = Optimizer::SgdMomentum { momentum_ppm: 900_000 };
        let recipe = Recipe {
            optimizer,
            steps: 200,
            batch: 100,
            learning_rate_ppm: 50_000,
            warmup: 10,
            decay_ppm: 0,
            clip_milli: 0,
            seed: 1,
        };
        let tuning = Tuning { sketch_ppm: 1_000_000, ekfac_ppm: 100_000, side: 16, skipped: 0 };
        Self { training: 1000, contributors: 50, masks: 60, queries: 40, recipe, tuning, seed: 1 }
    }

    /// A setting for tests.
    pub const fn small() -> Self {
        let full = Self::full();
        let recipe = Recipe { steps: 60, batch: 50, ..full.recipe };
        Self { training: 200, contributors: 10, masks: 16, queries: 8, recipe, ..full }
    }
}

/// The classifier and its images: first the training set, then the queries.
pub struct Digits {
    images: Vec<(Vec<f32>, u8)>,
    device: Device,
}

impl Digits {
    /// The images of a setting, with the contributor of each training image.
    pub fn new(setting: &Setting) -> Result<(Self, Vec<usize>), QualityError> {
        let all: Vec<&[u8]> = IMAGES.chunks_exact(PIXELS + 1).collect();
        if setting.contributors == 0 || setting.training + setting.queries > all.len() {
            return Err(QualityError::Setting("there are 1,797 images"));
        }
        let mut stream = Stream::new("digits", &setting.seed.to_be_bytes());
        let order = stream.permutation(all.len());
        let owners: Vec<usize> = (0..setting.training).map(|i| i % setting.contributors).collect();
        let liars = setting.contributors / 10;
        let mut images = Vec::new();
        for (place, &image) in order[..setting.training + setting.queries].iter().enumerate() {
            let (pixels, label) = all[image].split_at(PIXELS);
            let lies = owners.get(place).is_some_and(|&owner| owner < liars);
            let label = if lies { stream.below(CLASSES as u64) as u8 } else { label[0] };
            // The last input is one: it carries the biases.
            let pixels = pixels.iter().map(|&p| f32::from(p) / 16.0).chain([1.0]).collect();
            images.push((pixels, label));
        }
        Ok((Self { images, device: Engine::cpu().device().clone() }, owners))
    }

    /// Parameters to start from.
    pub fn start(&self, seed: u64) -> Vec<f32> {
        let mut stream = Stream::new("digits start", &seed.to_be_bytes());
        let mut layer = |outputs: usize, inputs: usize| -> Vec<f32> {
            let deviation = 1.0 / (inputs as f32).sqrt();
            (0..outputs * inputs).map(|_| stream.bell(deviation)).collect()
        };
        [layer(HIDDEN, PIXELS + 1), layer(CLASSES, HIDDEN + 1)].concat()
    }

    fn weights(&self, parameters: &[f32]) -> [Tensor<2>; 2] {
        let (first, second) = parameters.split_at(HIDDEN * (PIXELS + 1));
        let tensor = |values: &[f32], shape| {
            Tensor::from_data(TensorData::new(values.to_vec(), shape), &self.device)
        };
        [tensor(first, [HIDDEN, PIXELS + 1]), tensor(second, [CLASSES, HIDDEN + 1])]
    }

    fn inputs(&self, batch: &[usize]) -> Tensor<2> {
        let values: Vec<f32> = batch.iter().flat_map(|&i| self.images[i].0.clone()).collect();
        Tensor::from_data(TensorData::new(values, [batch.len(), PIXELS + 1]), &self.device)
    }

    fn labels(&self, batch: &[usize]) -> Tensor<2, Int> {
        let values: Vec<i32> = batch.iter().map(|&i| i32::from(self.images[i].1)).collect();
        Tensor::from_data(TensorData::new(values, [batch.len(), 1]), &self.device)
    }

    /// Logits `[batch, 1, classes]`; `tap` sees and may replace the output of each linear map.
    fn forward(
        &self,
        [first, second]: [Tensor<2>; 2],
        inputs: Tensor<2>,
        mut tap: impl FnMut(Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<3> {
        let batch = inputs.dims()[0];
        let hidden = tap(inputs.clone(), inputs.clone().matmul(first.transpose())).tanh();
        let one = inputs.slice_dim(1, PIXELS..PIXELS + 1);
        let hidden = Tensor::cat(vec![hidden, one], 1);
        let logits = tap(hidden.clone(), hidden.matmul(second.transpose()));
        logits.reshape([batch, 1, CLASSES])
    }

    /// Whether each sample is classified right.
    fn right(&self, parameters: &[f32], batch: &[usize]) -> Vec<bool> {
        let logits = self.forward(self.weights(parameters), self.inputs(batch), |_, output| output);
        let logits: Vec<f32> = logits.try_into_vec_as().expect("the CPU can be read");
        let best = |row: &[f32]| (0..CLASSES).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        let rows = logits.chunks_exact(CLASSES);
        rows.zip(batch).map(|(r, &i)| best(r) == Some(self.images[i].1.into())).collect()
    }
}

impl Network for Digits {
    fn parameters(&self) -> usize {
        HIDDEN * (PIXELS + 1) + CLASSES * (HIDDEN + 1)
    }

    fn samples(&self) -> usize {
        self.images.len()
    }

    fn size(&self, _: usize) -> usize {
        1
    }

    fn linears(&self) -> Vec<(usize, usize)> {
        vec![(PIXELS + 1, HIDDEN), (HIDDEN + 1, CLASSES)]
    }

    fn gradient(
        &self,
        parameters: &[f32],
        batch: &[usize],
        weights: &[f32],
    ) -> Result<Gradient, DeviceFault> {
        guarded(|| {
            let leaves = self.weights(parameters).map(|w| w.autodiff().require_grad());
            let logits = self.forward(leaves.clone(), self.inputs(batch).autodiff(), |_, o| o);
            weighted(token_losses(logits, self.labels(batch)), weights, &leaves)
        })
    }

    fn losses(&self, parameters: &[f32], batch: &[usize]) -> Result<Vec<f64>, DeviceFault> {
        guarded(|| {
            let logits = self.forward(self.weights(parameters), self.inputs(batch), |_, o| o);
            row_sums(token_losses(logits, self.labels(batch)))
        })
    }

    fn capture(
        &self,
        parameters: &[f32],
        batch: &[usize],
        targets: Targets,
    ) -> Result<Vec<Captured>, DeviceFault> {
        guarded(|| {
            let device = self.device.clone().autodiff();
            let weights = self.weights(parameters).map(Tensor::autodiff);
            let mut probes = Vec::new();
            let logits = self.forward(weights, self.inputs(batch).autodiff(), |input, output| {
                let (probe, output) = Probe::attach(input, output, batch.len(), &device);
                probes.push(probe);
                output
            });
            let labels = match targets {
                Targets::Given => self.labels(batch),
                Targets::Sampled(seed) => sampled(logits.clone().inner(), seed),
            };
            let gradients = token_losses(logits, labels).sum().backward();
            let captured = probes.into_iter().map(|probe| Captured {
                gradient: probe.leaf.grad(&gradients).expect("part of the loss").inner(),
                input: probe.input,
            });
            captured.collect()
        })
    }
}

/// Trains on all data and hands over what every method needs, with the parameters it began from.
fn trained<T>(
    setting: &Setting,
    then: impl FnOnce(&Methods<'_, Digits>, &[f32]) -> Result<T, QualityError>,
) -> Result<T, QualityError> {
    let (network, owners) = Digits::new(setting)?;
    let queries: Vec<usize> = (setting.training..network.samples()).collect();
    let start = network.start(setting.seed);
    let run = Run::record(&network, &start, setting.recipe, &vec![1.0; owners.len()])?;
    let (contributors, queries) = (setting.contributors, &queries[..]);
    then(&Methods { network: &network, run: &run, owners: &owners, contributors, queries }, &start)
}

/// Measures all methods against real retraining.
pub fn measure(
    setting: &Setting,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Report, QualityError> {
    trained(setting, |methods, start| measure_with(setting, methods, start, progress))
}

fn measure_with(
    setting: &Setting,
    methods: &Methods<'_, Digits>,
    start: &[f32],
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Report, QualityError> {
    let &Methods { network, run, owners, contributors, queries } = methods;
    progress("digits: retraining");
    let retrain =
        |masks| Truth::retrain(network, start, setting.recipe, owners, queries, masks, &|_| ());
    let truth = retrain(draw_masks(contributors, setting.masks, setting.seed))?;
    let all_but = |left_out: usize| (0..contributors).map(|c| c != left_out).collect();
    let single = retrain((0..contributors).map(all_but).collect())?;
    progress("digits: attributing");
    let exact = methods.unrolled(Difference::DEFAULT, &|_| ())?;
    let against_single = |(query, scores): (usize, &Vec<f64>)| {
        let lost: Vec<f64> = single.losses.iter().map(|losses| losses[query]).collect();
        spearman(scores, &lost)
    };
    let t3_loo = mean(&exact.iter().enumerate().map(against_single).collect::<Vec<_>>());
    let right = network.right(run.parameters(), queries);
    Ok(Report {
        lds: methods.lds(&truth, setting.tuning, &exact, setting.seed)?,
        t3_loo,
        accuracy: right.iter().filter(|right| **right).count() as f64 / right.len() as f64,
    })
}

/// One run and its scores, for an implementation that shares no code with this one.
#[derive(Clone, Debug, Serialize)]
pub struct Reference {
    /// Pixels, 0 to 1 and a constant one, training images first.
    images: Vec<Vec<f32>>,
    labels: Vec<u8>,
    owners: Vec<usize>,
    recipe: Recipe,
    tuning: Tuning,
    start: Vec<f32>,
    end: Vec<f32>,
    /// Images of every step.
    order: Vec<Vec<usize>>,
    /// Signs of tier 1, per linear map: of inputs, then of outputs, row by row.
    signs: Vec<[Vec<f32>; 2]>,
    /// Scores per query and contributor.
    t1: Scores,
    t2: Scores,
    t3: Scores,
}

/// Runs a setting and writes down all that a second implementation needs to check it.
pub fn reference(setting: &Setting) -> Result<Reference, QualityError> {
    trained(setting, |methods, start| {
        let (images, labels) = methods.network.images.iter().cloned().unzip();
        Ok(Reference {
            images,
            labels,
            owners: methods.owners.to_vec(),
            recipe: setting.recipe,
            tuning: setting.tuning,
            start: start.to_vec(),
            end: methods.run.parameters().to_vec(),
            order: methods.run.order().to_vec(),
            signs: methods.signs(setting.tuning)?,
            t1: methods.sketches(setting.tuning)?,
            t2: methods.ekfac(&[setting.tuning.ekfac_ppm])?.swap_remove(0),
            t3: methods.unrolled(Difference::DEFAULT, &|_| ())?,
        })
    })
}
