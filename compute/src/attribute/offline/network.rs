//! A model as the offline tiers of attribution see it: flat parameters, numbered samples, gradients.
//!
//! Tier 1 needs a sketch per unit and stops there. Tier 2 ([`EkFac`](super::EkFac)) streams captured
//! inputs and output gradients of linear maps, tier 3 ([`unrolled`](super::unrolled)) needs gradients
//! and losses at many points of a training run. [`Network`] is what both ask of a model; it is
//! implemented by [`TextNetwork`](super::TextNetwork) for decoders.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

use crate::device::DeviceFault;
use crate::math::Stream;
use crate::model::Captured;

/// What a batch says at one point of the parameter space.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// The unweighted loss of each sample of the batch, in nats, summed over its tokens.
    pub losses: Vec<f64>,
    /// Gradient of the weighted sum of the losses, in the order of the parameters.
    pub values: Vec<f32>,
}

/// Which targets the loss of a capture asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// The data's own: the gradients of training.
    Given,
    /// Drawn from the model by this seed: the gradients of the Fisher matrix.
    Sampled(u64),
}

/// A model with numbered samples. Losses are sums over the tokens of a sample, and no operation mixes
/// the samples of a batch.
pub trait Network: Sync {
    /// Number of parameters.
    fn parameters(&self) -> usize;

    /// Number of samples.
    fn samples(&self) -> usize;

    /// Targets of a sample: what divides a batch's summed loss in training.
    fn size(&self, sample: usize) -> usize;

    /// `(inputs, outputs)` of the linear maps that [`capture`](Self::capture) returns.
    fn linears(&self) -> Vec<(usize, usize)>;

    /// Losses of the batch's samples, and the gradient of `Σ weight · loss`.
    fn gradient(
        &self,
        parameters: &[f32],
        batch: &[usize],
        weights: &[f32],
    ) -> Result<Gradient, DeviceFault>;

    /// Losses of the batch's samples.
    fn losses(&self, parameters: &[f32], batch: &[usize]) -> Result<Vec<f64>, DeviceFault>;

    /// One [`Captured`] per linear map, in the order of [`linears`](Self::linears).
    fn capture(
        &self,
        parameters: &[f32],
        batch: &[usize],
        targets: Targets,
    ) -> Result<Vec<Captured>, DeviceFault>;
}

/// The gradient by `leaves`, one after the other, of the losses `[samples, time]`, each sample by its
/// weight.
pub fn weighted(losses: Tensor<2>, weights: &[f32], leaves: &[Tensor<2>]) -> Gradient {
    let own = losses.clone().inner();
    let weights = TensorData::new(weights.to_vec(), [weights.len(), 1]);
    let weights = Tensor::<2>::from_data(weights, &own.device()).autodiff();
    let gradients = (losses * weights).sum().backward();
    let values = leaves.iter().flat_map(|leaf| {
        let part = leaf.grad(&gradients).expect("every parameter is part of the loss");
        part.try_into_vec_as::<f32>().expect("an unreadable device is caught by the caller")
    });
    Gradient { values: values.collect(), losses: row_sums(own) }
}

/// The sum of every row, in double precision.
pub fn row_sums(losses: Tensor<2>) -> Vec<f64> {
    let time = losses.dims()[1].max(1);
    let values: Vec<f32> =
        losses.try_into_vec_as().expect("a device that can't be read is caught by the caller");
    values.chunks(time).map(|row| row.iter().map(|&loss| f64::from(loss)).sum()).collect()
}

/// Targets drawn from the model's own prediction, one per position of `logits`.
pub fn sampled(logits: Tensor<3>, seed: u64) -> Tensor<2, Int> {
    let [batch, time, vocab] = logits.dims();
    let device = logits.device();
    let logs: Vec<f32> = log_softmax(logits, 2)
        .try_into_vec_as()
        .expect("a device that can't be read is caught by the caller");
    let mut stream = Stream::new("fisher targets", &seed.to_be_bytes());
    let ids: Vec<i32> = logs
        .chunks_exact(vocab)
        .map(|row| {
            let mut rest = stream.unit();
            let chosen = row.iter().position(|&log| {
                rest -= f64::from(log).exp();
                rest < 0.0
            });
            chosen.unwrap_or(vocab - 1) as i32
        })
        .collect();
    Tensor::from_data(TensorData::new(ids, [batch, time]), &device)
}
