//! The books of the contracts: nothing is made, nothing is lost.

use contracts_abi::SUPPLY;
use protocol::{Amount, EvmAddress};
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
    /// well. [`Self::books`] adds up everybody's balance, which takes time, and is asked once an epoch.
    pub fn broken_law(&mut self) -> Result<Option<&'static str>, ChainError> {
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

    /// Reads the books from the contracts.
    pub fn books(&mut self) -> Result<Books, ChainError> {
        let at = self.evm.deployment();
        let contracts: [EvmAddress; 4] = [at.vault, at.registry, at.escrow, at.coordinator];
        let (vault, registry) = (at.vault, at.registry);
        // Addresses may repeat, and are counted once. Owners get the bonds of those that they disprove.
        let mut holders: Vec<_> = self.holdings.payouts.values().copied().collect();
        let accounts = self.holdings.payouts.keys().filter_map(|id| self.view.account(*id));
        holders.extend(accounts.map(|account| account.owner));
        holders.extend(contracts.into_iter().chain([self.sponsor, self.treasury]));
        holders.sort_unstable();
        holders.dedup();
        let mut held_by_all = Amount::ZERO;
        for holder in holders {
            held_by_all = held_by_all.saturating_add(self.evm.balance(holder)?);
        }
        let accounts: Vec<_> = self.holdings.payouts.keys().copied().collect();
        let mut staked = Amount::ZERO;
        for account in accounts {
            staked = staked.saturating_add(self.evm.stake(account)?);
        }
        let state = self.evm.vault()?;
        Ok(Books {
            held_by_all,
            funded: state.funded,
            redeemed: state.redeemed,
            paid: state.paid,
            vault: self.evm.balance(vault)?,
            staked,
            registry: self.evm.balance(registry)?,
        })
    }
}
