//! Packs that are not as long as they say.

use protocol::{
    BlobRef, BlockNumber, DatanetId, Hash,
    chain::{Contribution, Transaction},
    hash::keccak,
};

use super::{Adversary, AdversaryKind, Profile, World};

/// Contributes packs of false lengths.
pub const FALSE_LENGTH: AdversaryKind = AdversaryKind(&Profile::new(
    "false-length",
    "Contributes packs that nobody has, of lengths from nothing to all that a number can say, and\nothers' packs under other lengths.",
    |_| Box::new(FalseLength { made: 0 }),
));

/// Announces what cannot be stored, so that its part of the pay for storing is nobody's.
struct FalseLength {
    made: u64,
}

/// Packs in one contribution.
const PACKS: u64 = 4;

impl Adversary for FalseLength {
    fn act(&mut self, world: &mut dyn World, members: &[u32], block: BlockNumber) {
        let Some(node) = members.first().map(|member| *member as usize) else { return };
        let most = world.chain().params().holding.max_pack;
        let lengths = [most, u64::MAX, most + 1, 0, 1];
        let length = lengths[usize::try_from(block.0).unwrap_or(0) % lengths.len()];
        let mut packs: Vec<_> =
            (0..PACKS).map(|which| made_up(self.made * PACKS + which, length)).collect();
        self.made += 1;
        // The packs of one who has contributed, none of them as long as it says.
        let known = world.chain().contributions().first().map(|(_, first)| first.packs.clone());
        let theirs = known.into_iter().flatten().take(PACKS as usize);
        packs.extend(theirs.map(|pack| BlobRef { length: most - pack.length / 2, ..pack }));
        let contribution = Contribution {
            id: 0,
            datanet: DatanetId(1),
            account: world.account(node),
            manifest: Hash(keccak(&[b"no manifest"]).0),
            packs,
            units: 1,
        };
        world.submit(node, Transaction::Contribute(contribution));
    }
}

fn made_up(number: u64, length: u64) -> BlobRef {
    BlobRef { hash: Hash(keccak(&[b"no pack", &number.to_be_bytes()]).0), length }
}
