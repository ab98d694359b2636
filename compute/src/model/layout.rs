//! The one order of a model's parameters.
//!
//! Every checkpoint, update payload and gradient uses this order: the embedding (which mostly is the
//! output projection, too), then each layer's nine tensors, then the last norm, and the output
//! projection where it is a tensor of its own; each tensor row-major.
//! Names are those of the Llama family in safetensors files, so that other tools can read them;
//! a linear's weight is `[out, in]`.

use super::ModelConfig;

/// Tensors in one decoder layer.
pub(crate) const TENSORS_PER_LAYER: usize = 9;
/// Linear maps in one decoder layer: q, k, v, o, gate, up, down, in this order.
pub const LINEARS_PER_LAYER: usize = 7;

/// What a tensor is for, which decides its initial values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Token embedding, output projection (transposed), or both in one.
    Embedding,
    /// The gain of an RMS norm.
    Norm,
    /// A linear map from the residual stream.
    Linear,
    /// A linear map back into the residual stream (smaller initial values).
    LinearOut,
}

/// One tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in safetensors files.
    pub name: String,
    /// Rows; 1 for a norm's gain.
    pub rows: usize,
    /// Columns: the inputs of a linear map.
    pub cols: usize,
    /// What it is for.
    pub role: Role,
}

impl TensorSpec {
    fn new(name: String, rows: u32, cols: u32, role: Role) -> Self {
        Self { name, rows: rows as usize, cols: cols as usize, role }
    }

    /// Number of values.
    pub const fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether it holds no values; never, for a valid model.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape as a safetensors file states it: gains have one dimension.
    pub fn shape(&self) -> Vec<usize> {
        match self.role {
            Role::Norm => vec![self.cols],
            _ => vec![self.rows, self.cols],
        }
    }
}

/// All tensors of a model, in the one order.
pub fn tensors(config: &ModelConfig) -> Vec<TensorSpec> {
    let (d, kv, f) = (config.width, config.kv_width(), config.ffn);
    let mut out = Vec::with_capacity(2 + config.layers as usize * TENSORS_PER_LAYER);
    let embedding = "model.embed_tokens.weight".to_owned();
    out.push(TensorSpec::new(embedding, config.vocab, d, Role::Embedding));
    for layer in 0..config.layers {
        let mut push = |name: &str, rows, cols, role| {
            out.push(TensorSpec::new(
                format!("model.layers.{layer}.{name}.weight"),
                rows,
                cols,
                role,
            ));
        };
        push("input_layernorm", 1, d, Role::Norm);
        push("self_attn.q_proj", d, d, Role::Linear);
        push("self_attn.k_proj", kv, d, Role::Linear);
        push("self_attn.v_proj", kv, d, Role::Linear);
        push("self_attn.o_proj", d, d, Role::LinearOut);
        push("post_attention_layernorm", 1, d, Role::Norm);
        push("mlp.gate_proj", f, d, Role::Linear);
        push("mlp.up_proj", f, d, Role::Linear);
        push("mlp.down_proj", d, f, Role::LinearOut);
    }
    out.push(TensorSpec::new("model.norm.weight".to_owned(), 1, d, Role::Norm));
    if config.untied {
        out.push(TensorSpec::new("lm_head.weight".to_owned(), config.vocab, d, Role::Embedding));
    }
    out
}

/// `(inputs, outputs)` of every linear map, layer by layer: q, k, v, o, gate, up, down.
pub fn linears(config: &ModelConfig) -> Vec<(usize, usize)> {
    tensors(config)
        .iter()
        .filter(|spec| matches!(spec.role, Role::Linear | Role::LinearOut))
        .map(|spec| (spec.cols, spec.rows))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tensors_add_up_to_the_stated_parameters() {
        let untied = ModelConfig { untied: true, ..ModelConfig::tiny() };
        for config in [ModelConfig::tiny(), untied, ModelConfig::nano(), ModelConfig::smol_135m()] {
            let sum: usize = tensors(&config).iter().map(TensorSpec::len).sum();
            assert_eq!(sum as u64, config.parameters());
            assert_eq!(linears(&config).len(), config.layers as usize * LINEARS_PER_LAYER);
        }
    }
}
