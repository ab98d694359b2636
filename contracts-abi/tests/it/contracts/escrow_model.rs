//! Random calls of the UsageEscrow against a model that keeps its numbers in plain sums: what one refuses the
//! other refuses, no unit of OPEN is made or lost, and nobody is paid more than was signed.

use std::collections::BTreeMap;

use alloy::primitives::{B256, Bytes, U256};
use alloy::sol_types::SolCall;
use contracts_abi::devchain::DEV_KEYS;
use protocol::eip712::{Domain, EvmKey};
use protocol::receipt::Receipt;
use protocol::{AccountId, Amount, Digest, EvmAddress, ModelId};

use super::chain::{Chain, EmbeddedChain};
use super::model::{CALLS, Draw, play_all};
use super::world::abi::escrow::UsageEscrow as E;
use super::world::abi::open::Open;
use super::world::{ACCOUNTS, EPOCH_BLOCKS, OPEN, RewardVault, World, who};

/// Of these development accounts calls and deposits come.
const PAYERS: usize = 4;
/// Serving accounts, the last of which nobody has.
const PAYEES: u64 = ACCOUNTS + 1;

/// By whom and for whom something is locked.
type Pair = (usize, u64);

#[derive(Clone, Copy, Debug, Default)]
struct Deposit {
    balance: u128,
    redeemed: u128,
    /// The first block in which it may be taken; none where nobody asked.
    unlock: Option<u64>,
    /// The largest sum that the payer signed.
    signed: u128,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Deposit(u128),
    /// With a permit that is none, where the escrow may take it anyway.
    Permit(u128),
    /// A receipt of `payer`, signed by `signer`.
    Redeem {
        payer: usize,
        cumulative: u128,
        signer: usize,
    },
    Request,
    Withdraw,
}

/// The kinds of calls.
const KINDS: usize = 5;

#[derive(Clone, Default)]
struct Model {
    delay: u64,
    genesis: u64,
    deposits: BTreeMap<Pair, Deposit>,
    /// OPEN of the payers.
    held: Vec<u128>,
    /// What was redeemed, by epoch.
    fees: BTreeMap<u64, u128>,
}

impl Model {
    fn deposit(&self, pair: Pair) -> Deposit {
        self.deposits.get(&pair).copied().unwrap_or_default()
    }

    /// What a call does in a block, or that it does nothing.
    fn apply(&mut self, from: usize, payee: u64, call: Call, block: u64) -> Option<()> {
        let payer = if let Call::Redeem { payer, .. } = call { payer } else { from };
        let mut deposit = self.deposit((payer, payee));
        match call {
            Call::Deposit(amount) | Call::Permit(amount) => {
                if amount == 0 || payee == PAYEES {
                    return None;
                }
                self.held[from] = self.held[from].checked_sub(amount)?;
                (deposit.balance, deposit.unlock) = (deposit.balance + amount, None);
            }
            Call::Redeem { payer, cumulative, signer } => {
                if signer != payer {
                    return None;
                }
                deposit.signed = deposit.signed.max(cumulative);
                let owed = cumulative.checked_sub(deposit.redeemed)?;
                let paid = owed.min(deposit.balance);
                if paid == 0 {
                    return None;
                }
                deposit.balance -= paid;
                deposit.redeemed += paid;
                let epoch = block.saturating_sub(self.genesis) / EPOCH_BLOCKS;
                *self.fees.entry(epoch).or_default() += paid;
            }
            Call::Request => {
                if deposit.balance == 0 {
                    return None;
                }
                deposit.unlock = Some(block + self.delay);
            }
            Call::Withdraw => {
                let unlock = deposit.unlock?;
                if block < unlock || block > unlock + self.delay {
                    return None;
                }
                self.held[from] += deposit.balance;
                (deposit.balance, deposit.unlock) = (0, None);
            }
        }
        self.deposits.insert((payer, payee), deposit);
        Some(())
    }
}

/// Often what there is or a little beside it.
fn amount(draw: &mut Draw, deposit: &Deposit) -> u128 {
    let all = deposit.redeemed + deposit.balance;
    match draw.below(12) {
        0 => 0,
        1 => 1,
        2 => u128::MAX,
        3 => deposit.redeemed,
        4 => deposit.redeemed + 1,
        5 => all,
        6 => all + 1,
        7 => deposit.balance,
        8 | 9 => deposit.redeemed + draw.below(50) as u128 * OPEN,
        _ => draw.below(400) as u128 * OPEN,
    }
}

fn call(draw: &mut Draw, model: &Model, from: usize, payee: u64) -> Call {
    let payer = draw.below(PAYERS);
    let own = model.deposit((from, payee));
    match draw.below(10) {
        0 | 1 => Call::Deposit(amount(draw, &own)),
        2 => Call::Permit(amount(draw, &own)),
        3 | 4 => Call::Request,
        5 | 6 => Call::Withdraw,
        _ => {
            let cumulative = amount(draw, &model.deposit((payer, payee)));
            let signer = if draw.below(6) == 0 { draw.below(PAYERS) } else { payer };
            Call::Redeem { payer, cumulative, signer }
        }
    }
}

