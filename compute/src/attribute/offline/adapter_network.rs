//! An adapter beside its base, and its sequences, as a [`Network`]: tiers 2 and 3 for adapter data.
//!
//! The parameters are the adapter's alone; the base never changes. A factor is a linear map of its own:
//! with the adapted map's input `X`, the gradient `D` by its output and `U = X Aᵀ`, factor `A` maps `X`
//! and has the gradient `s D B` by its output, factor `B` maps `s U` and has `D`.

use burn::tensor::{Tensor, TensorData};

use super::network::{Gradient, Network, Targets, row_sums, sampled, weighted};
use super::text::{Sequences, TextError};
use crate::device::{DeviceFault, Engine, guarded};
use crate::formats::Checkpoint;
use crate::lora::{AdaptedModel, Adapter, LoadError};
use crate::model::layout::TensorSpec;
use crate::model::{Captured, token_losses};

/// An adapter's shape, its base, and the sequences that it may be asked about: training units and
/// outputs alike. The adapter's parameters are given anew with each call.
pub struct AdapterNetwork {
    model: AdaptedModel,
    tensors: Vec<TensorSpec>,
    samples: Sequences,
}

/// Why there is no network of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdapterNetworkError {
    /// The adapter does not belong to the base, or the device failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A sequence can't be a sample.
    #[error(transparent)]
    Text(#[from] TextError),
}

impl AdapterNetwork {
    /// A network over `sequences`, each of which is read in one window, of adapters of the shape and
    /// the base of `adapter`.
    pub fn new(
        engine: &Engine,
        base: &Checkpoint,
        adapter: &Adapter,
        sequences: Vec<Vec<u32>>,
    ) -> Result<Self, AdapterNetworkError> {
        let samples = Sequences::new(engine, base.config(), sequences)?;
        let model = AdaptedModel::new(engine, base, adapter)?;
        Ok(Self { model, tensors: adapter.config().tensors(base.config()), samples })
    }

    fn factors(&self, parameters: &[f32]) -> Vec<Tensor<2>> {
        let mut rest = parameters;
        let mut tensor = |spec: &TensorSpec| {
            let (values, tail) = rest.split_at(spec.len());
            rest = tail;
            let data = TensorData::new(values.to_vec(), [spec.rows, spec.cols]);
            Tensor::from_data(data, self.model.base().device())
        };
        self.tensors.iter().map(&mut tensor).collect()
    }
}

impl Network for AdapterNetwork {
    fn parameters(&self) -> usize {
        self.tensors.iter().map(TensorSpec::len).sum()
    }

    fn samples(&self) -> usize {
        self.samples.len()
    }

    fn size(&self, sample: usize) -> usize {
        self.samples.size(sample)
    }

    fn linears(&self) -> Vec<(usize, usize)> {
        self.tensors.iter().map(|spec| (spec.cols, spec.rows)).collect()
    }

    fn gradient(
        &self,
        parameters: &[f32],
        batch: &[usize],
        weights: &[f32],
    ) -> Result<Gradient, DeviceFault> {
        guarded(|| {
            let leaves = self.factors(parameters).into_iter();
            let leaves: Vec<Tensor<2>> = leaves.map(|f| f.autodiff().require_grad()).collect();
            let twin = self.model.probing().with_factors(leaves.clone());
            let (inputs, targets, mask) = self.samples.batch(batch);
            let losses = token_losses(twin.forward(inputs), targets) * mask.autodiff();
            weighted(losses, weights, &leaves)
        })
    }

    fn losses(&self, parameters: &[f32], batch: &[usize]) -> Result<Vec<f64>, DeviceFault> {
        guarded(|| {
            let model = self.model.with_factors(self.factors(parameters));
            let (inputs, targets, mask) = self.samples.batch(batch);
            row_sums(token_losses(model.forward(inputs), targets) * mask)
        })
    }

    fn capture(
        &self,
        parameters: &[f32],
        batch: &[usize],
        targets: Targets,
    ) -> Result<Vec<Captured>, DeviceFault> {
        guarded(|| {
            let model = self.model.with_factors(self.factors(parameters));
            let (inputs, given, mask) = self.samples.batch(batch);
            let (logits, probes) = model.probing().forward_probed(inputs);
            let targets = match targets {
                Targets::Given => given,
                Targets::Sampled(seed) => sampled(logits.clone().inner(), seed),
            };
            let gradients = (token_losses(logits, targets) * mask.autodiff()).sum().backward();
            let pairs = probes.into_iter().zip(model.factors()).flat_map(|(probe, factors)| {
                let by_output = probe.leaf.grad(&gradients).expect("part of the loss").inner();
                let through = |rows: Tensor<3>, factor: Tensor<2>| {
                    let [batch, time, width] = rows.dims();
                    let rows = rows.reshape([batch * time, width]).matmul(factor);
                    let width = rows.dims()[1];
                    rows.mul_scalar(model.scale()).reshape([batch, time, width])
                };
                let by_inner = through(by_output.clone(), factors.b.clone());
                let inner = through(probe.input.clone(), factors.a.clone().transpose());
                [
                    Captured { input: probe.input, gradient: by_inner },
                    Captured { input: inner, gradient: by_output },
                ]
            });
            pairs.collect()
        })
    }
}
