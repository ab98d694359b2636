//! Adapters as Hugging Face's `peft` keeps them: `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! Its names and orientation are ours, so the weights that leave are the canonical file itself. What comes
//! in is held against the base: another form of LoRA, other tensors and other shapes are refused by name.

use std::collections::BTreeSet;

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::{Value, json};

use super::adapter::{Adapter, AdapterError, BaseId};
use super::config::{LoraConfig, LoraConfigError, MAX_PARAMETERS};
use crate::model::layout::{self, LINEARS_PER_LAYER, Role};

/// The longest configuration that is read, in bytes.
const MAX_CONFIG: usize = 1 << 20;
/// The longest file of weights that is read, in bytes.
const MAX_WEIGHTS: usize = (MAX_PARAMETERS as usize * 4) + (1 << 20);

/// The two files of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeftFiles {
    /// What stands in `adapter_config.json`: rank, factor, linear maps.
    pub config: Vec<u8>,
    /// What stands in `adapter_model.safetensors`: the factors.
    pub weights: Vec<u8>,
}

/// Why files are no adapter of a base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeftError {
    /// A file is too long.
    #[error("the {what} has {found} bytes; at most {most} are read")]
    TooLong {
        /// `configuration` or `weights`.
        what: &'static str,
        /// Its length in bytes.
        found: usize,
        /// The most that is read.
        most: usize,
    },
    /// The configuration cannot be read.
    #[error("adapter_config.json cannot be read: {0}")]
    Config(String),
    /// It is another form of adapter.
    #[error("the adapter has {0}, which cannot be represented here")]
    Form(String),
    /// The weights cannot be read.
    #[error("adapter_model.safetensors cannot be read: {0}")]
    Weights(String),
    /// A tensor has no place in the base.
    #[error("the tensor {0:?} belongs to no linear map of the base")]
    UnknownTensor(String),
    /// A tensor is not there, or is another than it should be.
    #[error("the tensor {name:?} is missing, or is not of shape {shape:?} in F32, F16 or BF16")]
    Tensor {
        /// What the file calls it.
        name: String,
        /// The shape that the base asks for.
        shape: Vec<usize>,
    },
    /// The shape is refused.
    #[error(transparent)]
    Shape(#[from] LoraConfigError),
    /// The weights are refused.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
}

/// What of `adapter_config.json` changes what an adapter says.
#[derive(Deserialize)]
struct Config {
    peft_type: String,
    r: u32,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

/// Settings under which `peft` computes something else; each is absent, null, false, empty or `none` in a
/// plain adapter.
const OTHER_FORMS: [&str; 10] = [
    "use_dora",
    "use_qalora",
    "fan_in_fan_out",
    "bias",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "trainable_token_indices",
];

impl Adapter {
    /// The adapter as `peft` reads it, for a base that is called like that.
    pub fn to_peft(&self, base: &str) -> PeftFiles {
        let lora = self.config();
        let scale = f64::from(lora.scale_ppm) / 1.0e6;
        let places: BTreeSet<usize> =
            lora.linears.iter().map(|l| usize::from(*l) % LINEARS_PER_LAYER).collect();
        let layers: BTreeSet<usize> =
            lora.linears.iter().map(|l| usize::from(*l) / LINEARS_PER_LAYER).collect();
        let targets: Vec<&str> = places.iter().map(|p| protocol::model::TARGETS[*p]).collect();
        let all = self.base().model.layers as usize;
        // Which layers have one is only said where not all do.
        let layers = (layers.len() < all).then_some(layers);
        let config = json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": lora.rank,
            "lora_alpha": scale * f64::from(lora.rank),
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "target_modules": targets,
            "layers_to_transform": layers,
        });
        let config = serde_json::to_vec_pretty(&config).expect("plain values serialise");
        PeftFiles { config, weights: self.to_bytes() }
    }

    /// Reads what `peft` saved as an adapter of a base. Which linear maps it adapts is what its tensors say.
    pub fn from_peft(base: &BaseId, files: &PeftFiles) -> Result<Self, PeftError> {
        for (what, bytes, most) in
            [("configuration", &files.config, MAX_CONFIG), ("weights", &files.weights, MAX_WEIGHTS)]
        {
            let found = bytes.len();
            if found > most {
                return Err(PeftError::TooLong { what, found, most });
            }
        }
        let config: Config = serde_json::from_slice(&files.config)
            .map_err(|error| PeftError::Config(error.to_string()))?;
        let scale_ppm = config.scale_ppm()?;
        let file = SafeTensors::deserialize(&files.weights)
            .map_err(|error| PeftError::Weights(error.to_string()))?;
        let linears = linears(base, &file)?;
        let lora = LoraConfig { rank: config.r, scale_ppm, linears };
        lora.validate(&base.model)?;
        let mut values = Vec::new();
        for spec in lora.tensors(&base.model) {
            let view = file.tensor(&spec.name).ok().filter(|view| view.shape() == spec.shape());
            let read = view.and_then(|view| floats(&view));
            let (name, shape) = (spec.name.clone(), spec.shape());
            values.extend(read.ok_or(PeftError::Tensor { name, shape })?);
        }
        Ok(Self::from_values(base, &lora, values)?)
    }
}

