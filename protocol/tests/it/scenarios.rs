//! Short stories in the language of the domain.

use std::collections::BTreeSet;

use protocol::{
    AccountId, BlobRef, Blocks, DatanetId, Digest, Epoch, Hash, ModelId,
    chain::{Contribution, ProposalAct, SettlementState, Transaction},
    draw::{Part, Seats},
    node::Event,
    record::{Body, Finding, Kind, Verdict},
    settle::{Source, Unpaid},
};

use crate::{
    chain::{BUDGET, CONTRIBUTOR},
    net::{Faults, Net},
};

pub(crate) fn earned(net: &Net, epoch: u64, account: u64, source: Source) -> u128 {
    let of = |line: &&protocol::settle::Line| {
        line.account == AccountId(account) && line.source == source
    };
    net.outcome(epoch).lines.iter().filter(of).map(|line| line.amount.0).sum()
}

fn reasons(net: &Net, epoch: u64, account: u64) -> Vec<Unpaid> {
    let zeros = &net.outcome(epoch).zeros;
    zeros.iter().filter(|zero| zero.account.0 == account).map(|zero| zero.reason).collect()
}

/// Growth is what the lines say, no more than emission and fees allow, and no less than outputs are paid.
pub(crate) fn assert_conserved(net: &Net, epoch: u64, for_outputs: u128) {
    let redeemed: u128 = net.chain.view.redemptions(Epoch(epoch)).map(|item| item.amount.0).sum();
    let outcome = net.outcome(epoch);
    let before: u128 = net.parent(Epoch(epoch)).iter().map(|leaf| leaf.1.total().0).sum();
    let growth = outcome.settlement.total.0 - before;
    assert_eq!(growth, outcome.lines.iter().map(|line| line.amount.0).sum::<u128>());
    let view = &net.chain.view;
    let runs = || view.models().map(|(_, model)| model.id);
    let paid_until = |epoch| runs().flat_map(move |run| view.parts_paid_before(run, Epoch(epoch)));
    let price = |part| view.price_of(part).unwrap().0;
    let prices: u128 = paid_until(epoch + 1).map(price).sum();
    let prices = prices - paid_until(epoch).map(price).sum::<u128>();
    assert!(growth <= BUDGET.0 + redeemed + prices, "{growth} in epoch {epoch}");
    assert!(growth >= for_outputs && redeemed >= for_outputs, "fees are split whole");
    let after = outcome.leaves.iter().map(|leaf| leaf.1.total().0).sum::<u128>();
    assert_eq!(after, before + growth);
}

fn rejected(net: &Net) -> BTreeSet<u64> {
    let shard = |(_, event): (AccountId, &Event)| match event {
        Event::ShardRejected { account, .. } => Some(account.0),
        _ => None,
    };
    net.events().filter_map(shard).collect()
}

fn ready(net: &Net) -> Vec<(AccountId, Hash, Digest)> {
    let model = |(account, event): (AccountId, &Event)| match event {
        Event::ModelReady { checkpoint, sketch_root, .. } => {
            Some((account, *checkpoint, *sketch_root))
        }
        _ => None,
    };
    net.events().filter_map(model).collect()
}

fn assert_all_ready(net: &Net, count: usize) {
    let ready = ready(net);
    let who: BTreeSet<_> = ready.iter().map(|(account, ..)| *account).collect();
    let what: BTreeSet<_> = ready.iter().map(|(_, a, b)| (*a, *b)).collect();
    assert_eq!((who.len(), what.len()), (count, 1), "{ready:?}");
}

/// A pack that nobody has, as long as a pack may be.
fn claim_a_pack(net: &mut Net) {
    let max = net.chain.view.params().holding.max_pack;
    net.chain.waiting.push(Transaction::Contribute(Contribution {
        id: 0,
        datanet: DatanetId(9),
        account: CONTRIBUTOR,
        manifest: Hash::ZERO,
        packs: (0..50).map(|pack| BlobRef::new(Hash([pack; 32]), max)).collect(),
        units: 1,
    }));
}

