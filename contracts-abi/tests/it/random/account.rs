//! An account of the Registry, as its text says: owner, hot key, stake, and what the hot key may lock or lose.

use alloy::primitives::{Address, U256};
use protocol::chain::ChainView;
use protocol::{AccountId, BlockNumber, EvmAddress};

use super::driver::{Done, PANIC, need};
use crate::contracts::world::{
    ACCOUNTS, EPOCH_BLOCKS, IN_ALL, OPEN, PER_PERIOD, Registry, World, who,
};

#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) owner: Address,
    pub(super) operator: Address,
    pub(super) payout: Address,
    pub(super) stake: u128,
    pub(super) locked: u128,
    pub(super) leaving: u128,
    pub(super) unlock: u64,
    /// Most by the hot key in a period, and in all.
    pub(super) limits: (u128, u128),
    period: u64,
    used_in_period: u128,
    used: u128,
    locked_by_key: u128,
    /// Hot keys with the first block at whose end each was there.
    operators: Vec<(u64, Address)>,
}

/// The accounts of the world with their stakes, the third with a hot key.
pub(super) fn with_hot_key(world: &mut World<'_>, hot: Address) -> Vec<Account> {
    let rotate = Registry::rotateOperatorCall { account: 3, operator: hot };
    world.send(3, world.registry, &rotate);
    let staked = |owner| Account::staked(owner, 10_000 * OPEN);
    let mut accounts: Vec<_> = (1..=ACCOUNTS as usize).map(staked).collect();
    accounts[2].rotate(hot, world.chain.head()).unwrap();
    accounts
}

/// What everybody holds, what the vault does, and that the Registry has all stakes; what is locked of them.
pub(super) fn compare_money(
    world: &mut World<'_>,
    accounts: &[Account],
    held: &[u128],
    vault: u128,
) -> u128 {
    for (person, held) in held.iter().enumerate() {
        assert_eq!(world.balance(who(person)), U256::from(*held), "{person}");
    }
    assert_eq!(world.balance(world.vault), U256::from(vault));
    let staked: u128 = accounts.iter().map(|account| account.stake).sum();
    assert_eq!(world.balance(world.registry), U256::from(staked));
    accounts.iter().map(|account| account.locked).sum()
}

impl Account {
    /// As it is registered in a block, without a stake.
    pub(super) fn new(owner: Address, operator: Address, payout: Address, block: u64) -> Self {
        Self {
            owner,
            operator,
            payout,
            stake: 0,
            locked: 0,
            leaving: 0,
            unlock: 0,
            limits: (PER_PERIOD, IN_ALL),
            period: 0,
            used_in_period: 0,
            used: 0,
            locked_by_key: 0,
            operators: vec![(block, operator)],
        }
    }

    /// One of those that a deployment begins with, with the keys of a development account.
    pub(super) fn staked(owner: usize, stake: u128) -> Self {
        let key = who(owner);
        Self { stake, ..Self::new(key, key, key, 0) }
    }

    pub(super) fn free(&self) -> u128 {
        self.stake - self.locked - self.leaving
    }

    /// What the hot key may still lock or lose.
    pub(super) fn room(&self, block: u64) -> u128 {
        let is_now = self.period == block / EPOCH_BLOCKS;
        let in_period = if is_now { self.used_in_period } else { 0 };
        let (per_period, in_all) = self.limits;
        per_period.saturating_sub(in_period).min(in_all.saturating_sub(self.used))
    }

    fn use_allowance(&mut self, amount: u128, block: u64) {
        let period = block / EPOCH_BLOCKS;
        let before = if self.period == period { self.used_in_period } else { 0 };
        (self.period, self.used_in_period) = (period, before + amount);
        self.used += amount;
    }

    /// What an owner allows, counted anew.
    pub(super) fn allow(&mut self, limits: (u128, u128)) {
        (self.limits, self.used) = (limits, self.locked_by_key);
    }

    pub(super) fn lock(&mut self, amount: u128, by: Address, block: u64) -> Done {
        need(amount <= self.free(), "InsufficientStake")?;
        if by != self.owner {
            need(amount <= self.room(block), "BeyondAllowance")?;
            self.use_allowance(amount, block);
            self.locked_by_key += amount;
        }
        self.locked += amount;
        Ok(())
    }

