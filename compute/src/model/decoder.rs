//! The decoder's forward pass: RMSNorm, rotary positions, grouped-query attention, SwiGLU, an output
//! projection that mostly is the embedding.
//!
//! (RMSNorm: Zhang and Sennrich, arXiv 1910.07467; rotary positions: Su et al., arXiv 2104.09864;
//! grouped queries: Ainslie et al., arXiv 2305.13245; SwiGLU: Shazeer, arXiv 2002.05202.)
//!
//! No operation mixes samples of a batch, so that one backward pass over a sum of losses gives
//! every sample's own gradient at the probes.

use burn::tensor::activation::{log_softmax, silu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::ModelConfig;
use super::layout::{self, TENSORS_PER_LAYER};

/// Added to scores of positions that a token must not see.
const MASKED: f32 = -1.0e9;

/// A decoder on a device.
#[derive(Clone)]
pub struct Decoder {
    config: ModelConfig,
    params: Vec<Tensor<2>>,
    rope: Rope,
    device: Device,
}

/// What a probed linear map saw: its input, and a zero leaf that was added to its output, whose
/// gradient after `backward` is exactly the gradient of the loss by that output.
pub struct Probe {
    /// Input activations, detached, `[batch, time, inputs]`.
    pub input: Tensor<3>,
    /// The leaf, `[batch, time, outputs]`.
    pub leaf: Tensor<3>,
}

impl Probe {
    /// Adds a probe to a linear's `output`, `[rows, outputs]` with `rows = batch · time`. `device` is
    /// the autodiff device.
    pub fn attach(
        input: Tensor<2>,
        output: Tensor<2>,
        batch: usize,
        device: &Device,
    ) -> (Self, Tensor<2>) {
        let [rows, outputs] = output.dims();
        let inputs = input.dims()[1];
        let leaf = Tensor::<3>::zeros([batch, rows / batch, outputs], device).require_grad();
        let input = input.inner().reshape([batch, rows / batch, inputs]);
        let sum = output + leaf.clone().reshape([rows, outputs]);
        (Self { input, leaf }, sum)
    }
}

/// Keys and values of the tokens seen so far, per layer, for one-token-at-a-time inference.
#[derive(Default)]
pub struct Cache {
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    length: usize,
}

impl Cache {
    /// Tokens seen so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no token was seen.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// Looks on while a model runs.
pub(crate) trait Watch {
    /// Sees input and output of each linear map, both `[batch * time, width]`, in the order of
    /// [`layout::linears`], and may replace the output.
    fn linear(&mut self, input: Tensor<2>, output: Tensor<2>) -> Tensor<2>;

    /// Sees what enters a layer, `[batch * time, width]`; under the number of a further layer, what
    /// leaves the last.
    fn entered(&mut self, _layer: usize, _rows: &Tensor<2>) {}

    /// Sees queries (scaled; those that share keys as further rows), keys and values of a layer,
    /// `[batch, kv_heads, rows, head]`.
    fn heads(&mut self, _heads: [&Tensor<4>; 3]) {}

    /// Sees where a layer attends to, `[batch, kv_heads, rows, keys]`.
    fn attention(&mut self, _attention: &Tensor<4>) {}
}

impl<F: FnMut(Tensor<2>, Tensor<2>) -> Tensor<2>> Watch for F {
    fn linear(&mut self, input: Tensor<2>, output: Tensor<2>) -> Tensor<2> {
        self(input, output)
    }
}

impl Decoder {
    /// Puts flat parameters, in the order of [`layout::tensors`], on a device without autodiff.
    ///
    /// # Panics
    /// If the number of values is not that of a valid `config`; checkpoints guarantee it.
    pub fn new(config: &ModelConfig, values: &[f32], device: &Device) -> Self {
        assert_eq!(values.len() as u64, config.parameters(), "checkpoints fix the length");
        let mut rest = values;
        let params = layout::tensors(config)
            .iter()
            .map(|spec| {
                let (head, tail) = rest.split_at(spec.len());
                rest = tail;
                Tensor::from_data(TensorData::new(head.to_vec(), [spec.rows, spec.cols]), device)
            })
            .collect();
        Self::with_params(config, params, device)
    }

    fn with_params(config: &ModelConfig, params: Vec<Tensor<2>>, device: &Device) -> Self {
        let rope = Rope::new(config, device);
        Self { config: config.clone(), params, rope, device: device.clone() }
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device without autodiff on which the parameters live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The parameters, in the one order; norms are `[1, width]`.
    pub fn params(&self) -> &[Tensor<2>] {
        &self.params
    }

    /// The parameters, to be changed in place by an optimiser.
    pub(crate) fn params_mut(&mut self) -> &mut [Tensor<2>] {
        &mut self.params
    }

    /// A twin whose parameters are leaves of an autodiff graph that keep their gradients.
    pub fn tracked(&self) -> Self {
        let params = self.params.iter().map(|p| p.clone().autodiff().require_grad()).collect();
        Self { params, ..self.shallow() }
    }

    /// A twin on the autodiff device whose parameters need no gradient: with probes only, a
    /// backward pass then costs half as much.
    pub(crate) fn probing(&self) -> Self {
        let params = self.params.iter().map(|p| p.clone().autodiff()).collect();
        Self { params, ..self.shallow() }
    }

    fn shallow(&self) -> Self {
        Self {
            config: self.config.clone(),
            params: Vec::new(),
            rope: self.rope.clone(),
            device: self.device.clone(),
        }
    }

    /// Token ids `[batch, time]` as a tensor on the model's device.
    ///
    /// # Panics
    /// If the rows differ in length.
    pub fn tokens(&self, rows: &[&[u32]]) -> Tensor<2, Int> {
        let time = rows.first().map_or(0, |row| row.len());
        assert!(rows.iter().all(|row| row.len() == time), "rows of a batch have one length");
        let flat: Vec<i32> = rows.iter().flat_map(|r| r.iter().map(|&t| t as i32)).collect();
        Tensor::from_data(TensorData::new(flat, [rows.len(), time]), &self.device)
    }

    /// Logits `[batch, time, vocab]` of token ids `[batch, time]`, time at most the context.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.run(tokens, None, &mut |_: Tensor<2>, output: Tensor<2>| output)
    }

    /// Logits of the next tokens after those in the cache, which grows by them.
    pub fn forward_cached(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        self.run(tokens, Some(cache), &mut |_: Tensor<2>, output: Tensor<2>| output)
    }

    /// Logits as [`forward`](Self::forward) or, with a cache, [`forward_cached`](Self::forward_cached)
    /// gives them; `watch` looks on.
    pub(crate) fn run(
        &self,
        tokens: Tensor<2, Int>,
        cache: Option<&mut Cache>,
        watch: &mut dyn Watch,
    ) -> Tensor<3> {
        let [batch, time] = tokens.dims();
        self.run_from(0, self.embed(tokens), [batch, time], cache, watch)
    }

    /// What enters the first layer, `[batch * time, width]`.
    pub(super) fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [batch, time] = tokens.dims();
        self.params[0].clone().select(0, tokens.reshape([batch * time]))
    }

    /// The gain of the last norm, `[1, width]`.
    pub(super) fn last_norm(&self) -> Tensor<2> {
        self.params[1 + self.config.layers as usize * TENSORS_PER_LAYER].clone()
    }

    /// The output projection, `[vocab, width]`.
    pub(super) fn head(&self) -> Tensor<2> {
        self.params[if self.config.untied { self.params.len() - 1 } else { 0 }].clone()
    }

    /// The nine tensors of a layer.
    pub(super) fn layer_weights(&self, layer: usize) -> &[Tensor<2>] {
        let at = 1 + layer * TENSORS_PER_LAYER;
        &self.params[at..at + TENSORS_PER_LAYER]
    }

    /// The sizes and constants of a pass over `[batch, time]` tokens after `start` others.
    pub(super) fn frame(&self, [batch, time]: [usize; 2], start: usize) -> Frame {
        let config = &self.config;
        let head = config.head_width() as usize;
        let (heads, kv_heads) = (config.heads as usize, config.kv_heads as usize);
        let slice =
            |t: &Tensor<2>| t.clone().slice_dim(0, start..start + time).reshape([1, time, 1, head]);
        let (cos, sin, turn) =
            (slice(&self.rope.cos), slice(&self.rope.sin), self.rope.turn.clone());
        let mask = (time > 1).then(|| causal_mask(heads / kv_heads, time, start, &self.device));
        let epsilon = config.norm_epsilon();
        Frame { batch, time, heads, kv_heads, head, epsilon, cos, sin, turn, mask }
    }

    /// As [`run`](Self::run), from layer `first` on, which `x`, `[batch * time, width]`, enters.
    pub(super) fn run_from(
        &self,
        first: usize,
        mut x: Tensor<2>,
        [batch, time]: [usize; 2],
        mut cache: Option<&mut Cache>,
        watch: &mut dyn Watch,
    ) -> Tensor<3> {
        let start = cache.as_ref().map_or(0, |c| c.length);
        assert!(start + time <= self.config.context as usize, "callers cut to the context");
        let frame = self.frame([batch, time], start);
        for layer in first..self.config.layers as usize {
            watch.entered(layer, &x);
            let slot = cache.as_deref_mut().map(|c| (&mut c.layers, layer));
            x = frame.layer(self.layer_weights(layer), x, slot, watch);
        }
        watch.entered(self.config.layers as usize, &x);
        if let Some(cache) = cache {
            cache.length += time;
        }
        let normed = rms_norm(x, self.last_norm(), frame.epsilon);
        let logits = normed.matmul(self.head().transpose());
        logits.reshape([batch, time, self.config.vocab as usize])
    }
}

/// Negative log-likelihood of each target, `[batch, time]`, in nats.
pub fn token_losses(logits: Tensor<3>, targets: Tensor<2, Int>) -> Tensor<2> {
    let [batch, time, vocab] = logits.dims();
    let flat = log_softmax(logits.reshape([batch * time, vocab]), 1);
    flat.gather(1, targets.reshape([batch * time, 1])).reshape([batch, time]).neg()
}

/// The sizes and constants of one forward pass.
pub(super) struct Frame {
    batch: usize,
    time: usize,
    heads: usize,
    kv_heads: usize,
    head: usize,
    /// What norms add to the mean square.
    pub(super) epsilon: f32,
    cos: Tensor<4>,
    sin: Tensor<4>,
    turn: Tensor<2>,
    /// Additive mask over `[group * time, past + time]`; none for a single token.
    mask: Option<Tensor<4>>,
}

impl Frame {
    fn layer(
        &self,
        weights: &[Tensor<2>],
        x: Tensor<2>,
        cache: Option<(&mut Vec<(Tensor<4>, Tensor<4>)>, usize)>,
        watch: &mut dyn Watch,
    ) -> Tensor<2> {
        let normed = rms_norm(x.clone(), weights[0].clone(), self.epsilon);
        let attended = self.attention(&weights[1..5], normed, cache, watch);
        let x = x + attended;
        let normed = rms_norm(x.clone(), weights[5].clone(), self.epsilon);
        let gate = linear(normed.clone(), &weights[6], watch);
        let up = linear(normed, &weights[7], watch);
        x + linear(silu(gate) * up, &weights[8], watch)
    }

    fn attention(
        &self,
        weights: &[Tensor<2>],
        x: Tensor<2>,
        cache: Option<(&mut Vec<(Tensor<4>, Tensor<4>)>, usize)>,
        watch: &mut dyn Watch,
    ) -> Tensor<2> {
        let (b, t, kv, d) = (self.batch, self.time, self.kv_heads, self.head);
        let group = self.heads / kv;
        let q = linear(x.clone(), &weights[0], watch);
        let k = linear(x.clone(), &weights[1], watch);
        let v = linear(x, &weights[2], watch);
        // Query heads that share keys become further rows of one product.
        let q = self.rotate(q, self.heads).mul_scalar(self.query_scale()).reshape([
            b,
            kv,
            group * t,
            d,
        ]);
        // Keys are cached rotated: their positions never change.
        let mut k = self.rotate(k, kv);
        let mut v = v.reshape([b, t, kv, d]).swap_dims(1, 2);
        if let Some((layers, index)) = cache {
            if let Some((past_k, past_v)) = layers.get(index) {
                k = Tensor::cat(vec![past_k.clone(), k], 2);
                v = Tensor::cat(vec![past_v.clone(), v], 2);
                layers[index] = (k.clone(), v.clone());
            } else {
                layers.push((k.clone(), v.clone()));
            }
        }
        watch.heads([&q, &k, &v]);
        let mut scores = q.matmul(k.swap_dims(2, 3));
        if let Some(mask) = &self.mask {
            scores = scores + mask.clone();
        }
        let attention = softmax(scores, 3);
        watch.attention(&attention);
        let mixed = attention.matmul(v);
        let mixed = mixed.reshape([b, self.heads, t, d]).swap_dims(1, 2);
        linear(mixed.reshape([b * t, self.heads * d]), &weights[3], watch)
    }

    /// What queries are multiplied with.
    pub(super) fn query_scale(&self) -> f32 {
        1.0 / (self.head as f32).sqrt()
    }

    /// `[batch * time, heads * head]` to rotated `[batch, heads, time, head]`.
    fn rotate(&self, x: Tensor<2>, heads: usize) -> Tensor<4> {
        let shape = [self.batch, self.time, heads, self.head];
        let rows = x.reshape([self.batch * self.time * heads, self.head]);
        // A product with a constant matrix is one operation on any device; slices and a concatenation
        // would be four.
        let turned = rows.clone().matmul(self.turn.clone()).reshape(shape);
        let x = rows.reshape(shape) * self.cos.clone() + turned * self.sin.clone();
        x.swap_dims(1, 2)
    }

    /// The gradient by what [`rotate`](Self::rotate) was given, from that by what it gave.
    pub(super) fn unrotate(&self, by_rotated: Tensor<4>) -> Tensor<2> {
        let by_rotated = by_rotated.swap_dims(1, 2);
        let [batch, time, heads, head] = by_rotated.dims();
        let turned = (by_rotated.clone() * self.sin.clone()).reshape([batch * time * heads, head]);
        let straight = (by_rotated * self.cos.clone()).reshape([batch * time, heads * head]);
        straight
            + turned.matmul(self.turn.clone().transpose()).reshape([batch * time, heads * head])
    }
}

fn linear(x: Tensor<2>, weight: &Tensor<2>, watch: &mut dyn Watch) -> Tensor<2> {
    let output = x.clone().matmul(weight.clone().transpose());
    watch.linear(x, output)
}

fn rms_norm(x: Tensor<2>, gain: Tensor<2>, epsilon: f32) -> Tensor<2> {
    let scale = x.clone().square().mean_dim(1).add_scalar(epsilon).sqrt().recip();
    x * scale * gain
}

fn causal_mask(group: usize, time: usize, start: usize, device: &Device) -> Tensor<4> {
    let width = start + time;
    let mut values = vec![0.0f32; group * time * width];
    // Rows of heads that share keys repeat the positions: row `r` is position `r % time`.
    for (row, values) in values.chunks_mut(width).enumerate() {
        values[start + row % time + 1..].fill(MASKED);
    }
    Tensor::from_data(TensorData::new(values, [1, 1, group * time, width]), device)
}

/// Tables of the rotary positions: `x * cos + (x · turn) * sin`, where `turn` maps the two halves
/// `(a, b)` of a head to `(-b, a)`.
#[derive(Clone)]
struct Rope {
    cos: Tensor<2>,
    sin: Tensor<2>,
    turn: Tensor<2>,
}

impl Rope {
    fn new(config: &ModelConfig, device: &Device) -> Self {
        let (head, context) = (config.head_width() as usize, config.context as usize);
        let half = head / 2;
        let mut cos = Vec::with_capacity(context * head);
        let mut sin = Vec::with_capacity(context * head);
        for position in 0..context {
            for column in 0..head {
                let exponent = (column % half) as f64 / half as f64;
                let angle = position as f64 * f64::from(config.rope_base).powf(-exponent);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        let mut turn = vec![0.0f32; head * head];
        for i in 0..half {
            turn[(i + half) * head + i] = -1.0;
            turn[i * head + i + half] = 1.0;
        }
        let table = |values| Tensor::from_data(TensorData::new(values, [context, head]), device);
        Self {
            cos: table(cos),
            sin: table(sin),
            turn: Tensor::from_data(TensorData::new(turn, [head, head]), device),
        }
    }
}