#[test]
fn packs_that_nobody_has_make_nobody_poorer() {
    let pay = |is_attacked: bool| {
        let mut net = Net::new(5, 6, 1);
        if is_attacked {
            claim_a_pack(&mut net);
        }
        net.run_epochs(3);
        let of = |account| earned(&net, 2, account, Source::Storage);
        let pay: u128 = (1..=5).map(of).sum();
        assert_eq!(net.outcome(2).settlement.replicas_proven, 6 * 3);
        pay
    };
    // Twenty-seven times as many bytes as there are.
    let (honest, attacked) = (pay(false), pay(true));
    assert!(honest.abs_diff(attacked) <= 5, "but for rounding: {honest} became {attacked}");
}

#[test]
fn five_honest_nodes_prove_train_settle_and_are_paid() {
    let mut net = Net::new(5, 6, 1);
    net.order_model(4);
    net.run_epochs(5);
    for epoch in 0..5 {
        assert_conserved(&net, epoch, 0);
        let settlement = net.outcome(epoch).settlement;
        assert_eq!((settlement.storage_faults, settlement.shards_rejected), (0, 0));
        assert!(net.outcome(epoch).zeros.is_empty(), "{:?}", net.outcome(epoch).zeros);
    }
    for epoch in 2..5 {
        assert_eq!(net.outcome(epoch).settlement.replicas_proven, 6 * 3);
        let placement = net.chain.view.placement(Epoch(epoch));
        for (holder, _) in placement.holders() {
            assert!(earned(&net, epoch, holder.0, Source::Storage) > 0);
        }
        let audits: u128 = (1..=5).map(|a| earned(&net, epoch, a, Source::Audits)).sum();
        assert!(audits > 0);
    }
    assert_all_ready(&net, 5);
    let shards: u32 = (0..5).map(|e| net.outcome(e).settlement.shards_verified).sum();
    assert_eq!(shards, 5 * 5, "four rounds and the sketches");
    assert!(net.chain.paid.iter().any(|(account, amount)| account.0 == 1 && amount.0 > 0));
    for (account, earned) in &net.outcome(3).leaves {
        assert!(net.chain.view.claimable(*account, *earned).is_nothing() || account.0 > 5);
    }
}

#[test]
fn who_claims_a_lost_pack_is_caught_and_the_others_earn_the_same() {
    let play = |is_lost: bool| {
        let mut net = Net::new(5, 6, 2);
        net.run_to(78);
        let lost = net.chain.view.placement(Epoch(2)).packs_of(AccountId(2))[0].hash;
        if is_lost {
            let peer = net.peer(2);
            peer.faults.claims_lost = true;
            peer.blobs.remove(&lost).unwrap();
            peer.refused_blobs.insert(lost);
        }
        net.run_epochs(3);
        net
    };
    let (honest, cheat) = (play(false), play(true));
    assert_eq!(reasons(&cheat, 2, 2), [Unpaid::WrongProof]);
    assert_eq!(earned(&cheat, 2, 2, Source::Storage), 0);
    assert_eq!(cheat.outcome(2).settlement.storage_faults, 1);
    assert!(cheat.events().any(
        |(_, e)| matches!(e, Event::StorageFault { account, epoch } if account.0 == 2 && epoch.0 == 2)
    ));
    for other in [1, 3, 4, 5] {
        let storage = |net| earned(net, 2, other, Source::Storage);
        assert_eq!(storage(&honest), storage(&cheat));
    }
    assert_conserved(&cheat, 2, 0);
}

#[test]
fn who_declares_a_pack_absent_earns_less_without_fault() {
    let mut net = Net::new(5, 6, 2);
    net.run_to(78);
    let packs = net.chain.view.placement(Epoch(2)).packs_of(AccountId(2)).to_vec();
    let peer = net.peer(2);
    peer.blobs.remove(&packs[0].hash).unwrap();
    peer.refused_blobs.insert(packs[0].hash);
    net.run_epochs(3);
    assert_eq!(net.outcome(2).settlement.storage_faults, 0);
    assert_eq!(net.outcome(2).settlement.replicas_proven, 17);
    assert!(reasons(&net, 2, 2).is_empty());
    let all = BlobRef::total(&packs);
    let pot = BUDGET.0 * 4 / 10;
    let bytes = net.chain.view.placement(Epoch(2)).bytes();
    let expected = pot * u128::from(all - packs[0].length) / bytes;
    assert_eq!(earned(&net, 2, 2, Source::Storage), expected);
}

