//! The books of one settlement: what counts, what was found, who is paid and why.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use super::{
    Credit, Division, Invariant, Line, Outcome, Output, Source, Unpaid, Work, Zero,
    encode_balances, invariant, payout_tree,
};
use crate::{
    balance::Balance,
    blob::BlobRef,
    chain::{ChainView, DatanetUse, Settlement},
    hash::blake3,
    ids::{AccountId, Amount, BlockNumber, DatanetId, Digest, Epoch},
    limits::FEE_EPOCHS,
    record::{Body, Kind, Verdict, VerifiedRecord, storage_subject},
    rules::{included_in, shown_in_time},
};

/// The state of one settlement while its rules run.
pub(super) struct Ledger<'a> {
    pub(super) chain: &'a ChainView,
    pub(super) epoch: Epoch,
    /// The records of this epoch, one per (kind, account, subject).
    pub(super) records: BTreeMap<(Kind, AccountId, Digest), Arc<VerifiedRecord>>,
    /// Those, and the ones of the epochs around it on which a fee may depend, as of the cutoff.
    pub(super) known: BTreeMap<Digest, Arc<VerifiedRecord>>,
    /// Verdicts by the judged record: (auditor, verdict, audit).
    pub(super) audits: BTreeMap<Digest, Vec<(AccountId, Verdict, Arc<VerifiedRecord>)>>,
    /// Audits of work that was never shown, by (auditor, subject of the work).
    pub(super) missing: BTreeMap<(AccountId, Digest), Arc<VerifiedRecord>>,
    pub(super) lines: Vec<Line>,
    pub(super) zeros: Vec<Zero>,
    pub(super) uses: BTreeMap<DatanetId, DatanetUse>,
    /// How the fee of each output was divided.
    pub(super) divisions: BTreeMap<Digest, Division>,
    /// Bytes proven by each holder that is no newcomer.
    pub(super) proven: BTreeMap<AccountId, u64>,
    /// Audits that hold, and for how many seats there should be some.
    pub(super) good_audits: Vec<Credit>,
    pub(super) audits_due: u64,
    pub(super) replicas_proven: u32,
    pub(super) storage_faults: u32,
    pub(super) shards_verified: u32,
    pub(super) shards_rejected: u32,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(chain: &'a ChainView, epoch: Epoch) -> Self {
        let mut ledger = Self {
            chain,
            epoch,
            records: BTreeMap::new(),
            known: BTreeMap::new(),
            audits: BTreeMap::new(),
            missing: BTreeMap::new(),
            lines: Vec::new(),
            zeros: Vec::new(),
            uses: BTreeMap::new(),
            divisions: BTreeMap::new(),
            proven: BTreeMap::new(),
            good_audits: Vec::new(),
            audits_due: 0,
            replicas_proven: 0,
            storage_faults: 0,
            shards_verified: 0,
            shards_rejected: 0,
        };
        ledger.sort_records();
        ledger
    }

    /// Pays everything that the epoch owes: first what the vault pays for work, then what consumers
    /// paid. Each part leaves the ledger so that its own invariants hold.
    pub(super) fn pay_all(&mut self) -> Result<(), Invariant> {
        self.pay_storage()?;
        self.pay_shards()?;
        let fees = self.fees_due()?;
        self.pay_attribution_work(&fees)?;
        self.pay_audits()?;
        self.pay_fees(fees)
    }

    /// Reads what the chain had taken in before the cutoff: what comes later, for another epoch, must not
    /// change what others have proposed already.
    fn sort_records(&mut self) {
        let chain = self.chain;
        let cutoff = chain.schedule.cutoff(self.epoch);
        let around = self.epoch.back(FEE_EPOCHS)..=self.epoch.next();
        let included = chain.records_of(around);
        for (record, _) in included.filter(|(_, block)| *block < cutoff) {
            let made = record.record();
            self.known.insert(record.id(), Arc::clone(record));
            if made.epoch == self.epoch {
                self.records.insert(made.key(), Arc::clone(record));
            }
            if let Body::Audit(body) = &made.body {
                // Of this holder's storage and no other: one auditor has one finding on it.
                let is_about = body.work == storage_subject(made.epoch, body.of);
                // What is said of storage too late to be disputed is not said.
                if body.finding.judged() == Kind::StorageProof && !shown_in_time(chain, record) {
                    continue;
                }
                match body.finding.verdict() {
                    Some((judged, verdict)) => {
                        let verdicts = self.audits.entry(judged).or_default();
                        verdicts.push((made.account, verdict, Arc::clone(record)));
                    }
                    None if made.epoch == self.epoch && is_about => {
                        let work = (made.account, body.work);
                        self.missing.insert(work, Arc::clone(record));
                    }
                    None => {}
                }
            }
        }
    }

    /// The verdicts on a record. Only an audit of the same epoch and of exactly this work counts.
    pub(super) fn verdicts_on(
        &self,
        record: &VerifiedRecord,
    ) -> Vec<(AccountId, Verdict, Arc<VerifiedRecord>)> {
        let made = record.record();
        let all = self.audits.get(&record.id()).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<(AccountId, Verdict, Arc<VerifiedRecord>)> = Vec::new();
        for (by, verdict, audit) in all {
            let is_about = matches!(&audit.record().body, Body::Audit(body) if body.is_about(made));
            let is_first = found.iter().all(|(other, ..)| other != by);
            if is_about && is_first && audit.record().epoch == made.epoch {
                found.push((*by, *verdict, Arc::clone(audit)));
            }
        }
        found
    }

    /// The block that took a record in.
    pub(super) fn included_in(&self, record: &VerifiedRecord) -> Option<BlockNumber> {
        self.known.get(&record.id()).and_then(|known| included_in(self.chain, known))
    }

    pub(super) fn of_kind(&self, kind: Kind) -> Vec<Arc<VerifiedRecord>> {
        self.records.iter().filter(|((k, ..), _)| *k == kind).map(|(_, r)| Arc::clone(r)).collect()
    }

    pub(super) fn pay(&mut self, account: AccountId, source: Source, amount: u128, record: Digest) {
        self.write(Line { account, source, amount: Amount(amount), is_held: false, record });
    }

    /// Writes a line that pays something.
    pub(super) fn write(&mut self, line: Line) {
        if line.amount > Amount::ZERO {
            self.lines.push(line);
        }
    }

    pub(super) fn refuse(
        &mut self,
        account: AccountId,
        source: Source,
        record: Digest,
        reason: Unpaid,
    ) {
        self.zeros.push(Zero { account, source, record, reason });
    }

    /// Counts one more use of a Datanet.
    pub(super) fn count_use(
        &mut self,
        datanet: DatanetId,
        count: impl FnOnce(&mut DatanetUse) -> &mut u32,
    ) -> Result<(), Invariant> {
        let unused = DatanetUse { datanet, shards: 0, outputs: 0 };
        count_one(count(self.uses.entry(datanet).or_insert(unused)), "uses of a Datanet")
    }

    /// The lines that were written since there were `before` of them.
    pub(super) fn lines_since(&self, before: usize) -> Result<&[Line], Invariant> {
        self.lines.get(before..).ok_or(Invariant::Count("lines of the ledger"))
    }

    /// What the records that this settlement names are about.
    fn works(&self) -> BTreeMap<Digest, Work> {
        let lines = self.lines.iter().map(|line| line.record);
        let named = lines.chain(self.zeros.iter().map(|zero| zero.record));
        let named = named.chain(self.divisions.keys().copied());
        named.filter_map(|id| Some((id, self.work(id)?))).collect()
    }

    fn work(&self, record: Digest) -> Option<Work> {
        let (model, output) = match &self.known.get(&record)?.record().body {
            Body::Shard(body) => (body.model, None),
            Body::Attribution(body) => {
                let output = Output {
                    server: body.receipt.receipt.payee,
                    checkpoint: body.checkpoint,
                    transcript: BlobRef::new(body.transcript, body.length.into()),
                    division: self.divisions.get(&record).copied(),
                };
                (body.model, Some(output))
            }
            // An audit is about what it judged.
            Body::Audit(body) => match &self.known.get(&body.finding.verdict()?.0)?.record().body {
                Body::Shard(judged) => (judged.model, None),
                Body::Attribution(judged) => (judged.model, None),
                _ => return None,
            },
            _ => return None,
        };
        Some(Work { record, model, output })
    }

    pub(super) fn finish(
        self,
        parent: Digest,
        before: &[(AccountId, Balance)],
    ) -> Result<Outcome, Invariant> {
        let mut balances: BTreeMap<AccountId, Balance> = before.iter().copied().collect();
        for line in &self.lines {
            let balance = balances.entry(line.account).or_default();
            let sum = balance.checked_add(line.balance());
            *balance = sum.ok_or(Invariant::Count("what is owed"))?;
        }
        // Cumulative, so that one claim pays any number of epochs and a missed one costs nothing.
        let leaves: Vec<_> = balances.into_iter().collect();
        let total = invariant::balances_follow(before, &self.lines, &leaves)?;
        let works = self.works();
        let uses: Vec<_> = self.uses.into_values().collect();
        invariant::uses_are_real(&uses)?;
        invariant::lines_are_backed(&self.lines, &self.zeros, &self.known)?;
        let list = encode_balances(&leaves);
        let settlement = Settlement {
            epoch: self.epoch,
            parent,
            records: self.chain.records_head(self.epoch),
            payout_root: payout_tree(&leaves).root(),
            total,
            balances: blake3(&list),
            balances_length: list.len() as u64,
            uses: Settlement::hash_uses(&uses),
            replicas_proven: self.replicas_proven,
            storage_faults: self.storage_faults,
            shards_verified: self.shards_verified,
            shards_rejected: self.shards_rejected,
        };
        Ok(Outcome { settlement, leaves, lines: self.lines, zeros: self.zeros, uses, works })
    }
}

