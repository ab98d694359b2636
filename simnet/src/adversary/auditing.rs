//! Auditing without looking, or with an aim.

use protocol::{
    node::{Done, Job},
    record::{Body, Finding, Record, Verdict},
};

use super::{Adversary, compute};
use crate::{
    simulation::{Answer, World},
    units::Span,
};

/// Says that every proof, shard and attribution is fine and looks at none.
pub(super) struct LazyAuditor;

impl Adversary for LazyAuditor {
    fn job(&mut self, _: &mut World<'_>, _: usize, job: &Job) -> Option<Answer> {
        let is_audit = matches!(job, Job::AuditStorage { .. });
        let pass = || Answer::after(0, Done::Judged(Verdict::Pass));
        is_audit.then(pass).or_else(|| compute::blind(job, Verdict::Pass))
    }
}

/// Says that its accomplices' work is fine, that the proofs of all others never came and their shards
/// and attributions are wrong, and stores and computes honestly.
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
        if let Some(worker) = compute::judged(world, job) {
            let is_friend = world.gang(worker) == Some(self.gang);
            return compute::blind(job, if is_friend { Verdict::Pass } else { Verdict::Fail });
        }
        let Job::AuditStorage { proof } = job else { return None };
        let holder = world.node_of(proof.record().account)?;
        let is_friend = world.gang(holder) == Some(self.gang);
        let verdict = if is_friend { Verdict::Pass } else { Verdict::Fail };
        Some(Answer::after(0, Done::Judged(verdict)))
    }

    fn sign(&mut self, _: &mut World<'_>, _: usize, mut record: Record) -> Vec<(Span, Record)> {
        if let Body::Audit(audit) = &mut record.body
            && matches!(audit.finding, Finding::Storage { verdict: Verdict::Fail, .. })
        {
            // A wrong proof is judged again by everybody; one that was missed cannot be.
            audit.finding = Finding::StorageMissing;
        }
        vec![(Span::ZERO, record)]
    }
}
