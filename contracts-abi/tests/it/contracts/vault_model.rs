//! Random final settlements, fees and claims of the RewardVault against a model that keeps its numbers in plain
//! sums: what one refuses the other refuses, no unit of OPEN is made or lost, and nothing is paid twice.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::{SolCall, SolValue};
use protocol::chain::Settlement;
use protocol::{Amount, Digest};

use super::chain::{Chain, EmbeddedChain};
use super::model::{CALLS, Draw, play_all};
use super::replacement::Payouts;
use super::settlements::abi_of;
use super::world::{ACCOUNTS, BUDGET, LEAST_STAKE, OPEN, Registry, RewardVault, World, who};

/// Accounts of the payout trees: those with a stake, as many without, and one that there is not.
const NAMES: u64 = 2 * ACCOUNTS;
const NOBODY: u64 = 99;
/// Who makes settlements final here, books fees and funds.
const DECIDES: usize = 0;
/// Who tries to.
const STRANGER: usize = 8;
/// How many of the last roots claims are made of.
const ROOTS: usize = 4;

type Earned = (u128, u128);

#[derive(Clone, Debug)]
enum Call {
    Fund(u128),
    Fees {
        epoch: u64,
        amount: u128,
    },
    /// Of what everybody has earned, with another total and on another parent than is right, or not.
    Final {
        earned: BTreeMap<u64, Earned>,
        total: u128,
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
}

/// The kinds of calls.
const KINDS: usize = 6;

#[derive(Clone, Default)]
struct Model {
    /// The last roots, the latest last: what everybody has earned.
    roots: Vec<BTreeMap<u64, Earned>>,
    /// The epoch that is settled next, and what it has to build on.
    next: u64,
    last: Option<Digest>,
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
}

impl Model {
    fn received(&self) -> u128 {
        self.funded + self.fees.values().sum::<u128>()
    }

    fn spent(&self) -> u128 {
        self.paid.values().map(|(free, lane)| free + lane).sum()
    }

    /// What a call by an account does, or that it does nothing.
    fn apply(&mut self, from: usize, call: &Call) -> Option<()> {
        match *call {
            Call::Fund(amount) => {
                let most = 1_000_000 * OPEN;
                let may = amount == 0 || from == DECIDES && amount <= most;
                self.funded += may.then_some(amount)?;
            }
            Call::Fees { epoch, amount } => {
                let last = self.fees.keys().next_back().copied().unwrap_or_default();
                if from != DECIDES || epoch < last {
                    return None;
                }
                *self.fees.entry(epoch).or_default() += amount;
            }
            Call::Final { ref earned, total, is_next } => {
                let fees = self.fees.range(..=self.next).map(|(_, fees)| fees).sum::<u128>();
                let growth = total.checked_sub(self.released)?;
                let allowed = BUDGET + fees - self.fees_spent;
                let is_allowed = growth <= allowed && total <= self.received();
                if from != DECIDES || !is_next || !is_allowed {
                    return None;
                }
                self.fees_spent += growth.saturating_sub(BUDGET);
                (self.released, self.next) = (total, self.next + 1);
                self.roots.push(earned.clone());
                let old = self.roots.len().saturating_sub(ROOTS);
                self.roots.drain(..old);
            }
            Call::Claim { root, account, more } => {
                let leaf = *self.roots.get(root)?.get(&account)?;
                let (free, lane) = self.due(account, leaf).filter(|_| more == 0)?;
                if free + lane > self.released - self.spent() || account == NOBODY {
                    return None;
                }
                let paid = self.paid.entry(account).or_default();
                *paid = (paid.0 + free, paid.1 + lane);
                *self.paid_out.entry(account).or_default() += free;
                self.stakes.entry(account).or_default().0 += lane;
            }
            Call::Stake { account, amount } => {
                if from != DECIDES || account == NOBODY || amount == 0 {
                    return None;
                }
                self.stakes.entry(account).or_default().0 += amount;
            }
            Call::Unstake { account, amount } => {
                let (stake, leaving) = self.stakes.get_mut(&account)?;
                let is_own = from as u64 == account && amount > 0;
                *leaving += Some(amount).filter(|more| is_own && *more <= *stake - *leaving)?;
            }
        }
        Some(())
    }

