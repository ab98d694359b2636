//! Where the contracts of one network are, and the transactions that put them there.

use alloy::primitives::{Address, Bytes, TxKind, U256};
use alloy::sol_types::{SolCall, SolConstructor};
use protocol::eip712::Domain;
use protocol::params::Schedule;
use protocol::{AccountId, Amount, BlockNumber, Blocks, Epoch, EvmAddress};
use serde::{Deserialize, Serialize};

use crate::bindings::{
    Coordinator, DatanetRegistry, Disputes, ModelRegistry, Open, Registry, RewardVault,
    Settlements, StorageVerifier, Timelock, UsageEscrow, address,
};
use crate::devchain::TX_GAS_CAP;
use crate::genesis::{GenesisConfig, GenesisError};
use crate::locks::DataDeposit;
use crate::replaced::Replaced;

/// What the escrow demands of a withdrawal's delay: blocks in which a server sees the request and redeems.
const REDEEM_BLOCKS: u64 = 16;

/// The contracts of one network, and what a node must know of them before it reads the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The block from which on events are read: no contract existed before it.
    pub genesis_block: BlockNumber,
    /// How blocks make epochs.
    pub schedule: Schedule,
    /// Bytes of a storage cell.
    pub cell_bytes: u64,
    /// What a contribution locks.
    pub data_deposit: DataDeposit,
    /// Emission of an epoch.
    pub budget: Amount,
    /// The account that receives the platform's share.
    pub treasury: AccountId,
    /// The OPEN token.
    pub open: EvmAddress,
    /// The Registry: accounts, keys, stake.
    pub registry: EvmAddress,
    /// The DatanetRegistry: Datanets, packs, who may contribute.
    pub datanets: EvmAddress,
    /// The ModelRegistry: training runs and their checkpoints.
    pub models: EvmAddress,
    /// The Coordinator: beacon and records; what every signature names.
    pub coordinator: EvmAddress,
    /// The Settlements: proposals, objections, challenges.
    pub settlements: EvmAddress,
    /// The Disputes about what nodes store.
    pub disputes: EvmAddress,
    /// The StorageVerifier: checks BLAKE3 openings on chain.
    pub verifier: EvmAddress,
    /// The UsageEscrow: deposits of consumers, and the receipts that draw on them.
    pub escrow: EvmAddress,
    /// The RewardVault: emission and fees until they are claimed, and what is final.
    pub vault: EvmAddress,
    /// The Timelock: the admin of every contract that has one.
    pub timelock: EvmAddress,
    /// What was there before and still counts.
    #[serde(default)]
    pub replaced: Replaced,
}

impl Deployment {
    /// The domain of every record in this network.
    pub fn domain(&self) -> Domain {
        Domain::new(self.chain_id, self.coordinator)
    }

    /// The contract that decides over proposals in a block. What another one says there is void.
    pub(crate) fn settlements_at(&self, block: BlockNumber) -> EvmAddress {
        let before = self.replaced.settlements.iter().find(|(_, until)| block < *until);
        before.map_or(self.settlements, |(contract, _)| *contract)
    }

    /// The contract that judges disputes about an epoch. What another one says of it is void.
    pub(crate) fn disputes_of(&self, epoch: Epoch) -> EvmAddress {
        let before = self.replaced.disputes.iter().find(|(_, until)| epoch < *until);
        before.map_or(self.disputes, |(contract, _)| *contract)
    }

    /// Whether these are the Disputes, now or once.
    pub(crate) fn is_disputes(&self, contract: EvmAddress) -> bool {
        let mut before = self.replaced.disputes.iter();
        contract == self.disputes || before.any(|(of, _)| *of == contract)
    }

    /// Whether this is the UsageEscrow, now or once.
    pub(crate) fn is_escrow(&self, contract: EvmAddress) -> bool {
        contract == self.escrow || self.replaced.escrows.contains(&contract)
    }

