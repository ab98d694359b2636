//! What work on runs is paid, against a naive list of everything that ever happened.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use protocol::{
    AccountId, Amount, Balance, BlobRef, BlockNumber, DatanetId, Digest, Epoch, Hash, ModelId,
    Round,
    chain::{ChainEvent, ChainView, Contribution, Model, Transaction},
    codec::Wire,
    draw::{self, Part},
    node::Input,
    record::{
        AuditBody, Body, Finding, Record, ReplayReport, RoundCloseBody, ShardBody, SignedRecord,
        Verdict, audit_subject, round_subject, shard_subject,
    },
    settle::{Outcome, Source, Unpaid, settle},
    training::sketch_units,
};

use crate::{
    chain::{CONTRIBUTOR, FakeChain, TREASURY, domain, key},
    net::{Net, order},
};

const MEMBERS: u64 = 5;
const ROUNDS: u32 = 3;

fn signed(epoch: u64, account: u64, subject: Digest, body: Body) -> SignedRecord {
    let (epoch, account) = (Epoch(epoch), AccountId(account));
    let record = Record { epoch, account, subject, body };
    record.sign(&domain(), &key(account.0)).unwrap()
}

fn shard(epoch: u64, account: u64, part: Part, base: Hash) -> SignedRecord {
    let Part { model, round, slot } = part;
    let body = ShardBody {
        model,
        round,
        slot,
        base,
        payload: Hash([1; 32]),
        length: 1,
        loss_first: 0,
        loss_last: 0,
        tokens: 1,
    };
    signed(epoch, account, shard_subject(model, round, slot, &base), Body::Shard(body))
}

fn close(epoch: u64, account: u64, model: ModelId, round: Round, next: Hash) -> SignedRecord {
    let base = Hash([next.0[0] ^ 0x80; 32]);
    let body = RoundCloseBody { model, round, base, shards: vec![Digest::ZERO], next };
    signed(epoch, account, round_subject(model, round, &base), Body::RoundClose(body))
}

fn verdict(auditor: u64, on: &SignedRecord, verdict: Verdict) -> SignedRecord {
    let made = on.record.clone();
    let ppm = 1_000_000;
    let report = ReplayReport { overlap: ppm, cosine: ppm, norm: ppm };
    let finding = Finding::Shard { record: made.id(&domain()), verdict, report };
    let body = AuditBody { of: made.account, work: made.subject, finding };
    let subject = audit_subject(made.account, &made.subject);
    signed(made.epoch.0, auditor, subject, Body::Audit(body))
}

/// A chain whose members claim and judge whatever they like, with every record that it took in.
struct World {
    chain: FakeChain,
    leaves: Vec<(AccountId, Balance)>,
    taken: Vec<(BlockNumber, SignedRecord)>,
}

impl World {
    fn new(seed: u64, auditors: u32, escrows: &[u128]) -> Self {
        let mut chain = FakeChain::new(seed, auditors);
        (1..=MEMBERS).for_each(|id| chain.register(AccountId(id), true));
        chain.register(CONTRIBUTOR, false);
        chain.register(TREASURY, false);
        chain.extra.push(ChainEvent::ContributionAdmitted(Contribution {
            id: 1,
            datanet: DatanetId(1),
            account: CONTRIBUTOR,
            manifest: Hash::ZERO,
            packs: vec![BlobRef::new(Hash([8; 32]), 6_400)],
            units: 11,
        }));
        chain.mine();
        for (escrow, id) in escrows.iter().zip(1..) {
            chain.extra.push(ChainEvent::ModelCreated(Model {
                id: ModelId(id),
                developer: AccountId(1),
                datanet: DatanetId(1),
                escrow: Amount(*escrow),
                config: order(ROUNDS).to_bytes(),
            }));
        }
        chain.mine();
        chain.mine();
        Self { chain, leaves: vec![], taken: vec![] }
    }

    /// One block with some records, all of one epoch, of each key the first.
    fn include(&mut self, records: Vec<SignedRecord>) {
        let key_of = |record: &Record| (record.epoch, record.key());
        let mut known: BTreeSet<_> = self.taken.iter().map(|(_, r)| key_of(&r.record)).collect();
        let at = BlockNumber(self.chain.now() + 1);
        if let Some(epoch) = records.first().map(|record| record.record.epoch) {
            let schedule = self.chain.view.schedule;
            let is_open = epoch <= schedule.epoch_of(at).next() && at < schedule.cutoff(epoch);
            let new = records.iter().filter(|r| is_open && known.insert(key_of(&r.record)));
            self.taken.extend(new.map(|record| (at, record.clone())));
            self.chain.waiting.push(Transaction::Include { epoch, records });
        }
        self.chain.mine();
    }

