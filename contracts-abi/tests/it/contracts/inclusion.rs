//! Records as call data: which belong to an epoch, in which order, and at what price.

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolValue;
use protocol::eip712::EvmKey;
use protocol::record::{Body, Record, SignedRecord, StorageProofBody, batch};
use protocol::{AccountId, Digest, Epoch, EvmAddress, Hash};

use super::chain::Chain;
use super::world::{ACCOUNTS, Coordinator, Registry, World, deploy, who};

const RECORDS: u64 = 64;

fn key(account: u64) -> EvmKey {
    let mut secret = [9u8; 32];
    secret[24..].copy_from_slice(&account.to_be_bytes());
    EvmKey::from_bytes(&secret).unwrap()
}

fn record(world: &World<'_>, epoch: u64, account: u64, signer: u64) -> SignedRecord {
    let body = StorageProofBody {
        commit: Digest(keccak256([account as u8]).0),
        openings: Hash(keccak256([account as u8, 1]).0),
        length: 100_000,
    };
    let record = Record {
        epoch: Epoch(epoch),
        account: AccountId(account),
        subject: Digest(keccak256([account as u8, 2]).0),
        body: Body::StorageProof(body),
    };
    record.sign(&world.domain(), &key(signer)).unwrap()
}

fn call(epoch: u64, records: &[SignedRecord]) -> Coordinator::includeCall {
    Coordinator::includeCall { epoch, batch: batch::encode(records).into() }
}

fn register(world: &mut World<'_>, account: u64) {
    let owner = who(0);
    let EvmAddress(operator) = key(account).address();
    let register = Registry::registerCall {
        owner,
        operator: operator.into(),
        payout: owner,
        nodeId: B256::ZERO,
        binding: vec![0; 64].into(),
    };
    world.send(0, world.registry, &register);
}

/// The fold as a reader of the chain computes it.
fn fold(world: &World<'_>, head: Digest, records: &[SignedRecord]) -> Digest {
    records.iter().fold(head, |head, signed| {
        let id = signed.record.id(&world.domain());
        protocol::hash::keccak(&[&head.0, &id.0])
    })
}

/// Accounts whose records come in.
pub(super) fn prepare(world: &mut World<'_>) {
    (ACCOUNTS + 1..=ACCOUNTS + RECORDS).for_each(|account| register(world, account));
}

/// Takes in a batch of 64 records of as many accounts, and one in which most are not in order; gives
/// the fold over all that came in, and the gas of each of the 64.
pub(super) fn include(world: &mut World<'_>) -> (Digest, u64) {
    let coordinator = world.coordinator;
    let first = ACCOUNTS + 1;
    let all: Vec<_> = (first..first + RECORDS).map(|a| record(world, 0, a, a)).collect();
    let batch = call(0, &all);
    assert_eq!(world.read(coordinator, &batch), U256::from(u64::MAX), "all are in order");
    // Somebody without an account brings them.
    let gas = world.send(4, coordinator, &batch);
    let head = fold(world, Digest::ZERO, &all);
    assert_eq!(head_of(world), head);

    let mixed = [
        record(world, 0, first, first + 1),
        record(world, 1, first, first),
        record(world, 0, first + 2, first + 2),
        record(world, 0, 9_999, first),
    ];
    let batch = call(0, &mixed);
    assert_eq!(world.read(coordinator, &batch), U256::from(0b100), "the others are passed over");
    world.send(4, coordinator, &batch);
    let head = fold(world, head, &mixed[2..3]);
    assert_eq!(head_of(world), head, "what comes in twice changes the fold twice");

    world.fails::<Coordinator::NothingIncluded, _>(4, coordinator, &call(0, &mixed[..2]));
    world.fails::<Coordinator::NothingIncluded, _>(4, coordinator, &call(0, &[]));
    world.fails::<Coordinator::WrongEpoch, _>(4, coordinator, &call(2, &all));
    let mut cut = call(0, &all);
    cut.batch = cut.batch.slice(..cut.batch.len() - 1);
    world.fails::<Coordinator::Truncated, _>(4, coordinator, &cut);
    let mut long = call(0, &all[..1]);
    let mut bytes = long.batch.to_vec();
    bytes[49..53].copy_from_slice(&u32::MAX.to_be_bytes());
    long.batch = bytes.into();
    world.fails::<Coordinator::Truncated, _>(4, coordinator, &long);
    rotated(world, first, head);
    (head_of(world), gas / RECORDS)
}

/// A key that was rotated out signs nothing any more, and what it signed before stays.
fn rotated(world: &mut World<'_>, account: u64, head: Digest) {
    let coordinator = world.coordinator;
    let signed = [record(world, 0, account, account)];
    world.send(4, coordinator, &call(0, &signed));
    let EvmAddress(operator) = key(account + 500).address();
    let rotate = Registry::rotateOperatorCall { account, operator: operator.into() };
    world.send(0, world.registry, &rotate);
    world.fails::<Coordinator::NothingIncluded, _>(4, coordinator, &call(0, &signed));
    let head = fold(world, head, &signed);
    let by_new = [record(world, 0, account, account + 500)];
    world.send(4, coordinator, &call(0, &by_new));
    assert_eq!(head_of(world), fold(world, head, &by_new));
}

/// After the cutoff nothing comes in, or it could not be in a settlement that is proposed.
pub(super) fn is_closed(world: &mut World<'_>) {
    let late = call(0, &[record(world, 0, ACCOUNTS + 3, ACCOUNTS + 3)]);
    world.fails::<Coordinator::WrongEpoch, _>(4, world.coordinator, &late);
}

fn head_of(world: &mut World<'_>) -> Digest {
    Digest(world.read(world.coordinator, &Coordinator::recordsOfCall { epoch: 0 }).0)
}

/// With epochs longer than the chain remembers block hashes, the first record of an epoch keeps the seed
/// that disputes need; one that comes too late for that is taken in all the same.
pub(super) fn seeds(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let account = ACCOUNTS + 1;
    register(&mut world, account);
    let mut coordinators = [Address::ZERO; 2];
    for coordinator in &mut coordinators {
        let genesis = world.chain.head() + 3;
        let params = (genesis, 20_000u64, 20u64, 5u64, 6u64, 16u64 << 20);
        let arguments = (params, world.registry).abi_encode_params();
        *coordinator = deploy(world.chain, "Coordinator", &arguments);
    }
    let head = world.chain.head();
    world.chain.advance_to(head + 4);
    let [early, late] = coordinators;
    let seed = Coordinator::seedCall { epoch: 0, purpose: 0 };
    let s1 = world.read(early, &seed);
    let include = |world: &mut World<'_>, at| {
        world.coordinator = at;
        let signed = record(world, 0, account, account);
        world.send(4, at, &call(0, &[signed]));
    };
    include(&mut world, early);
    let head = world.chain.head();
    world.chain.advance_to(head + 8_300);
    assert_eq!(world.read(early, &seed), s1);
    world.fails::<Coordinator::SeedMissed, _>(4, late, &seed);
    include(&mut world, late);
    world.fails::<Coordinator::SeedMissed, _>(4, late, &seed);
}