    /// The contracts whose events nodes follow.
    pub(crate) fn speakers(&self) -> Vec<EvmAddress> {
        let mut speakers = vec![
            self.registry,
            self.datanets,
            self.models,
            self.coordinator,
            self.settlements,
            self.disputes,
            self.escrow,
            self.vault,
        ];
        speakers.extend(self.replaced.settlements.iter().map(|(contract, _)| *contract));
        speakers.extend(self.replaced.disputes.iter().map(|(contract, _)| *contract));
        speakers.extend(&self.replaced.escrows);
        speakers
    }
}

/// A transaction of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) to: TxKind,
    pub(crate) data: Bytes,
    /// Enough gas, so that no step waits for an earlier one to be estimated.
    pub(crate) gas: u64,
}

/// A deployment before it is sent: every address follows from the deployer and its nonce.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) deployment: Deployment,
    pub(crate) steps: Vec<Step>,
}

#[derive(Default)]
struct Planner {
    steps: Vec<Step>,
}

impl Planner {
    fn create(&mut self, code: &Bytes, arguments: &[u8]) {
        /// Per byte of code: its deposit, its call data, and a margin.
        const CODE_GAS: u64 = 260;
        /// Per byte of arguments: a holder takes 64 of them and two storage slots with checkpoints.
        const ARGUMENT_GAS: u64 = 4_000;
        let data = [code.as_ref(), arguments].concat().into();
        let gas = 1_000_000
            + code.len() as u64 * CODE_GAS
            + (arguments.len() as u64).saturating_mul(ARGUMENT_GAS);
        self.steps.push(Step { to: TxKind::Create, data, gas: gas.min(TX_GAS_CAP) });
    }

    fn call(&mut self, to: Address, call: &impl SolCall) {
        let data = call.abi_encode().into();
        self.steps.push(Step { to: TxKind::Call(to), data, gas: 500_000 });
    }
}

/// Where contracts will be, in the order in which they are created. Each knows from the start who may do
/// what, so the deployer has no role at any time, and nobody can come between.
struct Addresses {
    open: Address,
    timelock: Address,
    registry: Address,
    datanets: Address,
    verifier: Address,
    coordinator: Address,
    vault: Address,
    settlements: Address,
    disputes: Address,
    escrow: Address,
    models: Address,
}

impl Addresses {
    fn of(deployer: Address, nonce: u64) -> Self {
        let at = |place| deployer.create(nonce + place);
        Self {
            open: at(0),
            timelock: at(1),
            registry: at(2),
            datanets: at(3),
            verifier: at(4),
            coordinator: at(5),
            vault: at(6),
            settlements: at(7),
            disputes: at(8),
            escrow: at(9),
            models: at(10),
        }
    }
}

fn evm(address: Address) -> EvmAddress {
    EvmAddress(address.into())
}

/// Transactions of a plan; epoch 0 starts after the last of them at one block each.
const STEPS: u64 = 13;