impl Config {
    /// The factor of the additions in ppm, of a plain adapter.
    fn scale_ppm(&self) -> Result<u32, PeftError> {
        if self.peft_type != "LORA" {
            return Err(PeftError::Form(format!("the type {:?}", self.peft_type)));
        }
        let is_plain = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text == "none",
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        let other = OTHER_FORMS.iter().find(|key| !self.others.get(**key).is_none_or(is_plain));
        if let Some(key) = other {
            return Err(PeftError::Form(format!("{key} {}", self.others[*key])));
        }
        let rank = f64::from(self.r);
        let scale = self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank };
        let ppm = (scale * 1.0e6).round();
        match (1.0..=1.0e9).contains(&ppm) {
            true => Ok(ppm as u32),
            false => Err(PeftError::Form(format!("the factor {scale}"))),
        }
    }
}

/// The linear maps that tensors belong to, ascending; each tensor has its place.
fn linears(base: &BaseId, file: &SafeTensors<'_>) -> Result<Vec<u16>, PeftError> {
    let specs = layout::tensors(&base.model);
    let stems = specs.iter().filter(|s| matches!(s.role, Role::Linear | Role::LinearOut));
    let stems: Vec<&str> = stems.map(|s| s.name.trim_end_matches(".weight")).collect();
    let mut found = BTreeSet::new();
    for name in file.names() {
        let stem = name.strip_prefix("base_model.model.").and_then(|rest| {
            rest.strip_suffix(".lora_A.weight").or_else(|| rest.strip_suffix(".lora_B.weight"))
        });
        let place = stem.and_then(|stem| stems.iter().position(|known| *known == stem));
        let place = place.and_then(|place| u16::try_from(place).ok());
        found.insert(place.ok_or_else(|| PeftError::UnknownTensor(name.to_owned()))?);
    }
    Ok(found.into_iter().collect())
}

fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => {
            bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
        }
        Dtype::BF16 => {
            bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use protocol::Hash;

    use super::*;
    use crate::model::ModelConfig;

    fn base() -> BaseId {
        let (checkpoint, tokenizer) = (Hash([1; 32]), Hash([2; 32]));
        BaseId { checkpoint, tokenizer, model: ModelConfig::tiny() }
    }

    fn adapter(linears: Vec<u16>) -> Adapter {
        let config = LoraConfig { rank: 4, scale_ppm: 2_000_000, linears };
        Adapter::init(&base(), &config, 3).unwrap()
    }

    fn with(files: &PeftFiles, key: &str, value: Value) -> PeftFiles {
        let mut config: Value = serde_json::from_slice(&files.config).unwrap();
        config[key] = value;
        PeftFiles { config: serde_json::to_vec(&config).unwrap(), ..files.clone() }
    }

    #[test]
    fn what_leaves_comes_back_the_same() {
        for linears in [vec![0, 2, 7, 9], vec![6], (0..14).collect()] {
            let mine = adapter(linears);
            let files = mine.to_peft("tiny");
            assert_eq!(Adapter::from_peft(&base(), &files), Ok(mine));
        }
        let files = adapter(vec![0, 2, 7, 9]).to_peft("tiny");
        let config: Value = serde_json::from_slice(&files.config).unwrap();
        assert_eq!(config["target_modules"], json!(["q_proj", "v_proj"]));
        assert_eq!((&config["lora_alpha"], &config["r"]), (&json!(8.0), &json!(4)));
        assert_eq!(config["layers_to_transform"], Value::Null);
        let some = adapter(vec![6]).to_peft("tiny");
        let some: Value = serde_json::from_slice(&some.config).unwrap();
        assert_eq!(some["layers_to_transform"], json!([0]));
    }

    #[test]
    fn the_factor_is_what_peft_makes_of_rank_and_alpha() {
        let files = adapter(vec![0]).to_peft("tiny");
        let scale = |files: &PeftFiles| {
            Adapter::from_peft(&base(), files).map(|adapter| adapter.config().scale_ppm)
        };
        assert_eq!(scale(&with(&files, "lora_alpha", json!(6))), Ok(1_500_000));
        assert_eq!(scale(&with(&files, "use_rslora", json!(true))), Ok(4_000_000));
        for bad in [json!(0), json!(-8), json!(1e300)] {
            let bad = scale(&with(&files, "lora_alpha", bad));
            assert!(matches!(bad, Err(PeftError::Form(_))), "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_represented_is_named() {
        let files = adapter(vec![0, 2]).to_peft("tiny");
        let read = |files: &PeftFiles| Adapter::from_peft(&base(), files).unwrap_err();
        for (key, value) in [
            ("use_dora", json!(true)),
            ("bias", json!("all")),
            ("modules_to_save", json!(["lm_head"])),
            ("rank_pattern", json!({ "q_proj": 16 })),
            ("fan_in_fan_out", json!(true)),
        ] {
            let error = read(&with(&files, key, value));
            assert!(matches!(&error, PeftError::Form(text) if text.contains(key)), "{error}");
        }
        let other = read(&with(&files, "peft_type", json!("LOHA")));
        assert!(other.to_string().contains("LOHA"), "{other}");
        assert!(matches!(read(&with(&files, "r", json!(0))), PeftError::Form(_)));
        assert!(matches!(read(&with(&files, "r", json!(1_000))), PeftError::Shape(_)));
        assert!(matches!(read(&with(&files, "r", json!(8))), PeftError::Tensor { .. }));
        let no = PeftFiles { config: b"{}".to_vec(), ..files.clone() };
        assert!(matches!(read(&no), PeftError::Config(_)));
        for cut in [0, 7, files.weights.len() / 2, files.weights.len() - 1] {
            let cut = PeftFiles { weights: files.weights[..cut].to_vec(), ..files.clone() };
            assert!(matches!(read(&cut), PeftError::Weights(_)));
        }
        // Of a larger base.
        let model = ModelConfig { width: 64, ..ModelConfig::tiny() };
        let wide = Adapter::from_peft(&BaseId { model, ..base() }, &files).unwrap_err();
        assert!(matches!(wide, PeftError::Tensor { .. }), "{wide}");
        let model = ModelConfig { layers: 1, ..ModelConfig::tiny() };
        let deep = adapter(vec![0, 9]).to_peft("tiny");
        let deep = Adapter::from_peft(&BaseId { model, ..base() }, &deep).unwrap_err();
        assert!(matches!(&deep, PeftError::UnknownTensor(name) if name.contains("layers.1")));
        let nan = adapter(vec![0]);
        let mut weights = nan.to_bytes();
        let at = weights.len() - 4;
        weights[at..].copy_from_slice(&f32::NAN.to_le_bytes());
        let nan = PeftFiles { weights, ..nan.to_peft("tiny") };
        assert!(matches!(read(&nan), PeftError::Adapter(AdapterError::Weights(_))));
    }
}
