//! Random calls of the Registry against a model that keeps its numbers in plain sums: what one refuses the
//! other refuses, and what is staked, locked, leaving and held is the same after each.

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolCall;

use super::chain::{Chain, EmbeddedChain};
use super::world::abi::open::Open;
use super::world::{ACCOUNTS, EPOCH_BLOCKS, FAULT, IN_ALL, OPEN, PER_PERIOD, Registry, World, who};

/// Calls on one deployment; more of them go on with another.
pub(super) const CALLS: u64 = 20_000;
/// Of these development accounts calls come.
const CALLERS: usize = 5;
/// Who may lock, seize and slash.
const SLASHER: usize = 4;
/// Accounts at most.
const MOST: usize = 6;
const DELAY: u64 = 20;

#[derive(Clone, Debug)]
struct Account {
    owner: usize,
    stake: u128,
    locked: u128,
    leaving: u128,
    unlock: u64,
    /// Most by the hot key in a period, and in all.
    limits: (u128, u128),
    period: u64,
    used_in_period: u128,
    used: u128,
    locked_by_key: u128,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Register { owner: usize, binding: usize },
    Stake(u128),
    Unstake(u128),
    Withdraw,
    Allow(u128, u128),
    Lock { amount: u128, by: usize },
    Unlock(u128),
    Seize { amount: u128, to: usize },
    Slash { amount: u128, by_owner: bool, to: usize },
}

/// The kinds of calls.
const KINDS: usize = 9;

struct Model {
    /// Account 1 first.
    accounts: Vec<Account>,
    /// OPEN of the callers.
    held: Vec<u128>,
}

impl Model {
    /// What a call does in a block, or that it does nothing.
    fn apply(&mut self, from: usize, account: usize, call: Call, block: u64) -> Option<()> {
        if let Call::Register { owner, binding } = call {
            return (binding == 64).then(|| self.accounts.push(fresh(owner)));
        }
        let Self { accounts, held } = self;
        let a = accounts.get_mut(account.checked_sub(1)?)?;
        let free = a.stake - a.locked - a.leaving;
        let is_owner = from == a.owner;
        let is_slasher = from == SLASHER;
        match call {
            Call::Register { .. } => return None,
            Call::Stake(amount) => {
                held[from] = held[from].checked_sub(amount).filter(|_| amount > 0)?;
                a.stake += amount;
            }
            Call::Unstake(amount) if is_owner && amount > 0 && amount <= free => {
                (a.leaving, a.unlock) = (a.leaving + amount, block + DELAY);
            }
            Call::Withdraw if is_owner && a.leaving > 0 && block >= a.unlock => {
                held[from] += a.leaving;
                a.stake -= a.leaving;
                a.leaving = 0;
            }
            Call::Allow(per_period, in_all)
                if is_owner && per_period >= FAULT && in_all >= FAULT =>
            {
                (a.limits, a.used) = ((per_period, in_all), a.locked_by_key);
            }
            Call::Lock { amount, by } if is_slasher && amount <= free => {
                if by != a.owner {
                    if amount > a.room(block) {
                        return None;
                    }
                    a.use_allowance(amount, block);
                    a.locked_by_key += amount;
                }
                a.locked += amount;
            }
            Call::Unlock(amount) if is_slasher && amount <= a.locked => {
                a.locked -= amount;
                let back = amount.min(a.locked_by_key);
                (a.locked_by_key, a.used) = (a.locked_by_key - back, a.used - back);
                if a.period == block / EPOCH_BLOCKS {
                    a.used_in_period = a.used_in_period.saturating_sub(back);
                }
            }
            Call::Seize { amount, to } if is_slasher && amount <= a.locked => {
                (a.locked, a.stake) = (a.locked - amount, a.stake - amount);
                a.locked_by_key = a.locked_by_key.saturating_sub(amount);
                held[to] += amount;
            }
            Call::Slash { amount, by_owner, to } if is_slasher => {
                let mut amount = amount;
                if !by_owner {
                    amount = amount.min(a.room(block));
                    a.use_allowance(amount, block);
                }
                let taken = amount.min(a.stake - a.locked);
                a.stake -= taken;
                a.leaving = a.leaving.min(a.stake - a.locked);
                held[to] += taken;
            }
            _ => return None,
        }
        Some(())
    }
}

