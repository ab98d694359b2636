//! Proofs at the last moment.

use protocol::{
    Blocks,
    record::{Body, Record},
};

use super::{Adversary, AdversaryKind, Profile, World};
use crate::units::Span;

/// Publishes proofs at the last moment.
pub const LATE_REVEAL: AdversaryKind = AdversaryKind(&Profile::new(
    "late-reveal",
    "Publishes proofs as late as the rules allow.",
    |_| Box::new(LateReveal),
));

/// Sends its proofs as late as its auditors still accept them, so that they have no time to look
/// twice.
struct LateReveal;

/// Blocks before the auditors' deadline at which the proof goes out.
const SPARE: Blocks = Blocks(1);

impl Adversary for LateReveal {
    fn sign(&mut self, world: &mut dyn World, _: usize, record: Record) -> Vec<(Span, Record)> {
        if !matches!(record.body, Body::StorageProof(_)) {
            return vec![(Span::ZERO, record)];
        }
        let chain = world.chain();
        let end = chain.schedule.start(record.epoch.next());
        let deadline = end.before(chain.params().holding.audit_blocks.plus(SPARE));
        let wait = world.block_span().0.saturating_mul(deadline.since(chain.now()).0);
        vec![(Span(wait), record)]
    }
}
