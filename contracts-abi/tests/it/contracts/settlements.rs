//! One epoch from receipts and records to claims; on the way every challenge defeats a wrong
//! proposal and fails against the right one.

use alloy::primitives::{B256, U256, address, keccak256};
use alloy::sol_types::{SolCall, SolValue};
use contracts_abi::devchain::DEV_KEYS;
use protocol::chain::{DatanetUse, Settlement};
use protocol::eip712::EvmKey;
use protocol::merkle::{SumNode, SumTree};
use protocol::receipt::Receipt;
use protocol::{AccountId, Amount, DatanetId, Digest, Epoch, EvmAddress, Hash, ModelId};

use super::chain::Chain;
use super::check_gas;
use super::world::{
    BOND, BUDGET, LEAST_PACK, MAX_PACK, OPEN, Registry, RewardVault, Settlements, World, abi,
    sum_nodes, who,
};
use super::{inclusion, losses};

pub(super) const LEAVES: u64 = 65_536;
const FEES: u128 = 300 * OPEN;
const CHALLENGER: usize = 7;

/// An account with what is free and what it earned in the lane, as a leaf.
pub(super) fn leaf_of(account: u64, (free, lane): (u128, u128)) -> (Vec<u8>, u128) {
    let words = [&account.to_be_bytes()[..], &free.to_be_bytes(), &lane.to_be_bytes()];
    (words.concat(), free.saturating_add(lane))
}

pub(super) fn leaf(account: u64, free: u128) -> (Vec<u8>, u128) {
    leaf_of(account, (free, 0))
}

fn payouts() -> SumTree {
    let amount =
        |account| if account == 2 { 600 * OPEN } else { u128::from(account) * 123_456_789 };
    SumTree::new(&(1..=LEAVES).map(|a| leaf(a, amount(a))).collect::<Vec<_>>())
}

const USES: [DatanetUse; 1] = [DatanetUse { datanet: DatanetId(1), shards: 4, outputs: 2 }];

fn settlement(records: Digest, payouts: &SumTree) -> Settlement {
    Settlement {
        epoch: Epoch(0),
        parent: Digest::ZERO,
        records,
        payout_root: payouts.root(),
        total: Amount(payouts.sum()),
        balances: Hash([0x11; 32]),
        balances_length: 12_345,
        uses: Settlement::hash_uses(&USES),
        replicas_proven: 3,
        storage_faults: 1,
        shards_verified: 4,
        shards_rejected: 0,
    }
}

pub(crate) fn abi_of(s: &Settlement) -> Settlements::Settlement {
    Settlements::Settlement {
        epoch: s.epoch.0,
        parent: s.parent.0.into(),
        records: s.records.0.into(),
        payoutRoot: s.payout_root.0.into(),
        total: s.total.0,
        balances: s.balances.0.into(),
        balancesLength: s.balances_length,
        uses: s.uses.0.into(),
        replicasProven: s.replicas_proven,
        storageFaults: s.storage_faults,
        shardsVerified: s.shards_verified,
        shardsRejected: s.shards_rejected,
    }
}

fn propose(s: &Settlement) -> Settlements::proposeCall {
    Settlements::proposeCall { proposer: 1, settlement: abi_of(s) }
}

