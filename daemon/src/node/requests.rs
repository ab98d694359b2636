//! Paid requests: one table owns each from its receipt to its answer.
//!
//! ```text
//! open ─► Received ── begin ──► Computing ── computed ──► Signing ── finish ──► answered
//!             │   (the machine    │  ▲                       │
//!             │    admitted it)   │  └ paid, step by step    │
//!             └───────────────────┴──────── finish ──────────┴──────────────► refused
//! ```
//!
//! Whoever brings a request hands over the receipt and the question. The machine of [`protocol::node`] decides
//! whether the receipt covers it, and what each further step of payment is worth; until it is answered or
//! refused, everything that the driver knows of it is in its entry here, and [`Requests::finish`] is the
//! only place that removes one. Entries are bounded: one more is refused as busy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use compute::serve::Sampling;
use protocol::ask::Ask;
use protocol::limits::PAID_AHEAD_TOKENS;
use protocol::node::{Refusal, ServeRequest};
use protocol::receipt::SignedReceipt;
use protocol::{Amount, Digest};
use tokio::sync::{mpsc, oneshot, watch};

use super::answer::Answer;

/// Requests that are open at a time: those that the machine computes, and as many on their way in
/// and out.
const MAX_OPEN: usize = 512;

/// Parts of an answer that wait for whoever reads it: as many as are paid for ahead, so that nobody who
/// reads slowly keeps the device from others.
const MAX_UNREAD: usize = PAID_AHEAD_TOKENS as usize;

/// A consumer's question, with the receipt that pays for its beginning or for all of it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The consumer's promise; its signature was checked.
    pub(crate) receipt: SignedReceipt,
    /// What the receipt names.
    pub(crate) ask: Ask,
    /// Token ids of its prompt.
    pub(crate) prompt: Vec<u32>,
    /// How many tokens are generated at most, and how they are drawn.
    pub(crate) sampling: Sampling,
    /// Whether the answer is read as it comes, and paid for step by step.
    pub(crate) is_streamed: bool,
}

/// What the job that answers needs of a request.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) asked: Asked,
    /// Tokens of the answer that are paid for so far.
    pub(crate) paid: watch::Receiver<u32>,
    /// Where the answer goes as it comes.
    pub(crate) said: Option<mpsc::Sender<Piece>>,
}

/// More of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The text that follows, in whole characters.
    pub(crate) text: String,
    /// Tokens of the answer so far.
    pub(crate) tokens: u32,
}

/// A request that is open, for whoever brought it.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The driver's number for it.
    pub(crate) id: u64,
    /// Tokens of the answer that are paid for so far; zero until the machine admits it.
    pub(crate) paid: watch::Receiver<u32>,
    /// The answer as it comes, where it is streamed. Dropped, no more is generated.
    pub(crate) said: mpsc::Receiver<Piece>,
    /// What became of it.
    pub(crate) outcome: oneshot::Receiver<Result<Served, Refusal>>,
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
    reply: oneshot::Sender<Result<Served, Refusal>>,
    paid: watch::Sender<u32>,
    /// Who waits for what the machine says to a step of payment.
    step: Option<oneshot::Sender<Result<u32, Refusal>>>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The machine has it and has not decided.
    Received(Box<Question>),
    /// The machine admitted it, and its answer is being computed.
    Computing,
    /// The answer is there; its attribution record is being signed and kept.
    Signing(Box<Answer>),
}

impl Requests {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens an entry, and gives what the machine must decide on.
    pub(crate) fn open(&self, asked: Asked) -> Result<(ServeRequest, Opened), Refusal> {
        let mut table = self.table();
        if table.open.len() >= MAX_OPEN {
            return Err(Refusal::Busy);
        }
        table.last_id += 1;
        let request = ServeRequest {
            id: table.last_id,
            receipt: asked.receipt.clone(),
            tokens_in: u32::try_from(asked.prompt.len()).unwrap_or(u32::MAX),
            tokens_out: asked.sampling.tokens,
        };
        let (reply, outcome) = oneshot::channel();
        let (say, said) = mpsc::channel(MAX_UNREAD);
        let (pay, paid) = watch::channel(0);
        let say = asked.is_streamed.then_some(say);
        let question = Box::new(Question { asked, paid: paid.clone(), said: say });
        let entry = Entry { reply, paid: pay, step: None, state: State::Received(question) };
        table.open.insert(request.id, entry);
        let opened = Opened { id: request.id, paid, said, outcome };
        Ok((request, opened))
    }

    /// The machine admitted the request: hands the question to the job that answers it, once.
    pub(crate) fn begin(&self, id: u64) -> Option<Question> {
        let mut table = self.table();
        let entry = table.open.get_mut(&id)?;
        match std::mem::replace(&mut entry.state, State::Computing) {
            State::Received(question) => Some(*question),
            other => {
                entry.state = other;
                None
            }
        }
    }

    /// Waits for what the machine says to a step of payment: one at a time.
    pub(crate) fn step(&self, id: u64) -> Result<oneshot::Receiver<Result<u32, Refusal>>, Refusal> {
        let mut table = self.table();
        let entry = table.open.get_mut(&id).ok_or(Refusal::WrongUse)?;
        if entry.step.is_some() {
            return Err(Refusal::Busy);
        }
        let (reply, answer) = oneshot::channel();
        entry.step = Some(reply);
        Ok(answer)
    }