    /// Settles an epoch after its cutoff, and makes it final.
    fn settle(&mut self, epoch: u64) -> Outcome {
        while self.chain.view.now() < self.chain.view.schedule.cutoff(Epoch(epoch)) {
            self.chain.mine();
        }
        let outcome = settle(&self.chain.view, Epoch(epoch), &self.leaves).unwrap();
        let (proposer, settlement) = (AccountId(1), outcome.settlement);
        self.chain.extra.push(ChainEvent::Proposed { proposer, settlement });
        let (epoch, id) = (Epoch(epoch), settlement.id());
        self.chain.extra.push(ChainEvent::Finalised { epoch, id });
        self.chain.mine();
        self.leaves.clone_from(&outcome.leaves);
        outcome
    }
}

/// What a part of a run is paid and how much of it is the platform's, by adding up all parts.
fn price(view: &ChainView, part: Part) -> (u128, u128) {
    let order = view.order(part.model).unwrap();
    let slots = view.run_slots(part.model).unwrap().len() as u32;
    let work = |round: u32, slot: u32| {
        let own = match round < ROUNDS {
            true => u128::from(order.needs.work),
            false => {
                let units = sketch_units(slot, slots, order.units).len() as u128;
                units * u128::from(order.needs.sketch)
            }
        };
        own + u128::from(view.params().training.part_work)
    };
    let all: u128 = (0..=ROUNDS).flat_map(|r| (0..slots).map(move |s| work(r, s))).sum();
    let price = order.escrow.amount().0 * work(part.round.0, part.slot) / all;
    (price, price / 10)
}

/// Whom an epoch pays for which parts, found by looking at everything that ever happened.
fn naive(world: &World, epoch: u64, before: &BTreeSet<Part>) -> Vec<(AccountId, Digest, Part)> {
    let view = &world.chain.view;
    let claims: Vec<_> = world
        .taken
        .iter()
        .filter_map(|(block, record)| match &record.record.body {
            Body::Shard(s) => {
                let part = Part { model: s.model, round: s.round, slot: s.slot };
                Some((*block, &record.record, part, s.base))
            }
            _ => None,
        })
        .collect();
    let members = |part: Part| view.run_slots(part.model).unwrap_or_default();
    let is_due = |made: &Record, part: Part| {
        let slots = members(part);
        let of = slots.get(part.slot as usize);
        of.is_some_and(|of| part.round.0 == ROUNDS || *of == made.account)
            && part.round.0 <= ROUNDS
            && slots.contains(&made.account)
    };
    let is_base = |at: BlockNumber, part: Part, base: Hash| {
        part.round.0 == 0
            || world.taken.iter().any(|(block, record)| match &record.record.body {
                Body::RoundClose(body) => {
                    *block < at
                        && (body.model, body.round.next(), body.next)
                            == (part.model, part.round, base)
                        && members(part).contains(&record.record.account)
                }
                _ => false,
            })
    };
    let mut ordered: Vec<_> = claims.iter().filter(|(_, made, ..)| made.epoch.0 == epoch).collect();
    ordered.sort_by_key(|(block, made, ..)| (*block, made.id(&domain())));
    let (mut found, mut paid) = (Vec::new(), before.clone());
    for (block, made, part, base) in ordered {
        let own = || {
            let of_worker = claims.iter().filter(|(_, other, of, _)| {
                of == part && other.account == made.account && is_due(other, *of)
            });
            of_worker.map(|(block, other, ..)| (*block, other.epoch))
        };
        let is_first = own().next().is_some_and(|(_, first)| first == made.epoch);
        if !is_due(made, *part) || !is_base(*block, *part, *base) || !is_first {
            continue;
        }
        let fixed = own().find(|(_, of)| *of == made.epoch).unwrap().0;
        let (hash, count) = (view.hash_after(fixed).unwrap(), view.params().training.auditors);
        let weights = view.run_weights(&members(*part), fixed);
        let seats = draw::shard_auditors(&hash, *part, made.account, &weights, count);
        let passes = (1..=MEMBERS).map(AccountId).filter(|auditor| {
            world.taken.iter().any(|(_, record)| match &record.record.body {
                Body::Audit(body) => {
                    record.record.account == *auditor
                        && record.record.epoch == made.epoch
                        && body.finding.verdict() == Some((made.id(&domain()), Verdict::Pass))
                }
                _ => false,
            })
        });
        let passes: usize = passes.map(|auditor| seats.of(auditor)).sum();
        if 2 * passes > seats.len() && paid.insert(*part) {
            found.push((made.account, made.id(&domain()), *part));
        }
    }
    found
}

