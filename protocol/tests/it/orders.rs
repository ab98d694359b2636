//! What may be ordered and contributed, and what a node does with it.

use protocol::{
    AccountId, Amount, BlobRef, BlockNumber, DatanetId, Digest, Hash, ModelId,
    chain::{BlockHeader, ChainEvent, ChainView, Contribution, Model},
    codec::Wire,
    node::{Done, Failure, Input, Job, Node, NodeConfig, OpId, Output, Waiting},
    order::OrderFault,
    training::{Contributions, RunConfig},
};

use crate::{
    chain::FakeChain,
    net::{ESCROW, order},
};

const ME: AccountId = AccountId(1);
const DATANET: DatanetId = DatanetId(1);
const MODEL: ModelId = ModelId(1);

fn contribution(id: u64, length: u64, units: u32) -> Contribution {
    let hash = Hash([id as u8; 32]);
    let packs = vec![BlobRef::new(hash, length)];
    Contribution { id, datanet: DATANET, account: AccountId(9), manifest: Hash::ZERO, packs, units }
}

/// A chain with members and some contributions, the last of them id by id.
fn chain_of(contributions: &[Contribution]) -> FakeChain {
    let mut chain = FakeChain::new(3, 1);
    (1..=4).for_each(|id| chain.register(AccountId(id), true));
    chain.extra.extend(contributions.iter().cloned().map(ChainEvent::ContributionAdmitted));
    chain.mine();
    chain
}

fn ordered(chain: &mut FakeChain, model: ModelId, config: &RunConfig) {
    let (developer, config) = (AccountId(2), config.to_bytes());
    let model = Model { id: model, developer, datanet: DATANET, escrow: ESCROW, config };
    chain.extra.push(ChainEvent::ModelCreated(model));
    chain.mine();
    chain.mine();
}

fn reading(data: &[(u64, u64)]) -> RunConfig {
    let range = |(first, last): &(u64, u64)| Contributions { first: *first, last: *last };
    RunConfig { data: data.iter().map(range).collect(), ..order(2) }
}

/// The jobs of training that a node asks for at the next block.
fn jobs(chain: &mut FakeChain, node: &mut Node) -> Vec<(OpId, ModelId)> {
    chain.mine();
    node.handle(&chain.view, Input::Block);
    let mut found = Vec::new();
    while let Some(output) = node.poll_output() {
        if let Output::Job(op, Job::Prepare { model }) = output {
            found.push((op, model));
        }
    }
    found
}

fn node(max_memory: Option<u64>) -> Node {
    Node::new(ME, NodeConfig { computes: true, claim_epochs: 0, max_memory })
}

#[test]
fn what_no_node_could_hold_or_prove_was_never_contributed() {
    let max = FakeChain::new(3, 1).view.params().holding.max_pack;
    let many =
        Contribution { packs: vec![BlobRef::new(Hash::ZERO, 1); 257], ..contribution(4, 1, 1) };
    let bad = [
        contribution(1, max + 1, 1),
        contribution(2, u64::MAX, 1),
        contribution(3, 0, 1),
        many,
        contribution(5, 10, 0),
        contribution(6, 10, 11),
        Contribution { packs: vec![], ..contribution(7, 1, 1) },
    ];
    let mut chain = chain_of(&bad);
    assert!(chain.view.contributions().is_empty());
    assert!((0..=7u8).all(|id| chain.view.pack(&Hash([id; 32])).is_none()));
    // Whoever was first with a wrong length does not own the pack.
    let honest = Contribution {
        packs: bad[0].packs.iter().map(|p| BlobRef::new(p.hash, 5)).collect(),
        ..contribution(8, 5, 5)
    };
    chain.extra.push(ChainEvent::ContributionAdmitted(honest));
    chain.mine();
    assert_eq!(chain.view.pack(&Hash([1; 32])).map(|pack| pack.length), Some(5));
}

