//! A consumer's deposit, and how it gets back what is left of it.

use alloy::primitives::{Address, B256, U256};
use contracts_abi::devchain::DEV_KEYS;
use protocol::eip712::EvmKey;
use protocol::receipt::Receipt;
use protocol::{AccountId, Amount, Digest, EvmAddress, ModelId};

use super::chain::Chain;
use super::world::{OPEN, World, abi, who};
use abi::escrow::UsageEscrow as E;

/// What is left of a deposit goes back in the blocks of its request alone, and more of it ends that.
pub(crate) fn scenario(chain: &mut dyn Chain) {
    let world = &mut World::deploy(chain);
    let (escrow, payee) = (world.escrow, 3);
    let (request, withdraw) = (E::requestWithdrawalCall { payee }, E::withdrawCall { payee });
    let deposit = E::depositCall { payee, amount: OPEN };
    let approve = abi::open::Open::approveCall { spender: escrow, value: U256::MAX };
    world.send(5, world.open, &approve);
    world.fails::<E::EmptyDeposit, _>(5, escrow, &request);
    world.send(5, escrow, &deposit);
    world.fails::<E::NotWithdrawable, _>(5, escrow, &withdraw);
    let ask = |world: &mut World<'_>| {
        world.send(5, escrow, &request);
        let payer = who(5);
        world.read(escrow, &E::depositsCall { payer, payee }).unlockBlock
    };
    let delay = world.read(escrow, &E::WITHDRAWAL_DELAYCall {});
    let unlock = ask(world);
    assert_eq!(unlock, world.chain.head() + delay);
    // The next call is in the block after the head.
    world.chain.advance_to(unlock - 2);
    world.fails::<E::NotWithdrawable, _>(5, escrow, &withdraw);
    world.chain.advance_to(unlock + delay);
    world.fails::<E::NotWithdrawable, _>(5, escrow, &withdraw);
    let unlock = ask(world);
    world.send(5, escrow, &deposit);
    world.chain.advance_to(unlock);
    world.fails::<E::NotWithdrawable, _>(5, escrow, &withdraw);
    let unlock = ask(world);
    world.chain.advance_to(unlock + delay - 1);
    let before = world.balance(who(5));
    world.send(5, escrow, &withdraw);
    assert_eq!(world.balance(who(5)) - before, U256::from(2 * OPEN));
    world.fails::<E::NotWithdrawable, _>(5, escrow, &withdraw);
}

/// The serving account of all receipts here.
const PAYEE: u64 = 3;
/// Who pays, and signs.
const PAYER: usize = 5;

/// A receipt for one escrow, and the call that has it paid by any.
pub(super) fn receipt(world: &World<'_>, escrow: Address, cumulative: u128) -> E::redeemCall {
    let receipt = Receipt {
        escrow: EvmAddress(escrow.0.0),
        payer: EvmAddress(who(PAYER).0.0),
        payee: AccountId(PAYEE),
        model: ModelId(1),
        cumulative: Amount(cumulative),
        price: Amount(cumulative),
        nonce: 1,
        request: Digest::ZERO,
    };
    let key = EvmKey::from_bytes(&DEV_KEYS[PAYER]).unwrap();
    let signed = receipt.sign(&world.domain(), &key).unwrap();
    E::redeemCall {
        receipt: E::Receipt {
            payer: who(PAYER),
            payee: PAYEE,
            model: 1,
            cumulative: U256::from(cumulative),
            price: U256::from(cumulative),
            nonce: 1,
            request: B256::ZERO,
        },
        signature: signed.signature.0.to_vec().into(),
    }
}

/// Whoever kept its receipts has none of them paid again by a new contract, whose sums begin at nothing; and
/// what an old one owes it pays, until its deposit was taken back.
pub(crate) fn replaced(chain: &mut dyn Chain) {
    let world = &mut World::deploy(chain);
    let (old, payee, payer) = (world.escrow, PAYEE, who(PAYER));
    let fund = |world: &mut World<'_>, spender: Address| {
        let approve = abi::open::Open::approveCall { spender, value: U256::MAX };
        world.send(PAYER, world.open, &approve);
        world.send(PAYER, spender, &E::depositCall { payee, amount: 100 * OPEN });
    };
    fund(world, old);
    world.send(4, old, &receipt(world, old, 30 * OPEN));
    world.replace_escrow();
    let new = world.escrow;
    fund(world, new);

    // Paid already, and not paid yet.
    for cumulative in [30 * OPEN, 50 * OPEN] {
        let other = receipt(world, old, cumulative);
        world.fails::<E::BadSignature, _>(4, new, &other);
        let other = receipt(world, new, cumulative);
        world.fails::<E::BadSignature, _>(4, old, &other);
    }
    world.send(4, old, &receipt(world, old, 50 * OPEN));
    world.send(4, new, &receipt(world, new, 7 * OPEN));
    world.send(PAYER, old, &E::requestWithdrawalCall { payee });
    let unlock = world.read(old, &E::depositsCall { payer, payee }).unlockBlock;
    world.chain.advance_to(unlock - 1);
    world.send(PAYER, old, &E::withdrawCall { payee });
    world.fails::<E::EmptyDeposit, _>(4, old, &receipt(world, old, 60 * OPEN));

    let (before, now) = [old, new]
        .map(|escrow| world.read(escrow, &E::depositsCall { payer, payee }))
        .map(|deposit| (deposit.balance, deposit.redeemed))
        .into();
    assert_eq!((before, now), ((0, 50 * OPEN), (93 * OPEN, 7 * OPEN)));
    assert_eq!(world.balance(old), U256::ZERO);
    assert_eq!(world.balance(new), U256::from(93 * OPEN));
    assert_eq!(world.read(world.vault, &abi::vault::RewardVault::redeemedCall {}), 57 * OPEN);
}
