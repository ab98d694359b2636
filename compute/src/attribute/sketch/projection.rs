//! Random projections of gradients, from both sides.

use burn::tensor::{Device, Tensor, TensorData};

use super::spec::SketchSpec;

/// The random projections of one linear map.
pub struct Projection {
    /// Index into [`linears`](crate::model::layout::linears).
    pub linear: usize,
    /// What the input activations are multiplied with, `[inputs, side]`.
    pub input: Tensor<2>,
    /// What the output gradients are multiplied with, `[outputs, side]`.
    pub output: Tensor<2>,
}

/// The projections of a spec for linear maps of these `(inputs, outputs)`, on a device without
/// autodiff.
pub fn projections(
    spec: &SketchSpec,
    sizes: &[(usize, usize)],
    device: &Device,
) -> Vec<Projection> {
    let side = usize::from(spec.side);
    let tensor = |linear: u16, end: u8, rows: usize| {
        let values = signs(spec.seed, linear, end, rows * side);
        Tensor::from_data(TensorData::new(values, [rows, side]), device)
    };
    spec.linears
        .iter()
        .map(|&linear| {
            let (inputs, outputs) = sizes[usize::from(linear)];
            Projection {
                linear: usize::from(linear),
                input: tensor(linear, 0, inputs),
                output: tensor(linear, 1, outputs),
            }
        })
        .collect()
}

impl Projection {
    /// `(X P)ᵀ (D Q)` of each sample: the values of `[samples, side, side]`.
    pub fn sketch(&self, input: Tensor<3>, gradient: Tensor<3>) -> Vec<f32> {
        let inputs = project(input, &self.input);
        let outputs = project(gradient, &self.output);
        let block = inputs.swap_dims(1, 2).matmul(outputs);
        block.try_into_vec_as().expect("a device that can't be read is caught by the caller")
    }
}

/// `[windows, time, width]` times `[width, side]`, as one product.
pub(in crate::attribute) fn project(values: Tensor<3>, signs: &Tensor<2>) -> Tensor<3> {
    let [windows, time, width] = values.dims();
    let side = signs.dims()[1];
    values.reshape([windows * time, width]).matmul(signs.clone()).reshape([windows, time, side])
}

/// Random signs: exact in every float format, and equal wherever BLAKE3 is.
pub(in crate::attribute) fn signs(seed: u64, linear: u16, end: u8, count: usize) -> Vec<f32> {
    let mut hasher = blake3::Hasher::new_derive_key("openledger projection v1");
    hasher.update(&seed.to_be_bytes()).update(&linear.to_be_bytes()).update(&[end]);
    let mut bytes = vec![0u8; count.div_ceil(8)];
    hasher.finalize_xof().fill(&mut bytes);
    (0..count).map(|i| if bytes[i / 8] >> (i % 8) & 1 == 1 { 1.0 } else { -1.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_balanced_and_differ_by_side() {
        let (a, b) = (signs(1, 2, 0, 4096), signs(1, 2, 1, 4096));
        assert!(a.iter().sum::<f32>().abs() < 256.0);
        assert_ne!(a, b);
        assert_eq!(signs(1, 2, 0, 5)[..], a[..5]);
    }
}