#[test]
fn a_contribution_that_nobody_can_read_blocks_no_run() {
    let junk = Contribution { manifest: Hash([0xee; 32]), ..contribution(2, 1_000, 1_000) };
    let elsewhere = Contribution { datanet: DatanetId(7), ..contribution(3, 900, 90) };
    let mut chain = chain_of(&[contribution(1, 500, 5), junk, elsewhere, contribution(4, 300, 3)]);
    ordered(&mut chain, MODEL, &reading(&[(1, 1), (3, 4)]));
    let order = chain.view.order(MODEL).unwrap();
    assert_eq!(order.units, 8);
    let read: Vec<_> = chain.view.run_data(MODEL).iter().map(|found| found.id).collect();
    assert_eq!(read, [1, 4]);
    // What comes later is not read, whatever the order names.
    chain.extra.push(ChainEvent::ContributionAdmitted(contribution(5, 100, 1)));
    ordered(&mut chain, ModelId(2), &reading(&[(4, u64::MAX)]));
    let read = chain.view.run_data(ModelId(2));
    assert_eq!(read.len(), 1, "it was admitted in the block of the order");
    assert_eq!(jobs(&mut chain, &mut node(None)).len(), 2);
}

#[test]
fn an_order_beyond_the_networks_bounds_is_no_run_and_status_says_why() {
    let mut chain = chain_of(&[contribution(1, 500, 5)]);
    let deadly = RunConfig { batch: 1_024, ..order(2) };
    ordered(&mut chain, MODEL, &deadly);
    ordered(&mut chain, ModelId(2), &reading(&[(2, 9)]));
    let fault = chain.view.order(MODEL).unwrap_err();
    assert!(matches!(fault, OrderFault::Memory { .. }), "{fault}");
    let mut node = node(None);
    assert!(jobs(&mut chain, &mut node).is_empty(), "it is never prepared");
    let reasons = node.waiting(&chain.view);
    assert!(reasons.contains(&Waiting::Refused(MODEL, fault)), "{reasons:?}");
    assert!(reasons.contains(&Waiting::Refused(ModelId(2), OrderFault::NoData)), "{reasons:?}");
    assert!(chain.view.run_data(MODEL).is_empty());
}

/// The price is of all work, so that it is the same to order one long run or many short ones.
#[test]
fn an_order_that_pays_less_than_its_work_costs_is_no_run_and_status_says_the_price() {
    let mut chain = chain_of(&[contribution(1, 500, 5)]);
    chain.mine();
    let config = order(2).to_bytes();
    let cost = |slots| {
        let read = protocol::order::Data { units: 5, bytes: 500 };
        let bounds = &chain.view.params().training;
        protocol::order::Order::cost(&config, slots, bounds, |_| read).unwrap()
    };
    assert_eq!(chain.view.slots_now(), 4);
    let (least, of_four) = (cost(3), cost(4));
    let pays = [Amount::ZERO, Amount(1), Amount(least.0 - 1), least, of_four, Amount(u128::MAX)];
    for (escrow, id) in pays.into_iter().zip(1..) {
        let (developer, config) = (AccountId(2), config.clone());
        let model = Model { id: ModelId(id), developer, datanet: DATANET, escrow, config };
        chain.extra.push(ChainEvent::ModelCreated(model));
    }
    chain.mine();
    chain.mine();
    let mut node = node(None);
    let begun = jobs(&mut chain, &mut node);
    assert_eq!(begun.iter().map(|(_, id)| id.0).collect::<Vec<_>>(), [4, 5, 6]);
    for (pays, id) in pays.into_iter().zip(1..).take(3) {
        let refused = Waiting::Refused(ModelId(id), OrderFault::Price { pays, least });
        assert!(node.waiting(&chain.view).contains(&refused), "{id}");
        assert!(chain.view.run_data(ModelId(id)).is_empty());
    }
    // As many slots as are paid for, of those that there would be.
    let slots = |id| chain.view.run_slots(ModelId(id)).unwrap().len();
    assert_eq!([4, 5, 6].map(slots), [3, 4, 4]);
}

