//! A node gets one account, whatever becomes of its first tries.

use protocol::{
    AccountId, EvmAddress, NodeId,
    chain::ChainEvent,
    node::{Enrol, Enrolment},
};

use crate::chain::FakeChain;

const ACCOUNT: AccountId = AccountId(4);

/// The node that [`FakeChain::register`] binds to an account.
fn node_of(account: AccountId) -> NodeId {
    let mut chain = FakeChain::new(1, 1);
    chain.register(account, true);
    chain.mine();
    chain.view.account(account).unwrap().node
}

/// What is done in each of the next blocks.
fn blocks(chain: &mut FakeChain, enrolment: &mut Enrolment, count: usize) -> Vec<Enrol> {
    let one = |_| {
        chain.mine();
        enrolment.on_block(&chain.view)
    };
    (0..count).map(one).collect()
}

#[test]
fn a_registration_under_way_is_not_sent_again() {
    let (mut chain, mut enrolment) = (FakeChain::new(1, 1), Enrolment::new(node_of(ACCOUNT)));
    assert_eq!(enrolment.on_block(&chain.view), Enrol::Wait, "no block was read yet");
    let done = blocks(&mut chain, &mut enrolment, 40);
    assert_eq!(done[0], Enrol::Register);
    assert!(done[1..].iter().all(|done| *done == Enrol::Wait), "it may still be mined");
    chain.register(ACCOUNT, true);
    assert_eq!(blocks(&mut chain, &mut enrolment, 2), [Enrol::Start(ACCOUNT); 2]);
}

#[test]
fn one_that_was_refused_is_tried_again_ten_blocks_later() {
    let (mut chain, mut enrolment) = (FakeChain::new(1, 1), Enrolment::new(node_of(ACCOUNT)));
    assert_eq!(blocks(&mut chain, &mut enrolment, 3), [Enrol::Register, Enrol::Wait, Enrol::Wait]);
    enrolment.on_refused();
    let done = blocks(&mut chain, &mut enrolment, 9);
    let asked: Vec<_> = (0..9).filter(|block| done[*block] == Enrol::Register).collect();
    assert_eq!(asked, [7]);
}

#[test]
fn a_node_that_starts_again_finds_its_account() {
    let mut chain = FakeChain::new(1, 1);
    chain.register(ACCOUNT, true);
    let mut enrolment = Enrolment::new(node_of(ACCOUNT));
    assert_eq!(blocks(&mut chain, &mut enrolment, 1), [Enrol::Start(ACCOUNT)]);
}

/// The event of the node's registration, with changes.
fn registration(change: impl Fn(&mut AccountId, &mut EvmAddress, &mut [u8; 64])) -> ChainEvent {
    let mut chain = FakeChain::new(1, 1);
    chain.register(ACCOUNT, true);
    let mut event = chain.extra[0].clone();
    let ChainEvent::AccountRegistered { account, payout, binding, .. } = &mut event else {
        panic!("a registration comes first");
    };
    change(account, payout, binding);
    event
}

#[test]
fn what_the_public_can_send_again_takes_no_node_away() {
    let thief = EvmAddress([0xee; 20]);
    // Before the honest registration and after it: with another payout, and word for word.
    let stolen = registration(|account, payout, _| (*account, *payout) = (AccountId(8), thief));
    let copied = registration(|account, _, _| *account = AccountId(9));
    for thefts_first in [true, false] {
        let mut chain = FakeChain::new(1, 1);
        if thefts_first {
            chain.extra.push(stolen.clone());
            chain.mine();
        }
        chain.register(ACCOUNT, true);
        chain.mine();
        chain.extra.extend([stolen.clone(), copied.clone()]);
        chain.mine();
        let mut enrolment = Enrolment::new(node_of(ACCOUNT));
        assert_eq!(blocks(&mut chain, &mut enrolment, 1), [Enrol::Start(ACCOUNT)]);
        let bound = chain.view.accounts().filter(|(_, account)| account.node != NodeId::ZERO);
        assert_eq!(bound.map(|(id, _)| id).collect::<Vec<_>>(), [ACCOUNT], "a copy binds nothing");
    }
}

#[test]
fn junk_does_not_take_a_nodes_name() {
    let junk = registration(|account, _, binding| (*account, *binding) = (AccountId(8), [7; 64]));
    let mut chain = FakeChain::new(1, 1);
    chain.extra.push(junk);
    chain.mine();
    let mut enrolment = Enrolment::new(node_of(ACCOUNT));
    assert_eq!(blocks(&mut chain, &mut enrolment, 1), [Enrol::Register]);
    chain.register(ACCOUNT, true);
    assert_eq!(blocks(&mut chain, &mut enrolment, 1), [Enrol::Start(ACCOUNT)]);
}
