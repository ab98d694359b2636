//! The Registry: keys, stake, bonds and what a hot key may lose.

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use protocol::AccountId;
use protocol::chain::ChainView;

use super::account::{self, Account};
use super::driver::{Done, Draw, Encoded, Model, NO_ROLE, PANIC, Step, need};
use crate::contracts::world::abi::open::Open;
use crate::contracts::world::{ACCOUNTS, FAULT, OPEN, Registry, World, who};

/// Of these development accounts calls come.
const CALLERS: usize = 6;
/// Who may lock, seize and slash.
const SLASHER: usize = 5;
/// Accounts at most.
const MOST: usize = 6;
const DELAY: u64 = 20;

#[derive(Clone, Debug)]
pub(super) enum Call {
    Register { keys: [Address; 3], binding: usize },
    Rotate(u64, Address),
    Payout(u64, Address),
    Bind { account: u64, node: u8, binding: usize },
    Allow(u64, u128, u128),
    Stake(u64, u128),
    Unstake(u64, u128),
    Withdraw(u64),
    Lock { account: u64, amount: u128, by: Address },
    Unlock(u64, u128),
    Seize { account: u64, amount: u128, to: usize },
    Slash { account: u64, amount: u128, by_owner: bool, to: usize },
}

impl Call {
    const fn account(&self) -> Option<u64> {
        match self {
            Self::Register { .. } => None,
            Self::Rotate(account, _)
            | Self::Payout(account, _)
            | Self::Bind { account, .. }
            | Self::Allow(account, ..)
            | Self::Stake(account, _)
            | Self::Unstake(account, _)
            | Self::Withdraw(account)
            | Self::Lock { account, .. }
            | Self::Unlock(account, _)
            | Self::Seize { account, .. }
            | Self::Slash { account, .. } => Some(*account),
        }
    }
}

#[derive(Clone)]
pub(super) struct Stakes {
    /// Account 1 first.
    accounts: Vec<Account>,
    nodes: Vec<u8>,
    /// OPEN of the callers.
    held: Vec<u128>,
    /// When a hot key lost all that its owner allowed it, by account: then the contract names who signed in
    /// that block still, and a node who may sign from then on.
    dismissed: Vec<(u64, u64)>,
    began: u64,
    block: u64,
}

