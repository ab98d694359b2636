//! What tensors are called elsewhere.

/// GGUF's name of a tensor that the checkpoint calls so.
pub(super) fn in_gguf(name: &str) -> String {
    let part = |part: &str| -> &'static str {
        match part {
            "input_layernorm" => "attn_norm",
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.o_proj" => "attn_output",
            "post_attention_layernorm" => "ffn_norm",
            "mlp.gate_proj" => "ffn_gate",
            "mlp.up_proj" => "ffn_up",
            "mlp.down_proj" => "ffn_down",
            other => unreachable!("layers have no {other}"),
        }
    };
    match name {
        "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
        "model.norm.weight" => "output_norm.weight".to_owned(),
        "lm_head.weight" => "output.weight".to_owned(),
        name => {
            let inner = name.strip_prefix("model.layers.").and_then(|n| n.strip_suffix(".weight"));
            let (layer, inner) =
                inner.and_then(|inner| inner.split_once('.')).expect("the layout names layers");
            format!("blk.{layer}.{}.weight", part(inner))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelConfig, layout};

    #[test]
    fn every_tensor_has_a_name_of_its_own() {
        let config = ModelConfig { untied: true, ..ModelConfig::tiny() };
        let names: std::collections::BTreeSet<String> =
            layout::tensors(&config).iter().map(|spec| in_gguf(&spec.name)).collect();
        assert_eq!(names.len(), layout::tensors(&config).len());
        assert!(names.contains("blk.1.attn_output.weight"));
    }
}
