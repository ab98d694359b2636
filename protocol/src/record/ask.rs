//! What is asked of a model: receipts name it by its hash, so that nobody can say later that something else was.

use alloc::{string::String, vec::Vec};

use crate::{
    codec::{DecodeError, Reader, Wire, encode_bytes, encode_list},
    hash::keccak,
    ids::{Digest, EvmAddress, ModelId},
    limits::MAX_PROMPT_BYTES,
    math::PPM,
};

/// What somebody said in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Who said it: `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// What a model is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A text to go on from.
    Text(String),
    /// A conversation, which the server writes as its model reads them.
    Chat(Vec<Line>),
}

impl Prompt {
    /// More tokens than any model reads of it, so that no server bills for more: no token stands for less
    /// than a byte, and what a model writes around a text is bounded.
    pub fn most_tokens(&self) -> usize {
        let around = match self {
            Self::Text(_) => 1,
            Self::Chat(lines) => {
                lines.len().saturating_mul(TOKENS_PER_LINE).saturating_add(TOKENS_PER_CHAT)
            }
        };
        self.size().saturating_add(around)
    }

    /// Its size in bytes as far as bounds go, at most [`MAX_PROMPT_BYTES`]: of texts, and eight for each
    /// line of a conversation.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Chat(lines) => {
                let line = |line: &Line| line.role.len().saturating_add(line.content.len());
                let size =
                    |sum: usize, said: &Line| sum.saturating_add(line(said)).saturating_add(8);
                lines.iter().fold(0, size)
            }
        }
    }
}

/// Tokens that a model may write around each line of a conversation: who says it, and where it ends.
const TOKENS_PER_LINE: usize = 64;
/// Tokens that a model may write around a whole conversation: mostly what it is told where nobody tells it
/// anything.
const TOKENS_PER_CHAT: usize = 256;

/// What is asked of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The consumer whose receipts pay.
    pub payer: EvmAddress,
    /// Which model shall answer.
    pub model: ModelId,
    /// What it shall answer.
    pub prompt: Prompt,
    /// Most tokens of the answer.
    pub max_tokens: u32,
    /// How freely tokens are drawn, in millionths; 0 takes the likeliest each time.
    pub temperature_ppm: u32,
    /// Draw among the likeliest tokens that have so much of the probability together, in millionths.
    pub top_p_ppm: u32,
    /// Draw among so many likeliest tokens; 0 among all.
    pub top_k: u32,
    /// Seed of the draws.
    pub seed: u64,
}

/// The temperature of a use for which none is said, in millionths.
pub const USUAL_TEMPERATURE_PPM: u32 = 800_000;

impl Ask {
    /// How a text is gone on with where nothing else is said.
    pub fn text(
        payer: EvmAddress,
        model: ModelId,
        text: String,
        max_tokens: u32,
        seed: u64,
    ) -> Self {
        let (prompt, temperature_ppm) = (Prompt::Text(text), USUAL_TEMPERATURE_PPM);
        Self { payer, model, prompt, max_tokens, temperature_ppm, top_p_ppm: PPM, top_k: 0, seed }
    }

    /// What receipts name it by: nobody can say later that something else was asked.
    pub fn digest(&self) -> Digest {
        keccak(&[b"openledger/ask", &self.to_bytes()])
    }
}

/// A text of so many bytes at most.
pub(crate) fn text(input: &mut Reader<'_>, limit: usize) -> Result<String, DecodeError> {
    String::from_utf8(input.bytes(limit)?).map_err(|_| DecodeError::Utf8)
}

impl Wire for Line {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.role.as_bytes(), out);
        encode_bytes(self.content.as_bytes(), out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (role, content) = (text(input, MAX_PROMPT_BYTES)?, text(input, MAX_PROMPT_BYTES)?);
        Ok(Self { role, content })
    }
}

impl Wire for Prompt {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                out.push(0);
                encode_bytes(text.as_bytes(), out);
            }
            Self::Chat(lines) => {
                out.push(1);
                encode_list(lines, out);
            }
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let prompt = match u8::decode(input)? {
            0 => Self::Text(text(input, MAX_PROMPT_BYTES)?),
            1 => Self::Chat(input.list(MAX_PROMPT_BYTES)?),
            tag => return Err(DecodeError::Tag(tag)),
        };
        let is_bounded = prompt.size() <= MAX_PROMPT_BYTES;
        if is_bounded { Ok(prompt) } else { Err(DecodeError::Invalid("a prompt beyond its limit")) }
    }
}

impl Wire for Ask {
    fn encode(&self, out: &mut Vec<u8>) {
        self.payer.encode(out);
        self.model.encode(out);
        self.prompt.encode(out);
        self.max_tokens.encode(out);
        self.temperature_ppm.encode(out);
        self.top_p_ppm.encode(out);
        self.top_k.encode(out);
        self.seed.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            payer: Wire::decode(input)?,
            model: Wire::decode(input)?,
            prompt: Wire::decode(input)?,
            max_tokens: Wire::decode(input)?,
            temperature_ppm: Wire::decode(input)?,
            top_p_ppm: Wire::decode(input)?,
            top_k: Wire::decode(input)?,
            seed: Wire::decode(input)?,
        })
    }
}
