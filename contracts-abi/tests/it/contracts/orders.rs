//! Orders of runs: what is paid for one is in the vault before anybody works on it.

use alloy::primitives::{B256, Bytes, U256, keccak256};
use alloy::sol_types::{SolEvent, SolValue};
use contracts_abi::devchain::DEV_KEYS;
use protocol::Digest;
use protocol::eip712::EvmKey;

use super::chain::Chain;
use super::check_gas;
use super::world::{BUDGET, Coordinator, OPEN, Settlements, World, abi, who};
use abi::models::{IModelRegistry::Permit, ModelRegistry as M};
use abi::open::Open;
use abi::vault::RewardVault as V;

const PAID: u128 = 40 * OPEN;

fn order(escrow: u128) -> M::createModelCall {
    M::createModelCall { developer: 1, datanet: 1, escrow, config: Bytes::from(vec![7; 90]) }
}

pub(crate) fn scenario(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let (models, vault, open) = (world.models, world.vault, world.open);
    let create = abi::datanets::DatanetRegistry::createDatanetCall {
        name: "verse".into(),
        domain: "poetry".into(),
        licence: 1,
        policy: 0,
        owner: 1,
    };
    world.send(1, world.datanets, &create);
    let (to, value) = (who(1), U256::from(3 * PAID));
    world.send(0, open, &Open::transferCall { to, value });
    refuse(&mut world);

    let held = world.balance(vault);
    world.send(1, open, &Open::approveCall { spender: models, value: U256::from(PAID) });
    let gas = world.send(1, models, &order(PAID));
    assert_eq!(world.balance(vault) - held, U256::from(PAID));
    assert_eq!(world.read(vault, &V::redeemedCall {}), PAID, "of the epoch in which it was made");
    world.fails::<Open::ERC20InsufficientAllowance, _>(1, models, &order(1));

    with_permit(&mut world);
    world.chain.advance_to(world.start(1) + 1);
    world.send(1, open, &Open::approveCall { spender: models, value: U256::from(PAID) });
    world.send(1, models, &order(PAID));
    let up_to = |epoch| V::feesUpToCall { epoch };
    assert_eq!([0, 1].map(|epoch| world.read(vault, &up_to(epoch))), [2 * PAID, 3 * PAID]);
    settle(&mut world);
    let registered = base(&mut world);
    let measured = [("create_model", gas), ("register_base", registered)];
    check_gas(&measured, &[("create_model", 250_000), ("register_base", 150_000)]);
}

/// Who registers a base pays nothing for it, is answered with an id among the models, and alone offers it.
fn base(world: &mut World<'_>) -> u64 {
    let (models, known) = (world.models, world.read(world.models, &M::modelsCall {}));
    let call = |length| M::registerBaseCall { developer: 2, config: vec![7; length].into() };
    world.fails::<M::NotController, _>(1, models, &call(90));
    for length in [0, 4097] {
        world.fails::<M::BadConfig, _>(2, models, &call(length));
    }
    let gas = world.send(2, models, &call(250));
    let id = known + 1;
    assert_eq!(world.read(models, &M::modelsCall {}), id);
    let found = world.read(models, &M::modelCall { id });
    assert_eq!((found.developer, found.datanet, found.checkpoint), (2, 0, B256::ZERO));
    let publish = M::publishCall {
        id,
        checkpoint: B256::repeat_byte(1),
        sketchRoot: B256::ZERO,
        server: 2,
        priceIn: 1,
        priceOut: 1,
        priceUse: 1,
    };
    world.fails::<M::NotController, _>(1, models, &publish);
    world.send(2, models, &publish);
    assert_eq!(M::BaseRegistered::SIGNATURE, "BaseRegistered(uint64,uint64,bytes)");
    gas
}

/// What cannot be a run is refused, as far as a contract can know, and nothing is taken for it.
fn refuse(world: &mut World<'_>) {
    let (models, open) = (world.models, world.open);
    world.fails::<M::NotController, _>(2, models, &order(PAID));
    world.fails::<M::NothingPaid, _>(1, models, &order(0));
    let nowhere = M::createModelCall { datanet: 2, ..order(PAID) };
    world.fails::<M::UnknownDatanet, _>(1, models, &nowhere);
    for length in [0, 4097] {
        let config = vec![1; length].into();
        world.fails::<M::BadConfig, _>(1, models, &M::createModelCall { config, ..order(PAID) });
    }
    world.fails::<Open::ERC20InsufficientAllowance, _>(1, models, &order(PAID));
    world.send(1, open, &Open::approveCall { spender: models, value: U256::MAX });
    world.fails::<Open::ERC20InsufficientBalance, _>(1, models, &order(3 * PAID + 1));
    world.fails::<Open::ERC20InsufficientBalance, _>(1, models, &order(u128::MAX));
    assert_eq!(world.read(models, &M::modelsCall {}), 0);
}

/// Without an approval, by a signature; a signature that is none takes nothing.
fn with_permit(world: &mut World<'_>) {
    let (models, open, owner) = (world.models, world.open, who(1));
    let separator = world.read(open, &Open::DOMAIN_SEPARATORCall {});
    let nonce = world.read(open, &Open::noncesCall { owner });
    let deadline = U256::MAX;
    let kind = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)";
    let permit = (keccak256(kind), owner, models, U256::from(PAID), nonce, deadline).abi_encode();
    let digest = keccak256([&[0x19, 1], &separator[..], &keccak256(permit)[..]].concat());
    let key = EvmKey::from_bytes(&DEV_KEYS[1]).unwrap();
    let signature = key.sign(&Digest(digest.0)).unwrap().0;
    let call = |v: u8, escrow| M::createModelWithPermitCall {
        developer: 1,
        datanet: 1,
        escrow,
        config: Bytes::from(vec![7; 90]),
        permit: Permit {
            deadline,
            v,
            r: B256::from_slice(&signature[..32]),
            s: B256::from_slice(&signature[32..64]),
        },
    };
    let v = signature[64];
    world.fails::<Open::ERC20InsufficientAllowance, _>(1, models, &call(v, PAID + 1));
    world.fails::<Open::ERC20InsufficientAllowance, _>(1, models, &call(v ^ 1, PAID));
    world.fails::<M::NothingPaid, _>(1, models, &call(v, 0));
    world.send(1, models, &call(v, PAID));
    // Whoever sends the permit first has not kept the order from being made.
    world.fails::<Open::ERC20InsufficientAllowance, _>(1, models, &call(v, PAID));
    assert_eq!(world.read(models, &M::modelsCall {}), 2);
    assert_eq!(M::ModelCreated::SIGNATURE, "ModelCreated(uint64,uint64,uint64,uint128,bytes)");
}

/// A settlement may pay out what was paid for runs until the end of its epoch, and not a unit more.
fn settle(world: &mut World<'_>) {
    world.chain.advance_to(world.cutoff(0));
    let records = world.read(world.coordinator, &Coordinator::recordsOfCall { epoch: 0 });
    let propose = |total| Settlements::proposeCall {
        proposer: 1,
        settlement: Settlements::Settlement {
            epoch: 0,
            parent: B256::ZERO,
            records,
            payoutRoot: B256::repeat_byte(5),
            total,
            balances: B256::ZERO,
            balancesLength: 0,
            uses: keccak256([]),
            replicasProven: 0,
            storageFaults: 0,
            shardsVerified: 0,
            shardsRejected: 0,
        },
    };
    let settlements = world.settlements;
    let most = BUDGET + 2 * PAID;
    world.fails::<V::TotalTooLarge, _>(1, settlements, &propose(most + 1));
    world.send(1, settlements, &propose(most));
}