impl Stakes {
    fn of_owner(&mut self, number: u64, from: usize) -> Result<&mut Account, &'static str> {
        let account = account::of(&mut self.accounts, number)?;
        need(account.owner == who(from), "NotOwner")?;
        Ok(account)
    }

    fn by_owner(&mut self, from: usize, call: &Call, block: u64) -> Done {
        let Some(number) = call.account() else { return Ok(()) };
        let account = self.of_owner(number, from)?;
        match *call {
            Call::Rotate(_, operator) => account.rotate(operator, block)?,
            Call::Payout(_, payout) => {
                need(payout != Address::ZERO, "ZeroAddress")?;
                account.payout = payout;
            }
            Call::Bind { node, binding, .. } => {
                need(binding == 64, "BindingLength")?;
                self.nodes[number as usize - 1] = node;
            }
            Call::Allow(_, per_period, in_all) => {
                need(per_period >= FAULT && in_all >= FAULT, "AllowanceTooLow")?;
                account.allow((per_period, in_all));
            }
            Call::Unstake(_, amount) => {
                need(amount > 0, "ZeroAmount")?;
                need(amount <= account.free(), "InsufficientStake")?;
                (account.leaving, account.unlock) = (account.leaving + amount, block + DELAY);
            }
            _ => {
                need(account.leaving > 0 && block >= account.unlock, "NotWithdrawable")?;
                self.held[from] += account.leaving;
                let account = account::of(&mut self.accounts, number)?;
                account.stake -= account.leaving;
                account.leaving = 0;
            }
        }
        Ok(())
    }

    fn by_slasher(&mut self, from: usize, call: &Call, block: u64) -> Done {
        need(from == SLASHER, NO_ROLE)?;
        match *call {
            Call::Lock { account, amount, by } => {
                account::of(&mut self.accounts, account)?.lock(amount, by, block)
            }
            Call::Unlock(account, amount) => match account::of(&mut self.accounts, account) {
                Ok(account) => account.unlock(amount, block),
                // There is nothing to release, which is refused only where it is more than nothing.
                Err(_) => need(amount == 0, PANIC),
            },
            Call::Seize { account, amount, to } => {
                match account::of(&mut self.accounts, account) {
                    Ok(account) => account.seize(amount)?,
                    Err(_) => need(amount == 0, PANIC)?,
                }
                self.held[to] += amount;
                Ok(())
            }
            Call::Slash { account: number, amount, by_owner, to } => {
                let account = account::of(&mut self.accounts, number)?;
                let before = account.operator;
                self.held[to] += account.slash(amount, by_owner, block);
                if account.operator != before {
                    self.dismissed.push((number, block));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Often what there is or a little beside it.
fn amount(draw: &mut Draw, account: Option<&Account>, block: u64) -> u128 {
    let Some(a) = account else { return draw.of(&[0, OPEN]) };
    match draw.below(14) {
        0 => 0,
        1 => 1,
        2 => u128::MAX,
        3 => a.free(),
        4 => a.free().saturating_add(1),
        5 => a.locked,
        6 => a.locked.saturating_add(1),
        7 => a.room(block),
        8 => a.room(block).saturating_add(1),
        _ => draw.below(400) as u128 * OPEN,
    }
}

fn key(draw: &mut Draw) -> Address {
    if draw.one_in(8) { Address::ZERO } else { who(draw.below(CALLERS)) }
}

fn bytes(length: usize) -> Bytes {
    vec![7; length].into()
}

/// What an owner sends, or anybody for an account.
fn encode_own(at: Address, call: &Call) -> Encoded {
    match *call {
        Call::Rotate(account, operator) => {
            let call = Registry::rotateOperatorCall { account, operator };
            Encoded::new("Registry.rotateOperator", at, &call)
        }
        Call::Payout(account, payout) => {
            let call = Registry::setPayoutCall { account, payout };
            Encoded::new("Registry.setPayout", at, &call)
        }
        Call::Bind { account, node, binding } => {
            let (node, binding) = (B256::repeat_byte(node), bytes(binding));
            let call = Registry::bindNodeCall { account, nodeId: node, binding };
            Encoded::new("Registry.bindNode", at, &call)
        }
        Call::Allow(account, per_period, in_all) => {
            let call = Registry::setAllowanceCall { account, perPeriod: per_period, inAll: in_all };
            Encoded::new("Registry.setAllowance", at, &call)
        }
        Call::Stake(account, amount) => {
            Encoded::new("Registry.stakeFor", at, &Registry::stakeForCall { account, amount })
        }
        Call::Unstake(account, amount) => {
            let call = Registry::requestUnstakeCall { account, amount };
            Encoded::new("Registry.requestUnstake", at, &call)
        }
        Call::Withdraw(account) => {
            Encoded::new("Registry.withdraw", at, &Registry::withdrawCall { account })
        }
        _ => unreachable!("by the slasher, or for no account"),
    }
}

impl Model for Stakes {
    type Call = Call;
    const CALLS: &'static [&'static str] = &[
        "Registry.register",
        "Registry.rotateOperator",
        "Registry.setPayout",
        "Registry.bindNode",
        "Registry.setAllowance",
        "Registry.stakeFor",
        "Registry.requestUnstake",
        "Registry.withdraw",
        "Registry.lock",
        "Registry.unlock",
        "Registry.seize",
        "Registry.slash",
    ];

    fn start(world: &mut World<'_>) -> Self {
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
        let staked = |owner| Account::staked(owner, 10_000 * OPEN);
        let accounts = (1..=ACCOUNTS as usize).map(staked).collect();
        let held = (0..CALLERS).map(|caller| world.balance(who(caller)).to::<u128>()).collect();
        let began = world.chain.head();
        let nodes = vec![0; ACCOUNTS as usize];
        Self { accounts, nodes, held, dismissed: Vec::new(), began, block: began }
    }

    fn draw(&self, draw: &mut Draw, block: u64) -> Step<Call> {
        // Whoever was dismissed in the block before, so that another key is named for this one already.
        let dismissed = self.dismissed.last().filter(|(_, in_block)| in_block + 1 == block);
        if let Some((account, _)) = dismissed
            && draw.one_in(2)
        {
            let owner = self.accounts[*account as usize - 1].owner;
            let from = (0..CALLERS).find(|caller| who(*caller) == owner).unwrap_or(0);
            return Step { wait: 0, from, call: Call::Rotate(*account, who(draw.below(CALLERS))) };
        }
        let account = draw.below(MOST + 2) as u64;
        let known = account.checked_sub(1).and_then(|index| self.accounts.get(index as usize));
        let amount = amount(draw, known, block);
        let to = draw.below(CALLERS);
        let binding = draw.of(&[64, 64, 64, 63, 65]);
        let call = match draw.below(17) {
            0 => {
                let is_full = self.accounts.len() == MOST;
                let binding = if is_full { 0 } else { binding };
                Call::Register { keys: [key(draw), key(draw), key(draw)], binding }
            }
            1 | 2 => Call::Rotate(account, key(draw)),
            3 => Call::Payout(account, key(draw)),
            4 => Call::Bind { account, node: draw.below(5) as u8, binding },
            5 | 6 => Call::Stake(account, amount),
            7 => Call::Unstake(account, amount),
            8 | 9 => Call::Withdraw(account),
            10 => Call::Allow(account, amount, self::amount(draw, known, block)),
            11 | 12 => Call::Lock { account, amount, by: who(to) },
            13 => Call::Unlock(account, amount),
            14 => Call::Seize { account, amount, to },
            _ => Call::Slash { account, amount, by_owner: draw.one_in(2), to },
        };
        let owner = known.and_then(|a| (0..CALLERS).find(|caller| who(*caller) == a.owner));
        let from = match (draw.below(8), &call, owner) {
            (0, ..) | (_, Call::Register { .. } | Call::Stake(..), _) => draw.below(CALLERS),
            (
                _,
                Call::Lock { .. } | Call::Unlock(..) | Call::Seize { .. } | Call::Slash { .. },
                _,
            ) => SLASHER,
            (_, _, Some(owner)) => owner,
            (_, _, None) => draw.below(CALLERS),
        };
        // The block in which stake may be withdrawn, or the one before, and others.
        let unlock = known.filter(|a| a.leaving > 0).map_or(0, |a| a.unlock);
        let early = draw.below(2) as u64;
        let wait = match (&call, unlock.saturating_sub(early).checked_sub(block)) {
            (Call::Withdraw(_), Some(wait)) if !draw.one_in(3) => wait,
            _ if draw.one_in(8) => draw.below(30) as u64,
            _ => 0,
        };
        Step { wait, from, call }
    }

    fn encode(&self, world: &mut World<'_>, call: &Call) -> Encoded {
        let at = world.registry;
        match *call {
            Call::Register { keys: [owner, operator, payout], binding } => {
                let (node, binding) = (B256::repeat_byte(1), bytes(binding));
                let call =
                    Registry::registerCall { owner, operator, payout, nodeId: node, binding };
                Encoded::new("Registry.register", at, &call)
            }
            Call::Lock { account, amount, by } => {
                Encoded::new("Registry.lock", at, &Registry::lockCall { account, amount, by })
            }
            Call::Unlock(account, amount) => {
                Encoded::new("Registry.unlock", at, &Registry::unlockCall { account, amount })
            }
            Call::Seize { account, amount, to } => {
                let call = Registry::seizeCall { account, amount, to: who(to) };
                Encoded::new("Registry.seize", at, &call)
            }
            Call::Slash { account, amount, by_owner, to } => {
                let call = Registry::slashCall { account, amount, byOwner: by_owner, to: who(to) };
                Encoded::new("Registry.slash", at, &call)
            }
            _ => encode_own(at, call),
        }
    }

    fn apply(&mut self, from: usize, call: &Call, block: u64) -> Done {
        self.block = block;
        match *call {
            Call::Register { keys: [owner, operator, payout], binding } => {
                need([owner, operator, payout].iter().all(|k| *k != Address::ZERO), "ZeroAddress")?;
                need(binding == 64, "BindingLength")?;
                self.accounts.push(Account::new(owner, operator, payout, block));
                self.nodes.push(1);
                Ok(())
            }
            Call::Stake(number, amount) => {
                let account = account::of(&mut self.accounts, number)?;
                need(amount > 0, "ZeroAmount")?;
                let stake = account.stake.checked_add(amount).ok_or(PANIC)?;
                let held = self.held[from].checked_sub(amount).ok_or("ERC20InsufficientBalance")?;
                (account.stake, self.held[from]) = (stake, held);
                Ok(())
            }
            Call::Lock { .. } | Call::Unlock(..) | Call::Seize { .. } | Call::Slash { .. } => {
                self.by_slasher(from, call, block)
            }
            _ => self.by_owner(from, call, block),
        }
    }

    fn compare(&self, world: &mut World<'_>, _from: usize, call: &Call) {
        let number = call.account().unwrap_or(self.accounts.len() as u64);
        let index = number.checked_sub(1).unwrap_or(u64::MAX) as usize;
        let registry = world.registry;
        let Some(account) = self.accounts.get(index) else {
            let stake = world.read(registry, &Registry::stakeOfCall { account: number });
            assert_eq!((stake.stake, stake.locked, stake.leaving, stake.unlockBlock), (0, 0, 0, 0));
            return;
        };
        account.compare(world, number);
        for owner in [Address::ZERO, account.owner, account.operator, account.payout] {
            let call = Registry::controlsCall { account: number, who: owner };
            let is = owner != Address::ZERO && account.controls(owner);
            assert_eq!(world.read(registry, &call), is, "{owner}");
        }
        let head = world.chain.head();
        for block in [head - 1, head, head + 1].into_iter().filter(|b| *b >= self.began) {
            let call = Registry::operatorAtCall { account: number, blockNumber: block };
            assert_eq!(world.read(registry, &call), account.operator_at(block), "in {block}");
        }
    }

    fn compare_all(&self, world: &mut World<'_>) {
        let registry = world.registry;
        let count = world.read(registry, &Registry::accountsCall {});
        assert_eq!(count, self.accounts.len() as u64);
        for (index, account) in self.accounts.iter().enumerate() {
            let number = index as u64 + 1;
            account.compare(world, number);
            let owner = world.read(registry, &Registry::ownerOfCall { account: number });
            let payout = world.read(registry, &Registry::payoutOfCall { account: number });
            let node = world.read(registry, &Registry::nodeOfCall { account: number });
            assert_eq!((owner, payout), (account.owner, account.payout));
            assert_eq!(node, B256::repeat_byte(self.nodes[index]));
        }
        for (caller, held) in self.held.iter().enumerate() {
            assert_eq!(world.balance(who(caller)), U256::from(*held), "{caller}");
        }
        let staked: u128 = self.accounts.iter().map(|a| a.stake).sum();
        assert_eq!(world.balance(registry), U256::from(staked));
    }

    /// Rust and Solidity say alike who may sign for an account, now and in the blocks before.
    fn compare_view(&self, world: &mut World<'_>, view: &ChainView) {
        let head = world.chain.head();
        assert_eq!(view.accounts().count(), self.accounts.len());
        let first = head.saturating_sub(30).max(self.began);
        for (index, account) in self.accounts.iter().enumerate() {
            let number = index as u64 + 1;
            account.compare_keys(world, view, number, (first, 5), &self.dismissed);
            let known = view.account(AccountId(number)).expect("it is registered");
            assert_eq!(known.stake().0, account.stake);
            assert!(known.staying().0 <= account.stake - account.leaving);
        }
    }
}
