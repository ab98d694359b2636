//! Records that are worth nothing.

use protocol::{
    BlockNumber,
    hash::keccak,
    record::{AuditBody, Body, Finding, Record, Verdict, audit_subject, storage_subject},
};

use super::{Adversary, AdversaryKind, Profile, World};
use crate::{kernel::Purpose, units::Span};

/// Floods gossip with well-formed records.
pub const GOSSIP_SPAM: AdversaryKind =
    AdversaryKind(&Profile::new("gossip-spam", "Floods records that are worth nothing.", |plan| {
        Box::new(Spam { per_block: plan.strength, sent: 0 })
    }));

/// Signs audits that nobody asked for: well formed, and worth nothing.
struct Spam {
    /// Records of a node per block, on average.
    per_block: f64,
    sent: u64,
}

impl Adversary for Spam {
    fn act(&mut self, world: &mut dyn World, members: &[u32], block: BlockNumber) {
        let epoch = world.chain().epoch();
        for member in members {
            let node = *member as usize;
            let draw = world.draws().share(Purpose::Adversary, node as u64, block.0);
            if !world.is_online(node) || draw >= self.per_block {
                continue;
            }
            self.sent += 1;
            let of = world.account(usize::try_from(self.sent).unwrap_or(0) % world.nodes());
            let work = storage_subject(epoch, of);
            let judged = keccak(&[b"spam", &self.sent.to_be_bytes()]);
            let finding = Finding::Storage { record: judged, verdict: Verdict::Pass };
            let body = AuditBody { of, work, finding };
            let (account, subject) = (world.account(node), audit_subject(of, &work));
            let record = Record { epoch, account, subject, body: Body::Audit(body) };
            world.sign(node, record, Span::ZERO);
        }
    }
}
