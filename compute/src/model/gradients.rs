//! Gradients by the outputs of linear maps: what attribution needs of a backward pass, and nothing else.
//!
//! The gradient by a weight is `Dᵀ X`, of a map's input rows `X` and the gradient rows `D` by its output.
//! The pass is written out instead of recorded as a graph: per layer it is two dozen operations, it
//! ends at the lowest map that is asked for, and no gradient by a weight is ever formed.
//!
//! No operation mixes samples of a batch, so that of a loss that is a sum over samples every row is its
//! own sample's gradient.

use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Int, Tensor};

use super::Decoder;
use super::decoder::{Frame, Watch};
use super::layout::{LINEARS_PER_LAYER, TENSORS_PER_LAYER};

/// One linear map in one backward pass over a sum of losses.
pub struct Captured {
    /// Its input `X`, `[samples, time, inputs]`.
    pub input: Tensor<3>,
    /// Gradient `D` of the loss by its output, `[samples, time, outputs]`; zero where a sample has
    /// ended. The gradient of sample `i` by the weight is `D_iᵀ X_i`, `[outputs, inputs]`.
    pub gradient: Tensor<3>,
}

/// What enters the first layer that has to be run.
pub(crate) enum Entry {
    /// Token ids `[batch, time]`: all layers are run.
    Tokens(Tensor<2, Int>),
    /// The rows `[time, width]` that enter the layer of the lowest map that is asked for, of one
    /// sequence.
    Hidden(Tensor<2>),
}

/// What happens from the lowest layer on.
#[derive(Default)]
struct Recorder {
    lowest: usize,
    /// Whether that layer is reached.
    is_on: bool,
    /// What entered each layer, and what left the last.
    entered: Vec<Tensor<2>>,
    /// Input and output of each linear map.
    linears: Vec<(Tensor<2>, Tensor<2>)>,
    /// Queries (scaled), keys and values of each layer, by head.
    heads: Vec<[Tensor<4>; 3]>,
    /// Attention of each layer.
    attention: Vec<Tensor<4>>,
}

impl Watch for Recorder {
    fn linear(&mut self, input: Tensor<2>, output: Tensor<2>) -> Tensor<2> {
        if self.is_on {
            self.linears.push((input, output.clone()));
        }
        output
    }

    fn entered(&mut self, layer: usize, rows: &Tensor<2>) {
        self.is_on = layer >= self.lowest;
        if self.is_on {
            self.entered.push(rows.clone());
        }
    }

    fn heads(&mut self, heads: [&Tensor<4>; 3]) {
        if self.is_on {
            self.heads.push(heads.map(Tensor::clone));
        }
    }

    fn attention(&mut self, attention: &Tensor<4>) {
        if self.is_on {
            self.attention.push(attention.clone());
        }
    }
}