/// Plans a deployment by `deployer`, whose next nonce is `nonce`, on a chain whose head is `head`.
pub(crate) fn plan(
    config: &GenesisConfig,
    chain_id: u64,
    deployer: Address,
    nonce: u64,
    head: BlockNumber,
) -> Result<Plan, GenesisError> {
    config.check()?;
    let (holders, amounts) = config.list(deployer)?;
    let start = head.0.checked_add(STEPS).and_then(|block| block.checked_add(config.start_after));
    let schedule = Schedule {
        genesis_block: BlockNumber(start.ok_or(GenesisError::TooLate)?),
        epoch_blocks: Blocks(config.epoch_blocks),
        commit_blocks: Blocks(config.commit_blocks),
        settle_blocks: Blocks(config.settle_blocks),
        challenge_blocks: Blocks(config.challenge_blocks),
    };
    let (mut planner, at) = (Planner::default(), Addresses::of(deployer, nonce));
    let open = Open::constructorCall { holders, amounts }.abi_encode();
    planner.create(&Open::BYTECODE, &open);
    create_accounts(&mut planner, config, &at);
    create_epochs(&mut planner, config, &schedule, &at);
    create_market(&mut planner, config, &at);
    let (spender, amount) = (at.vault, config.vault.0);
    planner.call(at.open, &Open::approveCall { spender, value: U256::from(amount) });
    planner.call(at.vault, &RewardVault::fundCall { amount });
    debug_assert_eq!(planner.steps.len() as u64, STEPS);
    let deployment = Deployment {
        chain_id,
        genesis_block: head.next(),
        schedule,
        cell_bytes: config.cell_bytes,
        data_deposit: config.data_deposit,
        budget: config.budget,
        treasury: AccountId(1),
        open: evm(at.open),
        registry: evm(at.registry),
        datanets: evm(at.datanets),
        models: evm(at.models),
        coordinator: evm(at.coordinator),
        settlements: evm(at.settlements),
        disputes: evm(at.disputes),
        verifier: evm(at.verifier),
        escrow: evm(at.escrow),
        vault: evm(at.vault),
        timelock: evm(at.timelock),
        replaced: Replaced::default(),
    };
    Ok(Plan { deployment, steps: planner.steps })
}

/// Blocks for which stake that leaves can still be slashed, so that every window over what it did has
/// closed by then: the epoch in which it was counted and the one from which it was, and of a proposal its
/// window and the four that the arbiter has.
const fn unstake_delay(config: &GenesisConfig) -> u64 {
    let windows = config.challenge_blocks.saturating_mul(5);
    config.epoch_blocks.saturating_mul(2).saturating_add(windows)
}

/// Who governs, who takes part, and with which data.
fn create_accounts(p: &mut Planner, config: &GenesisConfig, at: &Addresses) {
    let governors = config.governors.iter().map(|governor| address(*governor)).collect();
    let arguments = Timelock::constructorCall { delay: U256::from(config.delay), governors };
    p.create(&Timelock::BYTECODE, &arguments.abi_encode());
    let (per_period, in_all) = config.hot_key();
    let arguments = Registry::constructorCall {
        open: at.open,
        unstakeDelay: unstake_delay(config),
        period: config.epoch_blocks.max(1),
        perPeriod: per_period.0,
        inAll: in_all.0,
        leastAllowance: config.bonds.fault.0,
        treasury: address(config.treasury),
        admin: at.timelock,
        slashers: vec![at.settlements, at.disputes],
    };
    p.create(&Registry::BYTECODE, &arguments.abi_encode());
    let arguments = DatanetRegistry::constructorCall {
        open: at.open,
        registry: at.registry,
        minStake: config.min_stake.0,
        maxPack: config.max_pack,
        depositPerByte: config.data_deposit.per_byte.0,
        depositBlocks: config.data_deposit.blocks,
        admin: at.timelock,
        counter: at.settlements,
    };
    p.create(&DatanetRegistry::BYTECODE, &arguments.abi_encode());
}

