//! The RewardVault: final settlements, fees, budgets and claims. No unit of OPEN is made or lost, nothing is
//! paid twice, and never more than is released.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolValue;
use protocol::chain::{ChainView, Settlement};
use protocol::{AccountId, Amount, Balance, Digest, Epoch};

use super::driver::{Done, Draw, Encoded, Model, NO_ROLE, PANIC, Step, need};
use crate::contracts::replacement::Payouts;
use crate::contracts::settlements::abi_of;
use crate::contracts::world::{
    ACCOUNTS, BUDGET, EPOCH_BLOCKS, LEAST_STAKE, OPEN, Registry, RewardVault, World, who,
};

/// Accounts of the payout trees: those with a stake, as many without, and one that there is not.
const NAMES: u64 = 2 * ACCOUNTS;
const NOBODY: u64 = 99;
/// Who governs, books fees and funds, and at first makes settlements final.
const ADMIN: usize = 0;
/// Who may be named to make settlements final.
const OTHER: usize = 7;
/// Who tries to.
const STRANGER: usize = 8;
/// How many of the last roots claims are made of.
const ROOTS: usize = 4;

type Earned = (u128, u128);

#[derive(Clone, Debug)]
pub(super) enum Call {
    Fund(u128),
    Fees {
        epoch: u64,
        amount: u128,
    },
    /// Of what everybody has earned, with another total, epoch and parent than is right, or not.
    Final {
        earned: BTreeMap<u64, Earned>,
        total: u128,
        epoch: u64,
        is_next: bool,
    },
    /// Of one of the last roots, and more of it than is there, or not.
    Claim {
        root: usize,
        account: u64,
        more: u128,
    },
    Stake {
        account: u64,
        amount: u128,
    },
    Unstake {
        account: u64,
        amount: u128,
    },
    Budget(u128),
    Settlements(usize),
    Disputes(Address),
}

#[derive(Clone, Default)]
pub(super) struct Claims {
    genesis: u64,
    /// The last roots, the latest last: what everybody has earned.
    roots: Vec<BTreeMap<u64, Earned>>,
    /// The epoch that is settled next, and what it has to build on.
    next: u64,
    last: Option<Settlement>,
    /// Who makes settlements final.
    decides: usize,
    /// By the first epoch that each is for.
    budgets: BTreeMap<u64, u128>,
    disputes: BTreeMap<u64, Address>,
    funded: u128,
    fees: BTreeMap<u64, u128>,
    /// What settlements took out of the fees.
    fees_spent: u128,
    released: u128,
    paid: BTreeMap<u64, Earned>,
    /// At stake, and of that on its way out.
    stakes: BTreeMap<u64, (u128, u128)>,
    /// What was paid to payout addresses.
    paid_out: BTreeMap<u64, u128>,
    /// What their owners had before.
    held: Vec<U256>,
    now: u64,
}

impl Claims {
    fn received(&self) -> u128 {
        self.funded + self.fees.values().sum::<u128>()
    }

    fn spent(&self) -> u128 {
        self.paid.values().map(|(free, lane)| free + lane).sum()
    }

    fn epoch(&self, block: u64) -> u64 {
        block.saturating_sub(self.genesis) / EPOCH_BLOCKS
    }

    fn budget_of(&self, epoch: u64) -> u128 {
        *self.budgets.range(..=epoch).next_back().expect("there is a first one").1
    }

    /// What may be released after an epoch, as far as it came in.
    fn allowed(&self, epoch: u64) -> u128 {
        let fees = self.fees.range(..=epoch).map(|(_, fees)| fees).sum::<u128>();
        let allowed = self.released + self.budget_of(epoch) + fees - self.fees_spent;
        allowed.min(self.received())
    }

    fn make_final(&mut self, from: usize, call: &Call) -> Done {
        let Call::Final { earned, total, epoch, is_next } = call else { return Ok(()) };
        need(from == self.decides, "NotSettlements")?;
        need(*epoch == self.next, "NotNext")?;
        need(*is_next, "WrongParent")?;
        need(*total >= self.released, "TotalShrinks")?;
        need(*total <= self.allowed(*epoch), "TotalTooLarge")?;
        self.last = Some(self.settlement(earned, *total, *epoch));
        let growth = total - self.released;
        self.fees_spent += growth.saturating_sub(self.budget_of(*epoch));
        (self.released, self.next) = (*total, epoch + 1);
        self.roots.push(earned.clone());
        let old = self.roots.len().saturating_sub(ROOTS);
        self.roots.drain(..old);
        Ok(())
    }

