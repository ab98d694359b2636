//! How a consumer has a model answer on another node, and pays as the answer comes.
//!
//! ```text
//! consumer  Ask ─────────────► Pay ─────────► (reads) ─ Pay ─► …
//! server         Quoted ─────►     Paid, Text, Text …   Paid, Text … Done
//! ```
//!
//! One stream a use. A server says nothing of a price: the chain does. A receipt pays for the next tokens
//! before they are computed, and each is answered by [`FromServer::Paid`] or [`FromServer::Unpaid`]; where no
//! more comes, the answer ends with what is paid. Lengths stand before messages; each is bounded by
//! [`MAX_USAGE_MESSAGE`].

use alloc::{string::String, vec::Vec};

use crate::{
    codec::{DecodeError, Reader, Wire, encode_bytes, encode_list},
    hash::keccak,
    ids::{AccountId, Amount, Digest, EvmAddress, ModelId},
    limits::{MAX_PROMPT_BYTES, MAX_USAGE_TEXT},
    math::PPM,
    node::Refusal,
    receipt::SignedReceipt,
};

/// The longest message of either side, in bytes.
pub const MAX_USAGE_MESSAGE: usize = MAX_PROMPT_BYTES + 256;

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

/// What a consumer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromConsumer {
    /// The first message, once.
    Ask(Ask),
    /// A step of payment.
    Pay(SignedReceipt),
    /// It has read enough: the answer ends here, and the bill comes.
    Enough,
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// It would answer this.
    Quoted {
        /// The account to pay.
        payee: AccountId,
        /// What it was promised so far by this consumer.
        promised: Amount,
        /// Length of the prompt in tokens.
        tokens_in: u32,
        /// Most tokens of the answer: as many as there is room for, and no more than were asked for.
        tokens_out: u32,
    },
    /// The step was taken: so many tokens of the answer are paid for.
    Paid {
        /// Tokens since the answer's beginning.
        tokens: u32,
    },
    /// The step was refused; what was paid before stands.
    Unpaid {
        /// What it was promised so far by this consumer.
        promised: Amount,
        /// Why it was refused, for people.
        reason: String,
    },
    /// More of the answer.
    Text {
        /// The text that follows, in whole characters.
        text: String,
        /// Tokens of the answer so far.
        tokens: u32,
    },
    /// The answer is complete and its attribution recorded.
    Done {
        /// Tokens of the answer.
        tokens: u32,
        /// What all of it cost.
        price: Amount,
        /// Id of the attribution record.
        record: Digest,
    },
    /// There is no answer, or no more of it.
    Refused {
        /// What kind of reason it is.
        cause: Cause,
        /// Why, for people.
        reason: String,
    },
}

/// Kinds of reasons for which a server refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// It does not serve that model.
    NotServed = 1,
    /// What was asked cannot be answered as it is.
    Invalid = 2,
    /// It is longer than the model reads.
    TooLong = 3,
    /// The payment is not right, or nothing stands behind it.
    Payment = 4,
    /// It has too much to do.
    Busy = 5,
    /// It could not.
    Failed = 6,
}

impl Cause {
    const ALL: [Self; 6] =
        [Self::NotServed, Self::Invalid, Self::TooLong, Self::Payment, Self::Busy, Self::Failed];
}

impl From<&Refusal> for Cause {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::NotServed | Refusal::UnknownContract { .. } => Self::NotServed,
            Refusal::TooLong => Self::TooLong,
            Refusal::Busy => Self::Busy,
            Refusal::Failed => Self::Failed,
            Refusal::WrongPayee
            | Refusal::WrongEscrow { .. }
            | Refusal::TooLittle { .. }
            | Refusal::WrongRange { .. }
            | Refusal::WrongUse
            | Refusal::NoDeposit { .. }
            | Refusal::Withdrawing { .. } => Self::Payment,
        }
    }
}

fn text(input: &mut Reader<'_>, limit: usize) -> Result<String, DecodeError> {
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

impl Wire for Cause {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = u8::decode(input)?;
        Self::ALL.into_iter().find(|cause| *cause as u8 == tag).ok_or(DecodeError::Tag(tag))
    }
}

impl Wire for FromConsumer {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ask(ask) => {
                out.push(1);
                ask.encode(out);
            }
            Self::Pay(receipt) => {
                out.push(2);
                receipt.encode(out);
            }
            Self::Enough => out.push(3),
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match u8::decode(input)? {
            1 => Self::Ask(Wire::decode(input)?),
            2 => Self::Pay(Wire::decode(input)?),
            3 => Self::Enough,
            tag => return Err(DecodeError::Tag(tag)),
        })
    }
}

impl Wire for FromServer {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Quoted { payee, promised, tokens_in, tokens_out } => {
                out.push(1);
                payee.encode(out);
                promised.encode(out);
                tokens_in.encode(out);
                tokens_out.encode(out);
            }
            Self::Paid { tokens } => {
                out.push(2);
                tokens.encode(out);
            }
            Self::Unpaid { promised, reason } => {
                out.push(3);
                promised.encode(out);
                encode_bytes(reason.as_bytes(), out);
            }
            Self::Text { text, tokens } => {
                out.push(4);
                encode_bytes(text.as_bytes(), out);
                tokens.encode(out);
            }
            Self::Done { tokens, price, record } => {
                out.push(5);
                tokens.encode(out);
                price.encode(out);
                record.encode(out);
            }
            Self::Refused { cause, reason } => {
                out.push(6);
                cause.encode(out);
                encode_bytes(reason.as_bytes(), out);
            }
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match u8::decode(input)? {
            1 => Self::Quoted {
                payee: Wire::decode(input)?,
                promised: Wire::decode(input)?,
                tokens_in: Wire::decode(input)?,
                tokens_out: Wire::decode(input)?,
            },
            2 => Self::Paid { tokens: Wire::decode(input)? },
            3 => Self::Unpaid {
                promised: Wire::decode(input)?,
                reason: text(input, MAX_USAGE_TEXT)?,
            },
            4 => Self::Text { text: text(input, MAX_USAGE_TEXT)?, tokens: Wire::decode(input)? },
            5 => Self::Done {
                tokens: Wire::decode(input)?,
                price: Wire::decode(input)?,
                record: Wire::decode(input)?,
            },
            6 => {
                Self::Refused { cause: Wire::decode(input)?, reason: text(input, MAX_USAGE_TEXT)? }
            }
            tag => return Err(DecodeError::Tag(tag)),
        })
    }
}
