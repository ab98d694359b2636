//! GGUF files of llama.cpp.

use std::collections::BTreeSet;

use protocol::Hash;

use super::blocks::Form;
use super::error::ImportError;
use super::header::{Header, TensorInfo};
use super::metadata::Metadata;
use super::names;
use super::result::{About, Imported, Options};
use super::tensors::{self, Progress, Stored, Weights, dimension};
use super::vocabulary;
use crate::model::ModelConfig;
use crate::model::layout::{self, TensorSpec};

/// What the decoder reads of `llama.*`; of what else a file says there, nobody knows what it changes.
const READ: [&str; 10] = [
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.layer_norm_rms_epsilon",
    "rope.freq_base",
    "rope.dimension_count",
    "vocab_size",
];
/// The width of a head, which must be what follows from the rest.
const HEAD: [&str; 3] = ["rope.dimension_count", "attention.key_length", "attention.value_length"];

/// Imports the bytes of a GGUF file.
pub fn gguf(
    bytes: &[u8],
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let header = Header::read(bytes)?;
    let metadata = Metadata(&header.metadata);
    let config = config(&header, &metadata, options)?;
    let vocabulary = vocabulary::read(&metadata)?;
    let weights = weights(&header, &config, progress)?;
    let text = |key: &str| metadata.optional_text(key);
    let origins = [
        "general.source.huggingface.repository",
        "general.source.repo_url",
        "general.source.url",
        "general.repo_url",
        "general.url",
        "general.organization",
        "general.author",
    ];
    let mut origin = None;
    for key in origins {
        origin = origin.or(text(key)?);
    }
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let about = About {
        name: owned(text("general.name")?),
        licence: owned(text("general.license")?),
        origin: owned(origin),
        template: owned(text("tokenizer.chat_template")?),
        begin: vocabulary.begin,
        bos: vocabulary.bos,
        eos: vocabulary.eos,
        ends: vocabulary.ends,
        format: "gguf",
        hash: Hash(*blake3::hash(bytes).as_bytes()),
    };
    Imported::new(weights, vocabulary.tokenizer, about, options)
}

fn config(
    header: &Header<'_>,
    metadata: &Metadata<'_>,
    options: &Options,
) -> Result<ModelConfig, ImportError> {
    let architecture = metadata.text("general.architecture")?;
    if architecture != "llama" {
        let found = architecture.chars().take(64).collect();
        return Err(ImportError::Unsupported { what: "such architecture", found });
    }
    let number = |key: &str| metadata.number(&format!("llama.{key}")).map(dimension);
    let heads = number("attention.head_count")?;
    let kv_heads = metadata.optional_number("llama.attention.head_count_kv")?;
    let float = |key: &str| metadata.optional_float(&format!("llama.{key}"));
    let epsilon = "attention.layer_norm_rms_epsilon";
    let epsilon =
        float(epsilon)?.ok_or_else(|| ImportError::Missing(format!("llama.{epsilon}")))?;
    let config = ModelConfig {
        vocab: dimension(vocabulary::size(metadata)?),
        context: number("context_length")?.min(options.context),
        width: number("embedding_length")?,
        layers: number("block_count")?,
        heads,
        kv_heads: kv_heads.map_or(heads, dimension),
        ffn: number("feed_forward_length")?,
        rope_base: tensors::rope_base(float("rope.freq_base")?.unwrap_or(10_000.0))?,
        norm_ppb: tensors::norm_ppb(epsilon)?,
        untied: header.tensors.contains_key("output.weight"),
    };
    config.validate()?;
    check_rest(metadata, &config)?;
    Ok(config)
}

