//! The UsageEscrow: no unit of OPEN is made or lost, and nobody is paid more than was signed.

use std::collections::BTreeMap;

use alloy::primitives::{B256, U256};
use contracts_abi::devchain::DEV_KEYS;
use protocol::chain::ChainView;
use protocol::eip712::{Domain, EvmKey};
use protocol::receipt::Receipt;
use protocol::{AccountId, Amount, Digest, EvmAddress, ModelId};

use super::driver::{Done, Draw, Encoded, Model, PANIC, Step, need};
use crate::contracts::world::abi::escrow::UsageEscrow as E;
use crate::contracts::world::abi::open::Open;
use crate::contracts::world::{ACCOUNTS, EPOCH_BLOCKS, OPEN, RewardVault, World, who};

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

#[derive(Clone, Debug)]
pub(super) struct Call {
    payee: u64,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
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

#[derive(Clone)]
pub(super) struct Deposits {
    delay: u64,
    genesis: u64,
    deposits: BTreeMap<Pair, Deposit>,
    /// OPEN of the payers.
    held: Vec<u128>,
    /// What was redeemed, by epoch.
    fees: BTreeMap<u64, u128>,
    /// What was in the vault before.
    in_vault: U256,
}

impl Deposits {
    fn deposit(&self, pair: Pair) -> Deposit {
        self.deposits.get(&pair).copied().unwrap_or_default()
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

fn what(draw: &mut Draw, model: &Deposits, from: usize, payee: u64) -> What {
    let payer = draw.below(PAYERS);
    let own = model.deposit((from, payee));
    match draw.below(10) {
        0 | 1 => What::Deposit(amount(draw, &own)),
        2 => What::Permit(amount(draw, &own)),
        3 | 4 => What::Request,
        5 | 6 => What::Withdraw,
        _ => {
            let cumulative = amount(draw, &model.deposit((payer, payee)));
            let signer = if draw.below(6) == 0 { draw.below(PAYERS) } else { payer };
            What::Redeem { payer, cumulative, signer }
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

impl Model for Deposits {
    type Call = Call;
    const CALLS: &'static [&'static str] = &[
        "UsageEscrow.deposit",
        "UsageEscrow.depositWithPermit",
        "UsageEscrow.redeem",
        "UsageEscrow.requestWithdrawal",
        "UsageEscrow.withdraw",
    ];

    fn start(world: &mut World<'_>) -> Self {
        let escrow = world.escrow;
        for payer in 0..PAYERS {
            let value = U256::from(1_000_000 * OPEN);
            world.send(0, world.open, &Open::transferCall { to: who(payer), value });
            let value = U256::MAX;
            world.send(payer, world.open, &Open::approveCall { spender: escrow, value });
        }
        let delay = world.read(escrow, &E::WITHDRAWAL_DELAYCall {});
        let held = (0..PAYERS).map(|payer| world.balance(who(payer)).to::<u128>()).collect();
        let (genesis, in_vault) = (world.genesis, world.balance(world.vault));
        let (deposits, fees) = (BTreeMap::new(), BTreeMap::new());
        Self { delay, genesis, deposits, held, fees, in_vault }
    }

    fn draw(&self, draw: &mut Draw, block: u64) -> Step<Call> {
        let wait = if draw.one_in(16) { draw.below(20) as u64 } else { 0 };
        let (from, payee) = (draw.below(PAYERS), 1 + draw.below(PAYEES as usize) as u64);
        // The first and the last block in which a deposit may be taken, and those beside them.
        if draw.one_in(8)
            && let Some(unlock) = self.deposit((from, payee)).unlock
        {
            let bounds = [unlock - 1, unlock, unlock + self.delay, unlock + self.delay + 1];
            if let Some(wait) = draw.of(&bounds).checked_sub(block) {
                return Step { wait, from, call: Call { payee, what: What::Withdraw } };
            }
        }
        Step { wait, from, call: Call { payee, what: what(draw, self, from, payee) } }
    }

    fn encode(&self, world: &mut World<'_>, call: &Call) -> Encoded {
        let (to, payee) = (world.escrow, call.payee);
        match call.what {
            What::Deposit(amount) => {
                Encoded::new("UsageEscrow.deposit", to, &E::depositCall { payee, amount })
            }
            What::Permit(amount) => {
                let (deadline, v, r, s) = (U256::MAX, 27, B256::ZERO, B256::ZERO);
                let call = E::depositWithPermitCall { payee, amount, deadline, v, r, s };
                Encoded::new("UsageEscrow.depositWithPermit", to, &call)
            }
            What::Redeem { payer, cumulative, signer } => {
                let at = (&world.domain(), EvmAddress(to.0.0));
                let call = redeem(at, (payer, payee), cumulative, signer);
                Encoded::new("UsageEscrow.redeem", to, &call)
            }
            What::Request => {
                let call = E::requestWithdrawalCall { payee };
                Encoded::new("UsageEscrow.requestWithdrawal", to, &call)
            }
            What::Withdraw => Encoded::new("UsageEscrow.withdraw", to, &E::withdrawCall { payee }),
        }
    }

    fn apply(&mut self, from: usize, call: &Call, block: u64) -> Done {
        let Call { payee, what } = *call;
        let payer = if let What::Redeem { payer, .. } = what { payer } else { from };
        let mut deposit = self.deposit((payer, payee));
        match what {
            What::Deposit(amount) | What::Permit(amount) => {
                need(amount > 0, "ZeroAmount")?;
                need(payee != PAYEES, "UnknownAccount")?;
                deposit.balance = deposit.balance.checked_add(amount).ok_or(PANIC)?;
                let held = self.held[from].checked_sub(amount);
                self.held[from] = held.ok_or("ERC20InsufficientBalance")?;
                deposit.unlock = None;
            }
            What::Redeem { payer, cumulative, signer } => {
                need(signer == payer, "BadSignature")?;
                deposit.signed = deposit.signed.max(cumulative);
                need(cumulative > deposit.redeemed, "NothingToRedeem")?;
                need(deposit.balance > 0, "EmptyDeposit")?;
                let paid = (cumulative - deposit.redeemed).min(deposit.balance);
                deposit.balance -= paid;
                deposit.redeemed += paid;
                let epoch = block.saturating_sub(self.genesis) / EPOCH_BLOCKS;
                *self.fees.entry(epoch).or_default() += paid;
            }
            What::Request => {
                need(deposit.balance > 0, "EmptyDeposit")?;
                deposit.unlock = Some(block + self.delay);
            }
            What::Withdraw => {
                let unlock = deposit.unlock.ok_or("NotWithdrawable")?;
                let is_now = block >= unlock && block <= unlock + self.delay;
                need(is_now, "NotWithdrawable")?;
                self.held[from] += deposit.balance;
                (deposit.balance, deposit.unlock) = (0, None);
            }
        }
        self.deposits.insert((payer, payee), deposit);
        Ok(())
    }

    fn compare(&self, world: &mut World<'_>, from: usize, call: &Call) {
        let payer = if let What::Redeem { payer, .. } = call.what { payer } else { from };
        let expected = self.deposit((payer, call.payee));
        let (payer, payee) = (who(payer), call.payee);
        let found = world.read(world.escrow, &E::depositsCall { payer, payee });
        let unlock = expected.unlock.unwrap_or_default();
        assert_eq!(
            (found.balance, found.redeemed, found.unlockBlock),
            (expected.balance, expected.redeemed, unlock)
        );
        assert!(expected.redeemed <= expected.signed, "nobody is paid more than was signed");
    }

    /// Every OPEN is where the model says, and every epoch has what was redeemed in it.
    fn compare_all(&self, world: &mut World<'_>) {
        for (payer, held) in self.held.iter().enumerate() {
            assert_eq!(world.balance(who(payer)), U256::from(*held), "{payer}");
        }
        let deposited: u128 = self.deposits.values().map(|deposit| deposit.balance).sum();
        assert_eq!(world.balance(world.escrow), U256::from(deposited));
        let fees: u128 = self.fees.values().sum();
        assert_eq!(world.balance(world.vault), self.in_vault + U256::from(fees));
        assert_eq!(world.read(world.vault, &RewardVault::redeemedCall {}), fees);
        let last = self.fees.keys().next_back().copied().unwrap_or_default();
        for epoch in last.saturating_sub(2)..=last + 1 {
            let redeemed = self.fees.get(&epoch).copied().unwrap_or_default();
            let found = world.read(world.escrow, &E::feesRedeemedCall { epoch });
            assert_eq!(found, redeemed, "of epoch {epoch}");
        }
    }

    /// A server that follows the chain knows every deposit.
    fn compare_view(&self, _world: &mut World<'_>, view: &ChainView) {
        for ((payer, payee), deposit) in &self.deposits {
            let (payer, payee) = (EvmAddress(who(*payer).0.0), AccountId(*payee));
            let known = view.deposit(payer, payee);
            assert_eq!(
                (known.balance.0, view.redeemed(payer, payee).0),
                (deposit.balance, deposit.redeemed)
            );
        }
    }
}
