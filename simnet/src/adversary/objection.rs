//! Objections to what is right.

use protocol::{
    BlockNumber, Digest,
    chain::{ProposalAct, Transaction},
};

use super::{Adversary, AdversaryKind, Profile, World};

/// Objects to every proposal, whoever made it and whatever it says.
pub const OBJECTION: AdversaryKind = AdversaryKind(&Profile::new(
    "objection",
    "Objects to every proposed settlement, right or wrong, so that it waits.",
    |_| Box::new(Objection),
));

/// Has a bond for as long as any of its nodes does: they take turns.
struct Objection;

impl Adversary for Objection {
    fn act(&mut self, world: &mut dyn World, members: &[u32], block: BlockNumber) {
        let chain = world.chain();
        let epoch = chain.next_to_settle();
        let free = chain.proposals(epoch).filter(|state| state.objector.is_none());
        let free: Vec<_> = free.map(|state| state.settlement).collect();
        for (settlement, place) in free.into_iter().zip(block.0..) {
            let member = usize::try_from(place).expect("a place") % members.len().max(1);
            let Some(node) = members.get(member).map(|node| *node as usize) else { return };
            let account = world.account(node);
            let act = ProposalAct::Object { account, reason: Digest::ZERO };
            world.submit(node, Transaction::AboutProposal { settlement, act });
        }
    }
}