/// Epochs, and what is final and disputed of them.
fn create_epochs(p: &mut Planner, config: &GenesisConfig, schedule: &Schedule, at: &Addresses) {
    let Addresses { coordinator, vault, .. } = *at;
    p.create(&StorageVerifier::BYTECODE, &[]);
    let arguments = Coordinator::constructorCall {
        params: Coordinator::EpochParams {
            genesisBlock: schedule.genesis_block.0,
            epochBlocks: schedule.epoch_blocks.0,
            commitBlocks: schedule.commit_blocks.0,
            settleBlocks: schedule.settle_blocks.0,
            challengeBlocks: schedule.challenge_blocks.0,
            cellBytes: config.cell_bytes,
        },
        registry: at.registry,
    };
    p.create(&Coordinator::BYTECODE, &arguments.abi_encode());
    let arguments = RewardVault::constructorCall {
        open: at.open,
        coordinator,
        budgetPerEpoch: config.budget.0,
        leastStake: config.least_stake.0,
        admin: at.timelock,
        firstSettlements: at.settlements,
        firstDisputes: at.disputes,
        sources: vec![at.escrow, at.models],
    };
    p.create(&RewardVault::BYTECODE, &arguments.abi_encode());
    let arguments = Settlements::constructorCall {
        coordinator,
        datanets: at.datanets,
        vault,
        proposalBond: config.bonds.proposal.0,
        objectionBond: config.bonds.objection.0,
        admin: at.timelock,
        arbiter: address(config.arbiter),
    };
    p.create(&Settlements::BYTECODE, &arguments.abi_encode());
    let arguments = Disputes::constructorCall {
        coordinator,
        vault,
        verifier: at.verifier,
        disputeBond: config.bonds.dispute.0,
        fault: config.bonds.fault.0,
    };
    p.create(&Disputes::BYTECODE, &arguments.abi_encode());
}

/// What is paid by those who use the network.
fn create_market(p: &mut Planner, config: &GenesisConfig, at: &Addresses) {
    let Addresses { registry, datanets, coordinator, vault, .. } = *at;
    let withdrawal = config.challenge_blocks.max(REDEEM_BLOCKS);
    let arguments =
        UsageEscrow::constructorCall { coordinator, vault, withdrawalDelay: withdrawal };
    p.create(&UsageEscrow::BYTECODE, &arguments.abi_encode());
    let arguments =
        ModelRegistry::constructorCall { registry, datanetRegistry: datanets, coordinator, vault };
    p.create(&ModelRegistry::BYTECODE, &arguments.abi_encode());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::tests::config;

    #[test]
    fn each_block_and_epoch_has_the_contract_that_decided_then() {
        let mut at = plan(&config(24, 2), 1, Address::ZERO, 0, BlockNumber(0)).unwrap().deployment;
        let [one, two, three, four] = [1, 2, 3, 4].map(|byte| EvmAddress([byte; 20]));
        at.replaced.settlements = vec![(one, BlockNumber(10)), (two, BlockNumber(20))];
        at.replaced.disputes = vec![(three, Epoch(5))];
        at.replaced.escrows = vec![four];
        let decide = [9, 10, 20].map(|block| at.settlements_at(BlockNumber(block)));
        assert_eq!(decide, [one, two, at.settlements]);
        assert_eq!([4, 5].map(|epoch| at.disputes_of(Epoch(epoch))), [three, at.disputes]);
        assert!([one, two, three, four].iter().all(|contract| at.speakers().contains(contract)));
    }

    /// What was asked back before a wrong was done must not be gone before it is found.
    #[test]
    fn stake_leaves_no_sooner_than_every_window_over_what_it_did_has_closed() {
        for (epoch, window) in [(24, 2), (60, 12), (43_200, 1_800), (1, 5_000)] {
            let config = config(epoch, window);
            let delay = unstake_delay(&config);
            assert!(delay >= 2 * epoch + 2 * window, "{epoch} {window}: {delay}");
            let plan = plan(&config, 1, Address::ZERO, 0, BlockNumber(0)).unwrap();
            let at = Addresses::of(Address::ZERO, 0);
            let (per_period, in_all) = config.hot_key();
            let arguments = Registry::constructorCall {
                open: at.open,
                unstakeDelay: delay,
                period: epoch,
                perPeriod: per_period.0,
                inAll: in_all.0,
                leastAllowance: config.bonds.fault.0,
                treasury: address(config.treasury),
                admin: at.timelock,
                slashers: vec![at.settlements, at.disputes],
            };
            let registry = &plan.steps[2];
            assert!(registry.data.ends_with(&arguments.abi_encode()), "deployed with it");
        }
        assert_eq!(unstake_delay(&config(u64::MAX, u64::MAX)), u64::MAX);
    }
}
