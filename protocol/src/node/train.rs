//! Training runs: shards, audits by replay, and the close of each round.
//!
//! Everything is derived from records and the chain at every block, so a node that restarts or joins
//! late catches up by reading the same records: a round whose close is included needs no work, only
//! the checkpoint.

mod burden;
mod fork;
mod round;
mod run;
mod slots;

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use round::{RoundState, Seen, fallback_wait};

use super::{Done, Event, Failure, Job, Node, Pending as NodePending, nodes_of};
use crate::{
    blob::BlobRef,
    chain::ChainView,
    ids::{AccountId, BlockNumber, Digest, Epoch, Hash, ModelId, Round},
    merkle,
    order::Needs,
    record::{
        AuditBody, Body, Finding, ReplayReport, RoundCloseBody, ShardBody, Verdict, VerifiedRecord,
        audit_subject, round_subject, shard_subject,
    },
    rules::{included_in, work_epoch},
    training::{RunConfig, ShardTask, round_seed, shard_seed},
};

/// How far a training run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The run that it is about.
    pub model: ModelId,
    /// The round that is open.
    pub round: Round,
    /// Training rounds in all.
    pub rounds: u32,
    /// The checkpoint now; `None` until the run is prepared.
    pub checkpoint: Option<Hash>,
    /// Whether sketches are captured and the model can be served.
    pub is_ready: bool,
}

/// One training run as this node sees it.
#[derive(Debug)]
pub(super) struct Run {
    model: ModelId,
    config: RunConfig,
    /// What its jobs cost at most.
    needs: Needs,
    /// Whose each slot is, by account: drawn when the run was ordered.
    slots: Vec<AccountId>,
    units: u32,
    stage: Stage,
    retry_at: BlockNumber,
    /// Jobs that failed since one was done, and times that the process ended during one.
    failures: u32,
    ended: u32,
    records: BTreeMap<Round, RoundState>,
    orphans: round::Orphans,
    /// Rounds to which it may have to go back.
    left: fork::Trail,
}

#[derive(Debug)]
enum Stage {
    New,
    Preparing,
    Open(Open),
    Ready(Hash),
}

/// The round that is open.
#[derive(Debug, Clone)]
struct Open {
    round: Round,
    /// The block in which it opened.
    since: BlockNumber,
    seed: Digest,
    base: Hash,
    own: Own,
    /// The last epoch with which this node labelled its own shard once more.
    signed_again: Option<Epoch>,
    /// Whether this node is aggregating, as leader or to follow a close.
    is_aggregating: bool,
    has_closed: bool,
}

/// This node's own shard of the open round.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Own {
    None,
    Computing,
    /// Computed for this slot. Until it comes back signed there is nothing to compute again.
    Done(u32),
}

/// Which training job is running.
#[derive(Debug, Clone)]
pub(super) enum Pending {
    Prepare(ModelId),
    /// A slot, and the checkpoint that its work starts from.
    Compute(ModelId, Round, u32, Hash),
    Replay(ModelId, Round, Digest),
    /// The shards that are aggregated, and the checkpoint that they start from.
    Lead(ModelId, Round, Hash, Vec<Digest>),
    Follow(ModelId, Round, Arc<VerifiedRecord>),
}

/// The root of the sketches of a run, from its payloads by slot; it stands where training rounds
/// have a checkpoint.
fn closing_root(payloads: &[BlobRef]) -> Digest {
    let leaves: Vec<_> = payloads.iter().map(|payload| payload.hash.0).collect();
    merkle::root(&leaves)
}

impl Node {
    pub(super) fn advance_runs(&mut self, chain: &ChainView) {
        self.learn_runs(chain);
        let ids: Vec<_> = self.runs.keys().copied().collect();
        for id in ids {
            // The run is taken out while it advances, so that it can ask the node for things.
            if let Some(mut run) = self.runs.remove(&id) {
                self.advance_run(chain, &mut run);
                self.runs.insert(id, run);
            }
        }
    }

    fn advance_run(&mut self, chain: &ChainView, run: &mut Run) {
        let now = chain.now();
        // Whatever failed last may fail again at once: bytes that nobody had do not come by asking.
        if now < run.retry_at {
            return;
        }
        // Auditors first: which shards passed, and so which close is in order, depends on them.
        run.draw_auditors(chain);
        if let Some(round) = run.go_back(chain) {
            self.tell(Event::RoundReopened { model: run.model, round });
        }
        match &run.stage {
            Stage::New if self.lacks_memory(run).is_some() => {}
            Stage::New => {
                run.stage = Stage::Preparing;
                let pending = NodePending::Train(Pending::Prepare(run.model));
                self.start(pending, Job::Prepare { model: run.model });
            }
            Stage::Open(open) => {
                let open = open.clone();
                // A close that is in order ends the round for this node, whatever it was about to do
                // in it: others go on from there, and what it would add now is for nothing.
                if let Some(close) = run.best_close(chain, &open) {
                    self.follow(chain, run, &open, close);
                    return;
                }
                self.work(chain, run, &open, now);
                self.audit_shards(chain, run, &open);
                self.lead(chain, run, &open, now);
            }
            Stage::Ready(_) => run.forget_trail(chain, now),
            Stage::Preparing => {}
        }
    }