/// A receipt that one signs in the name of another.
fn redeem(
    (domain, escrow): (&Domain, EvmAddress),
    (payer, payee): Pair,
    cumulative: u128,
    signer: usize,
) -> E::redeemCall {
    let receipt = Receipt {
        escrow,
        payer: EvmAddress(who(payer).0.0),
        payee: AccountId(payee),
        model: ModelId(1),
        cumulative: Amount(cumulative),
        price: Amount(1),
        nonce: 1,
        request: Digest::ZERO,
    };
    let key = EvmKey::from_bytes(&DEV_KEYS[signer]).unwrap();
    let signature = key.sign(&receipt.digest(domain)).unwrap();
    E::redeemCall {
        receipt: E::Receipt {
            payer: who(payer),
            payee,
            model: 1,
            cumulative: U256::from(cumulative),
            price: U256::from(1),
            nonce: 1,
            request: B256::ZERO,
        },
        signature: signature.0.to_vec().into(),
    }
}

fn encode(domain: (&Domain, EvmAddress), payee: u64, call: Call) -> (usize, Bytes) {
    let (kind, data) = match call {
        Call::Deposit(amount) => (0, E::depositCall { payee, amount }.abi_encode()),
        Call::Permit(amount) => {
            let (deadline, v, r, s) = (U256::MAX, 27, B256::ZERO, B256::ZERO);
            (1, E::depositWithPermitCall { payee, amount, deadline, v, r, s }.abi_encode())
        }
        Call::Redeem { payer, cumulative, signer } => {
            (2, redeem(domain, (payer, payee), cumulative, signer).abi_encode())
        }
        Call::Request => (3, E::requestWithdrawalCall { payee }.abi_encode()),
        Call::Withdraw => (4, E::withdrawCall { payee }.abi_encode()),
    };
    (kind, data.into())
}

/// A deployment in which all payers have OPEN, and the model of it.
fn start(chain: &mut dyn Chain) -> (World<'_>, Model) {
    let mut world = World::deploy(chain);
    let escrow = world.escrow;
    for payer in 0..PAYERS {
        let value = U256::from(1_000_000 * OPEN);
        world.send(0, world.open, &Open::transferCall { to: who(payer), value });
        let value = U256::MAX;
        world.send(payer, world.open, &Open::approveCall { spender: escrow, value });
    }
    let delay = world.read(escrow, &E::WITHDRAWAL_DELAYCall {});
    let held = (0..PAYERS).map(|payer| world.balance(who(payer)).to::<u128>()).collect();
    let genesis = world.genesis;
    (world, Model { delay, genesis, held, ..Model::default() })
}

fn compare(world: &mut World<'_>, model: &Model, (payer, payee): Pair) {
    let expected = model.deposit((payer, payee));
    let payer = who(payer);
    let found = world.read(world.escrow, &E::depositsCall { payer, payee });
    let unlock = expected.unlock.unwrap_or_default();
    assert_eq!(
        (found.balance, found.redeemed, found.unlockBlock),
        (expected.balance, expected.redeemed, unlock)
    );
    assert!(expected.redeemed <= expected.signed, "nobody is paid more than was signed");
}

/// Every OPEN is where the model says, and every epoch has what was redeemed in it.
fn compare_holdings(world: &mut World<'_>, model: &Model, in_vault: U256) {
    for (payer, held) in model.held.iter().enumerate() {
        assert_eq!(world.balance(who(payer)), U256::from(*held), "{payer}");
    }
    let deposited: u128 = model.deposits.values().map(|deposit| deposit.balance).sum();
    assert_eq!(world.balance(world.escrow), U256::from(deposited));
    let fees: u128 = model.fees.values().sum();
    assert_eq!(world.balance(world.vault), in_vault + U256::from(fees));
    assert_eq!(world.read(world.vault, &RewardVault::redeemedCall {}), fees);
    let last = model.fees.keys().next_back().copied().unwrap_or_default();
    for epoch in last.saturating_sub(2)..=last + 1 {
        let redeemed = model.fees.get(&epoch).copied().unwrap_or_default();
        let found = world.read(world.escrow, &E::feesRedeemedCall { epoch });
        assert_eq!(found, redeemed, "of epoch {epoch}");
    }
}

/// Plays so many calls from a seed on a deployment of their own.
fn play(seed: u64, calls: u64) {
    let mut chain = EmbeddedChain::new();
    let (mut world, mut model) = start(&mut chain);
    let in_vault = world.balance(world.vault);
    let (domain, at) = (world.domain(), EvmAddress(world.escrow.0.0));
    let mut draw = Draw(seed);
    let mut tally = [[0_u64; 2]; KINDS];
    for turn in 0..calls {
        if draw.below(16) == 0 {
            let head = world.chain.head();
            world.chain.advance_to(head + 1 + draw.below(20) as u64);
        }
        let (from, payee) = (draw.below(PAYERS), 1 + draw.below(PAYEES as usize) as u64);
        let call = call(&mut draw, &model, from, payee);
        let (kind, data) = encode((&domain, at), payee, call);
        let block = world.chain.head() + 1;
        let before = model.clone();
        let expected = model.apply(from, payee, call, block).is_some();
        if !expected {
            model = before;
        }
        let mined = world.chain.send(who(from), Some(world.escrow), data);
        assert_eq!(
            mined.is_success, expected,
            "seed {seed}, call {turn}: {call:?} for account {payee} by {from} in block {block}"
        );
        tally[kind][usize::from(expected)] += 1;
        let payer = if let Call::Redeem { payer, .. } = call { payer } else { from };
        compare(&mut world, &model, (payer, payee));
        if turn % 64 == 0 || turn + 1 == calls {
            compare_holdings(&mut world, &model, in_vault);
        }
    }
    let is_tried = tally.iter().all(|[refused, done]| *refused > 0 && *done > 0);
    assert!(calls < CALLS || is_tried, "each call fails and succeeds: {tally:?}");
}

/// Plays as many calls as the Registry's model.
pub(crate) fn scenario() {
    play_all(play);
}