/// Refuses what else the file says of how the model computes.
fn check_rest(metadata: &Metadata<'_>, config: &ModelConfig) -> Result<(), ImportError> {
    for key in HEAD {
        let key = format!("llama.{key}");
        let width = metadata.optional_number(&key)?;
        if let Some(width) = width.filter(|width| *width != u64::from(config.head_width())) {
            let found = format!("{key} is {width}, not width over heads");
            return Err(ImportError::Unsupported { what: "heads of another width", found });
        }
    }
    for key in metadata.keys() {
        let Some(inner) = key.strip_prefix("llama.") else {
            continue;
        };
        let is_none = match inner {
            "rope.scaling.type" => metadata.text(key)? == "none",
            "expert_count" | "expert_used_count" | "attention.sliding_window" => {
                metadata.number(key)? == 0
            }
            _ => READ.contains(&inner) || HEAD.contains(&inner),
        };
        if !is_none {
            let what = match inner {
                _ if inner.starts_with("rope.scaling") => "scaled rotary positions",
                _ if inner.starts_with("expert") => "experts",
                "attention.sliding_window" => "sliding window",
                _ => "such part",
            };
            let found = key.chars().take(64).collect();
            return Err(ImportError::Unsupported { what, found });
        }
    }
    Ok(())
}

fn weights(
    header: &Header<'_>,
    config: &ModelConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<Weights, ImportError> {
    let specs = layout::tensors(config);
    let names: Vec<String> = specs.iter().map(|spec| names::in_gguf(&spec.name)).collect();
    let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    if let Some(extra) = header.tensors.keys().find(|name| !known.contains(*name)) {
        return Err(match *extra {
            "rope_freqs.weight" => {
                let found = (*extra).to_owned();
                ImportError::Unsupported { what: "scaled rotary positions", found }
            }
            other => ImportError::ExtraTensor(other.chars().take(64).collect()),
        });
    }
    let stored: Vec<Stored<'_>> = specs
        .iter()
        .zip(&names)
        .map(|(spec, name)| {
            let info = header.tensors.get(name.as_str());
            let info = info.ok_or_else(|| ImportError::NoTensor(name.clone()))?;
            find(header.data, info, spec, name)
        })
        .collect::<Result<_, _>>()?;
    if stored.iter().map(|stored| stored.bytes.len()).sum::<usize>() > header.data.len() {
        let reason = "tensors lie on top of each other".to_owned();
        return Err(ImportError::Malformed { section: "list of tensors", reason });
    }
    let arrange = |spec: &TensorSpec, values: Vec<f32>| match spec.name.split('.').nth_back(1) {
        Some("q_proj") => halves(&values, config.heads as usize, spec.cols),
        Some("k_proj") => halves(&values, config.kv_heads as usize, spec.cols),
        _ => values,
    };
    tensors::weights(config, &stored, arrange, progress)
}

/// The bytes of one tensor, of the shape that is needed.
fn find<'a>(
    data: &'a [u8],
    info: &TensorInfo,
    spec: &TensorSpec,
    name: &'a str,
) -> Result<Stored<'a>, ImportError> {
    let expected: Vec<u64> = spec.shape().iter().map(|n| *n as u64).collect();
    let found: Vec<u64> = info.dimensions.iter().rev().copied().collect();
    if found != expected {
        return Err(ImportError::Shape { name: name.to_owned(), expected, found });
    }
    let unread = |form: String| ImportError::Form { name: name.to_owned(), form };
    let form = Form::numbered(info.form).ok_or_else(|| unread(format!("form {}", info.form)))?;
    let length = form.bytes(spec.rows, spec.cols);
    let length = length
        .ok_or_else(|| unread(format!("{}, whose blocks do not divide a row", form.name())))?;
    let start = usize::try_from(info.offset).ok();
    let bytes = start.and_then(|start| data.get(start..start.checked_add(length)?));
    let bytes = bytes.ok_or(ImportError::Truncated { section: "tensors" })?;
    Ok(Stored { name, form, bytes })
}

/// Puts the rows of queries or keys in the order of Hugging Face's models, which turn the first half of
/// a head against the second; llama.cpp turns each even row against the odd one behind it.
fn halves(values: &[f32], heads: usize, columns: usize) -> Vec<f32> {
    let head = values.len() / heads;
    let half = head / columns / 2;
    let mut arranged = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head) {
        for parity in 0..2 {
            for pair in 0..half {
                let row = (2 * pair + parity) * columns;
                arranged.extend_from_slice(&head[row..row + columns]);
            }
        }
    }
    arranged
}