    /// Computes this node's own shard.
    fn work(&mut self, chain: &ChainView, run: &mut Run, open: &Open, now: BlockNumber) {
        let Some(slot) = run.slot_to_work(chain, open, self.account, now) else { return };
        let own = run.own_shard(open, self.account, slot);
        match (&open.own, own) {
            // Asked for, and its answer is still to come.
            (Own::Computing, _) => {}
            (_, Some(shard)) => {
                let (made, label) = (shard.record(), work_epoch(chain));
                let is_late = included_in(chain, &shard).is_none() && made.epoch < chain.epoch();
                // Its epoch is over, and its audit would come too late: the same work again under a label
                // that still counts. Once for each label, since a run that has no place for one more of
                // this node's shards never shows it.
                if is_late && open.signed_again < Some(label) {
                    self.sign(label, made.subject, made.body.clone());
                    if let Some(open) = run.open_mut() {
                        open.signed_again = Some(label);
                    }
                }
            }
            // Computed and on its way to be signed; computing it again would sign it twice.
            (Own::Done(of), None) if *of == slot => {}
            (_, None) if self.config.computes && !run.slot_passed(open, slot) => {
                assert!(run.has_slot(slot), "a member computes a slot that the round has");
                let job = Job::Compute {
                    model: run.model,
                    round: open.round,
                    slot,
                    base: open.base,
                    units: run.units_of(&open.seed, open.round, slot),
                    seed: shard_seed(&open.seed, slot),
                    task: run.config.task(open.round),
                };
                let pending = Pending::Compute(run.model, open.round, slot, open.base);
                self.start(NodePending::Train(pending), job);
                if let Some(open) = run.open_mut() {
                    open.own = Own::Computing;
                }
            }
            (_, None) => {}
        }
    }

    /// Replays the shards for which this node was drawn.
    fn audit_shards(&mut self, chain: &ChainView, run: &mut Run, open: &Open) {
        if !self.config.computes {
            return;
        }
        // Shards that start from another checkpoint are not judged: this node may not have it, and if
        // their branch wins, the run goes back and judges them then.
        let duties: Vec<_> = run
            .on_branch(open)
            .filter(|seen| !seen.is_audited_here && !seen.is_judged_by(self.account))
            .filter(|seen| seen.is_audited_by(self.account))
            .filter(|seen| run.is_due(chain, open, seen))
            .map(|seen| (Arc::clone(&seen.record), run.is_repeated(chain, open, seen)))
            .collect();
        for (record, is_repeated) in duties {
            let Body::Shard(shard) = &record.record().body else { continue };
            run.mark_audited(open.round, &record.id());
            // What needs no replay to be refused is refused without: the same work twice, or a slot
            // that is not the worker's.
            if is_repeated || !run.is_own_work(chain, open, record.record().account, shard.slot) {
                self.refuse_shard(&record);
                continue;
            }
            let job = Job::Replay {
                shard: shard.clone(),
                units: run.units_of(&open.seed, open.round, shard.slot),
                seed: shard_seed(&open.seed, shard.slot),
                task: run.config.task(open.round),
                from: nodes_of(chain, &[record.record().account]),
            };
            let pending = Pending::Replay(run.model, open.round, record.id());
            self.start(NodePending::Train(pending), job);
        }
    }

    /// Closes the round when it is this node's turn.
    fn lead(&mut self, chain: &ChainView, run: &mut Run, open: &Open, now: BlockNumber) {
        let has_closed = open.has_closed || run.own_close(open, self.account).is_some();
        if open.is_aggregating || has_closed || !run.may_close(chain, open, self.account, now) {
            return;
        }
        // What passed by now is what the close lists; a verdict that comes while the step is taken does
        // not change it, since followers accept any list of which each shard has a pass.
        let passed = run.passed(open);
        let records: Vec<_> = passed.iter().map(|seen| seen.record.id()).collect();
        self.aggregate(chain, run, open, &passed, None, |model, round| {
            let mut shards = records;
            shards.sort_unstable();
            Pending::Lead(model, round, open.base, shards)
        });
    }

