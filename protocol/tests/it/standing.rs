//! Whom a node keeps places for.

use protocol::{
    AccountId, Amount, Epoch, NodeId,
    chain::{ChainEvent, ChainView},
    rules::{Standing, standings},
};

use crate::{chain::EPOCH_BLOCKS, net::Net};

const SELF: AccountId = AccountId(3);

fn standing(view: &ChainView, account: AccountId) -> Standing {
    let node = view.account(account).unwrap().node;
    standings(view, Some(SELF)).get(&node).copied().unwrap_or(Standing::Stranger)
}

#[test]
fn those_drawn_to_judge_come_before_members_and_members_before_strangers() {
    let mut net = Net::new(30, 4, 1);
    net.run_to(3 * EPOCH_BLOCKS + 20);
    let idle = AccountId(7);
    net.chain.extra.push(ChainEvent::StakeChanged { account: idle, stake: Amount::ZERO });
    net.step();
    let view = &net.chain.view;
    let auditors: Vec<_> = (view.epoch().0 - 1..=view.epoch().0)
        .flat_map(|epoch| view.storage_auditors(Epoch(epoch), SELF).holders())
        .collect();
    assert!(!auditors.is_empty() && auditors.len() < 20);
    for id in (1..=30).map(AccountId) {
        let settles = view.proposer_turn(view.next_to_settle(), id).is_some_and(|turn| turn < 3);
        let expected = match auditors.contains(&id) || settles {
            true => Standing::Judge,
            false if id == idle => Standing::Stranger,
            false => Standing::Member,
        };
        assert_eq!(standing(view, id), expected, "account {id}");
    }
    let all = standings(view, Some(SELF));
    assert!(!all.contains_key(&NodeId::ZERO), "an account without a node is nobody to connect to");
    assert!(standings(view, None).values().all(|standing| *standing == Standing::Member));
}