#[test]
fn who_is_offline_is_unpaid_without_fault() {
    let mut net = Net::new(5, 6, 3);
    net.peer(4).faults.offline = true;
    net.run_epochs(3);
    assert_eq!(reasons(&net, 2, 4), [Unpaid::NotCommitted]);
    assert_eq!(net.outcome(2).settlement.storage_faults, 0);
    assert_eq!(earned(&net, 2, 4, Source::Storage), 0);
    for (holder, _) in net.chain.view.placement(Epoch(2)).holders() {
        let is_paid = earned(&net, 2, holder.0, Source::Storage) > 0;
        assert_eq!(is_paid, holder.0 != 4, "{:?}", net.outcome(2).zeros);
    }
}

#[test]
fn a_forged_shard_is_rejected_left_out_and_unpaid() {
    let mut net = Net::new(5, 3, 4);
    net.peer(3).faults.forges = true;
    net.order_model(3);
    net.run_epochs(3);
    assert_eq!(rejected(&net), BTreeSet::from([3]));
    let total = |account| (0..3).map(|e| earned(&net, e, account, Source::Shards)).sum::<u128>();
    assert_eq!(total(3), 0);
    assert!([1, 2, 4, 5].into_iter().all(|honest| total(honest) > 0));
    assert!((0..3).any(|epoch| reasons(&net, epoch, 3).contains(&Unpaid::ShardRejected)));
    let pool = net.peer(1).pool.clone();
    for record in pool.values() {
        let Body::RoundClose(close) = &record.record().body else { continue };
        let by_forger = |id: &Digest| pool[id].record().account.0 == 3;
        assert!(!close.shards.iter().any(by_forger));
    }
    // The sketches of its slot were passed on to another member.
    assert_all_ready(&net, 5);
}

#[test]
fn of_the_sketches_only_what_failed_is_made_again() {
    for seed in [1, 2] {
        let mut net = Net::new(8, 3, seed);
        net.peer(3).faults.forges = true;
        net.order_model(1);
        net.run_epochs(3);
        assert_all_ready(&net, 8);
        let records = net.peers[0].pool.values().map(|record| &record.record().body);
        let sketches =
            records.filter(|body| matches!(body, Body::Shard(shard) if shard.round.0 == 1));
        assert_eq!(sketches.count(), 8 + 1);
    }
}

#[test]
fn a_lazy_auditor_gets_a_forged_shard_paid_only_where_it_has_most_of_the_seats() {
    lazy_auditor(false);
}

#[test]
fn to_show_work_to_a_friend_alone_is_enough_only_where_it_has_most_of_the_seats() {
    lazy_auditor(true);
}

fn lazy_auditor(hides: bool) {
    let mut net = Net::with_auditors(6, 3, 4, 3);
    net.peer(3).faults.forges = true;
    net.peer(3).faults.hides = hides;
    net.peer(4).faults.passes_all = true;
    net.order_model(4);
    net.run_epochs(3);
    let lazy = |record: &protocol::record::VerifiedRecord| {
        let made = record.record();
        matches!(&made.body, Body::Audit(body) if body.of.0 == 3
            && matches!(body.finding, Finding::Shard { verdict: Verdict::Pass, .. })
            && made.account.0 == 4)
    };
    assert!(net.peers[0].pool.values().any(|record| lazy(record)), "it was asked");
    let total = |account| (0..3).map(|e| earned(&net, e, account, Source::Shards)).sum::<u128>();
    assert!([1, 2, 4, 5, 6].into_iter().all(|honest| total(honest) > 0));
    let forged = net.peers[0].pool.values().filter(|record| {
        let made = record.record();
        made.account.0 == 3 && made.body.kind() == Kind::ShardResult
    });
    let (mut paid, mut all) = (0, 0);
    for record in forged {
        let seats = seats_over(&net, record);
        let is_bought = seats.of(AccountId(4)) * 2 > seats.len();
        let lines = |e| net.outcome(e).lines.iter().filter(|line| line.record == record.id());
        let is_paid = (0..3).flat_map(lines).next().is_some();
        assert!(!is_paid || is_bought, "{seats:?}");
        (paid, all) = (paid + usize::from(is_paid), all + 1);
    }
    // It has a fifth of the stake that can be drawn: two of three seats in a tenth of all draws.
    assert!(all >= 4 && paid <= 1, "{paid} of {all}");
}

