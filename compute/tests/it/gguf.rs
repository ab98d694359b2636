//! A writer of small GGUF files, so that tests know every byte of them.

use compute::formats::{Checkpoint, Tokenizer};
use compute::model::layout;

/// A value of the metadata.
#[derive(Clone)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
}

/// A tensor: its name, dimensions with the fastest first, form and bytes.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dimensions: Vec<u64>,
    pub(crate) form: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A file before it is written.
#[derive(Clone, Default)]
pub(crate) struct Gguf {
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<Tensor>,
}

/// Where the parts of a written file end.
pub(crate) struct Ends {
    pub(crate) metadata: usize,
    pub(crate) head: usize,
}

/// The control tokens that the file adds behind the text's.
pub(crate) const CONTROL: [&str; 3] = ["<|im_start|>", "<|im_end|>", "<|end_of_text|>"];

/// A template as those of chat models are.
pub(crate) const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + \
     '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}\
     {{ '<|im_start|>assistant\\n' }}{% endif %}";

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        let array = |out: &mut Vec<u8>, kind: u32, count: usize| {
            out.extend([9, kind].map(u32::to_le_bytes).concat());
            out.extend((count as u64).to_le_bytes());
        };
        let kind = |out: &mut Vec<u8>, kind: u32| out.extend(kind.to_le_bytes());
        match self {
            Self::U32(value) => (kind(out, 4), out.extend(value.to_le_bytes())).1,
            Self::F32(value) => (kind(out, 6), out.extend(value.to_le_bytes())).1,
            Self::Bool(value) => (kind(out, 7), out.push(u8::from(*value))).1,
            Self::Text(value) => (kind(out, 8), text(out, value)).1,
            Self::Texts(values) => {
                array(out, 8, values.len());
                values.iter().for_each(|value| text(out, value));
            }
            Self::I32s(values) => {
                array(out, 5, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
        }
    }
}

impl Gguf {
    /// The file's bytes.
    pub(crate) fn write(&self) -> (Vec<u8>, Ends) {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(
            [self.tensors.len(), self.metadata.len()].map(|n| (n as u64).to_le_bytes()).concat(),
        );
        for (key, value) in &self.metadata {
            text(&mut out, key);
            value.write(&mut out);
        }
        let metadata = out.len();
        let mut offset = 0u64;
        for tensor in &self.tensors {
            text(&mut out, &tensor.name);
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            tensor.dimensions.iter().for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(tensor.form.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (tensor.bytes.len() as u64).next_multiple_of(32);
        }
        let head = out.len();
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&tensor.bytes);
        }
        (out, Ends { metadata, head })
    }

    /// Sets an entry, or takes it out.
    pub(crate) fn with(&self, key: &str, value: Option<Value>) -> Self {
        let mut changed = self.clone();
        changed.metadata.retain(|(name, _)| name != key);
        changed.metadata.extend(value.map(|value| (key.to_owned(), value)));
        changed
    }

    /// The same with one tensor changed.
    pub(crate) fn change(&self, name: &str, change: impl Fn(&mut Tensor)) -> Self {
        let mut changed = self.clone();
        change(changed.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap());
        changed
    }

    /// A model with that tokenizer, to which [`CONTROL`] tokens are added; its weights in `f32`.
    pub(crate) fn of(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Self {
        let config = checkpoint.config();
        let file: serde_json::Value = serde_json::from_slice(tokenizer.to_bytes()).unwrap();
        let mut tokens = vec![String::new(); tokenizer.vocab() as usize];
        for (token, id) in file["model"]["vocab"].as_object().unwrap() {
            tokens[id.as_u64().unwrap() as usize] = token.clone();
        }
        let mut kinds = vec![1; tokens.len()];
        tokens.extend(CONTROL.map(str::to_owned));
        kinds.resize(tokens.len(), 3);
        let pair = |pair: &serde_json::Value| {
            format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap())
        };
        let merges = file["model"]["merges"].as_array().unwrap().iter().map(pair).collect();
        let end = tokenizer.vocab() + 1;
        let metadata = [
            ("general.architecture", Value::Text("llama".to_owned())),
            ("general.name", Value::Text("Tiny".to_owned())),
            ("general.license", Value::Text("apache-2.0".to_owned())),
            ("general.organization", Value::Text("Somebody".to_owned())),
            ("llama.block_count", Value::U32(config.layers)),
            ("llama.context_length", Value::U32(config.context)),
            ("llama.embedding_length", Value::U32(config.width)),
            ("llama.feed_forward_length", Value::U32(config.ffn)),
            ("llama.attention.head_count", Value::U32(config.heads)),
            ("llama.attention.head_count_kv", Value::U32(config.kv_heads)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(config.norm_epsilon())),
            ("llama.rope.freq_base", Value::F32(config.rope_base as f32)),
            ("tokenizer.ggml.model", Value::Text("gpt2".to_owned())),
            ("tokenizer.ggml.pre", Value::Text("gpt-2".to_owned())),
            ("tokenizer.ggml.tokens", Value::Texts(tokens)),
            ("tokenizer.ggml.token_type", Value::I32s(kinds)),
            ("tokenizer.ggml.merges", Value::Texts(merges)),
            ("tokenizer.ggml.bos_token_id", Value::U32(end - 1)),
            ("tokenizer.ggml.eos_token_id", Value::U32(end)),
            ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
            ("tokenizer.chat_template", Value::Text(TEMPLATE.to_owned())),
        ];
        let mut rest = checkpoint.values();
        let tensors = layout::tensors(config).into_iter().map(|spec| {
            let (values, tail) = rest.split_at(spec.len());
            rest = tail;
            let dimensions = spec.shape().iter().rev().map(|n| *n as u64).collect();
            let heads = match spec.name.contains("q_proj") {
                true => config.heads,
                false => config.kv_heads,
            };
            let values = match spec.name.contains("q_proj") || spec.name.contains("k_proj") {
                true => alternating(values, heads as usize, spec.cols),
                false => values.to_vec(),
            };
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Tensor { name: name(&spec.name), dimensions, form: 0, bytes }
        });
        let tensors = tensors.collect();
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).to_vec();
        Self { metadata, tensors }
    }
}

/// The rows of each head as llama.cpp has them: from the first and the second half in turn.
fn alternating(values: &[f32], heads: usize, columns: usize) -> Vec<f32> {
    let head = values.len() / columns / heads;
    let row = |row: usize| values[row * columns..(row + 1) * columns].to_vec();
    (0..heads * head)
        .flat_map(|at| {
            let (first, inner) = (at / head * head, at % head);
            row(first + inner / 2 + inner % 2 * (head / 2))
        })
        .collect()
}

fn name(name: &str) -> String {
    let parts = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    parts.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}