#[derive(Debug, Clone, Copy)]
enum Act {
    /// Somebody claims a part from some checkpoint, and some pass it, the others fail it.
    Claim {
        who: u64,
        model: u64,
        round: u32,
        slot: u32,
        base: u8,
        passed_by: u8,
        is_early: bool,
    },
    Close {
        who: u64,
        model: u64,
        round: u32,
        next: u8,
    },
}

/// The checkpoints of which one is named.
fn checkpoint(round: u32, which: u8) -> Hash {
    Hash([10 * round as u8 + which; 32])
}

fn act() -> impl Strategy<Value = Act> {
    let passed_by = prop_oneof![4 => Just(0xffu8), 2 => any::<u8>()];
    let claim =
        (1u64..=MEMBERS, 1u64..4, 0u32..ROUNDS + 2, 0u32..7, 0u8..2, passed_by, any::<bool>());
    let claim = claim.prop_map(|(who, model, round, slot, base, passed_by, is_early)| Act::Claim {
        who,
        model,
        round,
        slot,
        base,
        passed_by,
        is_early,
    });
    let close = (1u64..=MEMBERS, 1u64..4, 0u32..ROUNDS + 1, 0u8..2)
        .prop_map(|(who, model, round, next)| Act::Close { who, model, round, next });
    prop_oneof![5 => claim, 1 => close]
}