    /// What a leaf adds to what was paid.
    fn due(&self, account: u64, leaf: Earned) -> Option<Earned> {
        let paid = self.paid.get(&account).copied().unwrap_or_default();
        let (free, lane) = (leaf.0.saturating_sub(paid.0), leaf.1.saturating_sub(paid.1));
        let (stake, leaving) = self.stakes.get(&account).copied().unwrap_or_default();
        let counts = stake - leaving + lane >= LEAST_STAKE;
        let due = (free, if counts { lane } else { 0 });
        (due != (0, 0)).then_some(due)
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
fn grown(draw: &mut Draw, model: &Model) -> BTreeMap<u64, Earned> {
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

fn call(draw: &mut Draw, model: &Model) -> Call {
    let account = match draw.below(8) {
        0 => NOBODY,
        _ => 1 + draw.below(NAMES as usize) as u64,
    };
    match draw.below(16) {
        0 => Call::Fund(if draw.below(4) == 0 { u128::MAX / 2 } else { amount(draw) }),
        1 => Call::Fees {
            epoch: (model.next + draw.below(4) as u64).saturating_sub(1),
            amount: amount(draw),
        },
        2..=4 => {
            let earned = grown(draw, model);
            let sum = earned.values().map(|(free, lane)| free + lane).sum::<u128>();
            let total = match draw.below(8) {
                0 => sum.saturating_sub(amount(draw)),
                1 => sum + amount(draw),
                2 => model.released.saturating_sub(1),
                _ => sum,
            };
            Call::Final { earned, total, is_next: draw.below(8) > 0 }
        }
        5 => Call::Stake { account, amount: amount(draw) },
        6 => Call::Unstake { account, amount: amount(draw) },
        _ => Call::Claim {
            root: draw.below(ROOTS + 1),
            account,
            more: u128::from(draw.below(8) == 0),
        },
    }
}

fn tree(earned: &BTreeMap<u64, Earned>) -> Payouts {
    Payouts::with_lane(earned.iter().map(|(account, of)| (*account, *of)).collect())
}

fn settlement(model: &Model, earned: &BTreeMap<u64, Earned>, total: u128) -> Settlement {
    let parent = model.last.unwrap_or(Digest::ZERO);
    Settlement { total: Amount(total), ..tree(earned).settlement(model.next, parent) }
}

fn encode(world: &World<'_>, model: &Model, call: &Call) -> (usize, Address, Bytes) {
    let (vault, registry) = (world.vault, world.registry);
    let (kind, to, data) = match *call {
        Call::Fund(amount) => (0, vault, RewardVault::fundCall { amount }.abi_encode()),
        Call::Fees { epoch, amount } => {
            (1, vault, RewardVault::addFeesCall { epoch, amount }.abi_encode())
        }
        Call::Final { ref earned, total, is_next } => {
            let mut made = settlement(model, earned, total);
            if !is_next {
                made.parent.0[0] ^= 1;
            }
            let settlement = abi_of(&made).abi_encode();
            let settlement = RewardVault::Settlement::abi_decode(&settlement).unwrap();
            (2, vault, RewardVault::makeFinalCall { settlement }.abi_encode())
        }
        Call::Claim { root, account, more } => {
            let none = BTreeMap::from([(account, (OPEN, 0))]);
            let earned = model.roots.get(root).unwrap_or(&none);
            let index = earned.keys().position(|of| *of == account).unwrap();
            let mut claim = tree(earned).claim(index);
            claim.leaf.free += more;
            (3, vault, claim.abi_encode())
        }
        Call::Stake { account, amount } => {
            (4, registry, Registry::stakeForCall { account, amount }.abi_encode())
        }
        Call::Unstake { account, amount } => {
            (5, registry, Registry::requestUnstakeCall { account, amount }.abi_encode())
        }
    };
    (kind, to, data.into())
}

/// A deployment in which the test decides what is final, and the model of it.
fn start(chain: &mut dyn Chain) -> (World<'_>, Model) {
    let mut world = World::deploy(chain);
    let (vault, registry) = (world.vault, world.registry);
    for account in ACCOUNTS + 1..=NAMES {
        let owner = who(account as usize);
        let (operator, payout, node) = (owner, owner, B256::ZERO);
        let binding = vec![0; 64].into();
        let call = Registry::registerCall { owner, operator, payout, nodeId: node, binding };
        world.send(DECIDES, registry, &call);
    }
    let account = who(DECIDES);
    let name = RewardVault::setSettlementsCall { newSettlements: account };
    world.send(0, vault, &name);
    world.send(0, vault, &Registry::grantRoleCall { role: keccak256("FEES_ROLE"), account });
    let funded = world.read(vault, &RewardVault::fundedCall {});
    let stakes = (1..=ACCOUNTS).map(|account| (account, (10_000 * OPEN, 0))).collect();
    (world, Model { funded, stakes, ..Model::default() })
}

/// Every OPEN of the vault is where the model says.
fn compare(world: &mut World<'_>, model: &Model, held: &[U256]) {
    let vault = world.vault;
    let spent = model.spent();
    assert!(spent <= model.released && model.released <= model.received());
    assert_eq!(world.read(vault, &RewardVault::paidCall {}), spent);
    assert_eq!(world.read(vault, &RewardVault::releasedCall {}), model.released);
    assert_eq!(world.balance(vault), U256::from(model.received() - spent));
    let staked: u128 = model.stakes.values().map(|(stake, _)| stake).sum();
    let registry = world.registry;
    assert_eq!(world.balance(registry), U256::from(staked));
    for account in 1..=NAMES {
        let paid_out = model.paid_out.get(&account).copied().unwrap_or_default();
        let now = held[account as usize] + U256::from(paid_out);
        assert_eq!(world.balance(who(account as usize)), now, "{account}");
        let claimed = world.read(vault, &RewardVault::claimedCall { account });
        let paid = model.paid.get(&account).copied().unwrap_or_default();
        assert_eq!((claimed.free, claimed.lane), paid, "{account}");
    }
}

/// Plays so many calls from a seed on a deployment of their own.
fn play(seed: u64, calls: u64) {
    let mut chain = EmbeddedChain::new();
    let (mut world, mut model) = start(&mut chain);
    let held: Vec<_> = (0..=NAMES as usize).map(|account| world.balance(who(account))).collect();
    let mut draw = Draw(seed);
    let mut tally = [[0_u64; 2]; KINDS];
    for turn in 0..calls {
        let call = call(&mut draw, &model);
        let from = match (draw.below(12), &call) {
            (0, _) => STRANGER,
            (_, Call::Unstake { account, .. }) if *account != NOBODY => *account as usize,
            _ => DECIDES,
        };
        let (kind, to, data) = encode(&world, &model, &call);
        let before = model.clone();
        let expected = model.apply(from, &call).is_some();
        match (&call, expected) {
            (Call::Final { earned, total, .. }, true) => {
                model.last = Some(settlement(&before, earned, *total).id());
            }
            (_, false) => model = before,
            _ => {}
        }
        let mined = world.chain.send(who(from), Some(to), data);
        assert_eq!(mined.is_success, expected, "seed {seed}, call {turn}: {call:?} by {from}");
        tally[kind][usize::from(expected)] += 1;
        if turn % 32 == 0 || turn + 1 == calls {
            compare(&mut world, &model, &held);
        }
    }
    let is_tried = tally.iter().all(|[refused, done]| *refused > 0 && *done > 0);
    assert!(calls < CALLS || is_tried, "each call fails and succeeds: {tally:?}");
}

/// Plays as many calls as the Registry's model.
pub(crate) fn scenario() {
    play_all(play);
}