    /// The machine took a payment, or refused it: how many tokens are paid for.
    pub(crate) fn paid(&self, id: u64, tokens: Result<u32, Refusal>) {
        if let Some(entry) = self.table().open.get_mut(&id) {
            if let Ok(tokens) = tokens {
                entry.paid.send_replace(tokens);
            }
            if let Some(step) = entry.step.take() {
                // The consumer may be gone.
                let _ = step.send(tokens);
            }
        }
    }

    /// The answer is there; it is given out once its attribution is recorded.
    pub(crate) fn computed(&self, id: u64, answer: Answer) {
        if let Some(entry) = self.table().open.get_mut(&id)
            && matches!(entry.state, State::Computing)
        {
            entry.state = State::Signing(Box::new(answer));
        }
    }

    /// Ends a request: with its attribution record and what it cost, or with the reason of its refusal.
    pub(crate) fn finish(&self, id: u64, outcome: Result<(Digest, Amount), Refusal>) {
        let Some(Entry { reply, state, .. }) = self.table().open.remove(&id) else { return };
        let outcome = outcome.and_then(|(record, fee)| match state {
            State::Signing(answer) => Ok(Served { answer: *answer, record, fee }),
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

    fn asked() -> Asked {
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
        let sampling =
            Sampling { tokens: 5, temperature_ppm: 0, top: 0, top_p_ppm: Sampling::ALL, seed: 9 };
        let ask = Ask::text(key.address(), ModelId(1), "Why?".to_owned(), 5, 9);
        Asked { receipt, ask, prompt: vec![1, 2, 3], sampling, is_streamed: true }
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
        let requests = Requests::default();
        let (request, mut opened) = requests.open(asked()).unwrap();
        assert_eq!((request.tokens_in, request.tokens_out), (3, 5));
        assert_eq!(requests.begin(request.id).unwrap().asked.sampling.seed, 9);
        assert!(requests.begin(request.id).is_none(), "the job has it");
        requests.computed(request.id, answer());
        assert!(
            opened.outcome.try_recv().is_err(),
            "nothing is given out before the record is kept"
        );
        requests.finish(request.id, Ok((Digest([3; 32]), FEE)));
        let served = opened.outcome.try_recv().unwrap().unwrap();
        assert_eq!((served.record, served.fee), (Digest([3; 32]), FEE));
        assert_eq!(served.answer.text, "so it goes");
        requests.finish(request.id, Err(Refusal::Failed));
        assert!(requests.begin(request.id).is_none(), "nothing is left of it");
    }

    #[test]
    fn each_step_of_payment_has_its_answer() {
        let requests = Requests::default();
        let (request, opened) = requests.open(asked()).unwrap();
        requests.paid(request.id, Ok(2));
        let question = requests.begin(request.id).unwrap();
        assert_eq!(*question.paid.borrow(), 2);
        let mut step = requests.step(request.id).unwrap();
        assert!(matches!(requests.step(request.id), Err(Refusal::Busy)), "one at a time");
        requests.paid(request.id, Err(Refusal::WrongUse));
        assert_eq!(step.try_recv().unwrap(), Err(Refusal::WrongUse));
        let mut step = requests.step(request.id).unwrap();
        requests.paid(request.id, Ok(4));
        assert_eq!(step.try_recv().unwrap(), Ok(4));
        assert_eq!((*question.paid.borrow(), *opened.paid.borrow()), (4, 4));
        requests.finish(request.id, Err(Refusal::Failed));
        assert!(requests.step(request.id).is_err());
        assert!(question.paid.has_changed().is_err(), "nobody pays for more");
    }

    #[test]
    fn a_refusal_ends_a_request_in_any_state() {
        let requests = Requests::default();
        for steps in 0..3 {
            let (request, mut opened) = requests.open(asked()).unwrap();
            if steps > 0 {
                assert!(requests.begin(request.id).is_some());
            }
            if steps > 1 {
                requests.computed(request.id, answer());
            }
            requests.finish(request.id, Err(Refusal::NotServed));
            assert_eq!(opened.outcome.try_recv().unwrap().unwrap_err(), Refusal::NotServed);
        }
    }

    #[test]
    fn a_record_without_an_answer_is_a_failure() {
        let requests = Requests::default();
        let (request, mut opened) = requests.open(asked()).unwrap();
        requests.computed(request.id, answer());
        requests.finish(request.id, Ok((Digest::ZERO, FEE)));
        assert_eq!(opened.outcome.try_recv().unwrap().unwrap_err(), Refusal::Failed);
    }

    #[test]
    fn one_request_too_many_is_told_so() {
        let requests = Requests::default();
        let open: Vec<_> = (0..MAX_OPEN).map(|_| requests.open(asked()).unwrap()).collect();
        assert!(matches!(requests.open(asked()), Err(Refusal::Busy)));
        requests.finish(open[0].0.id, Err(Refusal::Failed));
        assert!(requests.open(asked()).is_ok());
    }
}
