//! Generates an answer as far as it is paid for, a few tokens at a time.
//!
//! Between two parts of an answer the computing thread does other work, and nobody who pays or reads slowly keeps
//! it waiting: an answer goes on only where its next tokens are paid for and there is room for their text.

use std::time::Duration;

use compute::formats::WholeText;
use compute::serve::Generation;
use protocol::node::Failure;
use protocol::receipt::SignedReceipt;
use protocol::{Hash, ModelId};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::compute_thread::{ComputeState, ComputeThread, not_served};
use super::requests::{Piece, Question};

/// Tokens that are generated before others have their turn.
const TURN: u32 = 8;
/// How long a consumer may take to pay for the next tokens, or to read the last ones, before its answer ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// One model on the computing thread.
pub(super) struct Generating<'a> {
    pub(super) thread: &'a ComputeThread,
    pub(super) key: (ModelId, Hash),
}

/// An answer between two turns.
struct Going {
    generation: Generation,
    text: WholeText,
    said: Option<mpsc::Sender<Piece>>,
}

impl Generating<'_> {
    /// Generates all that is asked for, or that is paid for in time and read.
    pub(super) async fn run(
        &self,
        question: Question,
    ) -> Result<(SignedReceipt, Generation), Failure> {
        let Question { asked, mut paid, said } = question;
        let (most, key) = (asked.sampling.tokens, self.key);
        let begin = move |state: &mut ComputeState| {
            let served = state.attributors.get(&key).ok_or(Failure::Unavailable)?;
            let generation = served.begin(&asked.prompt, &asked.sampling).map_err(not_served)?;
            Ok((asked.receipt, Going { generation, text: WholeText::default(), said }))
        };
        let (receipt, mut going) = self.thread.run(begin).await?;
        loop {
            let made = going.made();
            let covered = (*paid.borrow_and_update()).min(most);
            if made >= most || !going.has_readers().await {
                break;
            }
            if made < covered {
                let until = covered.min(made.saturating_add(TURN));
                going = self.turn(going, until).await?;
                continue;
            }
            // Who pays once for all has no more to say.
            let is_stepwise = going.said.is_some();
            if !is_stepwise || !matches!(timeout(PATIENCE, paid.changed()).await, Ok(Ok(()))) {
                break;
            }
        }
        if going.made() == 0 {
            return Err(Failure::Unavailable);
        }
        let going = self.thread.run(move |state| going.say_rest(state, key)).await?;
        Ok((receipt, going.generation))
    }

    /// Has the computing thread generate some tokens.
    async fn turn(&self, mut going: Going, until: u32) -> Result<Going, Failure> {
        let key = self.key;
        let turn = move |state: &mut ComputeState| {
            let served = state.attributors.get(&key).ok_or(Failure::Unavailable)?;
            let tokenizer = &served.run().tokenizer;
            let (mut tokens, mut broken) = (going.made(), None);
            let Going { generation, text, said } = &mut going;
            let mut say = |token: u32| {
                tokens = tokens.saturating_add(1);
                match text.push(tokenizer, token) {
                    Ok(text) => tell(said.as_ref(), Piece { text, tokens }),
                    Err(error) => broken = Some(error),
                }
                broken.is_none()
            };
            served.advance(generation, until, &mut say).map_err(not_served)?;
            match broken {
                Some(_) => Err(Failure::Invalid),
                None => Ok(going),
            }
        };
        self.thread.run(turn).await
    }
}

impl Going {
    fn made(&self) -> u32 {
        u32::try_from(self.generation.output().len()).unwrap_or(u32::MAX)
    }

    /// Waits until there is room for the text of another turn; whether there will be.
    async fn has_readers(&self) -> bool {
        let Some(said) = &self.said else { return true };
        let room = timeout(PATIENCE, said.reserve_many(TURN as usize)).await;
        matches!(room, Ok(Ok(_)))
    }

    /// The end of a character that never came.
    fn say_rest(mut self, state: &mut ComputeState, key: (ModelId, Hash)) -> Result<Self, Failure> {
        let served = state.attributors.get(&key).ok_or(Failure::Unavailable)?;
        let text = self.text.rest(&served.run().tokenizer).map_err(|_| Failure::Invalid)?;
        let tokens = self.made();
        if !text.is_empty() {
            tell(self.said.as_ref(), Piece { text, tokens });
        }
        Ok(self)
    }
}

/// Hands on a part of an answer for which there is room. Its reader may be gone: what was paid for is recorded
/// all the same.
fn tell(said: Option<&mpsc::Sender<Piece>>, piece: Piece) {
    if let Some(said) = said {
        let _ = said.try_send(piece);
    }
}
