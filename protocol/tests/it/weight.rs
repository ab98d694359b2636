//! Who counts: what stake weighs, and what names without it come to.

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::{
    AccountId, Amount, BlobRef, BlockNumber, Blocks, DatanetId, Digest, Epoch, EvmAddress, Hash,
    ModelId, Timestamp,
    chain::{BlockHeader, ChainEvent, ChainView, Contribution, Model, Settlement},
    hash::keccak,
    identity::Binding,
    params::{Params, Schedule},
};

use crate::chain::{ESCROW, TREASURY, domain, key};

const OPEN: u128 = Amount::ONE_OPEN.0;
const EPOCH: u64 = 10;

fn view() -> ChainView {
    let schedule = Schedule {
        genesis_block: BlockNumber(3),
        epoch_blocks: Blocks(EPOCH),
        commit_blocks: Blocks(4),
        settle_blocks: Blocks(2),
        challenge_blocks: Blocks(3),
    };
    let registry = EvmAddress([1; 20]);
    ChainView::new(domain(), registry, ESCROW, schedule, Amount(1000), TREASURY, Params::minimal())
}

fn mine(view: &mut ChainView, events: &[ChainEvent]) {
    let number = view.now().next();
    let hash = keccak(&[&number.0.to_be_bytes()]);
    view.apply(BlockHeader { number, hash, timestamp: Timestamp(number.0) }, events);
}

/// Goes on to the block before the first of an epoch.
fn run_to_end_before(view: &mut ChainView, epoch: u64) {
    while view.now().next() < view.schedule.start(Epoch(epoch)) {
        mine(view, &[]);
    }
}

fn register(account: u64) -> ChainEvent {
    let operator = key(account).address();
    let registry = EvmAddress([1; 20]);
    let binding =
        Binding { chain_id: 31337, registry, owner: operator, operator, payout: operator };
    let mut secret = [9; 32];
    secret[..8].copy_from_slice(&account.to_be_bytes());
    let (node, binding) = binding.sign(&secret);
    let (owner, payout) = (operator, operator);
    ChainEvent::AccountRegistered {
        account: AccountId(account),
        owner,
        operator,
        payout,
        node,
        binding,
    }
}

const fn stake(account: u64, stake: u128) -> ChainEvent {
    ChainEvent::StakeChanged { account: AccountId(account), stake: Amount(stake) }
}

const fn leave(account: u64, leaving: u128) -> ChainEvent {
    ChainEvent::UnstakeRequested { account: AccountId(account), leaving: Amount(leaving) }
}

/// A chain on which accounts have each as much at stake, from before the first epoch on.
fn staked(stakes: &[(u64, u128)]) -> ChainView {
    let mut view = view();
    let events: Vec<_> =
        stakes.iter().flat_map(|(id, open)| [register(*id), stake(*id, *open)]).collect();
    mine(&mut view, &events);
    view
}

/// What an account weighs where it is to have a seat, and where fees are divided.
fn weighs(view: &ChainView, account: u64, epoch: u64) -> (u128, u128) {
    let account = AccountId(account);
    (view.seats_in(Epoch(epoch)).of(account), view.stakers(Epoch(epoch)).of(account))
}

#[test]
fn stake_counts_when_it_stayed_through_a_whole_epoch() {
    let mut view = staked(&[(1, 5 * OPEN)]);
    run_to_end_before(&mut view, 1);
    mine(&mut view, &[register(2), register(3)]);
    mine(&mut view, &[stake(2, 7 * OPEN)]);
    run_to_end_before(&mut view, 2);
    mine(&mut view, &[stake(3, 7 * OPEN)]);
    run_to_end_before(&mut view, 4);
    // The second account came one block after epoch 1 had begun, the third just in time for epoch 2.
    assert_eq!([1, 2, 3].map(|epoch| weighs(&view, 1, epoch).0), [5 * OPEN; 3]);
    assert_eq!(
        [1, 2, 3].map(|epoch| weighs(&view, 2, epoch)),
        [(0, 0), (0, 7 * OPEN), (7 * OPEN, 0)]
    );
    assert_eq!(
        [1, 2, 3].map(|epoch| weighs(&view, 3, epoch)),
        [(0, 0), (0, 7 * OPEN), (7 * OPEN, 0)]
    );
    mine(&mut view, &[]);
    assert_eq!(weighs(&view, 3, 3), (7 * OPEN, 7 * OPEN), "known when the epoch is over");
}

