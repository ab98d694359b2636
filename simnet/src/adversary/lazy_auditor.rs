//! Auditing without looking.

use protocol::{
    node::{Done, Job},
    record::{ReplayReport, Verdict},
};

use super::{Adversary, AdversaryKind, Answer, Profile, World};

/// Passes all work without looking.
pub const LAZY_AUDITOR: AdversaryKind = AdversaryKind(&Profile::new(
    "lazy-auditor",
    "Audits nothing and says that all is well.",
    |_| Box::new(LazyAuditor),
));

/// Says that every proof, shard and attribution is fine and looks at none.
struct LazyAuditor;

impl Adversary for LazyAuditor {
    fn passes_unseen(&self) -> bool {
        true
    }

    fn answer(&mut self, _: &mut dyn World, _: usize, job: &Job) -> Option<Answer> {
        unseen(job, Verdict::Pass)
    }
}

/// What one who looks at nothing says of the work that a job judges; `None` for other jobs.
pub(super) fn unseen(job: &Job, verdict: Verdict) -> Option<Answer> {
    let ppm = if verdict == Verdict::Pass { 1_000_000 } else { 0 };
    let done = match job {
        Job::Replay { .. } => Done::Replayed(ReplayReport { overlap: ppm, cosine: ppm, norm: ppm }),
        Job::AuditStorage { .. } | Job::AuditAttribution { .. } => Done::Judged(verdict),
        _ => return None,
    };
    Some(Answer::after(0, done))
}
