//! The books of the contracts: nothing is made, nothing is lost.

use std::collections::{BTreeMap, BTreeSet};

use contracts_abi::{SUPPLY, embedded::MinedBlock};
use protocol::{AccountId, Amount, EvmAddress, chain::ChainEvent};
use serde::Serialize;

use super::{Chain, ChainError};

/// Balances as the contracts state them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Books {
    /// OPEN of every address that has ever held any.
    pub held_by_all: Amount,
    /// Emission that was put into the vault.
    pub funded: Amount,
    /// Fees that were put into it.
    pub redeemed: Amount,
    /// What the vault paid.
    pub paid: Amount,
    /// OPEN that the vault holds.
    pub vault: Amount,
    /// Stake of all accounts.
    pub staked: Amount,
    /// OPEN that the registry holds.
    pub registry: Amount,
}

/// What was read of the contracts, and whose balance and stake have changed since.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Whether anything was read: otherwise everybody's has to be.
    is_read: bool,
    held: BTreeMap<EvmAddress, Amount>,
    staked: BTreeMap<AccountId, Amount>,
    moved: BTreeSet<EvmAddress>,
    restaked: BTreeSet<AccountId>,
    /// No transaction since the laws were checked.
    is_checked: bool,
}

impl Ledger {
    pub(super) fn note(&mut self, block: &MinedBlock) {
        self.is_checked &= block.results.is_empty();
        self.moved.extend(&block.moved);
        self.restaked.extend(block.events.iter().filter_map(|event| match event {
            ChainEvent::StakeChanged { account, .. } => Some(*account),
            _ => None,
        }));
    }

    /// Blocks are gone, so everything is to be read again, of all that were ever heard of.
    pub(super) fn forget(&mut self) {
        let Self { held, mut moved, .. } = std::mem::take(self);
        moved.extend(held.into_keys());
        self.moved = moved;
    }
}

impl Books {
    /// All balances add up to the supply.
    pub fn supply_holds(&self) -> bool {
        self.held_by_all == SUPPLY
    }

    /// Funding and fees are in the vault or were paid; stakes are apart.
    pub fn vault_holds(&self) -> bool {
        let received = self.funded.saturating_add(self.redeemed);
        received == self.vault.saturating_add(self.paid) && self.staked == self.registry
    }
}

impl Chain {
    /// What does not hold after a block, by a few questions to the contracts; `None` when all is
    /// well. A block without transactions changes nothing, and nothing is asked. [`Self::books`] adds
    /// up everybody's balance, once an epoch.
    pub(crate) fn broken_law(&mut self) -> Result<Option<&'static str>, ChainError> {
        if std::mem::replace(&mut self.ledger.is_checked, true) {
            return Ok(None);
        }
        let at = self.evm.deployment();
        let (vault, registry) = (at.vault, at.registry);
        let state = self.evm.vault()?;
        let received = state.funded.saturating_add(state.redeemed);
        if received != self.evm.balance(vault)?.saturating_add(state.paid) {
            return Ok(Some("the vault does not hold what it received less what it paid"));
        }
        if self.evm.balance(registry)? != self.holdings.staked {
            return Ok(Some("the registry does not hold the sum of all stakes"));
        }
        if state.paid > received {
            return Ok(Some("the vault paid more than it received"));
        }
        Ok(None)
    }

    /// Reads the books from the contracts: the balances and stakes that changed since the last time,
    /// as their logs tell, beside those that were read before.
    pub fn books(&mut self) -> Result<Books, ChainError> {
        if !self.ledger.is_read {
            return self.all_books();
        }
        for holder in std::mem::take(&mut self.ledger.moved) {
            self.ledger.held.insert(holder, self.evm.balance(holder)?);
        }
        for account in std::mem::take(&mut self.ledger.restaked) {
            self.ledger.staked.insert(account, self.evm.stake(account)?);
        }
        let (vault, registry) = (self.evm.deployment().vault, self.evm.deployment().registry);
        let state = self.evm.vault()?;
        let sum = |sum: Amount, more: &Amount| sum.saturating_add(*more);
        Ok(Books {
            held_by_all: self.ledger.held.values().fold(Amount::ZERO, sum),
            funded: state.funded,
            redeemed: state.redeemed,
            paid: state.paid,
            vault: self.evm.balance(vault)?,
            staked: self.ledger.staked.values().fold(Amount::ZERO, sum),
            registry: self.evm.balance(registry)?,
        })
    }

    /// Reads the books from the contracts, everybody's balance and stake anew.
    pub(crate) fn all_books(&mut self) -> Result<Books, ChainError> {
        let at = self.evm.deployment();
        let contracts: [EvmAddress; 6] =
            [at.vault, at.registry, at.datanets, at.escrow, at.settlements, at.disputes];
        // Owners get the bonds of those that they disprove.
        let accounts = self.holdings.payouts.keys().filter_map(|id| self.view.account(*id));
        let owners = accounts.map(|account| account.owner);
        let holders = self.holdings.payouts.values().copied().chain(owners);
        let Ledger { held, moved, is_checked, .. } = std::mem::take(&mut self.ledger);
        // Consumers are nobody's owners, and have what they took back of their deposits.
        let ever_moved = held.into_keys().chain(moved);
        let holders = holders.chain(ever_moved).chain(contracts);
        let moved = holders.chain([self.sponsor, self.treasury]).collect();
        let restaked = self.holdings.payouts.keys().copied().collect();
        self.ledger = Ledger { is_read: true, moved, restaked, is_checked, ..Ledger::default() };
        self.books()
    }
}
