//! The settlement chain: the deployed bytecode on the embedded EVM, one block at a time.
//!
//! Every transaction is executed. The [`ChainView`] is folded from the contracts' events, as the
//! daemon folds it, and lent to all machines.

mod books;

pub use books::Books;

use std::collections::BTreeMap;

use contracts_abi::{
    Bonds, EncodeError, GenesisConfig, ReadError, RevertReason,
    embedded::{EmbeddedChain, EmbeddedError},
};
use protocol::{
    AccountId, Amount, BlockNumber, Epoch, EvmAddress, Timestamp,
    chain::{BlockHeader, ChainEvent, ChainView, Transaction},
    hash::keccak,
};

use crate::{Scenario, kernel::Time};

/// The chain id of simulated networks.
pub const CHAIN_ID: u64 = 20_260;
/// Emission of an epoch.
pub const BUDGET: Amount = Amount(10_000 * Amount::ONE_OPEN.0);
const VAULT: Amount = Amount(500_000_000 * Amount::ONE_OPEN.0);
const SPONSOR: Amount = Amount(100_000_000 * Amount::ONE_OPEN.0);

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
    /// A transaction of the setting could not be encoded.
    #[error("a transaction could not be encoded: {0}")]
    Encode(#[from] EncodeError),
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
    /// Its number.
    pub number: BlockNumber,
    /// What the contracts said.
    pub events: Vec<ChainEvent>,
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
    accounts: BTreeMap<AccountId, EvmAddress>,
    /// Stakes as the registry's events tell them.
    stakes: BTreeMap<AccountId, Amount>,
    /// Their sum.
    staked: Amount,
    refused: u64,
}

impl Chain {
    /// Deploys the contracts.
    pub fn deploy(scenario: &Scenario, start_after: u64) -> Result<Self, ChainError> {
        let params = scenario.params();
        let (sponsor, treasury) = (named_address(b"sponsor", 0), named_address(b"treasury", 0));
        let bond = Amount::ONE_OPEN;
        let genesis = GenesisConfig {
            holders: vec![(sponsor, SPONSOR)],
            vault: VAULT,
            treasury,
            budget: BUDGET,
            epoch_blocks: scenario.chain.epoch_blocks,
            commit_blocks: scenario.chain.commit_blocks,
            challenge_blocks: scenario.chain.challenge_blocks,
            start_after,
            cell_bytes: params.holding.cell_bytes,
            bonds: Bonds { proposal: bond, objection: bond, dispute: bond, fault: bond },
            min_stake: Amount::ZERO,
        };
        let evm = EmbeddedChain::new(&genesis, CHAIN_ID)?;
        let at = evm.deployment();
        let view =
            ChainView::new(at.domain(), at.registry, at.schedule, at.budget, at.treasury, params);
        let accounts = BTreeMap::from([(at.treasury, treasury)]);
        Ok(Self {
            evm,
            view,
            sponsor,
            treasury,
            accounts,
            stakes: BTreeMap::new(),
            staked: Amount::ZERO,
            refused: 0,
        })
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

    /// Transactions that could not be encoded, because what they are about was gone.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Queues a node's transaction for the next block.
    pub fn submit(&mut self, from: EvmAddress, transaction: &Transaction) {
        if self.evm.submit(from, transaction).is_err() {
            self.refused += 1;
        }
    }

    /// Queues the arbiter's ruling on the objection to an epoch's proposal.
    pub fn rule(&mut self, epoch: Epoch, uphold: bool) {
        self.submit(self.evm.arbiter(), &Transaction::Rule { epoch, uphold });
    }

    /// Gives somebody OPEN of the sponsor's, in the next block.
    pub fn fund(&mut self, to: EvmAddress, amount: Amount) {
        self.evm.transfer(self.sponsor, to, amount);
    }

    /// Makes the next block.
    pub fn mine(&mut self, at: Time) -> Mined {
        let block = self.evm.mine(Timestamp(at.millis()));
        self.fold(block.header, &block.events);
        let gas = block.results.iter().flatten().map(|executed| executed.gas).sum();
        Mined {
            number: block.header.number,
            events: block.events,
            transactions: block.results.len() as u64,
            reverted: block.results.iter().filter(|result| result.is_err()).count() as u64,
            gas,
        }
    }

    /// Executes transactions of the setting as one block; all have to succeed.
    pub fn set_up(
        &mut self,
        at: Time,
        transactions: &[(EvmAddress, Transaction)],
    ) -> Result<Vec<ChainEvent>, ChainError> {
        for (from, transaction) in transactions {
            self.evm.submit(*from, transaction)?;
        }
        let block = self.evm.mine(Timestamp(at.millis()));
        for result in block.results {
            result.map_err(ChainError::Reverted)?;
        }
        self.fold(block.header, &block.events);
        Ok(block.events)
    }

    fn fold(&mut self, header: BlockHeader, events: &[ChainEvent]) {
        self.view.apply(header, events);
        for event in events {
            match event {
                ChainEvent::AccountRegistered { account, payout, .. }
                | ChainEvent::PayoutChanged { account, payout } => {
                    self.accounts.insert(*account, *payout);
                }
                ChainEvent::StakeChanged { account, stake } => {
                    let before = self.stakes.insert(*account, *stake).unwrap_or_default();
                    let rest = self.staked.saturating_sub(before);
                    self.staked = rest.saturating_add(*stake);
                }
                _ => {}
            }
        }
    }

    /// What an account was paid so far, as its contract says.
    pub fn claimed(&mut self, account: AccountId) -> Result<Amount, ChainError> {
        Ok(self.evm.claimed(account)?)
    }
}
