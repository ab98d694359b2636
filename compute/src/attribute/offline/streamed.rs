//! Products of training gradients with one direction, without ever forming a training gradient.
//!
//! For a linear map with input `X_i`, output gradient `D_i` and direction `V` (`[outputs, inputs]`) the
//! product `⟨V, D_iᵀ X_i⟩` is the sum of `(X_i Vᵀ) ∘ D_i`. Samples are captured batch by batch and
//! nothing is stored of them, so a set of directions costs one pass over the data.

use burn::tensor::{Device, Tensor};

use super::network::{Network, Targets};
use crate::device::{DeviceFault, guarded};
use crate::model::Captured;

/// Targets of one captured batch.
const BATCH_TARGETS: usize = 1024;

/// One matrix `[outputs, inputs]` per linear map of a network: a gradient, or what became of one.
#[derive(Clone)]
pub struct Direction(pub(super) Vec<Tensor<2>>);

impl Direction {
    /// The gradient of a sample's loss by the linear maps.
    pub fn gradient<N: Network>(
        network: &N,
        parameters: &[f32],
        sample: usize,
    ) -> Result<Self, DeviceFault> {
        let captured = network.capture(parameters, &[sample], Targets::Given)?;
        guarded(|| Self(captured.iter().map(summed).collect()))
    }

    /// The summed gradient of many samples: a contributor's, say, whose product with an output's
    /// gradient is the sum of its samples' products.
    pub fn sum<N: Network>(
        network: &N,
        parameters: &[f32],
        samples: &[usize],
    ) -> Result<Self, DeviceFault> {
        let zero = |(inputs, outputs)| Tensor::zeros([outputs, inputs], &Device::flex());
        let mut sum: Vec<Tensor<2>> = network.linears().into_iter().map(zero).collect();
        for (_, batch) in batches(network, samples) {
            let captured = network.capture(parameters, &batch, Targets::Given)?;
            let add = |(sum, layer): (Tensor<2>, &Captured)| {
                let part = summed(layer);
                sum.to_device(&part.device()) + part
            };
            sum = guarded(|| sum.into_iter().zip(&captured).map(add).collect())?;
        }
        Ok(Self(sum))
    }
}

/// `Σ_i D_iᵀ X_i`.
fn summed(layer: &Captured) -> Tensor<2> {
    let [samples, time, outputs] = layer.gradient.dims();
    let inputs = layer.input.dims()[2];
    let gradient = layer.gradient.clone().reshape([samples * time, outputs]);
    gradient.transpose().matmul(layer.input.clone().reshape([samples * time, inputs]))
}

/// `⟨direction, gradient of sample⟩` for each direction and sample.
pub fn products<N: Network>(
    network: &N,
    parameters: &[f32],
    samples: &[usize],
    directions: &[Direction],
) -> Result<Vec<Vec<f64>>, DeviceFault> {
    let mut scores = vec![vec![0.0; samples.len()]; directions.len()];
    for (places, batch) in batches(network, samples) {
        let captured = network.capture(parameters, &batch, Targets::Given)?;
        for (direction, scores) in directions.iter().zip(&mut scores) {
            let sums = guarded(|| batch_products(&captured, direction, batch.len()))?;
            places.iter().zip(sums).for_each(|(&place, sum)| scores[place] = sum);
        }
    }
    Ok(scores)
}

fn batch_products(captured: &[Captured], direction: &Direction, samples: usize) -> Vec<f64> {
    let mut sums = vec![0.0; samples];
    for (layer, direction) in captured.iter().zip(&direction.0) {
        let [batch, time, outputs] = layer.gradient.dims();
        let inputs = layer.input.dims()[2];
        let moved = layer.input.clone().reshape([batch * time, inputs]);
        let moved = moved.matmul(direction.clone().transpose()).reshape([batch, time, outputs]);
        let products = (moved * layer.gradient.clone()).sum_dim(2).sum_dim(1);
        let products: Vec<f32> =
            products.try_into_vec_as().expect("an unreadable device is caught by guarded");
        sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += f64::from(product));
    }
    sums
}

/// Cuts samples into batches of one size each, so that none is padded: places in `samples`, samples.
pub fn batches<N: Network>(network: &N, samples: &[usize]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut places: Vec<usize> = (0..samples.len()).collect();
    places.sort_by_key(|&place| network.size(samples[place]));
    places
        .chunk_by(|&a, &b| network.size(samples[a]) == network.size(samples[b]))
        .flat_map(|group| {
            let size = network.size(samples[group[0]]).max(1);
            group.chunks((BATCH_TARGETS / size).max(1))
        })
        .map(|group| (group.to_vec(), group.iter().map(|&place| samples[place]).collect()))
        .collect()
}
