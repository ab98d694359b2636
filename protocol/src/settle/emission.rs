//! What the vault pays for: proven replicas, verified shards, audits, the work of attributing.
//!
//! Each pot is divided by the work that was *due*, so that a failure enriches nobody: its part stays
//! in the vault.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use super::{Ledger, Source, Unpaid, fees::Redeemed};
use crate::{
    blob::BlobRef,
    codec::Wire as _,
    draw,
    hash::blake3,
    holding,
    ids::{AccountId, BlockNumber, Digest, Epoch},
    math::{BPS, mul_div},
    record::{Body, Kind, Verdict, VerifiedRecord, storage_subject},
    rules::{attribution_auditors, committed_in_time, judge_storage, verdict},
    training::{RunConfig, ShardTask},
};

/// What became of one holder's proof.
enum Shown {
    Proven { replicas: u32, bytes: u64, record: Digest },
    Unpaid(Unpaid, Digest),
}

impl Ledger<'_> {
    fn pot(&self, bps: u32) -> u128 {
        mul_div(self.chain.budget.0, u128::from(bps), BPS).unwrap_or(0)
    }

    pub(super) fn pay_storage(&mut self) {
        let placement = self.chain.placement(self.epoch);
        let pot = self.pot(self.chain.params().economics.emission_storage_bps);
        for (holder, packs) in placement.holders() {
            let auditors = self.chain.storage_auditors(self.epoch, holder);
            match self.judge_holder(holder, packs, &auditors) {
                Shown::Proven { replicas, bytes, record } => {
                    self.replicas_proven = self.replicas_proven.saturating_add(replicas);
                    self.proven.insert(holder, bytes);
                    let amount = mul_div(pot, u128::from(bytes), placement.bytes()).unwrap_or(0);
                    self.pay(holder, Source::Storage, amount, record);
                }
                Shown::Unpaid(reason, record) => {
                    if reason == Unpaid::WrongProof {
                        self.storage_faults = self.storage_faults.saturating_add(1);
                    }
                    self.refuse(holder, Source::Storage, record, reason);
                }
            }
        }
    }

    fn judge_holder(
        &mut self,
        holder: AccountId,
        packs: &[BlobRef],
        auditors: &[AccountId],
    ) -> Shown {
        let subject = storage_subject(self.epoch, holder);
        let commit = self.records.get(&(Kind::StorageCommit, holder, subject)).cloned();
        let Some(commit) = commit.filter(|commit| committed_in_time(self.chain, commit)) else {
            return Shown::Unpaid(Unpaid::NotCommitted, Digest::ZERO);
        };
        self.audits_due = self.audits_due.saturating_add(auditors.len() as u64);
        let Some(proof) = self.records.get(&(Kind::StorageProof, holder, subject)).cloned() else {
            self.credit_missing(&subject, auditors);
            return Shown::Unpaid(Unpaid::NotOpened, commit.id());
        };
        let Some(verdict) = self.judge_proof(&commit, &proof) else {
            self.credit_missing(&subject, auditors);
            return Shown::Unpaid(Unpaid::NotOpened, proof.id());
        };
        let agreeing = self.credit_audits(&proof, verdict, auditors);
        match verdict {
            Verdict::Fail => Shown::Unpaid(Unpaid::WrongProof, proof.id()),
            Verdict::Pass
                if !verdict::is_seen(agreeing, self.count_missing(&subject, auditors)) =>
            {
                Shown::Unpaid(Unpaid::NoQuorum, proof.id())
            }
            Verdict::Pass => {
                let absent = match &commit.record().body {
                    Body::StorageCommit(body) => body.absent.as_slice(),
                    _ => &[],
                };
                let cell_bytes = self.chain.params().holding.cell_bytes;
                let inventory = holding::Inventory::owed(packs, absent, cell_bytes);
                let replicas = u32::try_from(inventory.packs().len()).unwrap_or(u32::MAX);
                Shown::Proven { replicas, bytes: inventory.bytes(), record: proof.id() }
            }
        }
    }

    /// The verdict on a proof; `None` where the openings that it names are not at hand.
    fn judge_proof(&mut self, commit: &VerifiedRecord, proof: &VerifiedRecord) -> Option<Verdict> {
        let Body::StorageProof(body) = &proof.record().body else { return Some(Verdict::Fail) };
        let openings = self.evidence.openings.get(&body.openings)?;
        if blake3(openings) != body.openings {
            return None;
        }
        self.used_openings.insert(body.openings, openings.clone());
        Some(judge_storage(self.chain, commit, proof, openings))
    }

    /// Credits the drawn auditors whose verdict is the right one; gives how many there are.
    fn credit_audits(
        &mut self,
        record: &VerifiedRecord,
        right: Verdict,
        drawn: &[AccountId],
    ) -> usize {
        let verdicts = self.verdicts_on(record);
        let mut seen = BTreeSet::new();
        for (by, verdict, audit) in verdicts {
            if verdict == right && drawn.contains(&by) && seen.insert(by) {
                self.good_audits.push((by, audit.id()));
            }
        }
        seen.len()
    }

    /// How many of the drawn auditors say that nothing came in time.
    fn count_missing(&self, work: &Digest, drawn: &[AccountId]) -> usize {
        drawn.iter().filter(|auditor| self.missing.contains_key(&(**auditor, *work))).count()
    }

    fn credit_missing(&mut self, work: &Digest, drawn: &[AccountId]) {
        for auditor in drawn {
            if let Some(audit) = self.missing.get(&(*auditor, *work)) {
                self.good_audits.push((*auditor, audit.id()));
            }
        }
    }

    pub(super) fn pay_shards(&mut self) {
        let pot = self.pot(self.chain.params().economics.emission_shards_bps);
        let mut judged: Vec<_> = self
            .of_kind(Kind::ShardResult)
            .into_iter()
            .map(|shard| {
                let verdict = self.judge_shard(&shard);
                (shard, verdict)
            })
            .collect();
        // Of two who did the same, the first in a block is paid: the other may have copied it.
        judged.sort_by_key(|(shard, _)| (self.anchored_alone(shard), shard.id()));
        let due = judged.iter().filter(|(_, verdict)| verdict.is_some()).count();
        let share = pot.checked_div(due as u128).unwrap_or(0);
        let mut paid = BTreeSet::new();
        for (shard, verdict) in judged {
            let made = shard.record();
            match verdict {
                Some(Verdict::Pass) => {
                    self.shards_verified = self.shards_verified.saturating_add(1);
                    if paid.insert(made.subject) {
                        self.pay(made.account, Source::Shards, share, shard.id());
                    } else {
                        let reason = Unpaid::DoneBefore;
                        self.refuse(made.account, Source::Shards, shard.id(), reason);
                    }
                    if let Some(datanet) = self.datanet_of(&shard) {
                        let used = self.use_mut(datanet);
                        used.shards = used.shards.saturating_add(1);
                    }
                }
                Some(_) => {
                    self.shards_rejected = self.shards_rejected.saturating_add(1);
                    let reason = Unpaid::ShardRejected;
                    self.refuse(made.account, Source::Shards, shard.id(), reason);
                }
                None => {
                    self.refuse(made.account, Source::Shards, shard.id(), Unpaid::NotAudited);
                }
            }
        }
    }

    /// The verdict of the drawn auditor on a shard, which is credited for it.
    fn judge_shard(&mut self, shard: &VerifiedRecord) -> Option<Verdict> {
        let Body::Shard(body) = &shard.record().body else { return None };
        let (_, model) = self.chain.model(body.model)?;
        let config = RunConfig::from_bytes(&model.config).ok()?;
        let members = self.chain.run_members(body.model)?;
        let own = members.iter().position(|member| *member == shard.record().account)?;
        let is_training = config.task(body.round) == ShardTask::Train;
        if body.round.0 > config.rounds || (is_training && u32::try_from(own) != Ok(body.slot)) {
            return None;
        }
        let block = self.anchored_alone(shard)?;
        let hash = self.chain.hash_after(block)?;
        let count = self.chain.params().training.auditors;
        let worker = shard.record().account;
        let drawn = draw::shard_auditors(&hash, &shard.id(), worker, &members, count);
        self.verdict_of_drawn(shard, &drawn)
    }

    fn verdict_of_drawn(
        &mut self,
        record: &VerifiedRecord,
        drawn: &[AccountId],
    ) -> Option<Verdict> {
        self.audits_due = self.audits_due.saturating_add(drawn.len() as u64);
        let verdict = majority(&self.verdicts_by(record, drawn), drawn)?;
        self.credit_audits(record, verdict, drawn);
        Some(verdict)
    }

    /// The verdicts of the drawn auditors on a record.
    fn verdicts_by(
        &self,
        record: &VerifiedRecord,
        drawn: &[AccountId],
    ) -> Vec<(AccountId, Verdict, Arc<VerifiedRecord>)> {
        let mut verdicts = self.verdicts_on(record);
        verdicts.retain(|(by, ..)| drawn.contains(by));
        verdicts
    }

    fn datanet_of(&self, record: &VerifiedRecord) -> Option<crate::DatanetId> {
        let model = match &record.record().body {
            Body::Shard(body) => body.model,
            Body::Attribution(body) => body.model,
            _ => return None,
        };
        self.chain.model(model).map(|(_, model)| model.datanet)
    }

    /// Whoever attributed an output that was paid for gets the platform's part of its fee, and less of
    /// it where the pot is too small for all. One who is customer, server, developer and contributor
    /// at once so gets back at most what it paid, whatever others pay.
    pub(super) fn pay_attribution_work(&mut self, fees: &[Redeemed]) {
        let pot = self.pot(self.chain.params().economics.emission_attribution_bps);
        let parts = self.platform_parts(fees);
        let (mut due, mut sum) = (Vec::new(), 0u128);
        for output in self.of_kind(Kind::Attribution) {
            let part = parts.get(&output.id()).filter(|_| self.is_servers(&output));
            if let Some(part) = part {
                sum = sum.saturating_add(*part);
                due.push((output, *part));
            } else {
                let account = output.record().account;
                self.refuse(account, Source::Serving, output.id(), Unpaid::NotRedeemed);
            }
        }
        for (output, part) in due {
            let account = output.record().account;
            if self.judge_attribution(&output) != Some(Verdict::Pass) {
                self.refuse(account, Source::Serving, output.id(), Unpaid::NotAudited);
                continue;
            }
            let amount = mul_div(pot, part, sum.max(pot)).unwrap_or(0);
            self.pay(account, Source::Serving, amount, output.id());
            if let Some(datanet) = self.datanet_of(&output) {
                let used = self.use_mut(datanet);
                used.outputs = used.outputs.saturating_add(1);
            }
        }
    }

    /// The platform's part of the fee of each output of the epoch. Work at the end of an epoch counts
    /// for the next one, so the fee may have been redeemed an epoch earlier.
    fn platform_parts(&mut self, fees: &[Redeemed]) -> BTreeMap<Digest, u128> {
        let rate = u128::from(self.chain.params().economics.fee_platform_bps);
        let mut parts = BTreeMap::new();
        let before = self.epoch.0.checked_sub(1).map(|before| self.redeemed(Epoch(before)));
        for redeemed in before.iter().flatten().chain(fees) {
            let is_of_epoch = |record: &VerifiedRecord| record.record().epoch == self.epoch;
            if !redeemed.outputs.iter().any(|(output, _)| is_of_epoch(output)) {
                continue;
            }
            for (output, fee) in &redeemed.outputs {
                parts.insert(output.id(), mul_div(*fee, rate, BPS).unwrap_or(0));
                // The fee of one output follows from those before it.
                self.extra.insert(output.id(), Arc::clone(output));
            }
        }
        parts
    }

    /// Whether an output was served by who offered the model in the epoch.
    fn is_servers(&self, output: &VerifiedRecord) -> bool {
        let Body::Attribution(body) = &output.record().body else { return false };
        let end = self.chain.schedule.start(self.epoch.next());
        self.chain.was_server(body.model, output.record().account, (self.start_block(), end))
    }

    fn judge_attribution(&mut self, output: &VerifiedRecord) -> Option<Verdict> {
        self.anchored_alone(output)?;
        let drawn = attribution_auditors(self.chain, output)?;
        self.verdict_of_drawn(output, &drawn)
    }

    /// The verdict on an attribution of any epoch with the audits behind it, without crediting anybody.
    pub(super) fn attribution_verdict(
        &self,
        output: &VerifiedRecord,
    ) -> Option<(Verdict, Vec<Arc<VerifiedRecord>>)> {
        self.anchored_alone(output)?;
        let drawn = attribution_auditors(self.chain, output)?;
        let verdicts = self.verdicts_by(output, &drawn);
        let verdict = majority(&verdicts, &drawn)?;
        Some((verdict, verdicts.into_iter().map(|(_, _, audit)| audit).collect()))
    }

    pub(super) fn pay_audits(&mut self) {
        let pot = self.pot(self.chain.params().economics.emission_audits_bps);
        let share = pot.checked_div(u128::from(self.audits_due)).unwrap_or(0);
        for (account, record) in core::mem::take(&mut self.good_audits) {
            self.pay(account, Source::Audits, share, record);
        }
    }

    pub(super) const fn start_block(&self) -> BlockNumber {
        self.chain.schedule.start(self.epoch)
    }
}

/// What the drawn auditors that were heard say together.
fn majority(
    heard: &[(AccountId, Verdict, Arc<VerifiedRecord>)],
    drawn: &[AccountId],
) -> Option<Verdict> {
    verdict::majority(heard.iter().map(|(_, verdict, _)| *verdict), drawn.len())
}
