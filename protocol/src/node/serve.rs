//! Serving a model for money, and auditing how others attribute.

use alloc::{collections::BTreeMap, sync::Arc};

use super::{Done, Event, Job, Node, Pending, Refusal, ServeRequest};
use crate::{
    chain::{ChainView, Transaction},
    ids::{AccountId, Amount, Digest, Epoch, EvmAddress},
    limits::{MAX_GENERATED_TOKENS, MAX_PROMPT_BYTES},
    record::{AuditBody, Body, Finding, Verdict, VerifiedRecord, audit_subject},
    rules::{attribution_auditors, price, work_epoch},
};

/// Attributions of others that are kept until they can be audited.
const MAX_WAITING: usize = 4096;

/// … by one server, so that none of them fills the place of all.
const MAX_WAITING_PER_SERVER: usize = 512;
/// Requests that are computed at a time.
const MAX_REQUESTS: usize = 256;

/// How far an accepted request is.
#[derive(Debug)]
enum Step {
    /// Its answer is computed. Before its receipt the consumer had promised `before`, which counts again
    /// should there be no answer.
    Computing { request: ServeRequest, before: Amount },
    /// The attribution of this subject is signed and stored.
    Signing { subject: Digest },
}

/// What was promised to this node, and what it may have to audit.
#[derive(Debug)]
pub(super) struct Serving {
    /// Promised so far by each consumer.
    promised: BTreeMap<EvmAddress, Amount>,
    /// Others' attributions, until it is known who audits them.
    waiting: BTreeMap<Digest, Arc<VerifiedRecord>>,
    /// Requests from their acceptance until their attribution is signed.
    requests: BTreeMap<u64, Step>,
    /// Attributions that this node audits or has audited, with their epochs.
    audited: BTreeMap<Digest, Epoch>,
}

impl Serving {
    pub(super) const fn new() -> Self {
        Self {
            promised: BTreeMap::new(),
            waiting: BTreeMap::new(),
            requests: BTreeMap::new(),
            audited: BTreeMap::new(),
        }
    }

    /// Whether it waits for anything that a block may bring.
    pub(super) fn has_work(&self) -> bool {
        !(self.waiting.is_empty() && self.audited.is_empty())
    }

    /// An audit of this node, perhaps from the log after a restart: it is not made twice.
    pub(super) fn on_own_audit(&mut self, judged: Digest, epoch: Epoch) {
        self.waiting.remove(&judged);
        self.audited.insert(judged, epoch);
    }

    /// Forgets what is so old that it was settled without this node.
    fn forget_before(&mut self, epoch: Epoch) {
        self.audited.retain(|_, of| *of >= epoch);
        self.waiting.retain(|_, record| record.record().epoch >= epoch);
    }

    fn computing(&self) -> usize {
        self.requests.values().filter(|step| matches!(step, Step::Computing { .. })).count()
    }

    /// Takes out the request whose attribution has this subject.
    fn signed(&mut self, subject: Digest) -> Option<u64> {
        let is_it = |step: &Step| matches!(step, Step::Signing { subject: of } if *of == subject);
        let id = self.requests.iter().find_map(|(id, step)| is_it(step).then_some(*id))?;
        self.requests.remove(&id);
        Some(id)
    }

    fn has_room_for(&self, account: AccountId) -> bool {
        let by_same = self.waiting.values().filter(|r| r.record().account == account).count();
        self.waiting.len() < MAX_WAITING && by_same < MAX_WAITING_PER_SERVER
    }
}

impl Node {
    pub(super) fn on_serve(&mut self, chain: &ChainView, request: ServeRequest) {
        match self.accept(chain, &request) {
            Ok(()) => {
                let receipt = &request.receipt.receipt;
                let before = self.promised_by(chain, receipt.payer);
                assert!(receipt.cumulative >= before, "what a consumer promised only grows");
                self.serving.promised.insert(receipt.payer, receipt.cumulative);
                let (id, model) = (request.id, receipt.model);
                let known = self.serving.requests.insert(id, Step::Computing { request, before });
                assert!(known.is_none(), "a request is taken once");
                let is_bounded = self.serving.computing() <= MAX_REQUESTS;
                assert!(is_bounded, "requests that are computed at a time are bounded");
                self.start(Pending::Infer(id), Job::Infer { request: id, model });
            }
            Err(reason) => self.tell(Event::Refused { request: request.id, reason }),
        }
    }

