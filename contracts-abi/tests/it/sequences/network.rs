//! A network of which one node runs as it should.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy::primitives::Address;
use alloy::sol_types::SolCall;
use contracts_abi::GenesisConfig;
use contracts_abi::embedded::{EmbeddedChain, MinedBlock};
use protocol::chain::{ChainView, Contribution, Settlement, Transaction};
use protocol::eip712::EvmKey;
use protocol::identity::Binding;
use protocol::node::{Done, Failure, Input, Job, Node, NodeConfig, Output};
use protocol::params::Params;
use protocol::record::{Record, SignedRecord};
use protocol::settle::{Outcome, payout_tree, refute, settle};
use protocol::{
    AccountId, Amount, Balance, BlobRef, DatanetId, Digest, Epoch, EvmAddress, Hash, Timestamp,
};

use crate::contracts::world::Registry;
use crate::genesis::genesis;

const CHAIN_ID: u64 = 7;
pub(super) const OPEN: u128 = Amount::ONE_OPEN.0;
/// Who has all that is not staked, and belongs to nobody.
pub(super) const BANK: EvmAddress = EvmAddress([0xba; 20]);
/// The account whose node does what it should; it has four ninths of the stake, and so is drawn to watch.
pub(super) const HONEST: AccountId = AccountId(2);
/// Accounts of thieves.
pub(super) const THIEVES: [AccountId; 3] = [AccountId(3), AccountId(4), AccountId(5)];
/// Accounts with nodes that only store, by hand of this test.
pub(super) const OTHERS: [AccountId; 2] = [AccountId(6), AccountId(7)];
/// What each account has at stake, and the honest one four times.
const STAKE: u128 = 40_000 * OPEN;

pub(super) type Balances = Vec<(AccountId, Balance)>;

/// Numbers that look drawn (SplitMix64).
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    /// Whether it happens, in so many of a hundred cases.
    pub(super) fn is_in(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub(super) fn digest(&mut self) -> Digest {
        let mut digest = Digest::ZERO;
        digest.0.iter_mut().for_each(|byte| *byte = self.below(256) as u8);
        digest
    }
}

pub(super) struct Network {
    pub(super) seed: u64,
    pub(super) draw: Draw,
    pub(super) chain: EmbeddedChain,
    pub(super) view: ChainView,
    /// Of the last final settlement.
    pub(super) balances: Balances,
    /// Lists that somebody published, by their payout roots.
    pub(super) published: BTreeMap<Digest, Balances>,
    /// All that thieves ever sent.
    pub(super) history: Vec<(EvmAddress, Transaction)>,
    node: Node,
    /// Records that the node wants to have back, signed.
    signed: Vec<Record>,
    /// How often each account changed its key.
    keys: BTreeMap<AccountId, u64>,
    /// What the honest node has at stake at the start.
    staked: Amount,
}

