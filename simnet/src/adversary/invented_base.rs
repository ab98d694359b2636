//! Shards from checkpoints that there are not.

use protocol::{
    Digest, Epoch, Hash, Round,
    hash::{blake3, keccak},
    node::Job,
    record::{
        AuditBody, Body, Finding, Record, ReplayReport, RoundCloseBody, ShardBody, Verdict,
        audit_subject, round_subject, shard_subject,
    },
};

use super::{Adversary, AdversaryKind, Answer, Profile, World, forged_shard::is_skipped};
use crate::units::Span;

/// Goes on from checkpoints that it made up, which nobody else can repeat.
pub const INVENTED_BASE: AdversaryKind = AdversaryKind(
    &Profile::new(
        "invented-base",
        "Publishes shards from checkpoints that it made up, and passes those of its friends.",
        |plan| Box::new(InventedBase { share: plan.strength, claims: Vec::new() }),
    )
    .with_model(),
);

/// Claims its parts from invented checkpoints, every other one of which it names in a close of its own; its
/// members pass each other's where they are drawn.
struct InventedBase {
    /// Share of its shards.
    share: f64,
    /// What was claimed, until its auditors are drawn.
    claims: Vec<(Epoch, Digest)>,
}

impl Adversary for InventedBase {
    fn answer(&mut self, world: &mut dyn World, node: usize, job: &Job) -> Option<Answer> {
        if is_skipped(world, node, job, self.share) { world.forged(node, job) } else { None }
    }

    fn sign(&mut self, world: &mut dyn World, node: usize, record: Record) -> Vec<(Span, Record)> {
        let Body::Shard(shard) = record.body.clone() else { return vec![(Span::ZERO, record)] };
        let ShardBody { model, round, slot, base, .. } = shard;
        let honest = Job::Compute {
            model,
            round,
            slot,
            base,
            units: Vec::new(),
            seed: 0,
            task: protocol::training::ShardTask::Train,
        };
        if !is_skipped(world, node, &honest, self.share) {
            return vec![(Span::ZERO, record)];
        }
        let base = blake3(&keccak(&[b"invented", &base.0, &record.account.0.to_be_bytes()]).0);
        let subject = shard_subject(model, round, slot, &base);
        let body = Body::Shard(ShardBody { base, ..shard });
        let claim = Record { subject, body, ..record };
        self.claims.push((claim.epoch, claim.id(&world.chain().domain)));
        let named = round.0.checked_sub(1).filter(|_| slot % 2 == 0);
        // The close is in a block before, as that of a real round would be.
        let after = Span(3 * world.block_span().0);
        let close = named.map(|before| (Span::ZERO, close(&claim, Round(before), base)));
        close.into_iter().chain([(after, claim)]).collect()
    }

    fn act(&mut self, world: &mut dyn World, members: &[u32], _: protocol::BlockNumber) {
        let epoch = world.chain().epoch();
        self.claims.retain(|(of, _)| of.next() >= epoch);
        for (of, id) in self.claims.clone() {
            let Some(claim) = world.chain().record(of, &id).cloned() else { continue };
            let Ok(seats) = world.chain().shard_auditors(&claim) else { continue };
            self.claims.retain(|(_, known)| *known != id);
            for member in members.iter().map(|member| *member as usize) {
                let account = world.account(member);
                if seats.has(account) && world.is_online(member) {
                    let made = claim.record();
                    let ppm = 1_000_000;
                    let report = ReplayReport { overlap: ppm, cosine: ppm, norm: ppm };
                    let finding = Finding::Shard { record: id, verdict: Verdict::Pass, report };
                    let body = AuditBody { of: made.account, work: made.subject, finding };
                    let subject = audit_subject(made.account, &made.subject);
                    let audit = Record { epoch: of, account, subject, body: Body::Audit(body) };
                    world.sign(member, audit, Span::ZERO);
                }
            }
        }
    }
}

/// A close of a round that names a checkpoint, over nothing that there is.
fn close(claim: &Record, round: Round, next: Hash) -> Record {
    let Body::Shard(shard) = &claim.body else { unreachable!("what is claimed is a shard") };
    let (model, base) = (shard.model, blake3(&next.0));
    let body = RoundCloseBody { model, round, base, shards: vec![Digest::ZERO], next };
    let subject = round_subject(model, round, &base);
    Record { subject, body: Body::RoundClose(body), ..claim.clone() }
}