pub(crate) fn scenario(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let settlements = world.settlements;
    use_data(&mut world);
    inclusion::prepare(&mut world);
    world.chain.advance_to(world.start(0) + 1);
    let payouts = payouts();
    let (records, include_gas) = inclusion::include(&mut world);
    let good = settlement(records, &payouts);
    let redeem_gas = redeem(&mut world);
    world.fails::<Settlements::EpochNotOver, _>(1, settlements, &propose(&good));
    world.chain.advance_to(world.cutoff(0));
    inclusion::is_closed(&mut world);

    refuse_proposals(&mut world, &good);
    let mut gas = vec![("redeem", redeem_gas), ("include_each_of_64", include_gas)];
    gas.extend(defeat_sums(&mut world, &good));

    gas.push(("settlement_propose", world.send(1, settlements, &propose(&good))));
    let id = good.id().0.into();
    let state = world.read(settlements, &Settlements::proposalCall { id });
    assert_eq!(
        (state.proposer, state.bond.to()),
        (1, BOND),
        "its id is as the protocol derives it"
    );
    world.fails::<Settlements::AlreadyProposed, _>(1, settlements, &propose(&good));
    withstand(&mut world, &payouts, &good);
    object(&mut world, &good);
    gas.push(("finalise", finalise(&mut world, &good)));
    gas.push(("claim", claim(&mut world, &payouts)));
    gas.extend(losses::defeat(&mut world, &good, &payouts));
    unauthorised(&mut world, &good);
    let limits = [
        ("settlement_propose", 150_000),
        ("claim", 120_000),
        ("include_each_of_64", 13_000),
        ("challenge_loss", 500_000),
    ];
    check_gas(&gas, &limits);
}

/// A Datanet, a contribution and a model, each only by those who may.
fn use_data(world: &mut World<'_>) {
    use abi::datanets::DatanetRegistry as D;
    let datanets = world.datanets;
    let create = D::createDatanetCall {
        name: "verse".into(),
        domain: "poetry".into(),
        licence: 1,
        policy: 0,
        owner: 1,
    };
    world.fails::<D::NotController, _>(2, datanets, &create);
    world.send(1, datanets, &create);
    let contribute = D::contributeCall {
        id: 1,
        account: 2,
        manifest: B256::repeat_byte(1),
        packs: vec![B256::repeat_byte(2)],
        lengths: vec![1000],
        units: 5,
    };
    world.fails::<D::NotController, _>(3, datanets, &contribute);
    let unequal = D::contributeCall { lengths: vec![], ..contribute.clone() };
    world.fails::<D::BadPacks, _>(2, datanets, &unequal);
    for length in [0, MAX_PACK + 1, u64::MAX] {
        let claimed = D::contributeCall { lengths: vec![length], ..contribute.clone() };
        world.fails::<D::BadPack, _>(2, datanets, &claimed);
    }
    for units in [0, 1001] {
        let claimed = D::contributeCall { units, ..contribute.clone() };
        world.fails::<D::BadUnits, _>(2, datanets, &claimed);
    }
    let nowhere = D::contributeCall { id: 2, ..contribute.clone() };
    world.fails::<D::UnknownDatanet, _>(2, datanets, &nowhere);
    world.fund_data(2, LEAST_PACK);
    world.send(2, datanets, &contribute);
}

fn redeem(world: &mut World<'_>) -> u64 {
    use abi::escrow::UsageEscrow as E;
    let (open, spender) = (world.open, world.escrow);
    world.send(5, open, &abi::open::Open::approveCall { spender, value: U256::MAX });
    world.send(5, spender, &E::depositCall { payee: 2, amount: 2 * FEES });
    let receipt = Receipt {
        escrow: EvmAddress(world.escrow.0.0),
        payer: EvmAddress(who(5).0.0),
        payee: AccountId(2),
        model: ModelId(1),
        cumulative: Amount(FEES),
        price: Amount(FEES),
        nonce: 3,
        request: Digest([9; 32]),
    };
    let key = EvmKey::from_bytes(&DEV_KEYS[5]).unwrap();
    let signed = receipt.sign(&world.domain(), &key).unwrap();
    let call = |cumulative: u128| E::redeemCall {
        receipt: E::Receipt {
            payer: who(5),
            payee: 2,
            model: 1,
            cumulative: U256::from(cumulative),
            price: U256::from(FEES),
            nonce: 3,
            request: B256::repeat_byte(9),
        },
        signature: signed.signature.0.to_vec().into(),
    };
    world.fails::<E::BadSignature, _>(4, spender, &call(FEES + 1));
    let gas = world.send(4, spender, &call(FEES));
    world.fails::<E::NothingToRedeem, _>(4, spender, &call(FEES));
    assert_eq!(world.read(spender, &E::feesRedeemedCall { epoch: 0 }), FEES);
    world.fails::<E::NotWithdrawable, _>(5, spender, &E::withdrawCall { payee: 2 });
    gas
}