    /// Takes the step that an included close fixes.
    fn follow(
        &mut self,
        chain: &ChainView,
        run: &mut Run,
        open: &Open,
        close: Arc<VerifiedRecord>,
    ) {
        let Body::RoundClose(body) = &close.record().body else { return };
        if open.is_aggregating {
            return;
        }
        let listed: Vec<_> = run
            .shards(open.round)
            .filter(|seen| body.shards.contains(&seen.record.id()))
            .cloned()
            .collect();
        let expected = Some(body.next);
        self.aggregate(chain, run, open, &listed, expected, |model, round| {
            Pending::Follow(model, round, Arc::clone(&close))
        });
    }

    fn aggregate(
        &mut self,
        chain: &ChainView,
        run: &mut Run,
        open: &Open,
        shards: &[Seen],
        expected: Option<Hash>,
        pending: impl FnOnce(ModelId, Round) -> Pending,
    ) {
        let payloads = canonical_payloads(shards);
        if let Some(open) = run.open_mut() {
            open.is_aggregating = true;
        }
        let (model, round) = (run.model, open.round);
        if run.config.task(round) == ShardTask::Sketch {
            // The root of the sketches needs no bytes.
            let next = Hash(closing_root(&payloads).0);
            let pending = pending(model, round);
            self.on_aggregated(chain, run, pending, &Done::Aggregated(next));
            return;
        }
        let workers: Vec<_> = shards.iter().map(|seen| seen.record.record().account).collect();
        let from = nodes_of(chain, &workers);
        let job = Job::Aggregate { model, base: open.base, payloads, from, expected };
        self.start(NodePending::Train(pending(model, round)), job);
    }

    pub(super) fn on_trained(&mut self, chain: &ChainView, pending: Pending, done: Done) {
        let model = match &pending {
            Pending::Prepare(model)
            | Pending::Compute(model, ..)
            | Pending::Replay(model, ..)
            | Pending::Lead(model, ..)
            | Pending::Follow(model, ..) => *model,
        };
        let Some(mut run) = self.runs.remove(&model) else { return };
        // An answer may be to a question of a round that the run has left since; each arm looks
        // whether it still stands where it asked.
        match pending {
            Pending::Prepare(_) => run.on_prepared(chain, &done),
            Pending::Compute(_, round, slot, base) => {
                self.on_computed(chain, &mut run, (round, slot, base), done);
            }
            Pending::Replay(_, round, record) => {
                self.on_replayed(chain, &mut run, round, &record, &done);
            }
            Pending::Lead(..) | Pending::Follow(..) => {
                self.on_aggregated(chain, &mut run, pending, &done);
            }
        }
        self.advance_run(chain, &mut run);
        self.runs.insert(model, run);
    }

    fn on_computed(
        &mut self,
        chain: &ChainView,
        run: &mut Run,
        (round, slot, base): (Round, u32, Hash),
        done: Done,
    ) {
        let model = run.model;
        let Some(open) = run.open_from(round, base) else { return };
        match done {
            Done::Computed(shard)
                if (shard.model, shard.round, shard.slot, shard.base)
                    == (model, round, slot, base) =>
            {
                open.own = Own::Done(slot);
                run.failures = 0;
                let subject = shard_subject(model, round, slot, &base);
                self.sign(work_epoch(chain), subject, Body::Shard(shard));
            }
            // Another shard than asked for is no better than none.
            other => {
                open.own = Own::None;
                run.back_off(chain, &other);
            }
        }
    }

    fn on_replayed(
        &mut self,
        chain: &ChainView,
        run: &mut Run,
        round: Round,
        record: &Digest,
        done: &Done,
    ) {
        let Some(seen) = run.shard(round, record) else { return };
        // After a restart the log may bring this node's own verdict while the replay still runs.
        if run.is_judged(round, record, self.account) {
            return;
        }
        match done {
            Done::Replayed(report) => {
                let report = *report;
                if report.accepts(&chain.params().training) {
                    self.report_shard(&seen, Verdict::Pass, report);
                } else {
                    let (account, model) = (seen.record().account, run.model);
                    self.tell(Event::ShardRejected { account, model, round, report });
                    self.report_shard(&seen, Verdict::Fail, report);
                }
            }
            Done::Failed(Failure::Invalid) => self.refuse_shard(&seen),
            // Bytes that are not there yet, or this node's own trouble, say nothing about the worker.
            _ => {
                run.unmark_audited(round, record);
                run.back_off(chain, done);
            }
        }
    }

    /// Fails a shard without having replayed it.
    fn refuse_shard(&mut self, shard: &VerifiedRecord) {
        self.report_shard(shard, Verdict::Fail, ReplayReport::NOTHING);
    }

    fn report_shard(&mut self, shard: &VerifiedRecord, verdict: Verdict, report: ReplayReport) {
        let made = shard.record();
        assert!(made.account != self.account, "nobody audits its own shard");
        let body = AuditBody {
            of: made.account,
            work: made.subject,
            finding: Finding::Shard { record: shard.id(), verdict, report },
        };
        // The audit is settled together with what it judges.
        self.sign(made.epoch, audit_subject(made.account, &made.subject), Body::Audit(body));
    }

