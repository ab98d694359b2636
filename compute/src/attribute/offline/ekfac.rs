//! Tier 2: influence through the eigenvalue-corrected Kronecker-factored Fisher matrix.
//!
//! Per linear map, with `A = E[x xᵀ] = U_A · U_Aᵀ` over inputs and `S = E[d dᵀ] = U_S · U_Sᵀ` over
//! output gradients for targets drawn from the model, the Fisher matrix is nearly diagonal in the basis
//! `U_S ⊗ U_A`; its diagonal `Λ_ab = E[(U_Sᵀ G U_A)_ab²]` is measured with whole samples. A query's
//! gradient is preconditioned once, `U_S [(U_Sᵀ G U_A) / (Λ + λ)] U_Aᵀ`, and the training data then
//! streams past it ([`products`](super::products)): nothing is kept per unit. (George et al., arXiv
//! 1806.03884; Grosse et al., arXiv 2308.03296.)

use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::{DMatrix, SymmetricEigen};

use super::network::{Network, Targets};
use super::streamed::{Direction, batches};
use crate::device::{DeviceFault, guarded};
use crate::model::Captured;

/// A fitted preconditioner.
pub struct EkFac {
    layers: Vec<Layer>,
    samples: usize,
}

struct Layer {
    /// Eigenvectors of the inputs' second moments, as columns, `[inputs, inputs]`.
    inputs: Tensor<2>,
    /// Eigenvectors of the output gradients' second moments, `[outputs, outputs]`.
    outputs: Tensor<2>,
    /// Sum over samples of squared gradients in that basis, `[outputs, inputs]`.
    squares: Tensor<2>,
}

/// Why no preconditioner could be fitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EkFacError {
    /// There is no sample to fit to.
    #[error("no samples: there is nothing to fit to")]
    NoSamples,
    /// Without damping the matrix may have no inverse.
    #[error("damping must be positive")]
    Damping,
    /// Activations or gradients are infinite or not numbers.
    #[error("the gradients of linear map {0} are not finite: the checkpoint is damaged")]
    NotFinite(usize),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

impl EkFac {
    /// Fits to `samples` at `parameters`, in two passes.
    pub fn fit<N: Network>(
        network: &N,
        parameters: &[f32],
        samples: &[usize],
        seed: u64,
    ) -> Result<Self, EkFacError> {
        if samples.is_empty() {
            return Err(EkFacError::NoSamples);
        }
        // Two passes: the basis has to be known before anything is measured in it.
        let batches = batches(network, samples);
        let mut moments: Option<Vec<(Tensor<2>, Tensor<2>)>> = None;
        let capture = |number: usize, batch: &[usize]| {
            let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64;
            network.capture(parameters, batch, Targets::Sampled(seed))
        };
        for (number, (_, batch)) in batches.iter().enumerate() {
            let captured = capture(number, batch)?;
            let old = moments.take();
            moments = Some(guarded(|| add_moments(&captured, old))?);
        }
        let moments = moments.into_iter().flatten().enumerate();
        let mut layers: Vec<Layer> =
            moments.map(|(index, (a, s))| Layer::new(index, a, s)).collect::<Result<_, _>>()?;
        for (number, (_, batch)) in batches.iter().enumerate() {
            let captured = capture(number, batch)?;
            guarded(|| layers.iter_mut().zip(&captured).for_each(|(l, c)| l.add_squares(c)))?;
        }
        Ok(Self { layers, samples: samples.len() })
    }

    /// Multiplies a gradient by the inverse of the matrix, damped by a part, in parts per million, of
    /// each linear map's mean eigenvalue.
    pub fn precondition(
        &self,
        gradient: &Direction,
        damping_ppm: u32,
    ) -> Result<Direction, EkFacError> {
        if damping_ppm == 0 {
            return Err(EkFacError::Damping);
        }
        let damping = f64::from(damping_ppm) / 1e6;
        let scale = 1.0 / self.samples as f64;
        let layers = self.layers.iter().zip(&gradient.0);
        let solved = guarded(|| layers.map(|(l, g)| l.solve(g.clone(), scale, damping)).collect())?;
        Ok(Direction(solved))
    }
}

impl Layer {
    fn new(index: usize, inputs: Tensor<2>, outputs: Tensor<2>) -> Result<Self, EkFacError> {
        let device = inputs.device();
        let shape = [outputs.dims()[0], inputs.dims()[0]];
        Ok(Self {
            inputs: eigenvectors(index, inputs, &device)?,
            outputs: eigenvectors(index, outputs, &device)?,
            squares: Tensor::zeros(shape, &device),
        })
    }

    fn add_squares(&mut self, captured: &Captured) {
        let inputs = rotated(&captured.input, &self.inputs);
        let outputs = rotated(&captured.gradient, &self.outputs);
        let gradients = outputs.swap_dims(1, 2).matmul(inputs);
        let [_, rows, columns] = gradients.dims();
        // Squared per sample, then summed: the diagonal of the Fisher matrix needs whole samples.
        let sum = gradients.square().sum_dim(0).reshape([rows, columns]);
        self.squares = self.squares.clone() + sum;
    }

    fn solve(&self, gradient: Tensor<2>, scale: f64, damping: f64) -> Tensor<2> {
        let eigenvalues = self.squares.clone().mul_scalar(scale);
        let floor = eigenvalues.clone().mean().mul_scalar(damping).add_scalar(1.0e-20);
        let rotated = self.outputs.clone().transpose().matmul(gradient).matmul(self.inputs.clone());
        let solved = rotated / (eigenvalues + floor.reshape([1, 1]));
        self.outputs.clone().matmul(solved).matmul(self.inputs.clone().transpose())
    }
}

/// `[samples, time, width]` times a square matrix.
fn rotated(values: &Tensor<3>, basis: &Tensor<2>) -> Tensor<3> {
    let [batch, time, width] = values.dims();
    values
        .clone()
        .reshape([batch * time, width])
        .matmul(basis.clone())
        .reshape([batch, time, width])
}

fn add_moments(
    captured: &[Captured],
    old: Option<Vec<(Tensor<2>, Tensor<2>)>>,
) -> Vec<(Tensor<2>, Tensor<2>)> {
    let moment = |values: &Tensor<3>| {
        let [batch, time, width] = values.dims();
        let rows = values.clone().reshape([batch * time, width]);
        rows.clone().transpose().matmul(rows)
    };
    let new = captured.iter().map(|layer| (moment(&layer.input), moment(&layer.gradient)));
    match old {
        None => new.collect(),
        Some(old) => old.into_iter().zip(new).map(|(o, n)| (o.0 + n.0, o.1 + n.1)).collect(),
    }
}

fn eigenvectors(index: usize, matrix: Tensor<2>, device: &Device) -> Result<Tensor<2>, EkFacError> {
    let size = matrix.dims()[0];
    let values: Vec<f32> = guarded(|| matrix.try_into_vec_as().expect("caught by guarded"))?;
    if !values.iter().all(|value| value.is_finite()) {
        return Err(EkFacError::NotFinite(index));
    }
    let matrix = DMatrix::from_iterator(size, size, values.into_iter().map(f64::from));
    // On the CPU and in double precision, by nalgebra: burn has no eigenvectors.
    let vectors = SymmetricEigen::new(matrix).eigenvectors;
    // nalgebra stores columns, burn rows.
    let rows: Vec<f32> = vectors.transpose().iter().map(|&value| value as f32).collect();
    Ok(Tensor::from_data(TensorData::new(rows, [size, size]), device))
}
