//! What a network starts with, and which numbers would let somebody win by them alone.

use std::collections::BTreeMap;

use alloy::primitives::{Address, U256};
use protocol::limits::MAX_DISPUTES;
use protocol::params::Schedule;
use protocol::{Amount, Blocks, EvmAddress};
use serde::{Deserialize, Serialize};

use crate::bindings::address;
use crate::locks::{Bonds, DataDeposit};

/// The whole supply of OPEN: 1,000,000,000 with 18 decimals.
pub const SUPPLY: Amount = Amount(1_000_000_000 * Amount::ONE_OPEN.0);

/// Dispute bonds that who takes all places about a holder loses at least: 1, 2, 4 and so on, less the half
/// of the lowest that each answer brings back where it asks itself.
const DISPUTES_COST: u128 = (1 << MAX_DISPUTES) - 1 - (MAX_DISPUTES as u128).div_ceil(2);

/// What a network starts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenesisConfig {
    /// Who holds OPEN at the start; what they and the vault leave of the supply is the treasury's.
    pub holders: Vec<(EvmAddress, Amount)>,
    /// OPEN in the RewardVault.
    pub vault: Amount,
    /// Owner and payout address of the treasury's account.
    pub treasury: EvmAddress,
    /// Emission of an epoch.
    pub budget: Amount,
    /// Blocks of an epoch.
    pub epoch_blocks: u64,
    /// Blocks in which a storage commitment must be included.
    pub commit_blocks: u64,
    /// Blocks after an epoch in which its records may still be included.
    pub settle_blocks: u64,
    /// Blocks of the challenge window; also the delay of a deposit's withdrawal, unless a server needs
    /// more to redeem.
    pub challenge_blocks: u64,
    /// Blocks between the deployment and epoch 0.
    pub start_after: u64,
    /// Bytes of a storage cell.
    pub cell_bytes: u64,
    /// Longest pack that may be contributed, in bytes: less than 2⁴⁰.
    pub max_pack: u64,
    /// What a contribution locks.
    pub data_deposit: DataDeposit,
    /// What proposing, objecting and accusing lock.
    pub bonds: Bonds,
    /// Who may ask the Timelock for a change of roles, budget or contracts, and call one off.
    pub governors: Vec<EvmAddress>,
    /// Seconds for which a change waits in public before anyone may execute it.
    pub delay: u64,
    /// Who rules on objections.
    pub arbiter: EvmAddress,
    /// Stake that a Datanet with the `Staked` policy asks for.
    pub min_stake: Amount,
    /// The least stake that counts, as the parameters of the network have it: what is earned without it is
    /// held until it is there.
    pub least_stake: Amount,
}

impl GenesisConfig {
    /// What a hot key may lock or lose of its owner's stake in an epoch and in all, until the owner says
    /// otherwise: enough for all that an honest node does by itself, two of each bond and two faults, and so
    /// that a thief gets a few bonds and not the stake. Who owns and operates with one key has no such limit.
    pub(crate) fn hot_key(&self) -> (Amount, Amount) {
        let Bonds { proposal, objection, dispute, fault } = self.bonds;
        let bonds = [proposal, objection, dispute, fault];
        let one = bonds.into_iter().fold(0, |sum: u128, bond| sum.saturating_add(bond.0));
        (Amount(one.saturating_mul(2)), Amount(one.saturating_mul(4)))
    }

    /// Refuses what would let somebody win by the network's numbers alone.
    pub(crate) fn check(&self) -> Result<(), GenesisError> {
        self.check_windows()?;
        self.check_disputes()?;
        let (bond, budget) = (self.bonds.proposal, self.budget);
        if bond < budget { Err(GenesisError::Bond { bond, budget }) } else { Ok(()) }
    }

    /// How long the way to its nodes will be, a genesis does not know; not less than a block.
    fn check_windows(&self) -> Result<(), GenesisError> {
        let Self { settle_blocks, challenge_blocks, .. } = *self;
        let least = Schedule::least_settle_blocks(Blocks(1)).0;
        if settle_blocks < least {
            return Err(GenesisError::NoTimeToAnswer { settle_blocks, least });
        }
        let least = Schedule::least_challenge_blocks(Blocks(1)).0;
        if challenge_blocks < least {
            return Err(GenesisError::NoTimeToObject { challenge_blocks, least });
        }
        Ok(())
    }

    fn check_disputes(&self) -> Result<(), GenesisError> {
        let (cost, budget) =
            (Amount(self.bonds.dispute.0.saturating_mul(DISPUTES_COST)), self.budget);
        if cost < budget {
            let least = Amount(budget.0.div_ceil(DISPUTES_COST));
            return Err(GenesisError::CheapDisputes { cost, budget, least });
        }
        Ok(())
    }

