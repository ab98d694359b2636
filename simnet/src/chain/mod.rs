//! The settlement chain: the deployed bytecode on the embedded EVM, one block at a time.
//!
//! Every transaction is executed. The [`ChainView`] is folded from the contracts' events, as the
//! daemon folds it, and lent to all machines.

mod books;
mod past;

pub use books::Books;
pub use past::ReadBlock;

use std::collections::{BTreeMap, VecDeque};

use contracts_abi::{
    Bonds, DataDeposit, GenesisConfig, ReadError, RevertReason,
    embedded::{EmbeddedChain, EmbeddedError, MinedBlock},
};
use protocol::{
    AccountId, Amount, Balance, BlobRef, BlockNumber, EvmAddress, Timestamp,
    chain::{ChainEvent, ChainView, ProposalAct, Settlement, Transaction},
    hash::keccak,
};

use books::Ledger;
use past::{Holdings, Past};

use crate::{Scenario, kernel::Time, scenario::ChainRules};

/// The chain id of simulated networks.
pub const CHAIN_ID: u64 = 20_260;
const VAULT: Amount = Amount(100_000_000 * Amount::ONE_OPEN.0);
const SPONSOR: Amount = Amount(900_000_000 * Amount::ONE_OPEN.0);
/// What contributors lock: an OPEN for a MiB, for longer than any run.
const DATA_DEPOSIT: DataDeposit =
    DataDeposit { per_byte: Amount(Amount::ONE_OPEN.0 >> 20), blocks: 1 << 32 };

/// An address without a key: on the embedded chain, transactions need none.
pub fn named_address(name: &[u8], number: u32) -> EvmAddress {
    let digest = keccak(&[b"openledger simnet address", name, &number.to_be_bytes()]);
    digest.0.last_chunk::<20>().map_or(EvmAddress::ZERO, |tail| EvmAddress(*tail))
}