/// Who was drawn to audit a shard.
fn seats_over(net: &Net, record: &protocol::record::VerifiedRecord) -> Seats {
    let (made, view) = (record.record(), &net.chain.view);
    let Body::Shard(shard) = &made.body else { panic!("{made:?} is no shard") };
    let part = Part { model: shard.model, round: shard.round, slot: shard.slot };
    let block = view.shard_fixed(record).unwrap();
    let weights = view.run_weights(&view.run_slots(shard.model).unwrap(), block);
    let beacon = view.hash_after(block).unwrap();
    protocol::draw::shard_auditors(&beacon, part, made.account, &weights, 3)
}

#[test]
fn a_run_has_no_more_members_than_a_round_can_list() {
    let mut net = Net::new(300, 1, 15);
    net.order_model(1);
    net.chain.mine();
    net.chain.mine();
    let slots = net.chain.view.run_slots(ModelId(1)).unwrap();
    assert_eq!(slots.len(), protocol::limits::MAX_SHARDS_PER_ROUND);
    assert!(slots.is_sorted() && slots[0].0 >= 1 && slots[255].0 <= 300);
    assert!(slots.windows(3).all(|three| three[0] < three[2]), "of equal stake, one or two each");
    let all: Vec<_> = (1..=256).map(AccountId).collect();
    assert_ne!(slots, all, "they are drawn, and not the first");
}

fn leader_of_first_round(net: &Net) -> u64 {
    let view = &net.chain.view;
    let (start, beacon) = view.run_start(ModelId(1)).unwrap();
    let seed = protocol::training::round_seed(&beacon, protocol::Round(0));
    let slots = view.run_slots(ModelId(1)).unwrap();
    let leaders = protocol::draw::round_leaders(&seed, &view.run_weights(&slots, start));
    let leads = |account: &AccountId| leaders.first_of(*account, &[]) == Some(0);
    slots.into_iter().find(leads).unwrap().0
}

#[test]
fn an_offline_leader_is_replaced_by_the_next() {
    let mut net = Net::new(5, 3, 5);
    net.run_to(3);
    net.order_model(2);
    net.run_to(5);
    let leader = leader_of_first_round(&net);
    net.peer(leader).faults.offline = true;
    net.run_to(70);
    let closed = |e: &Event| matches!(e, Event::RoundClosed { round, .. } if round.0 == 0);
    assert_eq!(net.events().filter(|(_, event)| closed(event)).count(), 4);
}

/// The checkpoints after the first rounds, as a node has them now.
fn branch(net: &mut Net, account: u64) -> Vec<Hash> {
    let mut branch = Vec::new();
    for event in &net.peer(account).events {
        match event {
            Event::RoundReopened { round, .. } => branch.truncate(round.0 as usize),
            Event::RoundClosed { checkpoint, .. } => branch.push(*checkpoint),
            _ => {}
        }
    }
    branch
}

#[test]
fn of_two_closes_of_a_round_all_follow_the_one_from_which_most_went_on() {
    for seed in [10, 16] {
        let mut net = Net::new(14, 3, seed);
        net.run_to(3);
        net.order_model(4);
        net.run_to(5);
        // The first leader may close at any time; its side is the smaller one.
        let leader = leader_of_first_round(&net);
        let others = (1..=14).filter(|account| *account != leader);
        let (few, many) = others.clone().partition::<Vec<_>, _>(|other| *other < 6);
        net.apart = few.iter().chain([&leader]).copied().map(AccountId).collect();
        net.run_to(54);
        let (small, large) = (branch(&mut net, leader), branch(&mut net, many[0]));
        assert!(small[0] != large[0], "both sides closed the first round");
        net.apart.clear();
        net.run_epochs(3);
        assert_all_ready(&net, 14);
        for account in 1..=14 {
            assert_eq!(branch(&mut net, account)[0], large[0]);
        }
        let went_back = |(account, event): (AccountId, &Event)| {
            matches!(event, Event::RoundReopened { .. }).then_some(account.0)
        };
        let went_back: BTreeSet<_> = net.events().filter_map(went_back).collect();
        assert!(went_back.contains(&leader) && many.iter().all(|who| !went_back.contains(who)));
    }
}

