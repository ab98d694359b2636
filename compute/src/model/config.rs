//! The shape of a decoder, its presets and the bounds within which a shape is accepted.

use protocol::model::Shape;
use serde::{Deserialize, Serialize};

/// The largest value that any single dimension of a model may have.
const MAX_DIM: u32 = 1 << 18;
/// The most layers that a model may have.
const MAX_LAYERS: u32 = 256;
/// The most that norms may add to the mean square, in parts per billion.
const MAX_NORM_PPB: u32 = 1_000_000;
/// The most parameters that a model may have: the f32 checkpoint stays under 4 GiB.
pub(crate) const MAX_PARAMETERS: u64 = 1 << 30;

/// The shape of a Llama-family decoder. Deserialised values are unchecked until
/// [`ModelConfig::validate`] has accepted them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Number of token ids.
    pub vocab: u32,
    /// Most tokens in one sequence.
    pub context: u32,
    /// Width of the residual stream.
    pub width: u32,
    /// Decoder layers, each of attention and a SwiGLU block.
    pub layers: u32,
    /// Query heads; divides `width`.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Inner width of the SwiGLU block.
    pub ffn: u32,
    /// Base of the rotary frequencies.
    pub rope_base: u32,
    /// What norms add to the mean square, in parts per billion.
    #[serde(default = "usual_norm", skip_serializing_if = "is_usual_norm")]
    pub norm_ppb: u32,
    /// Whether the output projection is a tensor of its own instead of the embedding.
    #[serde(default, skip_serializing_if = "is_tied")]
    pub untied: bool,
}

/// What norms of Llama and of SmolLM2 add to the mean square: 1e-5.
const USUAL_NORM_PPB: u32 = 10_000;

// The two fields that most models have alike are left out where they are usual, so that what names a
// model stays as short as it can be.
const fn usual_norm() -> u32 {
    USUAL_NORM_PPB
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_usual_norm(value: &u32) -> bool {
    *value == USUAL_NORM_PPB
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_tied(untied: &bool) -> bool {
    !*untied
}

/// Why a model shape is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A dimension is zero or above its bound.
    #[error("model {field} is {value}; it must be between 1 and {max}")]
    Bound {
        /// The field's name.
        field: &'static str,
        /// The value that was given.
        value: u32,
        /// The largest accepted value.
        max: u32,
    },
    /// The width is not a multiple of twice the number of heads (rotary pairs need even heads).
    #[error("model width {width} does not split into {heads} heads of even size")]
    Heads {
        /// Width of the residual stream.
        width: u32,
        /// Query heads of the refused shape.
        heads: u32,
    },
    /// The query heads do not split evenly over the key-value heads.
    #[error("{heads} query heads do not split evenly over {kv_heads} key-value heads")]
    KvHeads {
        /// Query heads of the refused shape.
        heads: u32,
        /// Key and value heads.
        kv_heads: u32,
    },
    /// The model is too large.
    #[error("the model has {parameters} parameters; at most {max} are accepted")]
    Parameters {
        /// Parameters of the refused shape.
        parameters: u64,
        /// The most parameters that are accepted.
        max: u64,
    },
}

/// What presets have in common; not a model by itself.
const USUAL: ModelConfig = ModelConfig {
    vocab: 0,
    context: 0,
    width: 0,
    layers: 0,
    heads: 0,
    kv_heads: 0,
    ffn: 0,
    rope_base: 10_000,
    norm_ppb: USUAL_NORM_PPB,
    untied: false,
};

impl ModelConfig {
    /// A model for unit tests: a few thousand parameters, trained in a second.
    pub const fn tiny() -> Self {
        Self {
            vocab: 512,
            context: 32,
            width: 32,
            layers: 2,
            heads: 2,
            kv_heads: 1,
            ffn: 64,
            ..USUAL
        }
    }

    /// About 0.5M parameters: learns from 300k tokens in minutes on one CPU core.
    pub const fn nano() -> Self {
        Self {
            vocab: 512,
            context: 128,
            width: 128,
            layers: 3,
            heads: 4,
            kv_heads: 2,
            ffn: 256,
            ..USUAL
        }
    }

    /// About 3.7M parameters.
    pub const fn micro() -> Self {
        Self {
            vocab: 2048,
            context: 256,
            width: 256,
            layers: 5,
            heads: 8,
            kv_heads: 4,
            ffn: 640,
            ..USUAL
        }
    }

    /// About 29M parameters: a home GPU's afternoon.
    pub const fn small() -> Self {
        Self {
            vocab: 16_384,
            context: 512,
            width: 512,
            layers: 8,
            heads: 8,
            kv_heads: 4,
            ffn: 1_344,
            ..USUAL
        }
    }

    /// The shape of SmolLM2-135M.
    pub const fn smol_135m() -> Self {
        Self {
            vocab: 49_152,
            context: 2048,
            width: 576,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            ffn: 1536,
            rope_base: 100_000,
            ..USUAL
        }
    }

    /// The preset of that name: `tiny`, `nano`, `micro`, `small` or `smol-135m`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "nano" => Some(Self::nano()),
            "micro" => Some(Self::micro()),
            "small" => Some(Self::small()),
            "smol-135m" => Some(Self::smol_135m()),
            _ => None,
        }
    }

    /// Accepts the shape or says what is wrong with it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fields = [
            ("vocab", self.vocab, MAX_DIM),
            ("context", self.context, MAX_DIM),
            ("width", self.width, MAX_DIM),
            ("layers", self.layers, MAX_LAYERS),
            ("heads", self.heads, MAX_DIM),
            ("kv_heads", self.kv_heads, MAX_DIM),
            ("ffn", self.ffn, MAX_DIM),
            ("rope_base", self.rope_base, u32::MAX),
            ("norm_ppb", self.norm_ppb, MAX_NORM_PPB),
        ];
        for (field, value, max) in fields {
            if value == 0 || value > max {
                return Err(ConfigError::Bound { field, value, max });
            }
        }
        if !self.width.is_multiple_of(self.heads * 2) {
            return Err(ConfigError::Heads { width: self.width, heads: self.heads });
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigError::KvHeads { heads: self.heads, kv_heads: self.kv_heads });
        }
        let parameters = self.parameters();
        if parameters > MAX_PARAMETERS {
            return Err(ConfigError::Parameters { parameters, max: MAX_PARAMETERS });
        }
        Ok(())
    }

    /// Width of one attention head.
    pub(crate) const fn head_width(&self) -> u32 {
        self.width / self.heads
    }

    /// Width of the keys (and of the values) of one token.
    pub(crate) const fn kv_width(&self) -> u32 {
        self.head_width() * self.kv_heads
    }

    /// What norms add to the mean square.
    pub fn norm_epsilon(&self) -> f32 {
        (f64::from(self.norm_ppb) / 1.0e9) as f32
    }

    /// Number of parameters; no overflow for dimensions within bounds.
    pub const fn parameters(&self) -> u64 {
        let (d, kv, f) = (self.width as u64, self.kv_width() as u64, self.ffn as u64);
        let layer = 2 * d + 2 * d * d + 2 * d * kv + 3 * d * f;
        let ends = 1 + self.untied as u64;
        ends * self.vocab as u64 * d + self.layers as u64 * layer + d
    }
}