impl Decoder {
    /// Inputs of the linear maps from number `skipped` on, in the order of
    /// [`linears`](super::layout::linears), and the gradients by their outputs of
    /// `Σ mask · loss` over positions; `targets` makes the targets `[batch, time]` from the logits,
    /// `mask` is `[batch, time]`.
    ///
    /// # Panics
    /// If the model lives on a device with autodiff.
    pub(crate) fn capture(
        &self,
        skipped: usize,
        entry: Entry,
        targets: impl FnOnce(&Tensor<3>) -> Tensor<2, Int>,
        mask: Tensor<2>,
    ) -> Vec<Captured> {
        let [batch, time] = mask.dims();
        let (lowest, skipped) = (skipped / LINEARS_PER_LAYER, skipped % LINEARS_PER_LAYER);
        let (first, x) = match entry {
            Entry::Tokens(tokens) => (0, self.embed(tokens)),
            Entry::Hidden(rows) => (lowest, rows),
        };
        let mut seen = Recorder { lowest, ..Recorder::default() };
        let logits = self.run_from(first, x, [batch, time], None, &mut seen);
        let targets = targets(&logits);
        let last = seen.entered.pop().expect("rows leave the last layer");
        let mut gradient = self.head_gradient(last, logits, targets, mask);
        let frame = self.frame([batch, time], 0);
        // From the top down; the layers, and the maps within each, are put back in order at the end.
        let mut gradients = Vec::new();
        for (layer, x) in seen.entered.into_iter().enumerate().rev() {
            let record = LayerRecord {
                weights: self.layer_weights(lowest + layer),
                linears: &seen.linears[layer * LINEARS_PER_LAYER..],
                heads: &seen.heads[layer],
                attention: &seen.attention[layer],
                x,
            };
            let by_outputs;
            (by_outputs, gradient) = record.back(&frame, gradient, layer > 0);
            gradients.extend(by_outputs.into_iter().rev());
        }
        let shaped = |rows: Tensor<2>| {
            let width = rows.dims()[1];
            rows.reshape([batch, time, width])
        };
        let inputs = seen.linears.into_iter().map(|(input, _)| input);
        let captured = inputs.zip(gradients.into_iter().rev()).skip(skipped);
        captured
            .map(|(input, gradient)| Captured { input: shaped(input), gradient: shaped(gradient) })
            .collect()
    }

    /// The gradient by the rows behind the last layer.
    fn head_gradient(
        &self,
        last: Tensor<2>,
        logits: Tensor<3>,
        targets: Tensor<2, Int>,
        mask: Tensor<2>,
    ) -> Tensor<2> {
        let [batch, time, vocab] = logits.dims();
        let rows = batch * time;
        let head = self.head();
        // The gradient by the logits is `softmax − onehot(target)`; the one-hot part of its product with
        // the projection is a row of it, so the vocabulary-wide difference is never formed.
        let right = head.clone().select(0, targets.reshape([rows]));
        let by_normed = softmax(logits.reshape([rows, vocab]), 1).matmul(head) - right;
        let by_normed = by_normed * mask.reshape([rows, 1]);
        rms_norm_back(last, self.last_norm(), by_normed, self.config().norm_epsilon())
    }
}

/// One layer as it ran.
struct LayerRecord<'a> {
    weights: &'a [Tensor<2>],
    linears: &'a [(Tensor<2>, Tensor<2>)],
    heads: &'a [Tensor<4>; 3],
    attention: &'a Tensor<4>,
    /// What entered it.
    x: Tensor<2>,
}

