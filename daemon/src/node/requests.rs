//! Paid requests: one table owns each from its receipt to its answer.
//!
//! ```text
//! receive ─► Received ── begin ──► Computing ── computed ──► Signing ── finish ──► answered
//!                │   (the machine      │                         │
//!                │    admitted it)     │                         │
//!                └─────────────────────┴──────── finish ─────────┴──────────────► refused
//! ```
//!
//! Whoever brings a request hands over the receipt, the question and a way to reply. The machine of
//! [`protocol::node`] decides whether the receipt covers it; until it is answered or refused,
//! everything that the driver knows of it is in its entry here, and [`Requests::finish`] is the only
//! place that removes one. Entries are bounded: one more is refused as busy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::node::{Refusal, ServeRequest};
use protocol::receipt::SignedReceipt;
use protocol::{Amount, Digest};
use tokio::sync::oneshot;

use super::answer::Answer;

/// Requests that are open at a time: those that the machine computes, and as many on their way in
/// and out.
const MAX_OPEN: usize = 512;

/// A consumer's question, with the receipt that pays for it.
#[derive(Debug)]
pub(crate) struct Question {
    /// The consumer's promise; its signature was checked.
    pub(crate) receipt: SignedReceipt,
    /// Token ids of the prompt.
    pub(crate) prompt: Vec<u32>,
    /// Tokens to generate.
    pub(crate) max_tokens: u32,
    /// Seed of the draws.
    pub(crate) seed: u64,
    /// The price of this use.
    pub(crate) fee: Amount,
}

/// A request that was served: the answer, and what it cost.
#[derive(Debug)]
pub struct Served {
    /// The answer and where it came from.
    pub answer: Answer,
    /// Id of the attribution record.
    pub record: Digest,
    /// What the use cost.
    pub fee: Amount,
}

/// Takes the outcome of a request.
pub(crate) type ReplyTo = oneshot::Sender<Result<Served, Refusal>>;

/// The table; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    last_id: u64,
    open: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    reply: ReplyTo,
    fee: Amount,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The machine has it and has not decided.
    Received(Question),
    /// The machine admitted it, and its answer is being computed.
    Computing,
    /// The answer is there; its attribution record is being signed and kept.
    Signing(Answer),
}

impl Requests {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens an entry and gives what the machine must decide on; `None` where there is no room, and
    /// the consumer was told so.
    pub(crate) fn receive(&self, question: Question, reply: ReplyTo) -> Option<ServeRequest> {
        let mut table = self.table();
        if table.open.len() >= MAX_OPEN {
            // The consumer may be gone.
            let _ = reply.send(Err(Refusal::Busy));
            return None;
        }
        table.last_id += 1;
        let request = ServeRequest {
            id: table.last_id,
            receipt: question.receipt.clone(),
            tokens_in: u32::try_from(question.prompt.len()).unwrap_or(u32::MAX),
            tokens_out: question.max_tokens,
        };
        let (fee, state) = (question.fee, State::Received(question));
        table.open.insert(request.id, Entry { reply, fee, state });
        Some(request)
    }

    /// The machine admitted the request: hands the question to the job that answers it, once.
    pub(crate) fn begin(&self, id: u64) -> Option<Question> {
        let mut table = self.table();
        let entry = table.open.get_mut(&id)?;
        match std::mem::replace(&mut entry.state, State::Computing) {
            State::Received(question) => Some(question),
            other => {
                entry.state = other;
                None
            }
        }
    }

    /// The answer is there; it is given out once its attribution is recorded.
    pub(crate) fn computed(&self, id: u64, answer: Answer) {
        if let Some(entry) = self.table().open.get_mut(&id)
            && matches!(entry.state, State::Computing)
        {
            entry.state = State::Signing(answer);
        }
    }

    /// Ends a request: with the id of its attribution record, or with the reason of its refusal.
    pub(crate) fn finish(&self, id: u64, outcome: Result<Digest, Refusal>) {
        let Some(Entry { reply, fee, state }) = self.table().open.remove(&id) else { return };
        let outcome = outcome.and_then(|record| match state {
            State::Signing(answer) => Ok(Served { answer, record, fee }),
            State::Received(_) | State::Computing => Err(Refusal::Failed),
        });
        // The consumer may be gone; the attribution stands all the same.
        let _ = reply.send(outcome);
    }

