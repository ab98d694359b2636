//! AdamW over tensors of parameters, from zero state, on whatever device holds them. (Loshchilov and
//! Hutter, arXiv 1711.05101.)
//!
//! State never leaves a shard: an auditor needs only the checkpoint to repeat it.

use burn::tensor::Tensor;

use super::hyper::ShardHyper;

const EPSILON: f32 = 1.0e-8;

/// The optimiser's state.
pub(crate) struct AdamW {
    beta1: f64,
    beta2: f64,
    decay: f64,
    clip: f32,
    step: i32,
    moments: Vec<Option<(Tensor<2>, Tensor<2>)>>,
}

impl AdamW {
    pub(crate) fn new(hyper: &ShardHyper, tensors: usize) -> Self {
        let ppm = |value: u32| f64::from(value) / 1.0e6;
        Self {
            beta1: ppm(hyper.beta1_ppm),
            beta2: ppm(hyper.beta2_ppm),
            decay: ppm(hyper.weight_decay_ppm),
            clip: ppm(hyper.clip_ppm) as f32,
            step: 0,
            moments: vec![None; tensors],
        }
    }

    /// One step on parameters from their gradients.
    pub(crate) fn step(&mut self, params: &mut [Tensor<2>], grads: Vec<Tensor<2>>, lr: f64) {
        self.step += 1;
        let factor = self.clip_factor(&grads);
        // Both corrections undo the pull of the zero state; the first is folded into the rate.
        let rate = lr / (1.0 - self.beta1.powi(self.step));
        let correction = 1.0 / (1.0 - self.beta2.powi(self.step));
        let params = params.iter_mut().zip(&mut self.moments);
        for ((param, moments), grad) in params.zip(grads) {
            let grad = grad * factor.clone();
            let first = grad.clone().mul_scalar(1.0 - self.beta1);
            let second = grad.square().mul_scalar(1.0 - self.beta2);
            let (m, v) = match moments.take() {
                Some((m, v)) => {
                    (m.mul_scalar(self.beta1) + first, v.mul_scalar(self.beta2) + second)
                }
                None => (first, second),
            };
            let scale = v.clone().mul_scalar(correction).sqrt().add_scalar(EPSILON);
            let change = m.clone().mul_scalar(rate) / scale;
            // Gains of norms, the only one-row tensors, do not decay; the others do by their old value,
            // not through the moments.
            let decay = if param.dims()[0] == 1 { 0.0 } else { self.decay };
            let old = param.clone().mul_scalar(1.0 - lr * decay);
            *param = old - change;
            *moments = Some((m, v));
        }
    }

    /// `min(1, clip / norm)` as a `[1, 1]` tensor: the norm is not read back.
    fn clip_factor(&self, grads: &[Tensor<2>]) -> Tensor<2> {
        let squares = grads.iter().map(|g| g.clone().square().sum()).collect();
        let norm = Tensor::<1>::cat(squares, 0).sum().sqrt().add_scalar(1.0e-6);
        norm.recip().mul_scalar(self.clip).clamp_max(1.0).reshape([1, 1])
    }
}