fn cold(account: AccountId) -> EvmAddress {
    EvmAddress([account.0 as u8; 20])
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        let mut draw = Draw(seed);
        let window = draw.of(&[4, 4, 9, 12]);
        let config = GenesisConfig {
            holders: vec![(BANK, Amount(100_000_000 * OPEN))],
            challenge_blocks: window,
            settle_blocks: draw.of(&[3, 8]),
            commit_blocks: 6,
            start_after: 4,
            ..genesis(&[])
        };
        let chain = EmbeddedChain::new(&config, CHAIN_ID).unwrap();
        let at = chain.deployment();
        let view = at.view(Params::minimal());
        let config = NodeConfig { computes: false, claim_epochs: 3, max_memory: None };
        let mut network = Self {
            seed,
            draw,
            chain,
            view,
            balances: Vec::new(),
            published: BTreeMap::new(),
            history: Vec::new(),
            node: Node::new(HONEST, config),
            signed: Vec::new(),
            keys: BTreeMap::new(),
            staked: Amount::ZERO,
        };
        network.found();
        network
    }

    /// Registers everybody and publishes some data.
    fn found(&mut self) {
        for account in [HONEST].into_iter().chain(THIEVES).chain(OTHERS) {
            let (owner, operator) = (cold(account), self.key(account).address());
            let registry = self.chain.deployment().registry;
            let binding = Binding { chain_id: CHAIN_ID, registry, owner, operator, payout: owner };
            let (node, binding) = binding.sign(&[account.0 as u8; 32]);
            let register = Transaction::Register { owner, operator, payout: owner, node, binding };
            self.chain.submit(BANK, &register);
            let amount = Amount(if account == HONEST { 4 * STAKE } else { STAKE });
            self.chain.submit(BANK, &Transaction::StakeFor { account, amount });
            // Owners allow their hot keys everything: how much may wait for rulings is another question.
            let (account, per_period, in_all) = (account.0, u128::MAX, u128::MAX);
            let call = Registry::setAllowanceCall { account, perPeriod: per_period, inAll: in_all };
            self.chain.send(owner, registry, call.abi_encode());
        }
        let owner = OTHERS[0];
        let (name, domain) = ("open".to_owned(), String::new());
        let operator = self.operator(owner);
        self.chain
            .submit(operator, &Transaction::CreateDatanet { owner, name, domain, licence: 0 });
        let packs: Vec<_> =
            (1..=4).map(|n| BlobRef::new(Hash([n; 32]), 40_000 + u64::from(n))).collect();
        let deposit = self.chain.deployment().data_deposit.of(&packs);
        self.chain.transfer(BANK, operator, deposit);
        self.chain.submit(
            operator,
            &Transaction::Contribute(Contribution {
                id: 0,
                datanet: DatanetId(1),
                account: owner,
                manifest: Hash([9; 32]),
                packs,
                units: 1,
            }),
        );
        let block = self.chain.mine(Timestamp(0));
        assert!(block.results.iter().all(Result::is_ok), "{:?}", block.results);
        self.view.apply(block.header, &block.events);
        self.staked = self.chain.stake(HONEST).unwrap();
    }

    /// The key that an account signs with now.
    pub(super) fn key(&self, account: AccountId) -> EvmKey {
        let mut secret = [9; 32];
        secret[16..24].copy_from_slice(&account.0.to_be_bytes());
        let turn = self.keys.get(&account).copied().unwrap_or_default();
        secret[24..].copy_from_slice(&turn.to_be_bytes());
        EvmKey::from_bytes(&secret).unwrap()
    }

    pub(super) fn operator(&self, account: AccountId) -> EvmAddress {
        self.key(account).address()
    }

    /// An owner gives its account another hot key.
    pub(super) fn rotate(&mut self, account: AccountId) {
        *self.keys.entry(account).or_default() += 1;
        let EvmAddress(operator) = self.operator(account);
        let operator = Address::from(operator);
        let call = Registry::rotateOperatorCall { account: account.0, operator };
        let registry = self.chain.deployment().registry;
        self.chain.send(cold(account), registry, call.abi_encode());
    }

    pub(super) fn sign(&self, record: Record, key: &EvmKey) -> SignedRecord {
        record.sign(&self.chain.deployment().domain(), key).unwrap()
    }

    /// Goes on until an epoch can be settled; what thieves lost is given to them again.
    pub(super) fn wait_for(&mut self, epoch: Epoch) {
        for account in THIEVES {
            let stake = self.chain.stake(account).unwrap();
            if stake.0 < STAKE {
                let amount = Amount(STAKE - stake.0);
                self.chain.submit(BANK, &Transaction::StakeFor { account, amount });
            }
        }
        let cutoff = self.view.schedule.cutoff(epoch);
        while self.view.now() < cutoff {
            self.block();
        }
    }

    /// Turns of others before the honest node's.
    pub(super) fn turns_ahead(&self, epoch: Epoch) -> u64 {
        self.view.proposer_turn(epoch, HONEST).expect("it has a stake") as u64
    }

    /// What a node lost of its stake.
    pub(super) fn lost(&mut self, account: AccountId) -> Amount {
        self.staked.saturating_sub(self.chain.stake(account).unwrap())
    }

    pub(super) fn settled(&mut self, outcome: &Outcome) {
        self.balances.clone_from(&outcome.leaves);
        self.published.clear();
    }

    /// Makes the next block of what was submitted, of records, and of what the honest node sends, which
    /// comes last: everybody sees it on its way.
    pub(super) fn block(&mut self) -> MinedBlock {
        self.include();
        self.node.handle(&self.view, Input::Block);
        self.work();
        let block = self.chain.mine(Timestamp(0));
        self.view.apply(block.header, &block.events);
        block
    }

    /// Does what the honest node wants done.
    fn work(&mut self) {
        loop {
            while let Some(output) = self.node.poll_output() {
                match output {
                    Output::Submit(transaction) => {
                        let operator = self.operator(HONEST);
                        self.chain.submit(operator, &transaction);
                    }
                    Output::Job(op, job) => {
                        let done = self.answer(job);
                        self.node.handle(&self.view, Input::Done(op, done));
                    }
                    Output::Sign(record) => self.signed.push(record),
                    Output::Event(_) => {}
                }
            }
            let Some(record) = self.signed.pop() else { return };
            let (domain, key) = (self.chain.deployment().domain(), self.key(HONEST));
            let signed = record.sign(&domain, &key).unwrap();
            let record = Arc::new(signed.verify(&domain).unwrap());
            self.node.handle(&self.view, Input::Record(record));
        }
    }

    fn answer(&mut self, job: Job) -> Done {
        match job {
            Job::Settle { epoch } | Job::Verify { settlement: Settlement { epoch, .. } } => {
                match settle(&self.view, epoch, &self.balances) {
                    Ok(outcome) => Done::Settled(outcome.settlement, outcome.uses),
                    Err(_) => Done::Failed(Failure::Unavailable),
                }
            }
            Job::Refute { settlement } => Done::Refuted(self.refute(&settlement)),
            Job::Claim { .. } => Done::Claimed,
            _ => Done::Failed(Failure::Unavailable),
        }
    }

    /// As a driver does: by what the node has, and by what was published.
    fn refute(&self, settlement: &Settlement) -> Option<protocol::chain::Challenge> {
        let own = settle(&self.view, settlement.epoch, &self.balances).ok()?.leaves;
        let published = self.published.get(&settlement.payout_root);
        let published = published.filter(|list| payout_tree(list).root() == settlement.payout_root);
        let lists: Vec<&[_]> =
            [own.as_slice()].into_iter().chain(published.map(Vec::as_slice)).collect();
        refute(settlement, &self.balances, &lists)
    }
}