impl LayerRecord<'_> {
    /// The gradients by the outputs of its linear maps, and, if there is a layer below, by what entered it,
    /// given the gradient by what left it.
    fn back(
        &self,
        frame: &Frame,
        left: Tensor<2>,
        is_going_on: bool,
    ) -> ([Tensor<2>; 7], Tensor<2>) {
        debug_assert_eq!(self.weights.len(), TENSORS_PER_LAYER);
        let weight = |at: usize| self.weights[at].clone();
        let output = |linear: usize| self.linears[linear].1.clone();
        // The feed-forward half. Its residual passes `left` on unchanged.
        let by_active = left.clone().matmul(weight(8));
        let (gate, up) = (output(4), output(5));
        let sigma = sigmoid(gate.clone());
        let silu = gate * sigma.clone();
        // silu' = σ (1 + x (1 − σ)) = σ + silu (1 − σ)
        let slope = sigma.clone() + silu.clone() * (sigma.neg().add_scalar(1.0));
        let by_up = by_active.clone() * silu;
        let by_gate = by_active * up * slope;
        let by_normed = by_gate.clone().matmul(weight(6)) + by_up.clone().matmul(weight(7));
        // What entered that half was not recorded: it is the layer's input and the attention's output.
        let middle = self.x.clone() + output(3);
        let by_middle = left.clone() + rms_norm_back(middle, weight(5), by_normed, frame.epsilon);
        let [by_q, by_k, by_v] = self.attention_back(frame, by_middle.clone().matmul(weight(4)));
        let by_entered = match is_going_on {
            true => {
                let by_normed = by_q.clone().matmul(weight(1))
                    + by_k.clone().matmul(weight(2))
                    + by_v.clone().matmul(weight(3));
                by_middle.clone()
                    + rms_norm_back(self.x.clone(), weight(0), by_normed, frame.epsilon)
            }
            false => by_middle.clone(),
        };
        ([by_q, by_k, by_v, by_middle, by_gate, by_up, left], by_entered)
    }

    /// Gradients by the outputs of the query, key and value maps, given that by the mixed values.
    fn attention_back(&self, frame: &Frame, by_mixed: Tensor<2>) -> [Tensor<2>; 3] {
        let [q, k, v] = self.heads;
        let [batch, kv, rows, head] = q.dims();
        let time = k.dims()[2];
        let heads = kv * rows / time;
        let by_mixed = by_mixed.reshape([batch, time, heads, head]).swap_dims(1, 2);
        let by_mixed = by_mixed.reshape([batch, kv, rows, head]);
        let attention = self.attention.clone();
        let by_v = attention.clone().swap_dims(2, 3).matmul(by_mixed.clone());
        let by_attention = by_mixed.matmul(v.clone().swap_dims(2, 3)) * attention.clone();
        // Through the softmax: `A ∘ (g − Σ A ∘ g)` per row; `A ∘ g` is `by_attention` already. The mask is
        // a constant, and where it hides a key `A` is zero.
        let by_scores = by_attention.clone() - attention * by_attention.sum_dim(3);
        let by_k = by_scores.clone().swap_dims(2, 3).matmul(q.clone());
        let by_q = by_scores.matmul(k.clone()).mul_scalar(frame.query_scale());
        let by_v = by_v.swap_dims(1, 2).reshape([batch * time, kv * head]);
        [frame.unrotate(by_q.reshape([batch, heads, time, head])), frame.unrotate(by_k), by_v]
    }
}