    fn claim(&mut self, root: usize, account: u64, more: u128) -> Done {
        let leaf = self.roots.get(root).and_then(|root| root.get(&account));
        let leaf = *leaf.filter(|_| more == 0).ok_or("UnknownRoot")?;
        let (before, (free, lane), held) = self.due(account, leaf);
        need(free + lane + held == 0 || free + lane > 0, "Held")?;
        need(free + lane > 0, "NothingOwed")?;
        need(free + lane <= self.released - self.spent(), "BeyondReleased")?;
        need(account != NOBODY, "UnknownAccount")?;
        self.paid.insert(account, (before.0 + free, before.1 + lane));
        *self.paid_out.entry(account).or_default() += free;
        self.stakes.entry(account).or_default().0 += lane;
        Ok(())
    }

    /// What was paid to an account, what a leaf adds to it, and what of that is held.
    fn due(&self, account: u64, (free, lane): Earned) -> (Earned, Earned, u128) {
        let before = self.paid.get(&account).copied().unwrap_or_default();
        let (free, lane) = (free.saturating_sub(before.0), lane.saturating_sub(before.1));
        let (stake, leaving) = self.stakes.get(&account).copied().unwrap_or_default();
        let counts = stake - leaving + lane >= LEAST_STAKE;
        if counts { (before, (free, lane), 0) } else { (before, (free, 0), lane) }
    }

    fn settlement(&self, earned: &BTreeMap<u64, Earned>, total: u128, epoch: u64) -> Settlement {
        let parent = self.last.map_or(Digest::ZERO, |last| last.id());
        Settlement { total: Amount(total), ..tree(earned).settlement(epoch, parent) }
    }

    /// What is paid in by somebody who has not allowed the vault to take it, or has not so much.
    fn pays(from: usize, amount: u128) -> Done {
        need(amount == 0 || from == ADMIN, "ERC20InsufficientAllowance")?;
        need(amount <= 1_000_000 * OPEN, "ERC20InsufficientBalance")
    }
}

fn amount(draw: &mut Draw) -> u128 {
    match draw.below(6) {
        0 => 0,
        1 => 1,
        _ => draw.below(300) as u128 * OPEN,
    }
}

/// What everybody has earned after another epoch.
fn grown(draw: &mut Draw, model: &Claims) -> BTreeMap<u64, Earned> {
    let mut earned = model.roots.last().cloned().unwrap_or_default();
    for account in (1..=NAMES).chain([NOBODY]) {
        let (free, lane) = earned.entry(account).or_default();
        match draw.below(6) {
            0 => *free += draw.below(200) as u128 * OPEN,
            1 => *lane += draw.below(60) as u128 * OPEN,
            _ => {}
        }
    }
    earned
}

fn next(draw: &mut Draw, model: &Claims) -> Call {
    let earned = grown(draw, model);
    let sum = earned.values().map(|(free, lane)| free + lane).sum::<u128>();
    let allowed = model.allowed(model.next);
    let total = match draw.below(10) {
        0 => sum.saturating_sub(amount(draw)),
        1 => sum + amount(draw),
        2 => model.released.saturating_sub(1),
        3 => allowed,
        4 => allowed + 1,
        5 if draw.one_in(4) => u128::MAX,
        _ => sum,
    };
    let epoch = match draw.below(12) {
        0 => model.next + 1,
        1 => draw.of(&[model.next.saturating_sub(1), u64::MAX]),
        _ => model.next,
    };
    Call::Final { earned, total, epoch, is_next: !draw.one_in(8) }
}

fn tree(earned: &BTreeMap<u64, Earned>) -> Payouts {
    Payouts::with_lane(earned.iter().map(|(account, of)| (*account, *of)).collect())
}