    fn on_aggregated(&mut self, chain: &ChainView, run: &mut Run, pending: Pending, done: &Done) {
        let from = match &pending {
            Pending::Lead(_, round, base, _) => (*round, *base),
            Pending::Follow(_, round, close) => match &close.record().body {
                Body::RoundClose(body) => (*round, body.base),
                _ => return,
            },
            _ => return,
        };
        let Some(open) = run.open_from(from.0, from.1) else { return };
        open.is_aggregating = false;
        let Done::Aggregated(next) = done else {
            run.back_off(chain, done);
            return;
        };
        match pending {
            Pending::Lead(model, round, base, shards) => {
                open.has_closed = true;
                let body = RoundCloseBody { model, round, base, shards, next: *next };
                let subject = round_subject(model, round, &base);
                self.sign(work_epoch(chain), subject, Body::RoundClose(body));
            }
            Pending::Follow(_, round, close) => {
                let Body::RoundClose(body) = &close.record().body else { return };
                // The step is integer arithmetic, so another result is a lie and not a rounding.
                if body.next == *next {
                    self.close_round(chain, run, &close, body);
                } else {
                    run.distrust(round, &close.id());
                    self.tell(Event::CheckpointMismatch { model: run.model, round });
                }
            }
            _ => {}
        }
    }

    fn close_round(
        &mut self,
        chain: &ChainView,
        run: &mut Run,
        close: &VerifiedRecord,
        body: &RoundCloseBody,
    ) {
        let Some(block) = included_in(chain, close) else { return };
        let Some(hash) = chain.hash_after(block) else { return };
        let Some(open) = run.open_mut().map(|open| open.clone()) else { return };
        // Kept, not forgotten: most members may turn out to follow another close of this round.
        run.leave(&open, close, block);
        assert!(!body.shards.is_empty(), "a round never closes over nothing");
        let shards = u32::try_from(body.shards.len()).unwrap_or(u32::MAX);
        let (model, round) = (run.model, body.round);
        if run.config.task(round) == ShardTask::Sketch {
            let listed: Vec<_> = run
                .shards(round)
                .filter(|seen| body.shards.contains(&seen.record.id()))
                .cloned()
                .collect();
            let sketches = canonical_payloads(&listed);
            let sketch_root = Digest(body.next.0);
            // Sketches change no weights: the checkpoint is the one that they were captured from.
            run.stage = Stage::Ready(body.base);
            let checkpoint = body.base;
            self.tell(Event::ModelReady { model, checkpoint, sketches, sketch_root });
            return;
        }
        let seed = round_seed(&hash, round.next());
        run.enter(round.next(), block, seed, body.next);
        self.tell(Event::RoundClosed { model, round, checkpoint: body.next, shards });
    }

    /// Keeps a record of an open or coming round.
    pub(super) fn on_training_record(&mut self, chain: &ChainView, record: &Arc<VerifiedRecord>) {
        let model = match &record.record().body {
            Body::Shard(shard) => Some(shard.model),
            Body::RoundClose(close) => Some(close.model),
            _ => None,
        };
        // The record may be the first thing that this node hears of a run that the chain has.
        self.learn_runs(chain);
        for run in self.runs.values_mut() {
            if model.is_none_or(|model| model == run.model) {
                run.keep(record);
            }
        }
        // A shard of another is nothing to act on before it is included, which a block tells.
        let is_idle = matches!(record.record().body, Body::Shard(_))
            && record.record().account != self.account
            && included_in(chain, record).is_none();
        if self.epoch.is_none() || is_idle {
            return;
        }
        if let Some(mut run) = model.and_then(|model| self.runs.remove(&model)) {
            self.advance_run(chain, &mut run);
            self.runs.insert(run.model, run);
        }
    }

    /// Begins the runs that the chain has and this node does not, so that there is room for their records.
    fn learn_runs(&mut self, chain: &ChainView) {
        for (_, model) in chain.models() {
            if !self.runs.contains_key(&model.id)
                && let Some(run) = Run::new(chain, model.id)
            {
                self.runs.insert(model.id, run);
            }
        }
    }
}

/// Payloads in the order in which they are aggregated: by slot.
fn canonical_payloads(shards: &[Seen]) -> Vec<BlobRef> {
    let mut bodies: Vec<&ShardBody> = shards
        .iter()
        .filter_map(|seen| match &seen.record.record().body {
            Body::Shard(body) => Some(body),
            _ => None,
        })
        .collect();
    bodies.sort_unstable_by_key(|body| body.slot);
    let is_one_each = bodies.is_sorted_by(|a, b| a.slot < b.slot);
    assert!(is_one_each, "a checkpoint takes one update of each slot");
    bodies.into_iter().map(ShardBody::payload_blob).collect()
}