/// A withdrawal that was asked for in advance is no stake, however long it waits.
#[test]
fn stake_that_is_leaving_counts_for_nothing_from_the_request_on() {
    let mut view = staked(&[(1, 5 * OPEN), (2, 9 * OPEN)]);
    run_to_end_before(&mut view, 2);
    mine(&mut view, &[]);
    mine(&mut view, &[leave(2, 6 * OPEN)]);
    run_to_end_before(&mut view, 5);
    assert_eq!([1, 2, 3, 4].map(|epoch| weighs(&view, 2, epoch).0), [9, 9, 3, 3].map(|n| n * OPEN));
    assert_eq!([1, 2, 3].map(|epoch| weighs(&view, 2, epoch).1), [9, 3, 3].map(|n| n * OPEN));
    assert_eq!(view.account(AccountId(2)).unwrap().stake(), Amount(9 * OPEN), "and can be slashed");
    // More is asked for, so little is left that it counts for nothing; then all of it is withdrawn.
    mine(&mut view, &[leave(2, 9 * OPEN - 1)]);
    run_to_end_before(&mut view, 7);
    assert_eq!(weighs(&view, 2, 6), (0, 0));
    mine(&mut view, &[stake(2, 1), stake(2, 1 + 2 * OPEN)]);
    run_to_end_before(&mut view, 9);
    assert_eq!(
        weighs(&view, 2, 8).0,
        1 + 2 * OPEN,
        "what came after the withdrawal is not leaving"
    );
}

#[test]
fn a_slash_is_no_withdrawal() {
    let mut view = staked(&[(1, 9 * OPEN)]);
    run_to_end_before(&mut view, 1);
    let slashed = ChainEvent::Slashed { account: AccountId(1), amount: Amount(2 * OPEN) };
    mine(&mut view, &[leave(1, 3 * OPEN)]);
    mine(&mut view, &[slashed, stake(1, 7 * OPEN)]);
    run_to_end_before(&mut view, 3);
    mine(&mut view, &[]);
    assert_eq!(weighs(&view, 1, 2).1, 4 * OPEN, "three are leaving still");
}

/// Four hundred names against ten honest nodes: nothing falls on them, and the lane bounds what they
/// hold, whether they have nothing at stake or dust.
#[test]
fn names_without_stake_or_with_dust_have_no_seat_no_turn_no_slot_and_a_tenth_of_the_replicas() {
    for dust in [0, 1, OPEN - 1] {
        let honest: Vec<_> = (1..=10).map(|id| (id, 100 * OPEN)).collect();
        let names: Vec<_> = (1001..=1400).map(|id| (id, dust)).collect();
        let mut view = staked(&[honest, names].concat());
        let packs = (0..900u32).map(|n| BlobRef::new(Hash(keccak(&[&n.to_be_bytes()]).0), 100));
        let packs: Vec<_> = packs.collect();
        let contribution = |(packs, id): (&[BlobRef], u64)| {
            ChainEvent::ContributionAdmitted(Contribution {
                id,
                datanet: DatanetId(1),
                account: AccountId(1),
                manifest: Hash::ZERO,
                packs: packs.to_vec(),
                units: 1,
            })
        };
        // No contribution has more than 256 packs.
        let contributions: Vec<_> = packs.chunks(225).zip(1..).map(contribution).collect();
        mine(&mut view, &contributions);
        run_to_end_before(&mut view, 2);
        let (id, developer) = (ModelId(1), AccountId(1001));
        let model =
            Model { id, developer, datanet: DatanetId(1), escrow: Amount(1), config: vec![] };
        mine(&mut view, &[ChainEvent::ModelCreated(model)]);
        let settlement = settlement(1);
        mine(&mut view, &[ChainEvent::Proposed { proposer: AccountId(1), settlement }]);
        run_to_end_before(&mut view, 3);
        let is_name = |account: &AccountId| account.0 > 1000;
        let slots = view.run_slots(id).unwrap();
        assert!(slots.len() == 10 && !slots.iter().any(is_name));
        let state = view.settlement(Epoch(1)).unwrap();
        assert!(!view.watchers(state).unwrap().holders().iter().any(is_name));
        let placement = view.placement(Epoch(2));
        assert!(placement.holders().count() > 10, "they do hold something");
        for (holder, _) in placement.holders() {
            let auditors = view.storage_auditors(Epoch(2), holder);
            assert!(auditors.len() == 3 && !auditors.holders().iter().any(is_name));
        }
        for name in (1001..=1400).map(AccountId) {
            assert_eq!(view.proposer_turn(Epoch(1), name), None);
            assert_eq!(weighs(&view, name.0, 1), (0, 0));
        }
        // A tenth of 2,700 replicas is 270; five standard deviations of 900 draws are 69.
        let held = placement.newcomers_bytes() / 100;
        assert!((201..=339).contains(&held), "{held}");
        assert_eq!(placement.replicas(), 2700);
    }
}