impl Model for Claims {
    type Call = Call;
    const CALLS: &'static [&'static str] = &[
        "RewardVault.fund",
        "RewardVault.addFees",
        "RewardVault.makeFinal",
        "RewardVault.claim",
        "RewardVault.setBudget",
        "RewardVault.setSettlements",
        "RewardVault.setDisputes",
        "Registry.stakeFor",
        "Registry.requestUnstake",
    ];

    fn start(world: &mut World<'_>) -> Self {
        let (vault, registry) = (world.vault, world.registry);
        for account in ACCOUNTS + 1..=NAMES {
            let owner = who(account as usize);
            let (operator, payout, node) = (owner, owner, B256::ZERO);
            let binding = vec![0; 64].into();
            let call = Registry::registerCall { owner, operator, payout, nodeId: node, binding };
            world.send(ADMIN, registry, &call);
        }
        let account = who(ADMIN);
        let name = RewardVault::setSettlementsCall { newSettlements: account };
        world.send(0, vault, &name);
        world.send(0, vault, &Registry::grantRoleCall { role: keccak256("FEES_ROLE"), account });
        Self {
            genesis: world.genesis,
            decides: ADMIN,
            budgets: BTreeMap::from([(0, BUDGET)]),
            disputes: BTreeMap::from([(0, world.disputes)]),
            funded: world.read(vault, &RewardVault::fundedCall {}),
            stakes: (1..=ACCOUNTS).map(|account| (account, (10_000 * OPEN, 0))).collect(),
            held: (0..=NAMES as usize).map(|account| world.balance(who(account))).collect(),
            ..Self::default()
        }
    }

    fn draw(&self, draw: &mut Draw, _block: u64) -> Step<Call> {
        let account = match draw.below(8) {
            0 => NOBODY,
            _ => 1 + draw.below(NAMES as usize) as u64,
        };
        let call = match draw.below(20) {
            0 => Call::Fund(draw.of(&[0, 1, OPEN, u128::MAX / 2, u128::MAX])),
            1 | 2 => {
                let near = (self.epoch(self.now) + draw.below(3) as u64).saturating_sub(1);
                let epoch = draw.of(&[near, near, near, near, u64::MAX]);
                let huge = draw.one_in(8);
                Call::Fees { epoch, amount: if huge { u128::MAX } else { amount(draw) } }
            }
            3..=6 => next(draw, self),
            7 => Call::Stake { account, amount: amount(draw) },
            8 => Call::Unstake { account, amount: amount(draw) },
            9 => Call::Budget(draw.of(&[0, BUDGET / 2, BUDGET, 2 * BUDGET])),
            10 => Call::Settlements(draw.of(&[ADMIN, ADMIN, OTHER])),
            11 => Call::Disputes(who(draw.below(4))),
            _ => Call::Claim {
                root: draw.below(ROOTS + 1),
                account,
                more: u128::from(draw.one_in(8)),
            },
        };
        let from = match (draw.below(12), &call) {
            (0, _) => STRANGER,
            (_, Call::Final { .. }) => self.decides,
            (_, Call::Unstake { account, .. }) if *account != NOBODY => *account as usize,
            _ => ADMIN,
        };
        let wait = if draw.one_in(8) { draw.below(2 * EPOCH_BLOCKS as usize) as u64 } else { 0 };
        Step { wait, from, call }
    }

    fn encode(&self, world: &mut World<'_>, call: &Call) -> Encoded {
        let (vault, registry) = (world.vault, world.registry);
        match *call {
            Call::Fund(amount) => {
                Encoded::new("RewardVault.fund", vault, &RewardVault::fundCall { amount })
            }
            Call::Fees { epoch, amount } => {
                let call = RewardVault::addFeesCall { epoch, amount };
                Encoded::new("RewardVault.addFees", vault, &call)
            }
            Call::Final { ref earned, total, epoch, is_next } => {
                let mut made = self.settlement(earned, total, epoch);
                if !is_next {
                    made.parent.0[0] ^= 1;
                }
                let settlement = abi_of(&made).abi_encode();
                let settlement = RewardVault::Settlement::abi_decode(&settlement).unwrap();
                let call = RewardVault::makeFinalCall { settlement };
                Encoded::new("RewardVault.makeFinal", vault, &call)
            }
            Call::Claim { root, account, more } => {
                let none = BTreeMap::from([(account, (OPEN, 0))]);
                let earned = self.roots.get(root).unwrap_or(&none);
                let index = earned.keys().position(|of| *of == account).unwrap();
                let mut claim = tree(earned).claim(index);
                claim.leaf.free += more;
                Encoded::new("RewardVault.claim", vault, &claim)
            }
            Call::Stake { account, amount } => {
                let call = Registry::stakeForCall { account, amount };
                Encoded::new("Registry.stakeFor", registry, &call)
            }
            Call::Unstake { account, amount } => {
                let call = Registry::requestUnstakeCall { account, amount };
                Encoded::new("Registry.requestUnstake", registry, &call)
            }
            Call::Budget(amount) => {
                let call = RewardVault::setBudgetCall { budgetPerEpoch: amount };
                Encoded::new("RewardVault.setBudget", vault, &call)
            }
            Call::Settlements(other) => {
                let call = RewardVault::setSettlementsCall { newSettlements: who(other) };
                Encoded::new("RewardVault.setSettlements", vault, &call)
            }
            Call::Disputes(other) => {
                let call = RewardVault::setDisputesCall { newDisputes: other };
                Encoded::new("RewardVault.setDisputes", vault, &call)
            }
        }
    }

    fn apply(&mut self, from: usize, call: &Call, block: u64) -> Done {
        self.now = block;
        match *call {
            Call::Fund(amount) => {
                self.funded = self.funded.checked_add(amount).ok_or(PANIC)?;
                Self::pays(from, amount)?;
            }
            Call::Fees { epoch, amount } => {
                need(from == ADMIN, NO_ROLE)?;
                need(epoch < 1 << 48, "EpochOrder")?;
                let last = self.fees.keys().next_back().copied().unwrap_or_default();
                need(epoch >= last, "CheckpointUnorderedInsertion")?;
                Self::pays(from, amount)?;
                *self.fees.entry(epoch).or_default() += amount;
            }
            Call::Final { .. } => self.make_final(from, call)?,
            Call::Claim { root, account, more } => self.claim(root, account, more)?,
            Call::Stake { account, amount } => {
                need(account != NOBODY, "UnknownAccount")?;
                need(amount > 0, "ZeroAmount")?;
                need(from == ADMIN, "ERC20InsufficientAllowance")?;
                self.stakes.entry(account).or_default().0 += amount;
            }
            Call::Unstake { account, amount } => {
                need(account != NOBODY, "UnknownAccount")?;
                need(from as u64 == account, "NotOwner")?;
                need(amount > 0, "ZeroAmount")?;
                let (stake, leaving) = self.stakes.entry(account).or_default();
                need(amount <= *stake - *leaving, "InsufficientStake")?;
                *leaving += amount;
            }
            Call::Budget(amount) => {
                need(from == ADMIN, NO_ROLE)?;
                let from = self.epoch(block) + 2;
                self.budgets.insert(from, amount);
            }
            Call::Settlements(other) => {
                need(from == ADMIN, NO_ROLE)?;
                self.decides = other;
            }
            Call::Disputes(other) => {
                need(from == ADMIN, NO_ROLE)?;
                let from = self.epoch(block) + 1;
                self.disputes.insert(from, other);
            }
        }
        Ok(())
    }

    fn compare(&self, world: &mut World<'_>, _from: usize, _call: &Call) {
        let vault = world.vault;
        let spent = self.spent();
        assert!(spent <= self.released && self.released <= self.received());
        assert_eq!(world.read(vault, &RewardVault::paidCall {}), spent);
        assert_eq!(world.balance(vault), U256::from(self.received() - spent));
        let last = world.read(vault, &RewardVault::lastCall {});
        let id = self.last.map_or(B256::ZERO, |last| last.id().0.into());
        let upto = self.next.checked_sub(1);
        let fees = upto.map_or(0, |epoch| self.fees.range(..=epoch).map(|(_, fees)| fees).sum());
        // What came later for an epoch that is settled counts for the next.
        assert!(last.carriedFees <= fees || upto.is_none());
        assert_eq!((last.id, last.total, last.nextEpoch), (id, self.released, self.next));
    }

    /// Every OPEN of the vault is where the model says.
    fn compare_all(&self, world: &mut World<'_>) {
        let (vault, registry) = (world.vault, world.registry);
        let staked: u128 = self.stakes.values().map(|(stake, _)| stake).sum();
        assert_eq!(world.balance(registry), U256::from(staked));
        for account in 1..=NAMES {
            let paid_out = self.paid_out.get(&account).copied().unwrap_or_default();
            let now = self.held[account as usize] + U256::from(paid_out);
            assert_eq!(world.balance(who(account as usize)), now, "{account}");
            let claimed = world.read(vault, &RewardVault::claimedCall { account });
            let paid = self.paid.get(&account).copied().unwrap_or_default();
            assert_eq!((claimed.free, claimed.lane), paid, "{account}");
        }
        for epoch in self.epoch(self.now)..self.epoch(self.now) + 4 {
            let budget = world.read(vault, &RewardVault::budgetOfCall { epoch });
            assert_eq!(budget, self.budget_of(epoch), "of {epoch}");
            let disputes = world.read(vault, &RewardVault::disputesOfCall { epoch });
            assert_eq!(
                Some(&disputes),
                self.disputes.range(..=epoch).next_back().map(|(_, of)| of)
            );
        }
    }

    fn compare_view(&self, _world: &mut World<'_>, view: &ChainView) {
        for epoch in [self.next, self.epoch(self.now) + 2] {
            assert_eq!(view.budget_of(Epoch(epoch)).0, self.budget_of(epoch), "of {epoch}");
        }
        // Rust says of each amount alike what is due, and what of it is held.
        for (account, leaf) in self.roots.last().into_iter().flatten() {
            let (before, due, held) = self.due(*account, *leaf);
            let account = AccountId(*account);
            let claimed = view.claimed(account);
            assert_eq!((claimed.free.0, claimed.lane.0), before);
            let earned = Balance { free: Amount(leaf.0), lane: Amount(leaf.1) };
            let known = view.claimable(account, earned);
            assert_eq!((known.pays.0, known.stakes.0, known.held.0), (due.0, due.1, held));
        }
    }
}
