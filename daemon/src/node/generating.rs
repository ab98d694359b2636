//! Generates an answer as far as it is paid for, a few tokens at a time.
//!
//! Between two parts of an answer the computing thread does other work, and nobody who pays or reads slowly keeps
//! it waiting: an answer goes on only where its next tokens are paid for and there is room for their text.

use std::time::Duration;

use compute::formats::Detokenizer;
use compute::serve::Generation;
use protocol::node::Failure;
use protocol::receipt::SignedReceipt;
use protocol::{Hash, ModelId};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::compute_thread::{ComputeState, ComputeThread};
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
    /// With the half of a character that the last token may have ended with.
    characters: Detokenizer,
    said: Option<mpsc::Sender<Piece>>,
    /// The model said that its answer ends here.
    is_over: bool,
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
            let generation = state.speaker(&key)?.begin(&asked.prompt, &asked.sampling)?;
            let characters = Detokenizer::default();
            let going = Going { generation, characters, said, is_over: false };
            Ok((asked.receipt, going))
        };
        let (receipt, mut going) = self.thread.run(begin).await?;
        loop {
            let made = going.made();
            let covered = (*paid.borrow_and_update()).min(most);
            if made >= most || going.is_over || !going.has_readers().await {
                break;
            }
            if made < covered {
                let until = covered.min(made.saturating_add(TURN));
                going = self.turn(going, until).await?;
                continue;
            }
            if !going.is_paid_further(&mut paid).await {
                break;
            }
        }
        if going.made() == 0 {
            return Err(Failure::Unavailable);
        }
        going.say_rest();
        Ok((receipt, going.generation))
    }

    /// Has the computing thread generate some tokens.
    async fn turn(&self, mut going: Going, until: u32) -> Result<Going, Failure> {
        let key = self.key;
        let turn = move |state: &mut ComputeState| {
            let speaker = state.speaker(&key)?;
            let (tokenizer, ends) = speaker.endings();
            let mut tokens = going.made();
            let Going { generation, characters, said, is_over } = &mut going;
            let mut say = |token: u32| {
                tokens = tokens.saturating_add(1);
                // The last token was drawn, and is paid, and says nothing.
                *is_over = ends.contains(&token);
                if *is_over {
                    return false;
                }
                let text = characters.push(&tokenizer.token_bytes(token));
                tell(said.as_ref(), Piece { text, tokens });
                true
            };
            speaker.advance(generation, until, &mut say)?;
            Ok(going)
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

    /// Waits for the next step of payment; whether it came in time. Who pays once for all says no more.
    async fn is_paid_further(&self, paid: &mut watch::Receiver<u32>) -> bool {
        let Some(said) = &self.said else { return false };
        tokio::select! {
            changed = timeout(PATIENCE, paid.changed()) => matches!(changed, Ok(Ok(()))),
            // Whoever asked has read enough.
            () = said.closed() => false,
        }
    }

    /// The half of a character whose other half never came.
    fn say_rest(&mut self) {
        let (text, tokens) = (self.characters.rest(), self.made());
        if !text.is_empty() {
            tell(self.said.as_ref(), Piece { text, tokens });
        }
    }
}

/// Hands on a part of an answer for which there is room. Its reader may be gone: what was paid for is recorded
/// all the same.
fn tell(said: Option<&mpsc::Sender<Piece>>, piece: Piece) {
    if let Some(said) = said {
        let _ = said.try_send(piece);
    }
}