    /// The genesis list: holders, the deployer for the vault, and the treasury for the rest.
    pub(crate) fn list(
        &self,
        deployer: Address,
    ) -> Result<(Vec<Address>, Vec<U256>), GenesisError> {
        let mut list: BTreeMap<Address, u128> = BTreeMap::new();
        let mut sum = 0u128;
        let parts = self.holders.iter().map(|(holder, amount)| (address(*holder), *amount));
        for (holder, amount) in parts.chain([(deployer, self.vault)]) {
            sum = sum.saturating_add(amount.0);
            let held = list.entry(holder).or_default();
            *held = held.saturating_add(amount.0);
        }
        let rest = SUPPLY.0.checked_sub(sum).ok_or(GenesisError::TooMuch(Amount(sum)))?;
        let held = list.entry(address(self.treasury)).or_default();
        *held = held.saturating_add(rest);
        Ok(list.into_iter().map(|(holder, amount)| (holder, U256::from(amount))).unzip())
    }
}

/// Why a network can't start so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Holders and vault together hold more than there is.
    #[error("the genesis list and the vault hold {0} of the smallest unit, more than the supply")]
    TooMuch(Amount),
    /// A false settlement could move more than it costs.
    #[error(
        "a proposer locks {bond} of the smallest unit, less than the {budget} that an epoch may emit; \
         raise the bond of a proposal to at least that"
    )]
    Bond {
        /// What a proposer would lock.
        bond: Amount,
        /// Emission of an epoch.
        budget: Amount,
    },
    /// The chain is too long for a schedule.
    #[error("the first epoch would start beyond any block")]
    TooLate,
    /// No time to answer a storage dispute in.
    #[error(
        "half of settle_blocks is the time in which a node answers a storage dispute: {settle_blocks} are too \
             few, {least} are enough where it reads a block and sends its answer within a block, and longer \
             ways take two more a block"
    )]
    NoTimeToAnswer {
        /// Blocks from the end of an epoch to its cutoff.
        settle_blocks: u64,
        /// As many as there have to be, however short the way to the chain is.
        least: u64,
    },
    /// No time to object to a false settlement in.
    #[error(
        "in a challenge window of {challenge_blocks} nobody sees a false settlement in time: {least} blocks are \
         the least"
    )]
    NoTimeToObject {
        /// Blocks of the challenge window.
        challenge_blocks: u64,
        /// As many as there have to be, however short the way to the chain is.
        least: u64,
    },
    /// Friends of a lazy holder could take all places for disputes for less than it earns.
    #[error(
        "all ten disputes about a holder would cost {cost}, less than the {budget} that an epoch pays: \
             the bond of a dispute has to be {least} or more"
    )]
    CheapDisputes {
        /// What who takes all places loses at least.
        cost: Amount,
        /// Emission of an epoch.
        budget: Amount,
        /// The least bond for that.
        least: Amount,
    },
}

#[cfg(test)]
pub(crate) mod tests {
    use protocol::BlockNumber;

    use super::*;
    use crate::deployment::plan;

    pub(crate) fn config(epoch_blocks: u64, challenge_blocks: u64) -> GenesisConfig {
        let none = Amount::ZERO;
        GenesisConfig {
            holders: vec![],
            vault: none,
            treasury: EvmAddress([7; 20]),
            budget: none,
            epoch_blocks,
            commit_blocks: 2,
            settle_blocks: 3,
            challenge_blocks,
            start_after: 0,
            cell_bytes: 1024,
            max_pack: 4096,
            data_deposit: DataDeposit { per_byte: none, blocks: 0 },
            bonds: Bonds { proposal: none, objection: none, dispute: none, fault: none },
            governors: vec![EvmAddress([8; 20])],
            delay: 60,
            arbiter: EvmAddress([9; 20]),
            min_stake: none,
            least_stake: none,
        }
    }

    #[test]
    fn a_network_in_which_disputes_or_objections_come_to_nothing_is_not_started() {
        let refused = |config: &GenesisConfig| {
            plan(config, 1, Address::ZERO, 0, BlockNumber(0)).map(|_| ()).unwrap_err()
        };
        let mut hasty = config(24, 2);
        hasty.settle_blocks = 2;
        let few = GenesisError::NoTimeToAnswer { settle_blocks: 2, least: 3 };
        assert_eq!(refused(&hasty), few);
        let short = GenesisError::NoTimeToObject { challenge_blocks: 1, least: 2 };
        assert_eq!(refused(&config(24, 1)), short);
        let mut cheap = config(24, 2);
        (cheap.budget, cheap.bonds.dispute) = (Amount(DISPUTES_COST * 5 + 1), Amount(5));
        let GenesisError::CheapDisputes { least, .. } = refused(&cheap) else { panic!() };
        assert_eq!(least, Amount(6));
        (cheap.bonds.dispute, cheap.bonds.proposal) = (least, cheap.budget);
        assert!(plan(&cheap, 1, Address::ZERO, 0, BlockNumber(0)).is_ok());
    }

    #[test]
    fn a_proposer_locks_what_an_epoch_emits() {
        let (budget, mut config) = (Amount::ONE_OPEN, config(24, 2));
        let plan = |config: &GenesisConfig| plan(config, 1, Address::ZERO, 0, BlockNumber(0));
        config.budget = budget;
        (config.bonds.dispute, config.bonds.proposal) = (budget, Amount(budget.0 - 1));
        let bond = config.bonds.proposal;
        assert_eq!(plan(&config).err(), Some(GenesisError::Bond { bond, budget }));
        config.bonds.proposal = budget;
        assert!(plan(&config).is_ok());
    }
}