fn fresh(owner: usize) -> Account {
    Account {
        owner,
        stake: 0,
        locked: 0,
        leaving: 0,
        unlock: 0,
        limits: (PER_PERIOD, IN_ALL),
        period: 0,
        used_in_period: 0,
        used: 0,
        locked_by_key: 0,
    }
}

impl Account {
    /// What the hot key may still lock or lose.
    fn room(&self, block: u64) -> u128 {
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
}

/// Numbers that look drawn (SplitMix64).
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    /// Often what there is or a little beside it.
    fn amount(&mut self, account: Option<&Account>) -> u128 {
        let Some(a) = account else { return OPEN };
        match self.below(12) {
            0 => 0,
            1 => 1,
            2 => u128::MAX,
            3 => a.stake - a.locked - a.leaving,
            4 => a.stake - a.locked - a.leaving + 1,
            5 => a.locked,
            6 => a.locked + 1,
            7 => a.limits.0.saturating_sub(a.used_in_period),
            _ => self.below(400) as u128 * OPEN,
        }
    }

    fn call(&mut self, model: &Model, account: usize) -> Call {
        let known = account.checked_sub(1).and_then(|index| model.accounts.get(index));
        let amount = self.amount(known);
        let to = self.below(CALLERS);
        match self.below(12) {
            0 => {
                let is_full = model.accounts.len() == MOST;
                Call::Register { owner: to, binding: 64 - usize::from(is_full) }
            }
            1 | 2 => Call::Stake(amount),
            3 => Call::Unstake(amount),
            4 => Call::Withdraw,
            5 => Call::Allow(amount, self.amount(known)),
            6 | 7 => Call::Lock { amount, by: to },
            8 | 9 => Call::Unlock(amount),
            10 => Call::Seize { amount, to },
            _ => Call::Slash { amount, by_owner: self.below(2) == 0, to },
        }
    }
}

fn encode(account: u64, call: Call) -> (usize, Vec<u8>) {
    match call {
        Call::Register { owner, binding } => {
            let owner = who(owner);
            let (operator, payout, binding) = (owner, owner, vec![0; binding].into());
            let call =
                Registry::registerCall { owner, operator, payout, nodeId: B256::ZERO, binding };
            (0, call.abi_encode())
        }
        Call::Stake(amount) => (1, Registry::stakeForCall { account, amount }.abi_encode()),
        Call::Unstake(amount) => (2, Registry::requestUnstakeCall { account, amount }.abi_encode()),
        Call::Withdraw => (3, Registry::withdrawCall { account }.abi_encode()),
        Call::Allow(per_period, in_all) => {
            let call = Registry::setAllowanceCall { account, perPeriod: per_period, inAll: in_all };
            (4, call.abi_encode())
        }
        Call::Lock { amount, by } => {
            (5, Registry::lockCall { account, amount, by: who(by) }.abi_encode())
        }
        Call::Unlock(amount) => (6, Registry::unlockCall { account, amount }.abi_encode()),
        Call::Seize { amount, to } => {
            (7, Registry::seizeCall { account, amount, to: who(to) }.abi_encode())
        }
        Call::Slash { amount, by_owner, to } => {
            let to = who(to);
            (8, Registry::slashCall { account, amount, byOwner: by_owner, to }.abi_encode())
        }
    }
}