/// Why a chain could not be set up, or be read.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The contracts could not be deployed.
    #[error("the contracts could not be deployed: {0}")]
    Deploy(#[from] EmbeddedError),
    /// A transaction of the setting reverted.
    #[error("a transaction of the setting reverted: {0}")]
    Reverted(RevertReason),
    /// A contract could not be read.
    #[error("a contract could not be read: {0}")]
    Read(#[from] ReadError),
    /// An account that was registered has no event.
    #[error("the registry did not tell of the account of {0}")]
    NotRegistered(EvmAddress),
}

/// What a block did.
#[derive(Debug, Clone, Default)]
pub struct Mined {
    /// The blocks that nodes read now: this one, unless they wait for confirmations or have to read
    /// some anew.
    pub read: Vec<ReadBlock>,
    /// Transactions in it.
    pub transactions: u64,
    /// Those that reverted.
    pub reverted: u64,
    /// Gas of those that did not.
    pub gas: u64,
}

/// The chain of one simulated network.
pub struct Chain {
    evm: EmbeddedChain,
    view: ChainView,
    sponsor: EvmAddress,
    treasury: EvmAddress,
    holdings: Holdings,
    ledger: Ledger,
    /// Blocks that nodes read only when others are above them.
    unread: VecDeque<ReadBlock>,
    confirmations: usize,
    /// What it takes to replace blocks; nothing where none are.
    past: Option<Past>,
}

impl Chain {
    /// Deploys the contracts.
    pub fn deploy(scenario: &Scenario, start_after: u64) -> Result<Self, ChainError> {
        let params = scenario.params();
        let (sponsor, treasury) = (named_address(b"sponsor", 0), named_address(b"treasury", 0));
        let (bond, budget) = (Amount::ONE_OPEN, scenario.budget());
        let objection = Amount(budget.0 / 10);
        let genesis = GenesisConfig {
            holders: vec![(sponsor, SPONSOR)],
            vault: VAULT,
            treasury,
            budget,
            epoch_blocks: scenario.chain.epoch_blocks,
            commit_blocks: scenario.chain.commit_blocks,
            settle_blocks: scenario.chain.settle_blocks,
            challenge_blocks: scenario.chain.challenge_blocks,
            start_after,
            cell_bytes: params.holding.cell_bytes,
            max_pack: params.holding.max_pack,
            data_deposit: DATA_DEPOSIT,
            bonds: Bonds {
                proposal: budget,
                objection,
                // All places for disputes about a holder cost more than the budget.
                dispute: Amount(10 * bond.0),
                fault: bond,
            },
            governors: Vec::new(),
            delay: 0,
            arbiter: named_address(b"arbiter", 0),
            min_stake: Amount::ZERO,
            least_stake: params.economics.min_stake,
        };
        let evm = EmbeddedChain::new(&genesis, CHAIN_ID)?;
        let at = evm.deployment();
        let view = at.view(params);
        let payouts = BTreeMap::from([(at.treasury, treasury)]);
        Ok(Self {
            evm,
            view,
            sponsor,
            treasury,
            holdings: Holdings { payouts, ..Holdings::default() },
            ledger: Ledger::default(),
            unread: VecDeque::new(),
            confirmations: 0,
            past: None,
        })
    }

    /// The setting is done: from now on nodes read a block when enough are above it, and the newest
    /// blocks may be replaced.
    pub fn start(&mut self, rules: &ChainRules) {
        self.confirmations = rules.confirmations as usize;
        if rules.reorg > 0.0 {
            let depth = rules.reorg_limit as usize;
            self.evm.keep_past(depth);
            self.past = Some(Past::new(depth, self.view.clone(), self.holdings.clone()));
        }
    }

    /// The chain as nodes see it.
    pub const fn view(&self) -> &ChainView {
        &self.view
    }

    /// The sponsor, who registers and stakes for everybody.
    pub const fn sponsor(&self) -> EvmAddress {
        self.sponsor
    }

    /// Number of the newest block.
    pub fn head(&self) -> BlockNumber {
        self.evm.head().number
    }

    /// Queues a node's transaction for the next block.
    pub fn submit(&mut self, from: EvmAddress, transaction: &Transaction) {
        self.evm.submit(from, transaction);
    }

    /// Queues the arbiter's ruling on the objection to a proposal.
    pub fn rule(&mut self, settlement: Settlement, uphold: bool) {
        let act = ProposalAct::Rule { uphold };
        self.submit(self.evm.arbiter(), &Transaction::AboutProposal { settlement, act });
    }

    /// Gives somebody OPEN of the sponsor's, in the next block.
    pub fn fund(&mut self, to: EvmAddress, amount: Amount) {
        self.evm.transfer(self.sponsor, to, amount);
    }

    /// Gives somebody what it takes to contribute these packs, in the next block.
    pub fn fund_data(&mut self, to: EvmAddress, packs: &[BlobRef]) {
        self.fund(to, DATA_DEPOSIT.of(packs));
    }

    /// The same for so many bytes in packs that are not short.
    pub(crate) fn fund_bytes(&mut self, to: EvmAddress, bytes: u64) {
        self.fund(to, DATA_DEPOSIT.of_bytes(bytes));
    }

    /// Makes the next block.
    pub fn mine(&mut self, at: Time) -> Mined {
        let block = self.evm.mine(Timestamp(at.millis()));
        let gas = block.results.iter().flatten().map(|executed| executed.gas).sum();
        let transactions = block.results.len() as u64;
        let reverted = block.results.iter().filter(|result| result.is_err()).count() as u64;
        self.add(block);
        Mined { read: self.read(), transactions, reverted, gas }
    }

    fn add(&mut self, block: MinedBlock) {
        self.ledger.note(&block);
        let block = ReadBlock { header: block.header, events: block.events };
        self.holdings.fold(&block.events);
        if let Some(past) = &mut self.past {
            past.keep(block.clone());
        }
        self.unread.push_back(block);
    }

    /// Reads what has enough blocks above it.
    fn read(&mut self) -> Vec<ReadBlock> {
        let ready = self.unread.len().saturating_sub(self.confirmations);
        let read: Vec<_> = self.unread.drain(..ready).collect();
        read.iter().for_each(|block| self.view.apply(block.header, &block.events));
        read
    }

    /// Replaces the newest blocks, at most as many as are kept, by empty ones of the given times; what
    /// was in them waits for the next block. The newest block that stays, and whether nodes had read
    /// some of those that are gone.
    pub fn replace(&mut self, times: &[Time]) -> (BlockNumber, bool) {
        let Some(past) = &mut self.past else { return (self.head(), false) };
        let times = &times[times.len().saturating_sub(past.len())..];
        let stays = BlockNumber(self.evm.head().number.0 - times.len() as u64);
        self.holdings = past.drop_newest(times.len());
        let was_read = times.len() > self.unread.len();
        if was_read {
            self.view = past.view();
        }
        self.unread.truncate(self.unread.len().saturating_sub(times.len()));
        let times: Vec<_> = times.iter().map(|at| Timestamp(at.millis())).collect();
        let others = self.evm.replace(&times).expect("the EVM keeps as many blocks as the past");
        others.into_iter().for_each(|block| self.add(block));
        self.ledger.forget();
        (stays, was_read)
    }

    /// Executes transactions of the setting as one block; all have to succeed.
    pub fn set_up(
        &mut self,
        at: Time,
        transactions: &[(EvmAddress, Transaction)],
    ) -> Result<Vec<ChainEvent>, ChainError> {
        for (from, transaction) in transactions {
            self.evm.submit(*from, transaction);
        }
        let block = self.evm.mine(Timestamp(at.millis()));
        self.ledger.note(&block);
        for result in block.results {
            result.map_err(ChainError::Reverted)?;
        }
        self.view.apply(block.header, &block.events);
        self.holdings.fold(&block.events);
        Ok(block.events)
    }

    /// What an account was paid so far, as its contract says.
    pub fn claimed(&mut self, account: AccountId) -> Result<Balance, ChainError> {
        Ok(self.evm.claimed(account)?)
    }
}