fn refuse_proposals(world: &mut World<'_>, good: &Settlement) {
    let settlements = world.settlements;
    world.fails::<Settlements::NotController, _>(2, settlements, &propose(good));
    let greedy = Settlement { total: Amount(BUDGET + FEES + 1), ..*good };
    world.fails::<RewardVault::TotalTooLarge, _>(1, settlements, &propose(&greedy));
    let later = Settlement { epoch: Epoch(1), ..*good };
    world.fails::<RewardVault::NotNext, _>(1, settlements, &propose(&later));
    let others = Settlement { records: Digest([3; 32]), ..*good };
    world.fails::<Settlements::WrongRecords, _>(1, settlements, &propose(&others));
    let orphan = Settlement { parent: Digest([3; 32]), ..*good };
    world.fails::<RewardVault::WrongParent, _>(1, settlements, &propose(&orphan));
}

/// Proposes `bad`, sends the challenge, and requires that it pays half of the bond; gives its gas.
pub(super) fn defeat<C: SolCall>(world: &mut World<'_>, bad: &Settlement, challenge: &C) -> u64 {
    use abi::vault::RewardVault as V;
    let settlements = world.settlements;
    world.fails::<Settlements::NotProposed, _>(CHALLENGER, settlements, challenge);
    world.send(1, settlements, &propose(bad));
    let before = world.balance(who(CHALLENGER));
    let gas = world.send(CHALLENGER, settlements, challenge);
    // Half, or who proposes and challenges with two names would lose nothing.
    assert_eq!(world.balance(who(CHALLENGER)) - before, U256::from(BOND / 2));
    let (vault, held) = (world.vault, world.read(world.vault, &V::heldCall {}));
    assert_eq!(world.balance(vault), held, "the rest is everybody's");
    world.fails::<Settlements::NotProposed, _>(CHALLENGER, settlements, challenge);
    gas
}

fn defeat_sums(world: &mut World<'_>, good: &Settlement) -> Vec<(&'static str, u64)> {
    let leaves: Vec<_> = (1..=7).map(|a| leaf(a, u128::from(a) * OPEN)).collect();
    let hash = |l: SumNode, r: SumNode| {
        let (ls, rs) = (l.sum.to_be_bytes(), r.sum.to_be_bytes());
        let bytes = [&[1u8][..], &l.hash.0, &ls, &r.hash.0, &rs].concat();
        Digest(keccak256(bytes).0)
    };
    let join = |l, r, extra| SumNode { hash: hash(l, r), sum: l.sum + r.sum + extra };
    let node = |i: usize| SumNode { hash: protocol::merkle::leaf(&leaves[i].0), sum: leaves[i].1 };
    // Seven leaves; the second pair claims five more than it has.
    let (first, wrong) = (join(node(0), node(1), 0), join(node(2), node(3), 5));
    let right = join(join(node(4), node(5), 0), node(6), 0);
    let top = join(join(first, wrong, 0), right, 0);
    let top_sum = top.sum.to_be_bytes();
    let root = [&[2u8][..], &7u64.to_be_bytes(), &top.hash.0, &top_sum].concat();
    let payout_root = Digest(keccak256(root).0);
    let bad = Settlement { payout_root, total: Amount(top.sum), ..*good };
    let abi_node = |n: SumNode| sum_nodes!(Settlements, &[n]).remove(0);
    let sum = Settlements::challengeSumCall {
        settlement: abi_of(&bad),
        level: U256::from(1),
        index: 1,
        count: 7,
        sum: wrong.sum,
        left: abi_node(node(2)),
        right: abi_node(node(3)),
        siblings: sum_nodes!(Settlements, &[first, right]),
    };
    let sum_gas = defeat(world, &bad, &sum);

    let bad = Settlement { total: Amount(top.sum + 1), ..bad };
    let total =
        Settlements::challengeTotalCall { settlement: abi_of(&bad), count: 7, top: abi_node(top) };
    let total_gas = defeat(world, &bad, &total);

    let mut lying = leaves.clone();
    lying[2].1 += 1;
    let tree = SumTree::new(&lying);
    let bad = Settlement { payout_root: tree.root(), total: Amount(tree.sum()), ..*good };
    let call = Settlements::challengeLeafCall {
        settlement: abi_of(&bad),
        count: 7,
        leaf: Settlements::Leaf {
            account: 3,
            free: leaves[2].1,
            lane: 0,
            index: 2,
            siblings: sum_nodes!(Settlements, &tree.prove(2).unwrap()),
        },
        sum: lying[2].1,
    };
    let leaf_gas = defeat(world, &bad, &call);
    vec![("challenge_sum", sum_gas), ("challenge_total", total_gas), ("challenge_leaf", leaf_gas)]
}

