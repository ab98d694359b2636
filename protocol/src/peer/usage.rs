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
    ask::{Ask, text},
    codec::{DecodeError, Reader, Wire, encode_bytes},
    ids::{AccountId, Amount, Digest},
    limits::{MAX_PROMPT_BYTES, MAX_USAGE_TEXT},
    node::Refusal,
    receipt::SignedReceipt,
};

/// The longest message of either side, in bytes.
pub const MAX_USAGE_MESSAGE: usize = MAX_PROMPT_BYTES + 256;

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
