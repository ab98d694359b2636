//! Coming back under another name.

use std::collections::BTreeSet;

use protocol::{BlockNumber, Epoch, node::Job, record::Record};

use super::{Adversary, storage::Lazy};
use crate::{
    simulation::{Answer, World},
    units::Span,
};

/// Stores nothing until it is caught, and then registers anew.
#[derive(Default)]
pub(super) struct Whitewashing {
    seen: Epoch,
    renamed: BTreeSet<u32>,
}

impl Adversary for Whitewashing {
    fn job(&mut self, world: &mut World<'_>, node: usize, job: &Job) -> Option<Answer> {
        Lazy.job(world, node, job)
    }

    fn sign(&mut self, world: &mut World<'_>, node: usize, record: Record) -> Vec<(Span, Record)> {
        Lazy.sign(world, node, record)
    }

    fn block(&mut self, world: &mut World<'_>, members: &[u32], _: BlockNumber) {
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