    /// Ends every request that is open, as failed.
    pub(crate) fn refuse_all(&self) {
        let open = std::mem::take(&mut self.table().open);
        for Entry { reply, .. } in open.into_values() {
            // The consumer may be gone.
            let _ = reply.send(Err(Refusal::Failed));
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::eip712::{Domain, EvmKey};
    use protocol::receipt::Receipt;
    use protocol::{AccountId, EvmAddress, ModelId};

    use super::*;

    const FEE: Amount = Amount(7);

    fn question() -> Question {
        let key = EvmKey::from_bytes(&[7; 32]).unwrap();
        let receipt = Receipt {
            escrow: EvmAddress([2; 20]),
            payer: key.address(),
            payee: AccountId(1),
            model: ModelId(1),
            cumulative: FEE,
            price: FEE,
            nonce: 1,
            request: Digest::ZERO,
        };
        let receipt = receipt.sign(&Domain::new(1, EvmAddress([1; 20])), &key).unwrap();
        Question { receipt, prompt: vec![1, 2, 3], max_tokens: 5, seed: 9, fee: FEE }
    }

    fn answer() -> Answer {
        Answer {
            text: "so it goes".to_owned(),
            tokens_in: 3,
            tokens_out: 5,
            shares: Vec::new(),
            gradient: Vec::new(),
            span_shares: Vec::new(),
            permuted_leader: None,
            lambda_ppm: 0,
            spans: Vec::new(),
            top_units: Vec::new(),
        }
    }

    #[test]
    fn an_answer_is_given_out_with_its_record_and_once() {
        let (requests, (reply, mut outcome)) = (Requests::default(), oneshot::channel());
        let request = requests.receive(question(), reply).unwrap();
        assert_eq!((request.tokens_in, request.tokens_out), (3, 5));
        assert_eq!(requests.begin(request.id).unwrap().seed, 9);
        assert!(requests.begin(request.id).is_none(), "the job has it");
        requests.computed(request.id, answer());
        assert!(outcome.try_recv().is_err(), "nothing is given out before the record is kept");
        requests.finish(request.id, Ok(Digest([3; 32])));
        let served = outcome.try_recv().unwrap().unwrap();
        assert_eq!((served.record, served.fee), (Digest([3; 32]), FEE));
        assert_eq!(served.answer.text, "so it goes");
        requests.finish(request.id, Err(Refusal::Failed));
        assert!(requests.begin(request.id).is_none(), "nothing is left of it");
    }

    #[test]
    fn a_refusal_ends_a_request_in_any_state() {
        let requests = Requests::default();
        for steps in 0..3 {
            let (reply, mut outcome) = oneshot::channel();
            let id = requests.receive(question(), reply).unwrap().id;
            if steps > 0 {
                assert!(requests.begin(id).is_some());
            }
            if steps > 1 {
                requests.computed(id, answer());
            }
            requests.finish(id, Err(Refusal::NotServed));
            assert_eq!(outcome.try_recv().unwrap().unwrap_err(), Refusal::NotServed);
        }
    }

    #[test]
    fn a_record_without_an_answer_is_a_failure() {
        let (requests, (reply, mut outcome)) = (Requests::default(), oneshot::channel());
        let id = requests.receive(question(), reply).unwrap().id;
        requests.computed(id, answer());
        requests.finish(id, Ok(Digest::ZERO));
        assert_eq!(outcome.try_recv().unwrap().unwrap_err(), Refusal::Failed);
    }

    #[test]
    fn one_request_too_many_is_told_so() {
        let requests = Requests::default();
        let open: Vec<_> = (0..MAX_OPEN)
            .map(|_| {
                let (reply, outcome) = oneshot::channel();
                (requests.receive(question(), reply).unwrap().id, outcome)
            })
            .collect();
        let (reply, mut outcome) = oneshot::channel();
        assert!(requests.receive(question(), reply).is_none());
        assert_eq!(outcome.try_recv().unwrap().unwrap_err(), Refusal::Busy);
        requests.finish(open[0].0, Err(Refusal::Failed));
        assert!(requests.receive(question(), oneshot::channel().0).is_some());
    }
}
