//! Using the network against others.

use protocol::{
    BlockNumber, Blocks,
    hash::keccak,
    holding,
    record::{AuditBody, Body, Finding, Record, Verdict},
    training::audit_subject,
};

use super::Adversary;
use crate::{kernel::Purpose, simulation::World, units::Span};

/// Surrounds victims with peers that pass nothing on.
pub(super) struct Eclipse {
    victims: f64,
    strength: f64,
    is_done: bool,
}

impl Eclipse {
    pub(super) const fn new(victims: f64, strength: f64) -> Self {
        Self { victims, strength, is_done: false }
    }
}

impl Adversary for Eclipse {
    fn block(&mut self, world: &mut World<'_>, _: &[u32], _: BlockNumber) {
        if std::mem::replace(&mut self.is_done, true) {
            return;
        }
        for node in 0..world.nodes() {
            let draw = world.draws().share(Purpose::Adversary, node as u64, 1);
            if world.gang(node).is_none() && draw < self.victims {
                world.eclipse(node, self.strength);
            }
        }
    }
}

/// Signs audits that nobody asked for: well formed, and worth nothing.
pub(super) struct Spam {
    per_block: f64,
    sent: u64,
}

impl Spam {
    pub(super) const fn new(per_block: f64) -> Self {
        Self { per_block, sent: 0 }
    }
}

impl Adversary for Spam {
    fn block(&mut self, world: &mut World<'_>, members: &[u32], block: BlockNumber) {
        let epoch = world.chain().epoch();
        for member in members {
            let node = *member as usize;
            let draw = world.draws().share(Purpose::Adversary, node as u64, block.0);
            if !world.is_online(node) || draw >= self.per_block {
                continue;
            }
            self.sent += 1;
            let of = world.account(usize::try_from(self.sent).unwrap_or(0) % world.nodes());
            let work = holding::subject(epoch, of);
            let judged = keccak(&[b"spam", &self.sent.to_be_bytes()]);
            let finding = Finding::Storage { record: judged, verdict: Verdict::Pass };
            let body = AuditBody { of, work, finding };
            let (account, subject) = (world.account(node), audit_subject(of, &work));
            let record = Record { epoch, account, subject, body: Body::Audit(body) };
            world.sign(node, record, Span::ZERO);
        }
    }
}

/// Sends its proofs as late as its auditors still accept them, so that they have no time to look
/// twice.
pub(super) struct LateReveal;

/// Blocks before the auditors' deadline at which the proof goes out.
const SPARE: Blocks = Blocks(1);

impl Adversary for LateReveal {
    fn sign(&mut self, world: &mut World<'_>, _: usize, record: Record) -> Vec<(Span, Record)> {
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