#[test]
fn a_node_takes_on_what_fits_into_its_memory() {
    let mut chain = chain_of(&[contribution(1, 500, 5)]);
    let one = RunConfig { data: vec![Contributions::ALL], ..order(2) };
    for model in 1..=3 {
        ordered(&mut chain, ModelId(model), &one);
    }
    let needs = chain.view.order(MODEL).unwrap().needs.memory;
    let mut small = node(Some(needs - 1));
    assert!(jobs(&mut chain, &mut small).is_empty());
    let too_large = Waiting::TooLarge { model: MODEL, needs, limit: needs - 1 };
    assert!(small.waiting(&chain.view).contains(&too_large));
    let mut double = node(Some(2 * needs));
    let begun: Vec<_> = jobs(&mut chain, &mut double).into_iter().map(|(_, model)| model).collect();
    assert_eq!(begun, [ModelId(1), ModelId(2)], "four small orders must not add up either");
    let waits = Waiting::NoMemory { model: ModelId(3), needs };
    assert!(double.waiting(&chain.view).contains(&waits));
}

#[test]
fn what_fails_is_tried_less_and_less_often() {
    let mut chain = chain_of(&[contribution(1, 500, 5)]);
    ordered(&mut chain, MODEL, &order(2));
    let mut node = node(None);
    let mut tried = Vec::new();
    for _ in 0..200 {
        for (op, _) in jobs(&mut chain, &mut node) {
            tried.push(chain.now());
            node.handle(&chain.view, Input::Done(op, Done::Failed(Failure::Invalid)));
        }
    }
    let pauses: Vec<_> = tried.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.starts_with(&[2, 4, 8, 16, 32, 64]), "{pauses:?}");
    let until = BlockNumber(tried[tried.len() - 1] + 64);
    assert!(node.waiting(&chain.view).contains(&Waiting::Failed(MODEL, until)));
}

#[test]
fn a_run_that_ends_the_process_is_left_alone_for_longer_each_time() {
    let mut chain = chain_of(&[contribution(1, 500, 5)]);
    ordered(&mut chain, MODEL, &order(2));
    let mut blocks = Vec::new();
    for times in 1..=5 {
        let mut node = node(None);
        node.handle(&chain.view, Input::Ended { model: MODEL, times });
        let start = chain.now();
        while jobs(&mut chain, &mut node).is_empty() {
            let said = node.waiting(&chain.view);
            let is_said =
                |w: &Waiting| matches!(w, Waiting::Quarantined { times: t, .. } if *t == times);
            assert!(said.iter().any(is_said), "{said:?}");
        }
        blocks.push(chain.now() - start);
    }
    // Once may have been anything; and runs that end together are tried apart, model 1 by 4 blocks.
    assert_eq!(blocks, [1, 20, 36, 68, 132]);
}

/// Events as extreme as the types allow: the view folds them, and nobody can be made to hold much.
#[test]
fn events_of_extreme_values_are_folded() {
    let mut view: ChainView = chain_of(&[]).view;
    let now = view.now();
    let junk = |id: u64| Model {
        id: ModelId(id),
        developer: AccountId(u64::MAX),
        datanet: DatanetId(u64::MAX),
        escrow: Amount(u128::MAX),
        config: vec![0xff; 4_096],
    };
    let events: Vec<_> = [0, 1, u64::MAX]
        .into_iter()
        .flat_map(|id| {
            [
                ChainEvent::ModelCreated(junk(id)),
                ChainEvent::ContributionAdmitted(contribution(id, u64::MAX, u32::MAX)),
                ChainEvent::DatanetCreated {
                    datanet: DatanetId(id),
                    owner: AccountId(id),
                    name: "\u{fffd}".repeat(128),
                    domain: String::new(),
                    licence: u32::MAX,
                },
            ]
        })
        .collect();
    let (hash, timestamp) = (Digest([9; 32]), protocol::Timestamp(u64::MAX));
    view.apply(BlockHeader { number: now.next(), hash, timestamp }, &events);
    assert_eq!(view.now(), now.next());
    assert_eq!(view.order(ModelId(u64::MAX)).unwrap_err(), OrderFault::Config);
    let mut node = node(None);
    node.handle(&view, Input::Block);
    assert!(node.progress().next().is_none());
}
