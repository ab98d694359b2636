//! Audits when nobody can dispute any more what they say.

use protocol::{
    BlockNumber,
    node::Job,
    record::{Body, Finding, Record, Verdict},
};

use super::{
    Adversary, AdversaryKind, Answer, Profile, World, colluding_auditor::judged,
    late_commitment::include, lazy_auditor::unseen,
};
use crate::units::Span;

/// Passes its accomplices' proofs when the time for disputes about them is over.
pub const LATE_AUDIT: AdversaryKind = AdversaryKind(&Profile::new(
    "late-audit",
    "Says that its accomplices' proofs are fine when nobody can dispute it any more.",
    |_| Box::<LateAudit>::default(),
));

/// Holds back what it says of its accomplices' storage until just before the settlement.
#[derive(Default)]
struct LateAudit {
    held: Vec<(usize, Record)>,
}

impl Adversary for LateAudit {
    fn passes_unseen(&self) -> bool {
        true
    }

    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        let is_friend = world.coalition(judged(world, job)?) == world.coalition(node);
        (is_friend && matches!(job, Job::AuditStorage { .. }))
            .then(|| unseen(job, Verdict::Pass))
            .flatten()
    }

    fn sign(&mut self, world: &mut dyn World, node: usize, record: Record) -> Vec<(Span, Record)> {
        let Body::Audit(audit) = &record.body else { return vec![(Span::ZERO, record)] };
        let of = world.node_of(audit.of).and_then(|of| world.coalition(of));
        let is_pass = matches!(audit.finding, Finding::Storage { verdict: Verdict::Pass, .. });
        if is_pass && of == world.coalition(node) {
            self.held.push((node, record));
            return Vec::new();
        }
        vec![(Span::ZERO, record)]
    }

    fn act(&mut self, world: &mut dyn World, _: &[u32], block: BlockNumber) {
        let schedule = world.chain().schedule;
        let is_late = |record: &Record| block >= schedule.storage_deadline(record.epoch);
        for (node, record) in self.held.extract_if(.., |(_, record)| is_late(record)) {
            include(world, node, record, Span::ZERO);
        }
    }
}