/// No challenge succeeds against the right proposal.
fn withstand(world: &mut World<'_>, payouts: &SumTree, good: &Settlement) {
    let settlements = world.settlements;
    let settlement = abi_of(good);
    let from = CHALLENGER;
    let place = |account: u64, free| Settlements::Leaf {
        account,
        free,
        lane: 0,
        index: account - 1,
        siblings: sum_nodes!(Settlements, &payouts.prove(account - 1).unwrap()),
    };
    let order = |left, right| Settlements::challengeOrderCall {
        settlement: settlement.clone(),
        count: LEAVES,
        left,
        right,
    };
    let (one, two) = (place(1, 123_456_789), place(2, 600 * OPEN));
    let three = place(3, 3 * 123_456_789);
    world.fails::<Settlements::Unfounded, _>(from, settlements, &order(one.clone(), two.clone()));
    world.fails::<Settlements::Unfounded, _>(from, settlements, &order(two, one.clone()));
    world.fails::<Settlements::Unfounded, _>(from, settlements, &order(one, three));
    let claimed = Settlements::challengeLeafCall {
        settlement: settlement.clone(),
        count: LEAVES,
        leaf: place(2, 600 * OPEN),
        sum: 600 * OPEN + 1,
    };
    world.fails::<Settlements::RootMismatch, _>(from, settlements, &claimed);
}

fn object(world: &mut World<'_>, good: &Settlement) {
    let settlements = world.settlements;
    let settlement = abi_of(good);
    let reason = B256::repeat_byte(5);
    let object = Settlements::objectCall { settlement: settlement.clone(), account: 3, reason };
    world.send(3, settlements, &object);
    world.fails::<Settlements::ObjectionPending, _>(3, settlements, &object);
    let rule = Settlements::ruleCall { settlement, uphold: false };
    world.fails::<Settlements::AccessControlUnauthorizedAccount, _>(3, settlements, &rule);
    let finalise = finalise_call(good);
    world.fails::<Settlements::ObjectionPending, _>(4, settlements, &finalise);
    world.send(0, settlements, &rule);
    world.fails::<Settlements::NoObjection, _>(0, settlements, &rule);
    world.fails::<Settlements::FoundRight, _>(3, settlements, &object);
    world.fails::<Settlements::WindowOpen, _>(4, settlements, &finalise);
    let objector = Registry::stakeOfCall { account: 3 };
    let registry = world.registry;
    assert_eq!(world.read(registry, &objector).stake, 9_950 * OPEN, "the objector lost its bond");
}

fn finalise_call(good: &Settlement) -> Settlements::finaliseCall {
    let uses = USES.map(|u| Settlements::DatanetUse {
        datanet: u.datanet.0,
        shards: u.shards,
        outputs: u.outputs,
    });
    Settlements::finaliseCall { settlement: abi_of(good), uses: uses.to_vec() }
}