const fn settlement(epoch: u64) -> Settlement {
    Settlement {
        epoch: Epoch(epoch),
        parent: Digest::ZERO,
        records: Digest::ZERO,
        payout_root: Digest::ZERO,
        total: Amount::ZERO,
        balances: Hash::ZERO,
        balances_length: 0,
        uses: Digest::ZERO,
        replicas_proven: 0,
        storage_faults: 0,
        shards_verified: 0,
        shards_rejected: 0,
    }
}

/// At the start nobody has held anything for an epoch. What is there at its end counts then, and from the
/// first stake on that stays, only what stays.
#[test]
fn a_network_starts_with_what_is_at_stake_when_its_first_epoch_ends() {
    let mut view = view();
    mine(&mut view, &[register(1), register(2), register(3)]);
    run_to_end_before(&mut view, 0);
    mine(&mut view, &[]);
    mine(&mut view, &[stake(1, OPEN), stake(2, OPEN - 1)]);
    let (id, developer) = (ModelId(1), AccountId(3));
    let model = Model { id, developer, datanet: DatanetId(1), escrow: Amount(1), config: vec![] };
    mine(&mut view, &[ChainEvent::ModelCreated(model)]);
    mine(&mut view, &[]);
    assert_eq!(view.run_slots(id), None, "nobody counts yet");
    run_to_end_before(&mut view, 1);
    mine(&mut view, &[]);
    assert_eq!((weighs(&view, 1, 1).0, weighs(&view, 2, 1).0), (OPEN, 0));
    assert_eq!(view.run_slots(id), Some(vec![AccountId(1)]));
    assert_eq!(view.run_start(id).unwrap().0, view.schedule.start(Epoch(1)));
    assert_eq!(view.proposer_turn(Epoch(0), AccountId(1)), Some(0));
    // Whoever brings more now waits for an epoch, since one stake stays.
    mine(&mut view, &[stake(3, 1000 * OPEN)]);
    run_to_end_before(&mut view, 2);
    mine(&mut view, &[]);
    assert_eq!((weighs(&view, 1, 2).0, weighs(&view, 3, 2).0), (OPEN, 0));
}

/// Thousands of changes in a block leave no trace but the least that was there at the end of a block.
#[test]
fn however_often_stake_changes_in_a_block_only_its_end_counts() {
    let mut view = staked(&[(1, 5 * OPEN)]);
    run_to_end_before(&mut view, 1);
    mine(&mut view, &[]);
    let changes = (0..50_000).flat_map(|n| [stake(1, n % 7), leave(1, n), stake(1, 4 * OPEN)]);
    let changes: Vec<_> = changes.chain([stake(1, 3 * OPEN), leave(1, 0)]).collect();
    mine(&mut view, &changes);
    mine(&mut view, &[stake(1, 6 * OPEN)]);
    run_to_end_before(&mut view, 2);
    mine(&mut view, &[]);
    assert_eq!(weighs(&view, 1, 1).1, 3 * OPEN);
}

proptest! {
    /// Against a list of what stayed at the end of every block.
    #[test]
    fn a_weight_is_the_least_that_stayed_at_the_end_of_any_block(
        changes in proptest::collection::vec((0u64..40, 1u64..4, 0u128..9, any::<bool>()), 0..60),
    ) {
        // One account stays, so that it never counts what is there at the end alone.
        let mut view = staked(&[(9, OPEN)]);
        mine(&mut view, &(1..4).map(register).collect::<Vec<_>>());
        let mut books = BTreeMap::<u64, (u128, u128)>::new();
        let mut stayed = BTreeMap::<(u64, u64), u128>::new();
        for round in 0..40 {
            let mut events = Vec::new();
            for (_, account, open, leaves) in changes.iter().filter(|(at, ..)| *at == round) {
                let (total, leaving) = books.entry(*account).or_default();
                if *leaves {
                    *leaving = (*open).min(*total);
                    events.push(leave(*account, *leaving * OPEN));
                } else if *open >= *total {
                    *total = *open;
                    events.push(stake(*account, *total * OPEN));
                } else if *leaving > 0 {
                    (*total, *leaving) = (*total - *leaving, 0);
                    events.push(stake(*account, *total * OPEN));
                }
            }
            mine(&mut view, &events);
            let epoch = view.epoch().0;
            for account in 1..4 {
                let (total, leaving) = books.get(&account).copied().unwrap_or_default();
                let least = stayed.entry((epoch, account)).or_insert(u128::MAX);
                *least = (*least).min(total - leaving);
            }
        }
        for ((epoch, account), least) in stayed.into_iter().filter(|((epoch, _), _)| *epoch < view.epoch().0) {
            prop_assert_eq!(weighs(&view, account, epoch).1, least * OPEN);
            prop_assert_eq!(weighs(&view, account, epoch + 1).0, least * OPEN);
        }
    }
}