    fn accept(&self, chain: &ChainView, request: &ServeRequest) -> Result<(), Refusal> {
        let receipt = &request.receipt.receipt;
        let offer = chain.publication(receipt.model).filter(|offer| offer.server == self.account);
        let offer = offer.ok_or(Refusal::NotServed)?;
        if receipt.payee != self.account {
            return Err(Refusal::WrongPayee);
        }
        let is_known = self.serving.requests.contains_key(&request.id);
        if is_known || self.serving.computing() >= MAX_REQUESTS {
            return Err(Refusal::Busy);
        }
        let is_short = request.tokens_out <= MAX_GENERATED_TOKENS
            && usize::try_from(request.tokens_in).is_ok_and(|n| n <= MAX_PROMPT_BYTES);
        if !is_short {
            return Err(Refusal::TooLong);
        }
        let price = price(offer, request.tokens_in, request.tokens_out).ok_or(Refusal::TooLong)?;
        let before = self.promised_by(chain, receipt.payer);
        let offered = receipt.cumulative.saturating_sub(before);
        // Where a use is free, a receipt for less than was promised would pay the price of nothing and
        // take the promise back.
        let is_enough = receipt.cumulative >= before && offered >= price;
        if is_enough { Ok(()) } else { Err(Refusal::TooLittle { price, offered }) }
    }

    /// What a consumer has promised so far: in memory, or redeemed on chain before a restart.
    pub fn promised_by(&self, chain: &ChainView, payer: EvmAddress) -> Amount {
        // A restart forgets promises, and then what was redeemed is all that is certain.
        let remembered = self.serving.promised.get(&payer).copied().unwrap_or_default();
        remembered.max(chain.redeemed(payer, self.account))
    }

    pub(super) fn on_inferred(&mut self, chain: &ChainView, id: u64, done: Done) {
        let Some(Step::Computing { request, before }) = self.serving.requests.remove(&id) else {
            return;
        };
        let receipt = &request.receipt.receipt;
        match done {
            Done::Inferred(body) if body.receipt == request.receipt => {
                let subject = receipt.digest(&chain.domain);
                self.serving.requests.insert(id, Step::Signing { subject });
                self.sign(work_epoch(chain), subject, Body::Attribution(body));
            }
            _ => {
                // The promise is not used up; the consumer may spend it on the next request, unless
                // a later receipt has covered it meanwhile.
                if self.serving.promised.get(&receipt.payer) == Some(&receipt.cumulative) {
                    self.serving.promised.insert(receipt.payer, before);
                }
                self.tell(Event::Refused { request: id, reason: Refusal::Failed });
            }
        }
    }

    pub(super) fn on_attribution(&mut self, chain: &ChainView, record: &Arc<VerifiedRecord>) {
        let Body::Attribution(body) = &record.record().body else { return };
        let id = record.id();
        if record.record().account == self.account {
            let receipt = &body.receipt.receipt;
            let promised = self.serving.promised.entry(receipt.payer).or_default();
            *promised = (*promised).max(receipt.cumulative);
            if receipt.cumulative > chain.redeemed(receipt.payer, self.account) {
                self.submit(Transaction::Redeem(body.receipt.clone()));
            }
            if let Some(request) = self.serving.signed(record.record().subject) {
                self.tell(Event::Served { request, record: id });
            }
        } else if self.serving.has_room_for(record.record().account)
            && !self.serving.audited.contains_key(&id)
        {
            self.serving.waiting.insert(id, Arc::clone(record));
            let waiting = self.serving.waiting.len();
            assert!(
                waiting <= MAX_WAITING,
                "attributions that wait for their auditors are bounded"
            );
        }
    }

    pub(super) fn advance_serving(&mut self, chain: &ChainView) {
        self.serving.forget_before(Epoch(chain.epoch().0.saturating_sub(1)));
        let ids: alloc::vec::Vec<_> = self.serving.waiting.keys().copied().collect();
        for id in ids {
            let Some(record) = self.serving.waiting.get(&id).cloned() else { continue };
            let Some(auditors) = attribution_auditors(chain, &record) else { continue };
            // Known now, and it does not change: whoever is not drawn need not remember it.
            self.serving.waiting.remove(&id);
            if auditors.has(self.account) && self.config.computes {
                let server = record.record().account;
                assert!(server != self.account, "nobody audits its own attribution");
                self.serving.audited.insert(id, record.record().epoch);
                let job = Job::AuditAttribution { record: Arc::clone(&record) };
                self.start(Pending::AuditAttribution(record), job);
            }
        }
    }

    pub(super) fn on_attribution_judged(&mut self, record: &Arc<VerifiedRecord>, done: &Done) {
        let made = record.record();
        let verdict = match done {
            Done::Judged(verdict) => *verdict,
            Done::Failed(super::Failure::Invalid) => Verdict::Fail,
            // Bytes that are not there yet are asked for again at the next block.
            _ => {
                self.serving.audited.remove(&record.id());
                self.serving.waiting.insert(record.id(), Arc::clone(record));
                return;
            }
        };
        let body = AuditBody {
            of: made.account,
            work: made.subject,
            finding: Finding::Attribution { record: record.id(), verdict },
        };
        self.sign(made.epoch, audit_subject(made.account, &made.subject), Body::Audit(body));
    }
}
