//! What a peer is to a node: whom it keeps a place for when connections are few.

use alloc::collections::BTreeMap;

use crate::{
    chain::ChainView,
    ids::{AccountId, NodeId},
};

/// Turns to propose whose owners are waited for: the later ones come only after these failed.
const FIRST_TURNS: usize = 3;

/// What a peer is to a node, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nobody that the chain knows, or without the least stake that counts: names are free.
    Stranger,
    /// The node of an account with that stake.
    Member,
    /// Drawn to judge what this node did, or to settle it: who cannot reach this node does not have
    /// it paid.
    Judge,
}

/// The standing of every node that is not a stranger, to the node of an account; without an account
/// nobody judges it. Where nobody has as much yet, every account with a node is a member.
pub fn standings(chain: &ChainView, of: Option<AccountId>) -> BTreeMap<NodeId, Standing> {
    let bound = || chain.accounts().filter(|(_, account)| account.node != NodeId::ZERO);
    let least = chain.params().economics.min_stake;
    let has_stake = |account: &crate::chain::Account| account.staying() >= least;
    let is_young = !bound().any(|(_, account)| has_stake(account));
    let members = bound().filter(|(_, account)| is_young || has_stake(account));
    let mut all: BTreeMap<_, _> =
        members.map(|(_, account)| (account.node, Standing::Member)).collect();
    let Some(of) = of else { return all };
    let (epoch, settled) = (chain.epoch(), chain.next_to_settle());
    let mut judges = chain.storage_auditors(epoch, of).holders();
    if let Some(last) = epoch.0.checked_sub(1) {
        judges.extend(chain.storage_auditors(crate::Epoch(last), of).holders());
    }
    let is_next =
        |id: &AccountId| chain.proposer_turn(settled, *id).is_some_and(|turn| turn < FIRST_TURNS);
    judges.extend(bound().map(|(id, _)| id).filter(is_next));
    let nodes = judges.into_iter().filter_map(|id| chain.account(id)).map(|account| account.node);
    all.extend(nodes.filter(|node| *node != NodeId::ZERO).map(|node| (node, Standing::Judge)));
    all
}
