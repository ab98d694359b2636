//! The shape of an adapter, and the one order of its parameters.
//!
//! Per adapted linear map, ascending, first `A` (`[rank, inputs]`), then `B` (`[outputs, rank]`),
//! each row-major: the orientation and the names that other tools use for adapters.

use serde::{Deserialize, Serialize};

use crate::model::layout::{self, LINEARS_PER_LAYER, Role, TensorSpec};
use crate::model::{ConfigError, ModelConfig};

/// The largest rank of an adapter.
pub(crate) const MAX_RANK: u32 = 64;
/// The most parameters of an adapter: its file stays near 256 MiB.
pub(crate) const MAX_PARAMETERS: u64 = 1 << 26;
/// The largest accepted factor `s`, in parts per million.
const MAX_SCALE_PPM: u32 = 1_000_000_000;
/// Places of the query and value projections among the linear maps of a layer.
const QUERY_AND_VALUE: [usize; 2] = [0, 2];

/// The shape of an adapter. Deserialised values are unchecked until [`LoraConfig::validate`] has
/// accepted them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Inner width; a power of two, so that sketches and batches of mixed ranks divide evenly.
    pub rank: u32,
    /// The factor `s` of the addition in parts per million; elsewhere known as `alpha / rank`.
    pub scale_ppm: u32,
    /// The adapted linear maps, as indices into [`layout::linears`], ascending.
    pub linears: Vec<u16>,
}

/// Why the shape of an adapter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoraConfigError {
    /// The base itself has no valid shape.
    #[error(transparent)]
    Model(#[from] ConfigError),
    /// The rank is no power of two, or too large.
    #[error("rank {0} is not a power of two from 1 to {MAX_RANK}")]
    Rank(u32),
    /// The scale is zero or too large.
    #[error("a scale of {0} millionths is not between 1 and {MAX_SCALE_PPM}")]
    Scale(u32),
    /// The list of linear maps is empty, out of order, or names one that the base lacks.
    #[error("the list of linear maps is empty, not ascending, or reaches beyond the model's {0}")]
    Linears(usize),
    /// The adapter is too large.
    #[error("the adapter has {0} parameters; at most {MAX_PARAMETERS} are accepted")]
    Parameters(u64),
}

impl LoraConfig {
    /// The default for a model: query and value projections of every layer, scale 2.
    pub fn standard(rank: u32, model: &ModelConfig) -> Self {
        let layers = 0..model.layers as usize;
        let linears = layers.flat_map(|layer| {
            QUERY_AND_VALUE.map(|place| (layer * LINEARS_PER_LAYER + place) as u16)
        });
        Self { rank, scale_ppm: 2_000_000, linears: linears.collect() }
    }

    /// Accepts the shape for a base model or says what is wrong with it.
    pub fn validate(&self, model: &ModelConfig) -> Result<(), LoraConfigError> {
        model.validate()?;
        if !self.rank.is_power_of_two() || self.rank > MAX_RANK {
            return Err(LoraConfigError::Rank(self.rank));
        }
        if self.scale_ppm == 0 || self.scale_ppm > MAX_SCALE_PPM {
            return Err(LoraConfigError::Scale(self.scale_ppm));
        }
        let known = model.layers as usize * LINEARS_PER_LAYER;
        let is_ascending = self.linears.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_ascending || self.linears.last().is_none_or(|&last| usize::from(last) >= known) {
            return Err(LoraConfigError::Linears(known));
        }
        match self.parameters(model) {
            parameters if parameters > MAX_PARAMETERS => {
                Err(LoraConfigError::Parameters(parameters))
            }
            _ => Ok(()),
        }
    }

    /// Number of parameters on a base of that shape: `rank · (inputs + outputs)` per linear map.
    pub fn parameters(&self, model: &ModelConfig) -> u64 {
        self.tensors(model).iter().map(|spec| spec.len() as u64).sum()
    }

    /// The tensors in the one order, two per adapted linear map.
    pub fn tensors(&self, model: &ModelConfig) -> Vec<TensorSpec> {
        let rank = self.rank as usize;
        let linears: Vec<TensorSpec> = layout::tensors(model)
            .into_iter()
            .filter(|spec| matches!(spec.role, Role::Linear | Role::LinearOut))
            .collect();
        let adapted = self.linears.iter().filter_map(|&index| linears.get(usize::from(index)));
        adapted
            .flat_map(|linear| {
                let stem = linear.name.trim_end_matches(".weight");
                let tensor = |letter, rows, cols| TensorSpec {
                    name: format!("base_model.model.{stem}.lora_{letter}.weight"),
                    rows,
                    cols,
                    role: Role::Linear,
                };
                [tensor('A', rank, linear.cols), tensor('B', linear.rows, rank)]
            })
            .collect()
    }

    /// The factor `s`.
    pub(crate) fn scale(&self) -> f32 {
        (f64::from(self.scale_ppm) / 1.0e6) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_adapter_has_the_stated_size() {
        // Rank 8 on q and v of SmolLM2-135M: 30 layers of 8 · (576 + 576 + 576 + 192).
        let model = ModelConfig::smol_135m();
        let config = LoraConfig::standard(8, &model);
        assert_eq!(config.validate(&model), Ok(()));
        assert_eq!(config.parameters(&model), 460_800);
        let tiny = LoraConfig::standard(2, &ModelConfig::tiny());
        let names: Vec<_> =
            tiny.tensors(&ModelConfig::tiny()).into_iter().map(|spec| spec.name).collect();
        assert_eq!(names.len(), 8);
        assert_eq!(names[0], "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
        assert_eq!(names[7], "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight");
    }

    #[test]
    fn each_bad_shape_has_its_error() {
        let model = ModelConfig::tiny();
        let good = LoraConfig::standard(4, &model);
        let check = |config: LoraConfig| config.validate(&model).unwrap_err();
        for rank in [0, 3, 128] {
            let error = check(LoraConfig { rank, ..good.clone() });
            assert_eq!(error, LoraConfigError::Rank(rank));
        }
        for scale_ppm in [0, 1_000_000_001] {
            let error = check(LoraConfig { scale_ppm, ..good.clone() });
            assert_eq!(error, LoraConfigError::Scale(scale_ppm));
        }
        for linears in [vec![], vec![2, 0], vec![1, 1], vec![14]] {
            let error = check(LoraConfig { linears, ..good.clone() });
            assert_eq!(error, LoraConfigError::Linears(14));
        }
        let bad = ModelConfig { heads: 0, ..model.clone() };
        assert!(matches!(good.validate(&bad), Err(LoraConfigError::Model(_))));
        let deep = ModelConfig { width: 512, layers: 256, kv_heads: 2, ffn: 512, ..model };
        let all = LoraConfig { rank: 64, linears: (0..256 * 7).collect(), ..good };
        assert_eq!(all.validate(&deep), Err(LoraConfigError::Parameters(64 * 256 * 7 * 1024)));
    }
}
