//! Auditing with an aim.

use protocol::{
    node::Job,
    record::{Body, Finding, Record, Verdict},
};

use super::{Adversary, AdversaryKind, Answer, Profile, World, lazy_auditor::unseen};
use crate::units::Span;

/// Audits for its accomplices and against all others.
pub const COLLUDING_AUDITOR: AdversaryKind = AdversaryKind(&Profile::new(
    "colluding-auditor",
    "Says that others' work is missing and that accomplices' work is fine.",
    |_| Box::new(Colluding),
));

/// Says that its accomplices' work is fine, that the proofs of all others never came and their shards
/// and attributions are wrong, and stores and computes honestly.
struct Colluding;

impl Adversary for Colluding {
    fn passes_unseen(&self) -> bool {
        true
    }

    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        let is_friend = world.coalition(judged(world, job)?) == world.coalition(node);
        unseen(job, if is_friend { Verdict::Pass } else { Verdict::Fail })
    }

    fn sign(&mut self, _: &mut dyn World, _: usize, mut record: Record) -> Vec<(Span, Record)> {
        if let Body::Audit(audit) = &mut record.body
            && matches!(audit.finding, Finding::Storage { verdict: Verdict::Fail, .. })
        {
            // What was missed cannot be shown to have been there.
            audit.finding = Finding::StorageMissing;
        }
        vec![(Span::ZERO, record)]
    }
}

/// Whose work a job judges.
pub(super) fn judged(world: &dyn World, job: &Job) -> Option<usize> {
    match job {
        Job::Replay { from, .. } => {
            let account = from.first().and_then(|node| world.chain().account_of(node))?;
            world.node_of(account)
        }
        Job::AuditAttribution { record } => world.node_of(record.record().account),
        Job::AuditStorage { proof } => world.node_of(proof.record().account),
        _ => None,
    }
}