#[test]
fn a_leader_with_a_wrong_checkpoint_is_not_followed() {
    let mut net = Net::new(5, 3, 6);
    net.run_to(3);
    net.order_model(2);
    net.run_to(5);
    let leader = leader_of_first_round(&net);
    net.peer(leader).faults.wrong_checkpoint = true;
    net.run_epochs(3);
    let mismatch = |e: &Event| matches!(e, Event::CheckpointMismatch { .. });
    assert!(net.events().filter(|(_, event)| mismatch(event)).count() >= 4);
    assert_all_ready(&net, 5);
}

#[test]
fn a_restarted_node_signs_nothing_twice() {
    // The network asserts that no (kind, account, subject) is signed twice in an epoch.
    for at in [44, 47, 52, 55, 60, 83, 88, 93, 97, 110] {
        let mut net = Net::new(5, 4, 7);
        net.order_model(6);
        for block in [at, at + 1, at + 4] {
            net.run_to(block);
            (1..=5).for_each(|account| net.restart(account));
        }
        net.run_epochs(3);
        assert_eq!(net.outcome(2).settlement.replicas_proven, 12, "restart at {at}");
        assert_all_ready_at_least_once(&net);
    }
}

/// Restarted nodes may announce a finished model again; it is the same one.
fn assert_all_ready_at_least_once(net: &Net) {
    assert_all_ready(net, 5);
}

#[test]
fn a_late_joiner_catches_up_from_records() {
    let mut net = Net::new(5, 3, 8);
    net.order_model(5);
    net.run_to(3);
    net.peer(2).faults.offline = true;
    net.run_to(90);
    net.peer(2).faults.offline = false;
    net.run_epochs(4);
    assert_all_ready(&net, 5);
}

#[test]
fn with_a_third_of_the_messages_lost_everything_still_settles() {
    let mut net = Net::new(6, 4, 9);
    net.loss_percent = 30;
    net.order_model(3);
    net.run_epochs(4);
    for epoch in 0..4 {
        assert_conserved(&net, epoch, 0);
        assert_eq!(net.outcome(epoch).settlement.shards_rejected, 0);
    }
    for epoch in 2..4 {
        assert_eq!(net.outcome(epoch).settlement.replicas_proven, 12);
    }
    assert_all_ready(&net, 6);
}

#[test]
fn the_next_rank_proposes_for_an_absent_proposer() {
    let mut net = Net::new(5, 3, 10);
    net.run_to(60);
    let first = net.chain.view.settlement(Epoch(0)).unwrap().proposer;
    let mut net = Net::new(5, 3, 10);
    net.peer(first.0).faults.offline = true;
    net.run_to(80);
    let state = net.chain.view.settlement(Epoch(0)).unwrap();
    assert!(state.is_final && state.proposer != first);
}

/// A network in which whoever proposes first for epoch 0 lies, and who that is.
fn whose_first_proposer(lies: fn(&mut Faults)) -> (Net, AccountId) {
    let begun = || {
        let mut net = Net::new(5, 3, 11);
        net.order_model(2);
        net
    };
    let mut net = begun();
    net.run_to(60);
    let first = net.chain.view.settlement(Epoch(0)).unwrap().proposer;
    let mut net = begun();
    lies(&mut net.peer(first.0).faults);
    (net, first)
}

/// It pays itself too much.
fn whose_first_proposer_lies() -> (Net, AccountId) {
    whose_first_proposer(|faults| faults.inflates = true)
}

#[test]
fn what_the_contract_can_see_is_false_falls_without_an_arbiter() {
    let (mut net, first) = whose_first_proposer(|faults| faults.overstates = true);
    net.chain.is_arbiter_away = true;
    net.run_to(net.chain.view.schedule.cutoff(Epoch(0)).0 + 6);
    assert_eq!(net.chain.view.next_to_settle(), Epoch(0), "nothing is final that could say so");
    assert_eq!(net.chain.bonds_lost[&first], 1);
    net.run_to(net.chain.view.schedule.cutoff(Epoch(0)).0 + 40);
    let state = net.chain.view.settlement(Epoch(0)).unwrap();
    assert!(state.is_final && state.proposer != first);
}