    pub(super) fn unlock(&mut self, amount: u128, block: u64) -> Done {
        self.locked = self.locked.checked_sub(amount).ok_or(PANIC)?;
        let back = amount.min(self.locked_by_key);
        (self.locked_by_key, self.used) = (self.locked_by_key - back, self.used - back);
        if self.period == block / EPOCH_BLOCKS {
            self.used_in_period = self.used_in_period.saturating_sub(back);
        }
        Ok(())
    }

    pub(super) fn seize(&mut self, amount: u128) -> Done {
        self.locked = self.locked.checked_sub(amount).ok_or(PANIC)?;
        self.stake -= amount;
        self.locked_by_key = self.locked_by_key.saturating_sub(amount);
        Ok(())
    }

    /// Takes what is not locked, and of what the hot key did no more than is allowed; how much.
    pub(super) fn slash(&mut self, amount: u128, by_owner: bool, block: u64) -> u128 {
        let mut charged = amount;
        if !by_owner {
            charged = amount.min(self.room(block));
            self.use_allowance(charged, block);
            let is_there = self.operator != self.owner && self.operator != Address::ZERO;
            if charged < amount && is_there {
                self.operator = Address::ZERO;
                self.operators.push((block + 1, Address::ZERO));
            }
        }
        let taken = charged.min(self.stake - self.locked);
        self.stake -= taken;
        self.leaving = self.leaving.min(self.stake - self.locked);
        taken
    }

    pub(super) fn rotate(&mut self, operator: Address, block: u64) -> Done {
        need(operator != Address::ZERO, "ZeroAddress")?;
        let is_later = self.operators.last().is_some_and(|(since, _)| *since < block);
        need(is_later, "RotatedInBlock")?;
        self.operator = operator;
        self.used = self.locked_by_key;
        self.operators.push((block, operator));
        Ok(())
    }

    /// The hot key at the end of a block.
    pub(super) fn operator_at(&self, block: u64) -> Address {
        let known = self.operators.iter().rev().find(|(since, _)| *since <= block);
        known.map_or(Address::ZERO, |(_, operator)| *operator)
    }

    pub(super) fn controls(&self, who: Address) -> bool {
        who == self.owner || who == self.operator
    }

    /// Requires that the Registry says the same of this account.
    pub(super) fn compare(&self, world: &mut World<'_>, account: u64) {
        let registry = world.registry;
        let found = world.read(registry, &Registry::stakeOfCall { account });
        let found = (found.stake, found.locked, found.leaving, found.unlockBlock);
        let unlock = if self.unlock == 0 { found.3 } else { self.unlock };
        assert_eq!(found, (self.stake, self.locked, self.leaving, unlock), "of {account}");
        let found = world.read(registry, &Registry::allowanceOfCall { account });
        let allowance = (self.limits.0, self.limits.1, self.used);
        assert_eq!((found.perPeriod, found.inAll, found.used), allowance, "of {account}");
        let operator = world.read(registry, &Registry::operatorOfCall { account });
        assert_eq!(operator, self.operator, "of {account}");
        assert!(self.locked + self.leaving <= self.stake);
    }

    /// Rust and Solidity say alike who may sign for it, now and in every so many blocks before; not in those
    /// in which a key was dismissed, where the contract names it still, for disputes.
    pub(super) fn compare_keys(
        &self,
        world: &mut World<'_>,
        view: &ChainView,
        account: u64,
        (first, step): (u64, usize),
        dismissed: &[(u64, u64)],
    ) {
        let head = world.chain.head();
        let known = view.account(AccountId(account)).expect("it is registered");
        let evm = |address: Address| EvmAddress(address.into());
        assert_eq!(known.operator_at(BlockNumber(head)), Some(evm(self.operator)));
        let blocks = (first..=head).rev().step_by(step);
        for block in blocks.filter(|block| !dismissed.contains(&(account, *block))) {
            let call = Registry::operatorAtCall { account, blockNumber: block };
            let found = evm(world.read(world.registry, &call));
            let said = known.operator_at(BlockNumber(block)).unwrap_or(EvmAddress([0; 20]));
            assert_eq!(said, found, "of {account} in {block}");
        }
    }
}

/// An account by its number, from 1.
pub(super) fn of(accounts: &mut [Account], number: u64) -> Result<&mut Account, &'static str> {
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    index.and_then(|index| accounts.get_mut(index)).ok_or("UnknownAccount")
}

/// Whether somebody is owner or operator of an account.
pub(super) fn controls(accounts: &[Account], number: u64, who: Address) -> bool {
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    index.and_then(|index| accounts.get(index)).is_some_and(|account| account.controls(who))
}
