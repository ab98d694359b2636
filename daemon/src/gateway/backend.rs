//! What stands behind the door: who answers, be it this machine or another.

use std::future::Future;
use std::pin::Pin;

pub(crate) use protocol::ask::{Line, Prompt};
use protocol::{Amount, Digest};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A future that a [`Backend`] gives.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A model that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    /// The name under which it is asked for.
    pub(crate) id: String,
    /// Who offers it, for people.
    pub(crate) owner: String,
    /// Whether it holds conversations; others only continue texts.
    pub(crate) chats: bool,
}

/// A question to one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The [`Offered::id`] of the model.
    pub(crate) model: String,
    pub(crate) prompt: Prompt,
    /// Most tokens of the answer; as many as there is room for where nothing is said.
    pub(crate) max_tokens: Option<u32>,
    /// How freely tokens are drawn, in millionths; 0 takes the likeliest each time.
    pub(crate) temperature_ppm: u32,
    /// Draw among the likeliest tokens that have so much of the probability together, in millionths.
    pub(crate) top_p_ppm: u32,
    /// Draw among so many likeliest tokens; 0 among all.
    pub(crate) top_k: u32,
    pub(crate) seed: u64,
    /// How many likeliest tokens are named beside each one that was drawn; none where nothing is said.
    pub(crate) logprobs: Option<u32>,
    /// The most that the answer may cost; whatever it costs where nothing is said.
    pub(crate) most: Option<Amount>,
}

/// A token that was drawn, or could have been.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    /// Its bytes, which may be half of a character.
    pub(crate) bytes: Vec<u8>,
    /// The natural logarithm of its probability before temperature and cuts.
    pub(crate) logprob: f32,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The model was done.
    Stop,
    /// It has as many tokens as it may have.
    Length,
}

/// What an answer cost, and where its record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paid {
    pub(crate) price: Amount,
    /// The account that served it.
    pub(crate) server: u64,
    /// The digest of the receipt that was signed last.
    pub(crate) receipt: Digest,
    /// The record that says whose data it came from; none where the server gave none.
    pub(crate) record: Option<Digest>,
}

/// A part of an answer, in order: texts, and one end after which nothing comes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// Whole characters, of none, one or several tokens.
    Text {
        text: String,
        /// The tokens drawn since the part before, each with the likeliest ones in its place. Empty where
        /// the question did not ask for them.
        tokens: Vec<(Token, Vec<Token>)>,
    },
    End {
        finish: Finish,
        tokens_out: u32,
        /// None where it was free.
        paid: Option<Paid>,
    },
}

/// An answer that has begun. Whoever drops it wants no more of it, and pays for no more.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) tokens_in: u32,
    /// The most that it can come to cost; nothing where it is free.
    pub(crate) most: Amount,
    /// Cancelled by whoever has read enough and waits for the bill alone: no more is drawn, and
    /// [`Said::End`] follows with what was until then.
    pub(crate) enough: CancellationToken,
    /// Bounded: a server waits for whoever reads slowly. It ends without [`Said::End`] only where the
    /// server vanished.
    pub(crate) said: mpsc::Receiver<Result<Said, Refused>>,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Nobody offers that.
    #[error("the model {0:?} is not offered here")]
    UnknownModel(String),
    /// It only continues texts.
    #[error("{0:?} holds no conversations: it has no chat template; ask for a completion")]
    NoChat(String),
    /// The prompt is longer than the model reads.
    #[error("{0}")]
    TooLong(String),
    /// What the question says is not possible.
    #[error("{0}")]
    Invalid(String),
    /// It could cost more than it may.
    #[error("the answer may cost {price}, more than the {most} that are left of the budget")]
    OverBudget { price: String, most: String },
    /// Who pays has nothing left.
    #[error("{0}")]
    NoFunds(String),
    /// Everybody who serves it has too much to do; when to ask again, in seconds.
    #[error("all who serve this model are busy; ask again in {0} s")]
    Busy(u32),
    /// Who served it failed.
    #[error("{0}")]
    Failed(String),
}

/// Who answers questions, and what they may be about.
pub(crate) trait Backend: Send + Sync + 'static {
    /// What can be asked now.
    fn models(&self) -> Later<'_, Vec<Offered>>;
    /// Begins to answer. No money moves before it is known that the question can be answered and what
    /// it may cost.
    fn ask(&self, question: Question) -> Later<'_, Result<Answering, Refused>>;
}
