//! Coming back under another name.

use std::collections::BTreeSet;

use protocol::{BlockNumber, Epoch, Hash, node::Job, record::Record};

use super::{Adversary, AdversaryKind, Answer, Profile, World, lazy_storage::LazyStorage};
use crate::units::Span;

/// Registers anew when it is caught.
pub const WHITEWASHING: AdversaryKind = AdversaryKind(&Profile::new(
    "whitewashing",
    "Cheats until it is caught and comes back under a new name.",
    |_| Box::<Whitewashing>::default(),
));

/// Stores nothing until it is caught, and then registers anew.
#[derive(Default)]
struct Whitewashing {
    /// The newest epoch that it has looked at.
    seen: Epoch,
    /// Who registered anew in it.
    renamed: BTreeSet<u32>,
}

impl Adversary for Whitewashing {
    fn stores(&mut self, world: &mut dyn World, node: usize, blob: &Hash) -> bool {
        LazyStorage.stores(world, node, blob)
    }

    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        LazyStorage.answer(world, node, job)
    }

    fn sign(&mut self, world: &mut dyn World, node: usize, record: Record) -> Vec<(Span, Record)> {
        LazyStorage.sign(world, node, record)
    }

    fn act(&mut self, world: &mut dyn World, members: &[u32], _: BlockNumber) {
        let epoch = world.chain().epoch();
        if epoch == self.seen {
            return;
        }
        self.renamed.clear();
        for member in members {
            if world.was_caught(self.seen, *member as usize) && self.renamed.insert(*member) {
                world.rename(*member as usize);
            }
        }
        self.seen = epoch;
    }
}
