//! Serving a model for money, and auditing how others attribute.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};

use super::{
    Done, Event, Job, Node, Pending, Refusal, ServeRequest,
    outbox::{Outgoing, RESEND_AFTER},
};
use crate::{
    chain::{ChainView, ModelPublication, Transaction},
    ids::{AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress},
    limits::{MAX_GENERATED_TOKENS, MAX_PROMPT_BYTES, PAID_AHEAD_TOKENS},
    ranges::Ranges,
    receipt::{Receipt, SignedReceipt},
    record::{AttributionBody, AuditBody, Body, Finding, Verdict, VerifiedRecord, audit_subject},
    rules::{attribution_auditors, is_attributed, price, tokens_paid, work_epoch},
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
    /// Its answer is computed, at the price for which it was accepted. Before its last receipt the consumer had promised `before`, which counts again
    /// should there be no answer.
    Computing {
        request: Box<ServeRequest>,
        offer: ModelPublication,
        ranges: Ranges,
        before: Amount,
    },
    /// The attribution of this subject is signed and stored.
    Signing { subject: Digest, price: Amount },
}

/// What was promised to this node, and what it may have to audit.
#[derive(Debug)]
pub(super) struct Serving {
    /// Promised so far by each consumer.
    promised: BTreeMap<EvmAddress, Amount>,
    /// Of each escrow and consumer the newest receipt for what was served, until the chain has paid all of
    /// it. What an escrow owes that was replaced, it still pays.
    owed: BTreeMap<(EvmAddress, EvmAddress), (SignedReceipt, Outgoing)>,
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
            owed: BTreeMap::new(),
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

    /// A receipt for what was served, now or before a restart.
    fn owe(&mut self, escrow: EvmAddress, signed: &SignedReceipt) {
        let receipt = &signed.receipt;
        if receipt.escrow == escrow {
            let promised = self.promised.entry(receipt.payer).or_default();
            *promised = (*promised).max(receipt.cumulative);
        }
        let pair = (receipt.escrow, receipt.payer);
        let known = self.owed.get(&pair);
        if known.is_none_or(|(older, _)| older.receipt.cumulative < receipt.cumulative) {
            self.owed.insert(pair, (signed.clone(), Outgoing::new()));
        }
    }

    fn computing(&self) -> usize {
        self.requests.values().filter(|step| matches!(step, Step::Computing { .. })).count()
    }

    /// Takes out the request whose attribution has this subject, with what it cost.
    fn signed(&mut self, subject: Digest) -> Option<(u64, Amount)> {
        let found = self.requests.iter().find_map(|(id, step)| match step {
            Step::Signing { subject: of, price } if *of == subject => Some((*id, *price)),
            _ => None,
        })?;
        self.requests.remove(&found.0);
        Some(found)
    }

    fn has_room_for(&self, account: AccountId) -> bool {
        let by_same = self.waiting.values().filter(|r| r.record().account == account).count();
        self.waiting.len() < MAX_WAITING && by_same < MAX_WAITING_PER_SERVER
    }
}

impl Node {
    pub(super) fn on_serve(&mut self, chain: &ChainView, request: ServeRequest) {
        match self.accept(chain, &request) {
            Ok((offer, tokens)) => {
                let receipt = &request.receipt.receipt;
                let before = self.promised_by(chain, receipt.payer);
                self.serving.promised.insert(receipt.payer, receipt.cumulative);
                let (id, model) = (request.id, receipt.model);
                let (request, ranges) = (Box::new(request), Ranges::default());
                let step = Step::Computing { request, offer, ranges, before };
                let known = self.serving.requests.insert(id, step);
                assert!(known.is_none(), "a request is taken once");
                let is_bounded = self.serving.computing() <= MAX_REQUESTS;
                assert!(is_bounded, "requests that are computed at a time are bounded");
                self.tell(Event::Paid { request: id, tokens });
                self.start(Pending::Infer(id), Job::Infer { request: id, model });
            }
            Err(reason) => self.tell(Event::Refused { request: request.id, reason }),
        }
    }

