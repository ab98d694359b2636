//! Auditing without looking, or with an aim.

use protocol::{
    Digest,
    node::{Done, Job},
    record::{Body, Record, Verdict},
};

use super::Adversary;
use crate::{
    simulation::{Answer, World},
    units::Span,
};

/// Says that every proof is fine and looks at none.
pub(super) struct LazyAuditor;

impl Adversary for LazyAuditor {
    fn job(&mut self, _: &mut World<'_>, _: usize, job: &Job) -> Option<Answer> {
        let is_audit = matches!(job, Job::AuditStorage { .. });
        is_audit.then(|| Answer::after(0, Done::Judged(Verdict::Pass)))
    }
}

/// Says that its accomplices' proofs are fine, that the proofs of all others never came, and stores
/// honestly.
pub(super) struct Colluding {
    gang: usize,
}

impl Colluding {
    pub(super) const fn new(gang: usize) -> Self {
        Self { gang }
    }
}

impl Adversary for Colluding {
    fn job(&mut self, world: &mut World<'_>, _: usize, job: &Job) -> Option<Answer> {
        let Job::AuditStorage { proof } = job else { return None };
        let holder = world.node_of(proof.record().account)?;
        let is_friend = world.gang(holder) == Some(self.gang);
        let verdict = if is_friend { Verdict::Pass } else { Verdict::Fail };
        Some(Answer::after(0, Done::Judged(verdict)))
    }

    fn sign(&mut self, _: &mut World<'_>, _: usize, mut record: Record) -> Vec<(Span, Record)> {
        if let Body::Audit(audit) = &mut record.body
            && audit.verdict == Verdict::Fail.tag()
        {
            // A wrong proof is judged again by everybody; one that was missed cannot be.
            audit.record = Digest::ZERO;
            audit.verdict = Verdict::Missing.tag();
        }
        vec![(Span::ZERO, record)]
    }
}