#[test]
fn an_objection_that_gets_lost_is_sent_again_while_the_window_is_open() {
    let (mut net, first) = whose_first_proposer_lies();
    net.chain.is_arbiter_away = true;
    net.chain.view.schedule.challenge_blocks = Blocks(16);
    let is_objection = |transaction: &Transaction| {
        let about = |act: &ProposalAct| matches!(act, ProposalAct::Object { .. });
        matches!(transaction, Transaction::AboutProposal { act, .. } if about(act))
    };
    // Every node's first one is lost.
    let (mut lost, cutoff) = (0, net.chain.view.schedule.cutoff(Epoch(0)));
    while lost < 4 {
        net.step();
        assert!(net.chain.now() < cutoff.0 + 16, "{lost} were sent");
        let sent = net.chain.waiting.len();
        net.chain.waiting.retain(|transaction| !is_objection(transaction));
        lost += sent - net.chain.waiting.len();
    }
    net.run_to(cutoff.0 + 18);
    let of_first = |state: &&SettlementState| state.proposer == first;
    let state = net.chain.view.proposals(Epoch(0)).find(of_first).expect("it stands");
    assert!(state.objector.is_some() && state.objected <= state.proposed.after(Blocks(16)));
}

#[test]
fn an_inflated_proposal_is_objected_to_and_never_final() {
    let (mut net, first) = whose_first_proposer_lies();
    net.run_to(80);
    assert!(net.events().any(|(_, event)| matches!(event, Event::WrongSettlement { .. })));
    let state = net.chain.view.settlement(Epoch(0)).unwrap();
    assert!(state.is_final && state.proposer != first);
    assert_conserved(&net, 0, 0);
}

/// Epoch 0 proposed by somebody who leaves for good at once.
fn after_the_proposer_left(with: fn(&mut Faults)) -> (Net, AccountId) {
    let mut net = Net::new(5, 3, 11);
    net.order_model(2);
    net.run_to(60);
    let state = *net.chain.view.settlement(Epoch(0)).unwrap();
    let mut net = Net::new(5, 3, 11);
    net.order_model(2);
    with(&mut net.peer(state.proposer.0).faults);
    net.run_to(state.proposed.0);
    net.peer(state.proposer.0).faults.offline = true;
    net.run_epochs(3);
    (net, state.proposer)
}

#[test]
fn a_false_proposal_whose_proposer_left_is_replaced() {
    let (net, first) = after_the_proposer_left(|faults| faults.inflates = true);
    assert_ne!(net.chain.view.settlement(Epoch(0)).unwrap().proposer, first);
    assert_eq!(net.chain.bonds_lost[&first], 1);
    (0..3).for_each(|epoch| assert_conserved(&net, epoch, 0));
}

#[test]
fn a_right_proposal_whose_proposer_left_becomes_final() {
    let (net, first) = after_the_proposer_left(|_| {});
    assert_eq!(net.chain.view.settlement(Epoch(0)).unwrap().proposer, first);
    assert!(!net.chain.bonds_lost.contains_key(&first));
    (0..3).for_each(|epoch| assert_conserved(&net, epoch, 0));
}

/// The liar objects to what is right, as the honest do to what is false, and nobody rules.
#[test]
fn without_an_arbiter_what_is_right_becomes_final_and_the_bonds_of_the_others_are_lost() {
    let (mut net, first) = whose_first_proposer_lies();
    net.chain.is_arbiter_away = true;
    net.run_epochs(4);
    let state = net.chain.view.settlement(Epoch(0)).unwrap();
    assert!(state.is_final && state.proposer != first);
    assert!(net.chain.bonds_lost[&first] > 0, "of the false one");
    assert!(net.chain.contested > 0, "what is right had to be proposed twice");
    assert_eq!(net.chain.closed, net.chain.contested);
    let left = (0..4).map(|epoch| net.chain.view.proposals(Epoch(epoch)).count());
    assert_eq!(left.sum::<usize>(), 0, "whoever gains by it ends them");
    (0..3).for_each(|epoch| assert_conserved(&net, epoch, 0));
}

#[test]
fn the_same_seed_gives_the_same_outputs() {
    let play = |seed| {
        let mut net = Net::new(5, 3, seed);
        net.loss_percent = 10;
        net.order_model(2);
        net.run_to(100);
        net.trace
    };
    assert_eq!(play(20), play(20));
    assert_ne!(play(20), play(21));
}

#[test]
fn every_kind_of_record_but_attribution_occurs_in_an_honest_run() {
    let mut net = Net::new(5, 3, 1);
    net.order_model(2);
    net.run_epochs(3);
    let kinds: BTreeSet<Kind> =
        net.peers[0].pool.values().map(|record| record.record().body.kind()).collect();
    assert_eq!(kinds.len(), 5);
}
