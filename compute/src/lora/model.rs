//! A base and an adapter on a device, run together without merging.
//!
//! The base's weights are shared and never change; at each adapted linear map `s · (x Aᵀ) Bᵀ` is
//! added to the output. No operation mixes samples of a batch.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::adapter::{Adapter, AdapterError, BaseId};
use crate::device::{DeviceFault, Engine, guarded};
use crate::formats::Checkpoint;
use crate::model::{Cache, Decoder, Probe, layout};

/// An adapter loaded beside its base.
pub struct AdaptedModel {
    decoder: Decoder,
    factors: Vec<Factors>,
    /// Per linear map of the model the place of its factors.
    slots: Vec<Option<usize>>,
    scale: f32,
}

/// The two factors of one adapted linear map.
#[derive(Clone)]
pub(crate) struct Factors {
    /// The factor that reads the input, `[rank, inputs]`.
    pub(crate) a: Tensor<2>,
    /// The factor that writes the output, `[outputs, rank]`.
    pub(crate) b: Tensor<2>,
}

/// Why base and adapter could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The adapter does not belong to this base.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

impl AdaptedModel {
    /// Loads an adapter and its base onto the engine's device. The base is hashed.
    pub fn new(engine: &Engine, base: &Checkpoint, adapter: &Adapter) -> Result<Self, LoadError> {
        adapter.expect_base(&BaseId::of(base))?;
        Ok(guarded(|| Self::load(engine.device(), base, adapter))?)
    }

    fn load(device: &Device, base: &Checkpoint, adapter: &Adapter) -> Self {
        let (model, config) = (base.config(), adapter.config());
        let mut rest = adapter.values();
        let tensors: Vec<Tensor<2>> = config
            .tensors(model)
            .iter()
            .map(|spec| {
                let (values, tail) = rest.split_at(spec.len());
                rest = tail;
                let shape = [spec.rows, spec.cols];
                Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
            })
            .collect();
        let mut slots = vec![None; layout::linears(model).len()];
        for (slot, &linear) in config.linears.iter().enumerate() {
            slots[usize::from(linear)] = Some(slot);
        }
        Self {
            decoder: Decoder::new(model, base.values(), device),
            factors: Factors::pairs(tensors),
            slots,
            scale: config.scale(),
        }
    }

    /// The base alone.
    pub fn base(&self) -> &Decoder {
        &self.decoder
    }

    /// Logits `[batch, time, vocab]` of token ids `[batch, time]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.run(tokens, None, &mut |_, _, output| output)
    }

    /// Logits of the next tokens after those in the cache, which grows by them.
    pub fn forward_cached(&self, tokens: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        self.run(tokens, Some(cache), &mut |_, _, output| output)
    }

    /// Logits, and one [`Probe`] per adapted linear map, ascending. Call it on
    /// [`probing`](Self::probing).
    pub(crate) fn forward_probed(&self, tokens: Tensor<2, Int>) -> (Tensor<3>, Vec<Probe>) {
        let [batch, time] = tokens.dims();
        let device = self.decoder.device().clone().autodiff();
        let mut probes = Vec::with_capacity(self.factors.len());
        let logits = self.run(tokens, None, &mut |_, input, output| {
            let ([rows, outputs], inputs) = (output.dims(), input.dims()[1]);
            let leaf = Tensor::<3>::zeros([batch, time, outputs], &device).require_grad();
            let input = input.inner().reshape([batch, time, inputs]);
            probes.push(Probe { input, leaf: leaf.clone() });
            output + leaf.reshape([rows, outputs])
        });
        (logits, probes)
    }

    /// A twin on the autodiff device whose parameters need no gradient.
    pub(crate) fn probing(&self) -> Self {
        let autodiff = |tensor: &Tensor<2>| tensor.clone().autodiff();
        let factors = self.factors.iter();
        Self {
            decoder: self.decoder.probing(),
            factors: factors.map(|f| Factors { a: autodiff(&f.a), b: autodiff(&f.b) }).collect(),
            slots: self.slots.clone(),
            scale: self.scale,
        }
    }

    pub(crate) fn factors(&self) -> &[Factors] {
        &self.factors
    }

    /// The same base with other factors of the same shapes, given in the one order of tensors.
    pub(crate) fn with_factors(&self, tensors: Vec<Tensor<2>>) -> Self {
        let (decoder, slots) = (self.decoder.clone(), self.slots.clone());
        Self { decoder, factors: Factors::pairs(tensors), slots, scale: self.scale }
    }

    /// Replaces the factors by others of the same shapes, given in the one order of tensors.
    pub(crate) fn set_factors(&mut self, tensors: Vec<Tensor<2>>) {
        self.factors = Factors::pairs(tensors);
    }

    pub(crate) fn scale(&self) -> f32 {
        self.scale
    }

    /// Runs the base; `see` gets slot, input and adapted output of each adapted linear map.
    fn run(
        &self,
        tokens: Tensor<2, Int>,
        cache: Option<&mut Cache>,
        see: &mut dyn FnMut(usize, Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<3> {
        let mut slots = self.slots.iter();
        self.decoder.run(tokens, cache, &mut |input: Tensor<2>, output: Tensor<2>| {
            let Some(&Some(slot)) = slots.next() else { return output };
            let added = self.factors[slot].apply(input.clone()).mul_scalar(self.scale);
            see(slot, input, output + added)
        })
    }
}

impl Factors {
    fn pairs(tensors: Vec<Tensor<2>>) -> Vec<Self> {
        let mut tensors = tensors.into_iter();
        let mut pairs = Vec::new();
        while let (Some(a), Some(b)) = (tensors.next(), tensors.next()) {
            pairs.push(Self { a, b });
        }
        pairs
    }

    /// `(x Aᵀ) Bᵀ`, `[rows, outputs]`.
    fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.a.clone().transpose()).matmul(self.b.clone().transpose())
    }
}
