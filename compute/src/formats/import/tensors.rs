//! Tensors of a foreign file, put in the order of the checkpoint.

use std::collections::BTreeMap;

use super::blocks::Form;
use super::error::ImportError;
use crate::model::ModelConfig;
use crate::model::layout::{self, TensorSpec};

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Tensors that were read.
    pub done: usize,
    /// Tensors of the model.
    pub total: usize,
}

/// The weights of a model.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) config: ModelConfig,
    /// In the order of [`layout`], finite.
    pub(super) values: Vec<f32>,
    /// In which form most of them were stored.
    pub(super) form: String,
}

/// A tensor as a file holds it: whole blocks of the right number of values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    /// The file's name of it.
    pub(super) name: &'a str,
    pub(super) form: Form,
    pub(super) bytes: &'a [u8],
}

impl Stored<'_> {
    /// Its values, all finite.
    pub(super) fn values(&self) -> Result<Vec<f32>, ImportError> {
        let values = self.form.values(self.bytes);
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(ImportError::NotFinite(self.name.to_owned())),
        }
    }
}

/// Reads the tensors of a model one after the other; `stored` has one for each of [`layout::tensors`],
/// and `arrange` may put the rows of one in another order.
pub(super) fn weights(
    config: &ModelConfig,
    stored: &[Stored<'_>],
    arrange: impl Fn(&TensorSpec, Vec<f32>) -> Vec<f32>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Weights, ImportError> {
    let specs = layout::tensors(config);
    let total = specs.len();
    // No more than a few times what the file has: every tensor's bytes are there.
    let mut values = Vec::with_capacity(config.parameters() as usize);
    let mut forms = BTreeMap::new();
    for (done, (spec, stored)) in specs.iter().zip(stored).enumerate() {
        progress(Progress { done, total });
        values.extend(arrange(spec, stored.values()?));
        *forms.entry(stored.form).or_insert(0) += spec.len();
    }
    progress(Progress { done: total, total });
    let form = forms.into_iter().max_by_key(|(_, count)| *count);
    let form = form.map_or("none", |(form, _)| form.name()).to_owned();
    Ok(Weights { config: config.clone(), values, form })
}

/// What norms add to the mean square, in parts per billion, if that says it exactly.
pub(super) fn norm_ppb(epsilon: f64) -> Result<u32, ImportError> {
    let ppb = (epsilon * 1.0e9).round();
    let is_exact = (1.0..=1.0e9).contains(&ppb) && (ppb / 1.0e9) as f32 == epsilon as f32;
    match is_exact {
        true => Ok(ppb as u32),
        false => Err(ImportError::Unsupported { what: "such norm", found: epsilon.to_string() }),
    }
}

/// The base of the rotary frequencies, if it is a whole number.
pub(super) fn rope_base(base: f64) -> Result<u32, ImportError> {
    match base.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&base) {
        true => Ok(base as u32),
        false => {
            Err(ImportError::Unsupported { what: "such rotary base", found: base.to_string() })
        }
    }
}

/// A dimension of the shape; those beyond 32 bits are refused as any that is too large.
pub(super) fn dimension(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