/// The gradient by the input `x` of the norm with that gain, given that by its output.
fn rms_norm_back(x: Tensor<2>, gain: Tensor<2>, by_output: Tensor<2>, epsilon: f32) -> Tensor<2> {
    let scale = x.clone().square().mean_dim(1).add_scalar(epsilon).sqrt().recip();
    let by_scaled = by_output * gain;
    // The scale depends on `x` too: what the gradient has along `x` is taken out.
    let along = (by_scaled.clone() * x.clone()).mean_dim(1) * scale.clone().square();
    (by_scaled - x * along) * scale
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::formats::Checkpoint;
    use crate::model::{ModelConfig, layout, token_losses};

    /// Two heads share keys, and weights are large enough for every path to matter.
    fn decoder() -> Decoder {
        shaped(false)
    }

    fn shaped(untied: bool) -> Decoder {
        let config = ModelConfig { heads: 4, kv_heads: 2, untied, ..ModelConfig::tiny() };
        let start = Checkpoint::init(&config, protocol::Hash::ZERO, 3).unwrap();
        let values: Vec<f32> = start
            .values()
            .iter()
            .enumerate()
            .map(|(i, v)| v * (2.0 + (i % 7) as f32 / 3.0))
            .collect();
        Decoder::new(&config, &values, &Device::flex())
    }

    /// Three sequences; the second ends early, of the third the end counts.
    fn batch(model: &Decoder) -> [Tensor<2, Int>; 2] {
        let row = |seed: u32| (0..10).map(|t| (t * t * 31 + t * seed + 7 * seed) % 500).collect();
        let rows: Vec<Vec<u32>> = [3, 40, 11].map(row).to_vec();
        [0, 1].map(|at| model.tokens(&rows.iter().map(|row| &row[at..at + 9]).collect::<Vec<_>>()))
    }

    fn mask() -> Tensor<2> {
        let rows: [fn(usize) -> bool; 3] = [|_| true, |t| t < 5, |t| t > 3];
        let rows = rows.map(|is_on| std::array::from_fn(|t| f32::from(u8::from(is_on(t)))));
        Tensor::<2>::from_data::<[[f32; 9]; 3]>(rows, &Device::flex())
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as().unwrap()
    }

    fn close(found: &[f32], expected: &[f32]) {
        let largest = expected.iter().fold(0.0f32, |max, value| max.max(value.abs()));
        assert!(largest > 0.0 && found.len() == expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-4 * largest, "{found} is not {expected}");
        }
    }

    #[test]
    fn products_of_rows_are_the_weight_gradients_of_the_graph() {
        for untied in [false, true] {
            let model = shaped(untied);
            let [inputs, targets] = batch(&model);
            let twin = model.tracked();
            let losses = token_losses(twin.forward(inputs.clone()), targets.clone());
            let gradients = (losses * mask().autodiff()).sum().backward();
            let linears = layout::tensors(model.config());
            let is_linear = |role| matches!(role, layout::Role::Linear | layout::Role::LinearOut);
            let expected =
                twin.params().iter().zip(linears).filter(|(_, spec)| is_linear(spec.role));
            let captured = model.capture(0, Entry::Tokens(inputs), |_| targets, mask());
            assert_eq!(captured.len(), 2 * LINEARS_PER_LAYER);
            for (Captured { input, gradient }, (weight, _)) in captured.into_iter().zip(expected) {
                let product = gradient.swap_dims(1, 2).matmul(input).sum_dim(0);
                close(&values(product), &values(weight.grad(&gradients).unwrap()));
            }
        }
    }

    #[test]
    fn every_sample_has_its_own_gradient_and_ends_where_it_ends() {
        let model = decoder();
        let [inputs, targets] = batch(&model);
        let whole = model.capture(0, Entry::Tokens(inputs.clone()), |_| targets.clone(), mask());
        for sample in 0..3 {
            let own = |ids: &Tensor<2, Int>| ids.clone().slice_dim(0, sample..sample + 1);
            let (targets, mask) = (own(&targets), mask().slice_dim(0, sample..sample + 1));
            let alone = model.capture(0, Entry::Tokens(own(&inputs)), |_| targets, mask);
            for (whole, alone) in whole.iter().zip(alone) {
                let part = whole.gradient.clone().slice_dim(0, sample..sample + 1);
                close(&values(part), &values(alone.gradient));
            }
        }
        let ended = whole[0].gradient.clone().slice_dim(0, 1..2).slice_dim(1, 5..9);
        assert!(values(ended).iter().all(|gradient| *gradient == 0.0));
    }

    #[test]
    fn upper_maps_alone_and_from_hidden_rows_are_as_among_all() {
        struct Keep(Option<Tensor<2>>);
        impl Watch for Keep {
            fn linear(&mut self, _: Tensor<2>, output: Tensor<2>) -> Tensor<2> {
                output
            }
            fn entered(&mut self, layer: usize, rows: &Tensor<2>) {
                self.0 = self.0.take().or((layer == 1).then(|| rows.clone()));
            }
        }
        let model = decoder();
        let [inputs, targets] = batch(&model).map(|ids| ids.slice_dim(0, 0..1));
        let mask = || mask().slice_dim(0, 0..1);
        let mut kept = Keep(None);
        model.run(inputs.clone(), None, &mut kept);
        let all = model.capture(0, Entry::Tokens(inputs.clone()), |_| targets.clone(), mask());
        for (skipped, entry) in [
            (3, Entry::Tokens(inputs.clone())),
            (7, Entry::Tokens(inputs)),
            (9, Entry::Hidden(kept.0.unwrap())),
        ] {
            let upper = model.capture(skipped, entry, |_| targets.clone(), mask());
            assert_eq!(upper.len(), all.len() - skipped);
            for (upper, all) in upper.into_iter().zip(&all[skipped..]) {
                assert_eq!(values(upper.gradient), values(all.gradient.clone()));
                assert_eq!(values(upper.input), values(all.input.clone()));
            }
        }
    }
}