/// Adds one to a count of work.
pub(super) fn count_one(count: &mut u32, of: &'static str) -> Result<(), Invariant> {
    *count = count.checked_add(1).ok_or(Invariant::Count(of))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        chain::{BlockHeader, ChainEvent},
        eip712::{Domain, EvmKey, Signature},
        ids::{Blocks, EvmAddress, Hash, ModelId, NodeId, Timestamp},
        params::{Params, Schedule},
        ranges::Ranges,
        receipt::Receipt,
        record::{AttributionBody, Record, SignedRecord},
        settle::{SettleError, settle},
    };

    const SETTLE_BLOCKS: u64 = 8;
    const SERVER: AccountId = AccountId(1);

    const ESCROW: EvmAddress = EvmAddress([0xe5; 20]);

    fn domain() -> Domain {
        Domain::new(1, EvmAddress([2; 20]))
    }

    fn payer() -> EvmKey {
        EvmKey::from_bytes(&[9; 32]).expect("a key")
    }

    /// The first epoch of a chain, over and ready to be settled.
    fn chain(params: Params, budget: Amount, events: &[ChainEvent]) -> ChainView {
        let schedule = Schedule {
            genesis_block: BlockNumber(1),
            epoch_blocks: Blocks(40),
            commit_blocks: Blocks(10),
            settle_blocks: Blocks(SETTLE_BLOCKS),
            challenge_blocks: Blocks(4),
        };
        let domain = domain();
        let registry = EvmAddress([1; 20]);
        let treasury = AccountId(100);
        let mut chain =
            ChainView::new(domain, registry, ESCROW, schedule, budget, treasury, params);
        let block = |number| BlockHeader {
            number: BlockNumber(number),
            hash: Digest([number as u8; 32]),
            timestamp: Timestamp(number),
        };
        chain.apply(block(1), events);
        chain.apply(block(41 + SETTLE_BLOCKS), &[]);
        chain
    }

    fn register(account: u64, stake: u128) -> [ChainEvent; 2] {
        let (account, key) = (AccountId(account), EvmAddress([account as u8; 20]));
        let registered = ChainEvent::AccountRegistered {
            account,
            owner: key,
            operator: key,
            payout: key,
            node: NodeId::ZERO,
            binding: [0; 64],
        };
        [registered, ChainEvent::StakeChanged { account, stake: Amount(stake) }]
    }

    fn redeemed(cumulative: u128, amount: u128) -> ChainEvent {
        let (cumulative, amount) = (Amount(cumulative), Amount(amount));
        let (payer, payee) = (payer().address(), SERVER);
        ChainEvent::Redeemed { escrow: ESCROW, payer, payee, cumulative, amount }
    }

    /// The server's attributions of outputs that cost so much, one after the other.
    fn outputs(prices: &[u128]) -> ChainEvent {
        let mut cumulative = 0;
        let record = |price: &u128| {
            cumulative += price;
            output(1, &[(cumulative - price, cumulative)])
        };
        let records = prices.iter().map(record).collect();
        ChainEvent::Included { epoch: Epoch(0), head: Digest::ZERO, records }
    }

    /// The server's attribution of an output that these ranges of promises pay for, ascending.
    fn output(nonce: u64, paid: &[(u128, u128)]) -> SignedRecord {
        let (start, end) = paid[0];
        let mut receipt = Receipt {
            escrow: ESCROW,
            payer: payer().address(),
            payee: SERVER,
            model: ModelId(1),
            cumulative: Amount(end),
            price: Amount(end - start),
            nonce,
            request: Digest::ZERO,
        };
        let mut ranges = Ranges::default();
        for (from, to) in &paid[1..] {
            let raised = ranges.raised(&receipt, (Amount(*from), Amount(*to)));
            (receipt, ranges) = raised.expect("they ascend");
        }
        let subject = receipt.digest(&domain());
        let receipt = receipt.sign(&domain(), &payer()).expect("RFC 6979 finds a nonce");
        let body = Body::Attribution(alloc::boxed::Box::new(AttributionBody {
            model: ModelId(1),
            checkpoint: Hash::ZERO,
            receipt,
            ranges,
            transcript: Hash::ZERO,
            length: 1,
            tokens_in: 1,
            tokens_out: 1,
            lambda: 0,
            shares: alloc::vec![(SERVER, 1_000_000)],
        }));
        let record = Record { epoch: Epoch(0), account: SERVER, subject, body };
        SignedRecord { record, signature: Signature([1; 65]) }
    }

    fn settled(chain: &ChainView) -> Result<Outcome, Invariant> {
        match settle(chain, Epoch(0), &[]) {
            Ok(outcome) => Ok(outcome),
            Err(SettleError::Invariant { epoch: Epoch(0), invariant }) => Err(invariant),
            Err(other) => panic!("{other}"),
        }
    }

    /// What becomes of a ledger that is broken on purpose and then closed.
    fn broken(breaks: impl FnOnce(&mut Ledger<'_>)) -> Result<(), Invariant> {
        let chain = chain(Params::minimal(), Amount(1000), &[redeemed(10, 10)]);
        let mut ledger = Ledger::new(&chain, Epoch(0));
        ledger.pay_all()?;
        breaks(&mut ledger);
        ledger.finish(Digest::ZERO, &[]).map(|_| ())
    }

    #[test]
    fn a_broken_ledger_is_not_closed() {
        let line = |amount, record| Line {
            account: SERVER,
            source: Source::Shards,
            amount: Amount(amount),
            is_held: false,
            record,
        };
        assert_eq!(broken(|_| {}), Ok(()));
        let empty = broken(|ledger| ledger.lines.push(line(0, Digest::ZERO)));
        assert_eq!(empty, Err(Invariant::EmptyLine { account: SERVER }));
        let work = Digest([5; 32]);
        let unlisted = broken(|ledger| ledger.lines.push(line(1, work)));
        assert_eq!(unlisted, Err(Invariant::Unlisted(work)));
        let refused = broken(|l| l.refuse(SERVER, Source::Shards, work, Unpaid::NotAudited));
        assert_eq!(refused, Err(Invariant::Unlisted(work)));
        let too_much = [line(u128::MAX, Digest::ZERO), line(1, Digest::ZERO)];
        let too_much = broken(|ledger| ledger.lines.extend(too_much));
        assert_eq!(too_much, Err(Invariant::Count("what is owed")));
        let unused = DatanetUse { datanet: DatanetId(3), shards: 0, outputs: 0 };
        let unused = broken(|ledger| {
            ledger.uses.insert(DatanetId(3), unused);
        });
        assert_eq!(unused, Err(Invariant::Use(DatanetId(3))));
        let not_due = broken(|ledger| {
            ledger.good_audits.push(Credit { auditor: SERVER, audit: work, seats: 1 });
            assert_eq!(ledger.pay_audits(), Err(Invariant::AuditsDue { credited: 1, due: 0 }));
        });
        assert_eq!(not_due, Ok(()), "what was not due was not paid");
    }

    /// Epoch 1 settled on a settlement with these leaves, which became final whatever they are.
    fn settled_on(leaves: &[(AccountId, Balance)]) -> Result<Outcome, SettleError> {
        let params = Params::minimal();
        let mut chain = chain(params, Amount(1000), &[]);
        let outcome = settle(&chain, Epoch(0), &[])?;
        let payout_root = payout_tree(leaves).root();
        let settlement = Settlement { payout_root, ..outcome.settlement };
        let proposed = ChainEvent::Proposed { proposer: SERVER, settlement };
        let last = BlockNumber(81 + SETTLE_BLOCKS);
        let block = BlockHeader { number: last, hash: Digest([9; 32]), timestamp: Timestamp(99) };
        let (epoch, id) = (Epoch(0), settlement.id());
        chain.apply(block, &[proposed, ChainEvent::Finalised { epoch, id }]);
        settle(&chain, Epoch(1), leaves)
    }

    /// What became final may be false, and then whoever settles next is not to blame.
    #[test]
    fn a_false_settlement_that_became_final_is_no_fault_of_this_program() {
        let of = |free, lane| Balance { free: Amount(free), lane: Amount(lane) };
        let (one, two) = ((AccountId(1), of(5, 2)), (AccountId(2), of(0, 7)));
        assert_eq!(settled_on(&[two, one]).unwrap().leaves, [one, two], "in another order");
        let twice = SettleError::FalseParent { epoch: Epoch(1), account: AccountId(2) };
        assert_eq!(settled_on(&[two, one, two]).unwrap_err(), twice);
    }

    #[test]
    fn parameters_that_cannot_divide_a_fee_or_the_emission_stop_it() {
        let mut params = Params::minimal();
        params.economics.emission_shards_bps = 10_001;
        let [registered, staked] = register(SERVER.0, 5);
        let events = [registered, staked, outputs(&[7]), redeemed(7, 7)];
        let of = |params, budget| settled(&chain(params, Amount(budget), &events));
        assert_eq!(of(params, 10_000).unwrap_err(), Invariant::Pot(10_001));
        params.economics.emission_shards_bps = 10_000;
        assert!(of(params, u128::MAX).is_ok());
        let mut greedy = params;
        greedy.economics.fee_platform_bps = 20_000;
        assert_eq!(of(greedy, 1000).unwrap_err(), Invariant::Part(Source::Serving));
        params.economics.fee_contributors_bps = 0;
        params.economics.fee_developer_bps = 0;
        params.economics.fee_stakers_bps = 0;
        params.economics.fee_nodes_bps = 0;
        assert_eq!(of(params, 1000).unwrap_err(), Invariant::Division(7));
    }

    #[test]
    fn an_output_is_named_with_its_model_and_how_its_fee_was_divided() {
        let [registered, staked] = register(SERVER.0, 5);
        let events = [registered, staked, outputs(&[7]), redeemed(7, 7)];
        let outcome = settled(&chain(Params::minimal(), Amount(1000), &events)).unwrap();
        let works: Vec<_> = outcome.works.values().collect();
        let output = works[0].output.unwrap();
        assert_eq!((works.len(), works[0].model, output.server), (1, ModelId(1), SERVER));
        assert_eq!(output.division, Some(Division::Declared), "no auditor spoke");
        let found = outcome.statement(SERVER, Balance::ZERO, &[ModelId(1)].into()).unwrap();
        let sum: u128 = found.entries.iter().map(|entry| entry.line.amount.0).sum();
        assert_eq!((found.before, sum), (Balance::ZERO, outcome.earned(SERVER).total().0));
    }

    #[test]
    fn a_chain_that_contradicts_itself_is_not_settled_on() {
        let chain = chain(Params::minimal(), Amount(1000), &[redeemed(5, 7)]);
        assert_eq!(settled(&chain).unwrap_err(), Invariant::Moved { covered: 5, moved: 7 });
    }

    proptest! {
        /// Whatever was staked and paid, and however fees are divided, every unit goes to somebody.
        #[test]
        fn every_unit_of_an_output_is_paid_out(
            stakes in proptest::collection::vec(0u128..1 << 90, 1..6),
            amounts in proptest::collection::vec(0u128..1 << 90, 0..6),
            platform in 0u32..=10_000,
            weights: [u16; 4],
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let mut params = Params::minimal();
            let rules = &mut params.economics;
            rules.fee_platform_bps = platform;
            rules.fee_contributors_bps = weights[0].into();
            rules.fee_developer_bps = weights[1].into();
            rules.fee_stakers_bps = weights[2].into();
            rules.fee_nodes_bps = weights[3].into();
            let mut events: Vec<_> =
                stakes.iter().zip(1..).flat_map(|(stake, id)| register(id, *stake)).collect();
            events.push(outputs(&amounts));
            let mut sum = 0;
            for amount in &amounts {
                sum += amount;
                events.push(redeemed(sum, *amount));
            }
            let outcome = settled(&chain(params, Amount(1 << 90), &events)).unwrap();
            prop_assert_eq!(outcome.settlement.total, Amount(sum));
            prop_assert_eq!(outcome.lines.iter().map(|line| line.amount.0).sum::<u128>(), sum);
            prop_assert!(outcome.lines.iter().all(|line| line.amount > Amount::ZERO));
        }

        /// Whatever consumer and server sign together, also for what others paid: against the points of what was
        /// redeemed, each of which the first output has that names it.
        #[test]
        fn no_promise_pays_for_two_outputs(
            uses in proptest::collection::vec(
                proptest::collection::vec((0u128..12, 1u128..9), 1..5), 1..5,
            ),
            redeemed_to in 0u128..60,
        ) {
            let ascending = |steps: &Vec<(u128, u128)>| {
                let mut end = 0;
                let range = |(gap, length): &(u128, u128)| {
                    let from = end + gap;
                    end = from + length;
                    (from, end)
                };
                steps.iter().map(range).collect::<Vec<_>>()
            };
            let uses: Vec<_> = uses.iter().map(ascending).collect();
            let made = |(ranges, nonce): (&Vec<_>, u64)| output(nonce, ranges);
            let records: Vec<_> = uses.iter().zip(1..).map(made).collect();
            let mut first: Vec<_> =
                records.iter().map(|made| made.record.id(&domain())).zip(&uses).collect();
            first.sort_unstable_by_key(|(id, _)| *id);
            let included = ChainEvent::Included { epoch: Epoch(0), head: Digest::ZERO, records };
            let mut events = register(SERVER.0, 5).to_vec();
            events.push(included);
            if redeemed_to > 0 {
                events.push(redeemed(redeemed_to, redeemed_to));
            }
            let outcome = settled(&chain(Params::minimal(), Amount(1000), &events)).unwrap();
            let mut points: Vec<u128> = (0..redeemed_to).collect();
            let mut paid = 0;
            for (id, ranges) in first {
                let before = points.len();
                points.retain(|point| !ranges.iter().any(|(from, to)| (from..to).contains(&point)));
                let due = (before - points.len()) as u128;
                let of_it = outcome.lines.iter().filter(|line| line.record == id);
                prop_assert_eq!(of_it.map(|line| line.amount.0).sum::<u128>(), due);
                paid += due;
            }
            prop_assert_eq!(outcome.settlement.total, Amount(paid));
        }
    }
}
