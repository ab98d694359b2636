//! The JSON files of a Hugging Face folder.

use serde_json::Value;

use super::error::ImportError;
use super::tensors::{self, dimension};
use crate::model::ModelConfig;

/// The largest of these files.
const MAX_BYTES: usize = 1 << 20;

/// One JSON object.
#[derive(Debug, Default)]
pub(super) struct Settings(serde_json::Map<String, Value>);

impl Settings {
    pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Self, ImportError> {
        let wrong = |reason: String| ImportError::Unreadable { name: name.to_owned(), reason };
        if bytes.len() > MAX_BYTES {
            return Err(wrong(format!("{} bytes are more than {MAX_BYTES}", bytes.len())));
        }
        serde_json::from_slice(bytes).map(Self).map_err(|error| wrong(error.to_string()))
    }

    /// What is set; `null` is not.
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }

    /// The text of a token, which stands there by itself or within an object.
    pub(super) fn token(&self, key: &str) -> Option<&str> {
        let value = self.get(key)?;
        value.as_str().or_else(|| value.get("content")?.as_str())
    }

    /// The chat template: the only one, or the one called `default` of several.
    pub(super) fn template(&self) -> Option<&str> {
        let named = |value: &Value| value.get("name").and_then(Value::as_str) == Some("default");
        match self.get("chat_template")? {
            Value::Array(all) => all.iter().find(|value| named(value))?.get("template")?.as_str(),
            one => one.as_str(),
        }
    }

    /// Token ids: one, several or none.
    pub(super) fn ids(&self, key: &str) -> Result<Vec<u32>, ImportError> {
        let id = |value: &Value| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| malformed(format!("{key} is no token id")))
        };
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(id).collect(),
            Some(value) => Ok(vec![id(value)?]),
        }
    }

    fn number(&self, key: &str) -> Result<Option<u32>, ImportError> {
        let wrong = || malformed(format!("{key} is no whole number"));
        self.get(key).map(|v| v.as_u64().map(dimension).ok_or_else(wrong)).transpose()
    }

    fn needed(&self, key: &str) -> Result<u32, ImportError> {
        self.number(key)?.ok_or_else(|| ImportError::Missing(key.to_owned()))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, ImportError> {
        let wrong = || malformed(format!("{key} is no number"));
        self.get(key).map(|value| value.as_f64().ok_or_else(wrong)).transpose()
    }
}

fn malformed(reason: String) -> ImportError {
    ImportError::Malformed { section: "config.json", reason }
}

fn unsupported(what: &'static str, found: impl std::fmt::Display) -> ImportError {
    ImportError::Unsupported { what, found: found.to_string().chars().take(96).collect() }
}

/// The shape that a `config.json` states; contexts are cut to `context` tokens.
pub(super) fn config(settings: &Settings, context: u32) -> Result<ModelConfig, ImportError> {
    match settings.text("model_type") {
        Some("llama") => {}
        Some(other) => return Err(unsupported("such architecture", other)),
        None => return Err(ImportError::Missing("model_type".to_owned())),
    }
    if let Some(activation) = settings.text("hidden_act").filter(|name| *name != "silu") {
        return Err(unsupported("such activation", activation));
    }
    for (key, what) in [
        ("attention_bias", "biases"),
        ("mlp_bias", "biases"),
        ("rope_interleaved", "interleaved rotary pairs"),
        ("use_sliding_window", "sliding window"),
    ] {
        if settings.flag(key) == Some(true) {
            return Err(unsupported(what, key));
        }
    }
    for (key, what) in
        [("sliding_window", "sliding window"), ("quantization_config", "such stored weights")]
    {
        if let Some(value) = settings.get(key) {
            return Err(unsupported(what, format!("{key} {value}")));
        }
    }
    let (width, heads) = (settings.needed("hidden_size")?, settings.needed("num_attention_heads")?);
    let epsilon = settings.float("rms_norm_eps")?;
    let epsilon = epsilon.ok_or_else(|| ImportError::Missing("rms_norm_eps".to_owned()))?;
    let config = ModelConfig {
        vocab: settings.needed("vocab_size")?,
        context: settings.needed("max_position_embeddings")?.min(context),
        width,
        layers: settings.needed("num_hidden_layers")?,
        heads,
        kv_heads: settings.number("num_key_value_heads")?.unwrap_or(heads),
        ffn: settings.needed("intermediate_size")?,
        rope_base: tensors::rope_base(rope(settings)?)?,
        norm_ppb: tensors::norm_ppb(epsilon)?,
        untied: !settings.flag("tie_word_embeddings").unwrap_or(false),
    };
    config.validate()?;
    match settings.number("head_dim")? {
        Some(head) if head != config.head_width() => {
            Err(unsupported("heads of another width", format!("head_dim {head}")))
        }
        _ => Ok(config),
    }
}

/// The base of the rotary frequencies, in the place of old or of new versions; scaled ones are refused.
fn rope(settings: &Settings) -> Result<f64, ImportError> {
    let mut base = settings.float("rope_theta")?;
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = settings.get(key) else {
            continue;
        };
        let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str);
        if kind != Some("default") {
            return Err(unsupported("scaled rotary positions", format!("{key} {rope}")));
        }
        base = base.or_else(|| rope.get("rope_theta")?.as_f64());
    }
    Ok(base.unwrap_or(10_000.0))
}
