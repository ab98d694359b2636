//! Settlements out of turn.

use protocol::{BlockNumber, Epoch, chain::Transaction};

use super::{Adversary, AdversaryKind, Profile, World, nonsense};

/// Proposes later epochs than the next.
pub const EPOCH_SKIPPING: AdversaryKind = AdversaryKind(&Profile::new(
    "epoch-skipping",
    "Proposes settlements that pay itself for every epoch but the one that is next.",
    |_| Box::new(EpochSkipping),
));

/// Proposes every later epoch and the last one again, while those who watch look at the next.
struct EpochSkipping;

/// Later epochs that it tries at each block, those that are not over among them.
const AHEAD: u64 = 3;

impl Adversary for EpochSkipping {
    fn act(&mut self, world: &mut dyn World, members: &[u32], _: BlockNumber) {
        let next = world.chain().next_to_settle();
        let ahead = (1..=AHEAD).map(|more| Epoch(next.0 + more));
        let epochs = next.0.checked_sub(1).map(Epoch).into_iter().chain(ahead);
        for (epoch, member) in epochs.zip(members.iter().cycle()) {
            let (node, proposer) = (*member as usize, world.account(*member as usize));
            let settlement = nonsense(world.chain(), epoch, proposer);
            world.submit(node, Transaction::Propose { proposer, settlement });
        }
    }
}