/// The shape of a model, as the orders of training runs state it.
pub fn shape_of(model: &ModelConfig) -> Shape {
    Shape {
        vocab: model.vocab,
        context: model.context,
        width: model.width,
        layers: model.layers,
        heads: model.heads,
        ffn: model.ffn,
        parameters: model.parameters(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_of_the_stated_size() {
        let sizes = [
            ("tiny", 30_000..60_000),
            ("nano", 450_000..550_000),
            ("micro", 3_000_000..4_500_000),
            ("small", 25_000_000..35_000_000),
            ("smol-135m", 134_000_000..136_000_000),
        ];
        for (name, range) in sizes {
            let config = ModelConfig::preset(name).unwrap();
            assert_eq!(config.validate(), Ok(()), "{name}");
            assert!(range.contains(&config.parameters()), "{name} {}", config.parameters());
        }
        assert_eq!(ModelConfig::preset("giga"), None);
    }

    #[test]
    fn what_is_usual_is_not_said() {
        let usual = serde_json::to_string(&ModelConfig::tiny()).unwrap();
        assert!(usual.ends_with("\"rope_base\":10000}"), "{usual}");
        let other = ModelConfig { norm_ppb: 1_000, untied: true, ..ModelConfig::tiny() };
        for config in [ModelConfig::tiny(), other] {
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<ModelConfig>(&text).unwrap(), config);
        }
        assert_eq!(ModelConfig::tiny().norm_epsilon(), 1.0e-5);
    }

    #[test]
    fn each_bad_shape_has_its_error() {
        let base = ModelConfig::nano();
        let bad = ModelConfig { layers: 0, ..base };
        assert!(matches!(bad.validate(), Err(ConfigError::Bound { field: "layers", .. })));
        let bad = ModelConfig { heads: 3, ..base };
        assert!(matches!(bad.validate(), Err(ConfigError::Heads { .. })));
        let bad = ModelConfig { kv_heads: 3, ..base };
        assert!(matches!(bad.validate(), Err(ConfigError::KvHeads { .. })));
        let bad = ModelConfig { ffn: 1 << 18, width: 1 << 16, ..base };
        assert!(matches!(bad.validate(), Err(ConfigError::Parameters { .. })));
    }
}