impl World {
    fn act(&mut self, act: Act) {
        let epoch = self.chain.view.epoch().0;
        match act {
            Act::Close { who, model, round, next } => {
                let next = checkpoint(round + 1, next);
                self.include(vec![close(epoch, who, ModelId(model), Round(round), next)]);
            }
            Act::Claim { who, model, round, slot, base, passed_by, is_early } => {
                let part = Part { model: ModelId(model), round: Round(round), slot };
                // Mostly who has the slot, or nothing would ever be paid.
                let slots = self.chain.view.run_slots(part.model).unwrap_or_default();
                let own = slots.get(slot as usize).filter(|_| who > 1).map(|id| id.0);
                let label = epoch + u64::from(is_early);
                let claim = shard(label, own.unwrap_or(who), part, checkpoint(round, base));
                self.include(vec![claim.clone()]);
                let of = |auditor: u64| match passed_by >> auditor & 1 {
                    1 => Verdict::Pass,
                    _ => Verdict::Fail,
                };
                self.include((1..=MEMBERS).map(|by| verdict(by, &claim, of(by))).collect());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever members claim, close and judge, in whatever epochs, again and again.
    #[test]
    fn a_part_is_paid_its_price_once_ever(
        seed in 0u64..1 << 40,
        auditors in 1u32..4,
        budgets in proptest::array::uniform2(prop_oneof![Just(0u128), 1u128 << 40..1u128 << 66]),
        escrows in proptest::collection::vec(1u128 << 57..1u128 << 64, 3),
        acts in proptest::collection::vec(proptest::collection::vec(act(), 0..18), 3..5),
    ) {
        let mut world = World::new(seed, auditors, &escrows);
        world.chain.view.budget = Amount(budgets[0]);
        // The chain says of another budget while the first epochs are settled.
        let (from, budget) = (Epoch(2), Amount(budgets[1]));
        world.chain.extra.push(ChainEvent::BudgetChanged { from, budget });
        // Mostly rounds start from what the member with the first slot says.
        for round in 0..ROUNDS {
            for model in 1..=3 {
                world.act(Act::Close { who: 1, model, round, next: 0 });
            }
        }
        let mut before = BTreeSet::new();
        let mut spent = BTreeMap::<ModelId, u128>::new();
        for (epoch, acts) in (0..).zip(&acts) {
            acts.iter().for_each(|act| world.act(*act));
            let outcome = world.settle(epoch);
            let expected = naive(&world, epoch, &before);
            let view = &world.chain.view;
            let prices: Vec<_> = expected.iter().map(|(.., part)| price(view, *part)).collect();
            let budget = budgets[usize::from(epoch >= from.0)];
            let (pot, sum) = (budget * 4 / 10, prices.iter().map(|(_, cut)| cut).sum::<u128>());
            let mut lines = Vec::new();
            for ((account, record, part), (price, cut)) in expected.into_iter().zip(prices) {
                let emission = if cut == 0 { 0 } else { pot * cut / sum.max(pot) };
                prop_assert!(price - cut + emission <= price);
                lines.push((account, Source::Shards, price - cut + emission, record));
                lines.push((TREASURY, Source::Treasury, cut, record));
                *spent.entry(part.model).or_default() += price;
                before.insert(part);
            }
            lines.retain(|(_, _, amount, _)| *amount > 0);
            let is_work = |source| matches!(source, Source::Shards | Source::Treasury);
            let found = outcome.lines.iter().filter(|line| is_work(line.source));
            let found: Vec<_> =
                found.map(|line| (line.account, line.source, line.amount.0, line.record)).collect();
            prop_assert_eq!(found, lines, "epoch {}", epoch);
        }
        for (escrow, id) in escrows.iter().zip(1..) {
            prop_assert!(spent.get(&ModelId(id)).is_none_or(|spent| spent <= escrow));
        }
    }
}

/// Every part of a run, claimed by whose it is and passed by everybody.
fn do_all(world: &mut World, model: u64) {
    let slots = world.chain.view.run_slots(ModelId(model)).unwrap();
    for round in 0..=ROUNDS {
        let epoch = world.chain.view.epoch().0;
        let base = checkpoint(round, 0);
        let parts = slots.iter().zip(0..).map(|(who, slot)| {
            let part = Part { model: ModelId(model), round: Round(round), slot };
            shard(epoch, who.0, part, base)
        });
        let parts: Vec<_> = parts.collect();
        let audits = parts.iter().flat_map(|part| {
            (1..=MEMBERS).map(move |auditor| verdict(auditor, part, Verdict::Pass))
        });
        let audits = audits.collect();
        world.include(parts.clone());
        world.include(audits);
        if round < ROUNDS {
            let next = checkpoint(round + 1, 0);
            world.include(vec![close(epoch, 1, ModelId(model), Round(round), next)]);
        }
    }
}

fn paid(outcome: &Outcome, source: Source) -> u128 {
    let lines = outcome.lines.iter().filter(|line| line.source == source);
    lines.map(|line| line.amount.0).sum()
}

/// One party has every slot and seat, orders, works and judges, and the pot is larger than all it pays:
/// beside nobody, and beside a run that somebody else pays for.
#[test]
fn who_orders_runs_for_itself_gets_back_what_it_paid_and_no_more() {
    const OPEN: u128 = Amount::ONE_OPEN.0;
    for escrows in [&[OPEN][..], &[OPEN, OPEN, 3 * OPEN], &[200 * OPEN, OPEN]] {
        for budget in [0, OPEN, 1_000 * OPEN] {
            let mut world = World::new(7, 1, escrows);
            world.chain.view.budget = Amount(budget);
            (1..=escrows.len() as u64).for_each(|model| do_all(&mut world, model));
            let outcome = world.settle(0);
            let cost: u128 = escrows.iter().sum();
            let worked = paid(&outcome, Source::Shards);
            let platform = paid(&outcome, Source::Treasury);
            assert!(worked <= cost, "{worked} of {cost}");
            // Nearly all of it while the pot lasts, and nine tenths without.
            assert!(worked > cost / 10 * 9 - 100 && platform > cost / 10 - 100);
            assert!(budget < 1_000 * OPEN || worked > cost - 100, "{worked} of {cost}");
        }
    }
}

/// A thousand small parts earn what one large one earns that is as much work.
#[test]
fn runs_are_paid_by_their_work_and_not_by_the_number_of_their_parts() {
    let mut world = World::new(7, 1, &[1 << 62, 1 << 62]);
    world.chain.view.budget = Amount(1 << 50);
    do_all(&mut world, 1);
    do_all(&mut world, 2);
    let outcome = world.settle(0);
    let mut by_round = BTreeMap::<(ModelId, bool), Vec<u128>>::new();
    for line in outcome.lines.iter().filter(|line| line.source == Source::Shards) {
        let record = world.chain.view.record(Epoch(0), &line.record).unwrap();
        let Body::Shard(body) = &record.record().body else { panic!() };
        let parts = by_round.entry((body.model, body.round.0 < ROUNDS)).or_default();
        parts.push(line.amount.0);
    }
    let order = world.chain.view.order(ModelId(1)).unwrap();
    let fixed = u128::from(world.chain.view.params().training.part_work);
    let (work, sketch) = (u128::from(order.needs.work), u128::from(order.needs.sketch));
    for model in [1, 2].map(ModelId) {
        let trained = &by_round[&(model, true)];
        assert_eq!(trained.len(), 15);
        assert!(trained.iter().all(|paid| paid.abs_diff(trained[0]) <= 2), "{trained:?}");
        // 11 units over five slots: two or three each.
        for paid in &by_round[&(model, false)] {
            let is_of = |units: u128| {
                let expected = trained[0] * (fixed + units * sketch) / (fixed + work);
                paid.abs_diff(expected) < 10
            };
            assert!(is_of(2) || is_of(3), "{paid} and {}", trained[0]);
        }
    }
}

/// A worker whose claim its auditors refused claims the part again in later epochs, until its friend is
/// drawn.
#[test]
fn a_part_is_not_claimed_again_until_a_friend_is_drawn_for_it() {
    let mut world = World::new(9, 1, &[1 << 60]);
    let slots = world.chain.view.run_slots(ModelId(1)).unwrap();
    let part = Part { model: ModelId(1), round: Round(0), slot: 0 };
    let (mut friend, mut reasons) = (None, Vec::new());
    for epoch in 0..12 {
        while world.chain.view.epoch().0 < epoch {
            world.chain.mine();
        }
        let claim = shard(epoch, slots[0].0, part, checkpoint(0, 0));
        world.include(vec![claim.clone()]);
        world.chain.mine();
        // Whoever it is, the first draw did not fall on it.
        let friend = *friend.get_or_insert_with(|| {
            let claim = claim.clone().verify(&domain()).unwrap();
            let seats = world.chain.view.shard_auditors(&claim).unwrap();
            let others = slots[1..].iter().find(|member| !seats.has(**member));
            others.unwrap().0
        });
        let of = |by| if by == friend { Verdict::Pass } else { Verdict::Fail };
        world.include((1..=MEMBERS).map(|by| verdict(by, &claim, of(by))).collect());
        let outcome = world.settle(epoch);
        assert_eq!(paid(&outcome, Source::Shards), 0);
        assert!(paid(&outcome, Source::Audits) == 0 || epoch == 0, "nor are its audits paid");
        let zeros = outcome.zeros.iter().filter(|zero| zero.source == Source::Shards);
        reasons.extend(zeros.map(|zero| zero.reason));
    }
    assert_eq!(reasons[0], Unpaid::ShardRejected);
    assert_eq!(reasons[1..], [Unpaid::DoneBefore; 11]);
}

/// A member goes on from a checkpoint of its own, which no close names, or only its own one.
#[test]
fn no_honest_auditor_judges_a_shard_from_an_invented_checkpoint() {
    let mut net = Net::new(5, 3, 12);
    net.order_model(6);
    let model = ModelId(1);
    let is_training = |net: &Net| {
        let done = net.peers[0].pool.values().filter(|record| {
            matches!(&record.record().body, Body::RoundClose(body) if body.round == Round(1))
        });
        done.count() > 0
    };
    while !is_training(&net) {
        net.step();
    }
    let epoch = net.chain.view.epoch().0;
    let slots = net.chain.view.run_slots(model).unwrap();
    let slot = slots.iter().position(|of| of.0 == 3).unwrap() as u32;
    let part = Part { model, round: Round(2), slot };
    let (named, unnamed) = (Hash([0xee; 32]), Hash([0xdd; 32]));
    let claims = [shard(epoch, 3, part, named), shard(epoch, 3, part, unnamed)];
    let own_close = close(epoch, 3, model, Round(1), named);
    for records in [vec![own_close], claims.to_vec()] {
        for record in &records {
            let verified = std::sync::Arc::new(record.clone().verify(&domain()).unwrap());
            for index in 0..net.peers.len() {
                net.peers[index].pool.insert(verified.id(), verified.clone());
                net.input(index, Input::Record(verified.clone()));
            }
        }
        net.chain.waiting.push(Transaction::Include { epoch: Epoch(epoch), records });
        net.step();
    }
    net.run_epochs(epoch + 2);
    let ids = claims.map(|claim| claim.record.id(&domain()));
    let judged = net.peers[0].pool.values().any(|record| match &record.record().body {
        Body::Audit(body) => body.finding.verdict().is_some_and(|(of, _)| ids.contains(&of)),
        _ => false,
    });
    assert!(!judged, "an honest node replayed what no round starts from");
    let outcome = net.outcome(epoch);
    let reason = |id| outcome.zeros.iter().find(|zero| zero.record == id).map(|zero| zero.reason);
    assert_eq!(ids.map(reason), [Some(Unpaid::NotAudited), Some(Unpaid::UnknownBase)]);
    // Its honest work on the same part is paid all the same.
    let paid = outcome.lines.iter().filter(|line| line.source == Source::Shards);
    let of_part = paid.filter(|line| {
        let record = net.chain.view.record(Epoch(epoch), &line.record).unwrap().record();
        matches!(&record.body, Body::Shard(body) if (body.round, body.slot) == (Round(2), slot))
    });
    assert_eq!(of_part.map(|line| line.account.0).collect::<Vec<_>>(), [3]);
}
