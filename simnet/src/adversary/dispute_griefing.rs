//! Accusing those who hold what they say.

use protocol::{
    AccountId, BlockNumber, Epoch,
    chain::{ChainView, Transaction},
    record::{Body, Kind, storage_subject},
    rules::included_in,
};

use super::{Adversary, AdversaryKind, Profile, World};
use crate::kernel::Purpose;

/// Disputes what honest nodes hold.
pub const DISPUTE_GRIEFING: AdversaryKind = AdversaryKind(&Profile::new(
    "dispute-griefing",
    "Disputes cells of honest holders, one a node and block, for as long as that is possible.",
    |_| Box::new(Griefing),
));

/// Has honest holders show cells on chain, hoping that one of them does not in time.
struct Griefing;

impl Adversary for Griefing {
    fn act(&mut self, world: &mut dyn World, members: &[u32], block: BlockNumber) {
        let this = world.chain().epoch();
        for epoch in (this.back(1).0..=this.0).map(Epoch) {
            let schedule = world.chain().schedule;
            if block <= schedule.commit_deadline(epoch) || block >= schedule.last_dispute(epoch) {
                continue;
            }
            let coalition = members.first().and_then(|first| world.coalition(*first as usize));
            let is_other = |account: &AccountId| {
                let node = world.node_of(*account);
                node.is_some_and(|node| world.coalition(node) != coalition)
            };
            let placement = world.chain().placement(epoch);
            let others: Vec<_> =
                placement.holders().map(|(holder, _)| holder).filter(is_other).collect();
            for member in members {
                let draw = world.draws().word(Purpose::Adversary, u64::from(*member), block.0);
                accuse(world, *member as usize, (epoch, &others), draw);
            }
        }
    }
}

/// Has a node accuse one of some holders, if that one committed to anything.
fn accuse(world: &mut dyn World, node: usize, (epoch, holders): (Epoch, &[AccountId]), draw: u64) {
    let Some(place) = draw.checked_rem(holders.len() as u64) else { return };
    let place = usize::try_from(place).expect("one of those in memory");
    if !world.is_online(node) {
        return;
    }
    let accuser = world.account(node);
    if let Some(dispute) = dispute(world.chain(), accuser, (epoch, holders[place]), draw) {
        world.submit(node, dispute);
    }
}

fn dispute(
    chain: &ChainView,
    accuser: AccountId,
    (epoch, holder): (Epoch, AccountId),
    draw: u64,
) -> Option<Transaction> {
    let key = (Kind::StorageCommit, holder, storage_subject(epoch, holder));
    let commit = chain.record_of(epoch, &key)?;
    let Body::StorageCommit(body) = &commit.record().body else { return None };
    let cell = u32::try_from((draw >> 32).checked_rem(u64::from(body.cells))?).ok()?;
    let (at, commit) = (included_in(chain, commit)?, Box::new(commit.signed().clone()));
    Some(Transaction::OpenDispute { accuser, commit, at, cell })
}