/// A deployment in which all callers have OPEN, and the model of it.
fn start(chain: &mut dyn Chain) -> (World<'_>, Model) {
    let mut world = World::deploy(chain);
    let registry = world.registry;
    let role = keccak256("SLASHER_ROLE");
    let grant = Registry::grantRoleCall { role, account: who(SLASHER) };
    world.send(0, registry, &grant);
    for caller in 1..CALLERS {
        let value = U256::from(1_000_000 * OPEN);
        world.send(0, world.open, &Open::transferCall { to: who(caller), value });
        let value = U256::MAX;
        world.send(caller, world.open, &Open::approveCall { spender: registry, value });
    }
    let staked = |owner| Account { stake: 10_000 * OPEN, ..fresh(owner) };
    let accounts = (1..=ACCOUNTS as usize).map(staked).collect();
    let held = (0..CALLERS).map(|caller| world.balance(who(caller)).to::<u128>()).collect();
    (world, Model { accounts, held })
}

fn compare(world: &mut World<'_>, model: &Model, account: usize) {
    let Some(a) = account.checked_sub(1).and_then(|index| model.accounts.get(index)) else {
        return;
    };
    let id = account as u64;
    let stake = world.read(world.registry, &Registry::stakeOfCall { account: id });
    assert_eq!((stake.stake, stake.locked, stake.leaving), (a.stake, a.locked, a.leaving));
    assert!(a.locked + a.leaving <= a.stake, "nothing is promised twice: {a:?}");
    let allowance = world.read(world.registry, &Registry::allowanceOfCall { account: id });
    assert_eq!((allowance.perPeriod, allowance.inAll, allowance.used), {
        (a.limits.0, a.limits.1, a.used)
    });
}

/// Every OPEN is where the model says, and the Registry holds what is staked.
fn compare_holdings(world: &mut World<'_>, model: &Model) {
    for (caller, held) in model.held.iter().enumerate() {
        assert_eq!(world.balance(who(caller)), U256::from(*held), "{caller}");
    }
    let staked: u128 = model.accounts.iter().map(|a| a.stake).sum();
    let registry: Address = world.registry;
    assert_eq!(world.balance(registry), U256::from(staked));
}

/// Plays so many calls from a seed on a deployment of their own.
fn play(seed: u64, calls: u64) {
    let mut chain = EmbeddedChain::new();
    let (mut world, mut model) = start(&mut chain);
    let mut draw = Draw(seed);
    let mut tally = [[0_u64; 2]; KINDS];
    for turn in 0..calls {
        let account = draw.below(MOST + 2);
        let call = draw.call(&model, account);
        let owner = account.checked_sub(1).and_then(|index| model.accounts.get(index));
        let from = match (draw.below(8), call, owner) {
            (0, ..) | (_, _, None) => draw.below(CALLERS),
            (_, Call::Unstake(_) | Call::Withdraw | Call::Allow(..), Some(a)) => a.owner,
            (_, Call::Register { .. } | Call::Stake(_), _) => draw.below(CALLERS),
            _ => SLASHER,
        };
        let (kind, data) = encode(account as u64, call);
        let block = world.chain.head() + 1;
        let before = (model.accounts.clone(), model.held.clone());
        let expected = model.apply(from, account, call, block).is_some();
        if !expected {
            (model.accounts, model.held) = before;
        }
        let mined = world.chain.send(who(from), Some(world.registry), data.into());
        assert_eq!(
            mined.is_success, expected,
            "seed {seed}, call {turn}: {call:?} of account {account} by {from} in block {block}"
        );
        tally[kind][usize::from(expected)] += 1;
        compare(&mut world, &model, account);
        if turn % 64 == 0 || turn + 1 == calls {
            compare_holdings(&mut world, &model);
        }
    }
    let is_tried = tally.iter().all(|[refused, done]| *refused > 0 && *done > 0);
    assert!(calls < CALLS || is_tried, "each call fails and succeeds: {tally:?}");
}

/// Plays 20,000 calls, or as many as the variable `OPENLEDGER_MODEL_CALLS` says, each so many from a seed.
pub(super) fn play_all(play: fn(u64, u64)) {
    let calls = std::env::var("OPENLEDGER_MODEL_CALLS").ok();
    let calls = calls.map_or(CALLS, |text| text.parse().expect("a number of calls"));
    for seed in 0..calls.div_ceil(CALLS) {
        play(seed, CALLS.min(calls - seed * CALLS));
    }
}

pub(crate) fn scenario() {
    play_all(play);
}