    /// At which price a request is served, and up to how many tokens of its answer it is paid for.
    fn accept(
        &self,
        chain: &ChainView,
        request: &ServeRequest,
    ) -> Result<(ModelPublication, u32), Refusal> {
        let receipt = &request.receipt.receipt;
        let offer = chain.publication(receipt.model).filter(|offer| offer.server == self.account);
        let offer = offer.ok_or(Refusal::NotServed)?;
        if receipt.payee != self.account {
            return Err(Refusal::WrongPayee);
        }
        if let Some(contract) = chain.unknown_contract() {
            return Err(Refusal::UnknownContract { contract });
        }
        if receipt.escrow != chain.escrow {
            return Err(Refusal::WrongEscrow { escrow: chain.escrow });
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
        let (tokens_in, most) = (request.tokens_in, request.tokens_out);
        let due = price(offer, tokens_in, most.min(PAID_AHEAD_TOKENS)).ok_or(Refusal::TooLong)?;
        self.accept_receipt(chain, receipt, due)?;
        let tokens = tokens_paid(offer, tokens_in, most, receipt.price);
        Ok((*offer, tokens.ok_or(Refusal::TooLong)?))
    }

    /// Another step of payment for an answer that is being computed.
    pub(super) fn on_raise(&mut self, chain: &ChainView, request: u64, receipt: &SignedReceipt) {
        let event = match self.raise(chain, request, receipt) {
            Ok(tokens) => Event::Paid { request, tokens },
            Err(reason) => Event::Unpaid { request, reason },
        };
        self.tell(event);
    }

    fn raise(
        &mut self,
        chain: &ChainView,
        id: u64,
        signed: &SignedReceipt,
    ) -> Result<u32, Refusal> {
        let Some(Step::Computing { request, offer, ranges, .. }) = self.serving.requests.get(&id)
        else {
            return Err(Refusal::WrongUse);
        };
        let (last, receipt) = (&request.receipt.receipt, &signed.receipt);
        if receipt.payer != last.payer {
            return Err(Refusal::WrongUse);
        }
        let promised = self.promised_by(chain, last.payer);
        let offered = receipt.cumulative.checked_sub(promised).filter(|more| *more > Amount::ZERO);
        let offered = offered.ok_or(Refusal::WrongRange { promised })?;
        let raised = ranges.raised(last, (promised, receipt.cumulative));
        let (due, raised) = raised.ok_or(Refusal::WrongUse)?;
        if *receipt != due {
            // Told apart, since who promised something else meanwhile has to sign again.
            let is_range = receipt.price != due.price || receipt.request != due.request;
            let wrong = Refusal::WrongRange { promised };
            return Err(if is_range { wrong } else { Refusal::WrongUse });
        }
        let tokens = tokens_paid(offer, request.tokens_in, request.tokens_out, receipt.price);
        let tokens = tokens.ok_or(Refusal::TooLong)?;
        self.stands_behind(chain, receipt.payer, promised, offered)?;
        let known = self.serving.requests.get_mut(&id);
        let Some(Step::Computing { request, ranges, before, .. }) = known else {
            return Err(Refusal::WrongUse);
        };
        (request.receipt, *ranges, *before) = (signed.clone(), raised, promised);
        self.serving.promised.insert(receipt.payer, receipt.cumulative);
        Ok(tokens)
    }

    /// Whether a receipt promises what is due, and the deposit stands behind all that is promised.
    fn accept_receipt(
        &self,
        chain: &ChainView,
        receipt: &Receipt,
        price: Amount,
    ) -> Result<(), Refusal> {
        let promised = self.promised_by(chain, receipt.payer);
        let offered = receipt.cumulative.saturating_sub(promised);
        // Where a use is free, a receipt for less than was promised would pay the price of nothing and
        // take the promise back.
        if receipt.cumulative < promised || offered < price {
            return Err(Refusal::TooLittle { price, offered });
        }
        // What lies below its own part has been given to another use, and what lies between to none.
        if receipt.range() != (promised, receipt.cumulative) {
            return Err(Refusal::WrongRange { promised });
        }
        self.stands_behind(chain, receipt.payer, promised, offered)
    }

    /// Whether a deposit stands behind what is offered beside all that was promised.
    fn stands_behind(
        &self,
        chain: &ChainView,
        payer: EvmAddress,
        promised: Amount,
        offered: Amount,
    ) -> Result<(), Refusal> {
        if offered == Amount::ZERO {
            return Ok(());
        }
        let deposit = chain.deposit(payer, self.account);
        if let Some(until) = deposit.leaves_until(chain.now()) {
            return Err(Refusal::Withdrawing { until });
        }
        let available = deposit.available(promised);
        if offered > available {
            return Err(Refusal::NoDeposit { available, price: offered });
        }
        Ok(())
    }

    /// What a consumer has promised so far: for what is computed or was served, as memory or the node's
    /// own records say, or redeemed on chain.
    pub fn promised_by(&self, chain: &ChainView, payer: EvmAddress) -> Amount {
        // An answer is given out only once its record is stored, so what a restart forgets was for
        // nothing.
        let remembered = self.serving.promised.get(&payer).copied().unwrap_or_default();
        remembered.max(chain.redeemed(payer, self.account))
    }

    pub(super) fn on_inferred(&mut self, chain: &ChainView, id: u64, done: Done) {
        let Some(Step::Computing { request, ranges, before, .. }) =
            self.serving.requests.remove(&id)
        else {
            return;
        };
        let receipt = &request.receipt.receipt;
        let outcome = match done {
            Done::Inferred(body) => self.is_covered(chain, receipt).map(|()| body),
            _ => Err(Refusal::Failed),
        };
        match outcome {
            Ok(body) => {
                // It pays by what stands here: its price may have risen since the job began.
                let body = AttributionBody { receipt: request.receipt.clone(), ranges, ..body };
                let (subject, price) = (receipt.digest(&chain.domain), receipt.price);
                self.serving.requests.insert(id, Step::Signing { subject, price });
                self.sign(work_epoch(chain), subject, Body::Attribution(Box::new(body)));
            }
            Err(reason) => {
                // The promise is not used up; the consumer may spend it on the next request, unless
                // a later receipt has covered it meanwhile.
                if self.serving.promised.get(&receipt.payer) == Some(&receipt.cumulative) {
                    self.serving.promised.insert(receipt.payer, before);
                }
                self.tell(Event::Refused { request: id, reason });
            }
        }
    }

    /// Whether what stood behind a receipt when its use was accepted is there when the answer is: who has
    /// many answers computed, or long ones, could take its deposit back meanwhile.
    fn is_covered(&self, chain: &ChainView, receipt: &Receipt) -> Result<(), Refusal> {
        let (now, deposit) = (chain.now(), chain.deposit(receipt.payer, self.account));
        let price = receipt.cumulative.saturating_sub(deposit.redeemed);
        if price == Amount::ZERO || receipt.price == Amount::ZERO {
            return Ok(());
        }
        // A redemption needs a while to get there before it.
        if let Some((from, until)) = deposit.withdrawal
            && now <= until
            && from <= now.after(RESEND_AFTER)
        {
            return Err(Refusal::Withdrawing { until });
        }
        let available = deposit.balance;
        if price > available { Err(Refusal::NoDeposit { available, price }) } else { Ok(()) }
    }

    pub(super) fn on_attribution(&mut self, chain: &ChainView, record: &Arc<VerifiedRecord>) {
        let Body::Attribution(body) = &record.record().body else { return };
        let id = record.id();
        if record.record().account == self.account {
            self.serving.owe(chain.escrow, &body.receipt);
            // Before the first block it only remembers.
            if self.epoch.is_some() {
                self.redeem(chain);
            }
            if let Some((request, price)) = self.serving.signed(record.record().subject) {
                self.tell(Event::Served { request, record: id, price });
            }
        } else if is_attributed(chain, record)
            && self.serving.has_room_for(record.record().account)
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

    /// Has paid what was served: at once, and again until the chain shows it, so that whoever asks for
    /// its deposit back finds nothing outstanding when it may take it.
    fn redeem(&mut self, chain: &ChainView) {
        let (now, account) = (chain.now(), self.account);
        let mut due = Vec::new();
        self.serving.owed.retain(|(escrow, payer), (signed, outgoing)| {
            let deposit = chain.deposit_in(*escrow, *payer, account);
            let is_paid = signed.receipt.cumulative <= deposit.redeemed;
            // Out of an empty deposit nothing is paid.
            if !is_paid && outgoing.send(now) && deposit.balance > Amount::ZERO {
                due.push(signed.clone());
            }
            !is_paid
        });
        for signed in due {
            self.submit(Transaction::Redeem(signed));
        }
    }

    /// The block in which a receipt is to be redeemed, for the first time or again.
    pub(super) fn redemptions_wake(&self) -> Option<BlockNumber> {
        self.serving.owed.values().map(|(_, outgoing)| outgoing.due()).min()
    }

    pub(super) fn advance_serving(&mut self, chain: &ChainView) {
        self.redeem(chain);
        let account = self.account;
        self.serving.promised.retain(|payer, sum| *sum > chain.redeemed(*payer, account));
        self.serving.forget_before(Epoch(chain.epoch().0.saturating_sub(1)));
        let ids: Vec<_> = self.serving.waiting.keys().copied().collect();
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
