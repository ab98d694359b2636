//! What an answer leaves behind for its attribution.

use burn::tensor::Tensor;

/// What a model computed while it answered and whoever attributes the answer would compute again.
pub struct Trace {
    /// What was read: prompt and output, without the output's last token.
    pub(crate) tokens: Vec<u32>,
    /// What entered layer `layer`, `[tokens, width]`.
    pub(crate) hidden: Tensor<2>,
    pub(crate) layer: usize,
}