fn finalise(world: &mut World<'_>, good: &Settlement) -> u64 {
    let settlements = world.settlements;
    let head = world.chain.head();
    world.chain.advance_to(head + 8);
    let call = finalise_call(good);
    let wrong = Settlements::finaliseCall { uses: Vec::new(), ..call.clone() };
    world.fails::<Settlements::WrongUses, _>(4, settlements, &wrong);
    let gas = world.send(4, settlements, &call);
    let last = world.read(world.vault, &RewardVault::lastCall {});
    assert_eq!((last.id.0, last.nextEpoch), (good.id().0, 1));
    assert_eq!(last.carriedFees, FEES, "emission is spent before fees");
    let counters =
        world.read(world.datanets, &abi::datanets::DatanetRegistry::datanetCall { id: 1 });
    assert_eq!((counters.shards, counters.outputs), (4, 2));
    gas
}

fn claim(world: &mut World<'_>, payouts: &SumTree) -> u64 {
    use abi::vault::RewardVault as V;
    let vault = world.vault;
    let payout = address!("00000000000000000000000000000000000beef1");
    world.send(2, world.registry, &Registry::setPayoutCall { account: 2, payout });
    let call = |account: u64, free| RewardVault::claimCall {
        leaf: RewardVault::Leaf {
            account,
            free,
            lane: 0,
            index: account - 1,
            siblings: sum_nodes!(RewardVault, &payouts.prove(account - 1).unwrap()),
        },
        count: LEAVES,
    };
    world.fails::<RewardVault::UnknownRoot, _>(4, vault, &call(2, 600 * OPEN + 1));
    let nobody = call(9_999, 9_999 * 123_456_789);
    world.fails::<RewardVault::UnknownAccount, _>(4, vault, &nobody);
    let gas = world.send(4, vault, &call(2, 600 * OPEN));
    world.fails::<RewardVault::NothingOwed, _>(4, vault, &call(2, 600 * OPEN));
    assert_eq!(world.balance(payout), U256::from(600 * OPEN), "paid where the account says now");
    let held = world.read(vault, &V::heldCall {});
    assert_eq!(world.balance(vault), held, "funded + redeemed = balance + paid");
    assert_eq!(world.read(vault, &V::paidCall {}), 600 * OPEN);
    gas
}

fn unauthorised(world: &mut World<'_>, good: &Settlement) {
    use abi::vault::RewardVault as V;
    let (registry, vault) = (world.registry, world.vault);
    let thief = who(4);
    let slash = Registry::slashCall { account: 1, amount: 1, byOwner: true, to: thief };
    world.fails::<Registry::AccessControlUnauthorizedAccount, _>(4, registry, &slash);
    let seize = Registry::seizeCall { account: 1, amount: 1, to: thief };
    world.fails::<Registry::AccessControlUnauthorizedAccount, _>(4, registry, &seize);
    let payout = Registry::setPayoutCall { account: 1, payout: thief };
    world.fails::<Registry::NotOwner, _>(4, registry, &payout);
    let rotate = Registry::rotateOperatorCall { account: 1, operator: thief };
    world.fails::<Registry::NotOwner, _>(4, registry, &rotate);
    let unstake = Registry::requestUnstakeCall { account: 1, amount: u128::MAX };
    world.fails::<Registry::InsufficientStake, _>(1, registry, &unstake);
    let name = V::setSettlementsCall { newSettlements: thief };
    world.fails::<V::AccessControlUnauthorizedAccount, _>(4, vault, &name);
    let fees = V::addFeesCall { epoch: 0, amount: 1 };
    world.fails::<V::AccessControlUnauthorizedAccount, _>(4, vault, &fees);
    let budget = V::setBudgetCall { budgetPerEpoch: 1 };
    world.fails::<V::AccessControlUnauthorizedAccount, _>(4, vault, &budget);
    // Not even what would be right becomes final past the contract that decides.
    let next = Settlement { epoch: Epoch(1), parent: good.id(), ..*good };
    let settlement = V::Settlement::abi_decode(&abi_of(&next).abi_encode()).unwrap();
    let call = V::makeFinalCall { settlement };
    world.fails::<V::NotSettlements, _>(0, vault, &call);
    let uses = abi::datanets::DatanetRegistry::addUsesCall { uses: Vec::new() };
    world.fails::<Registry::AccessControlUnauthorizedAccount, _>(4, world.datanets, &uses);
}
