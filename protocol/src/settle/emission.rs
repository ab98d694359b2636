//! What the vault pays for: proven replicas, audits, the work of attributing; verified shards stand apart.
//!
//! Each pot is divided by the work that was *due*, so that a failure enriches nobody: its part stays
//! in the vault. Of storage that is due which can be proven at all.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use super::{
    Credit, Invariant, Line, Source, Unpaid,
    fees::Redeemed,
    invariant,
    ledger::{Ledger, count_one},
};
use crate::{
    blob::BlobRef,
    chain::Dispute,
    draw::Seats,
    holding,
    ids::{AccountId, Amount, BlockNumber, Digest},
    math::{BPS, mul_div},
    placement::Placement,
    record::{Body, Kind, Verdict, VerifiedRecord, storage_subject},
    rules::{attribution_auditors, commits_to_assigned, committed_in_time, shown_in_time, verdict},
};

/// What became of one holder's proof.
enum Shown {
    Proven(Vec<BlobRef>, Digest),
    Unpaid(Unpaid, Digest),
}

/// Bytes of the replicas that could have been proven, of all holders and of newcomers: those of packs that
/// somebody proved. A pack that nobody has makes nobody poorer.
struct Provable {
    all: u128,
    newcomers: u128,
}

fn provable(
    placement: &Placement,
    proven: &[(AccountId, Vec<BlobRef>, Digest)],
) -> Result<Provable, Invariant> {
    let add = |sum: u128, bytes| sum.checked_add(bytes).ok_or(Invariant::Count("bytes to prove"));
    let seen: BTreeSet<_> = proven.iter().flat_map(|(_, packs, _)| packs).collect();
    let mut due = Provable { all: 0, newcomers: 0 };
    for (holder, packs) in placement.holders() {
        let lengths = packs.iter().filter(|pack| seen.contains(pack));
        let bytes = lengths.map(|pack| u128::from(pack.length)).try_fold(0, add)?;
        due.all = add(due.all, bytes)?;
        if placement.is_newcomer(holder) {
            due.newcomers = add(due.newcomers, bytes)?;
        }
    }
    Ok(due)
}

impl Ledger<'_> {
    /// What the vault pays at most for one kind of work in an epoch.
    pub(super) fn pot(&self, bps: u32) -> Result<u128, Invariant> {
        let budget = self.chain.budget_of(self.epoch).0;
        let pot = mul_div(budget, u128::from(bps), BPS).ok_or(Invariant::Pot(bps))?;
        if pot <= budget { Ok(pot) } else { Err(Invariant::Pot(bps)) }
    }

    /// Pays every holder for the bytes that it proved, as a part of all that could have been proven.
    pub(super) fn pay_storage(&mut self) -> Result<(), Invariant> {
        let placement = self.chain.placement(self.epoch);
        let pot = self.pot(self.chain.params().economics.emission_storage_bps)?;
        let mut proven = Vec::new();
        let (paid_before, refused_before) = (self.lines.len(), self.zeros.len());
        for (holder, packs) in placement.holders() {
            let auditors = self.chain.storage_auditors(self.epoch, holder);
            invariant::are_others(storage_subject(self.epoch, holder), holder, &auditors)?;
            match self.judge_holder(holder, packs, &auditors)? {
                Shown::Proven(packs, record) => proven.push((holder, packs, record)),
                Shown::Unpaid(reason, record) => {
                    if matches!(reason, Unpaid::WrongProof | Unpaid::NotShown) {
                        count_one(&mut self.storage_faults, "storage faults")?;
                    }
                    self.refuse(holder, Source::Storage, record, reason);
                }
            }
        }
        let refused = self.zeros.len().checked_sub(refused_before);
        let judged = refused.and_then(|refused| refused.checked_add(proven.len()));
        let judged = judged.ok_or(Invariant::Count("judged holders"))?;
        let due = provable(&placement, &proven)?;
        let lane = self.newcomers_pot(pot, &due)?;
        for (holder, packs, record) in proven {
            let replicas = u32::try_from(packs.len()).ok();
            let count = replicas.and_then(|count| self.replicas_proven.checked_add(count));
            self.replicas_proven = count.ok_or(Invariant::Count("proven replicas"))?;
            let bytes = BlobRef::total(&packs);
            let is_newcomer = placement.is_newcomer(holder);
            let (pot, of) = if is_newcomer { (lane, due.newcomers) } else { (pot, due.all) };
            // What consumers pay for storage is of those who have something at stake.
            if !is_newcomer {
                self.proven.insert(holder, bytes);
            }
            // Packs of no bytes are nothing to be paid for, and leave nothing to divide by.
            if bytes > 0 {
                let amount = mul_div(pot, u128::from(bytes), of);
                let amount = Amount(amount.ok_or(Invariant::Part(Source::Storage))?);
                let (account, source, is_held) = (holder, Source::Storage, is_newcomer);
                self.write(Line { account, source, amount, is_held, record });
            }
        }
        let holders = placement.holders().count();
        if judged != holders {
            return Err(Invariant::Holders { holders, judged });
        }
        if u64::from(self.replicas_proven) > placement.replicas() {
            return Err(Invariant::Count("proven replicas"));
        }
        invariant::within_pot(Source::Storage, pot, self.lines_since(paid_before)?)
    }

    /// What newcomers are paid at most for all that they are to hold: what anybody is for it, and of the
    /// pot no more than their part. What is above stays in the vault.
    fn newcomers_pot(&self, pot: u128, due: &Provable) -> Result<u128, Invariant> {
        let by_bytes = mul_div(pot, due.newcomers, due.all.max(1));
        let bps = u128::from(self.chain.params().economics.newcomers_bps);
        let most = mul_div(pot, bps, BPS);
        by_bytes.zip(most).map(|(a, b)| a.min(b)).ok_or(Invariant::Part(Source::Storage))
    }

    /// Notes that audits of a piece of work were due for so many seats, done or not.
    pub(super) fn owe_audits(&mut self, count: usize) -> Result<(), Invariant> {
        let due = u64::try_from(count).ok().and_then(|count| self.audits_due.checked_add(count));
        self.audits_due = due.ok_or(Invariant::Count("audits due"))?;
        Ok(())
    }

    fn judge_holder(
        &mut self,
        holder: AccountId,
        packs: &[BlobRef],
        auditors: &Seats,
    ) -> Result<Shown, Invariant> {
        let subject = storage_subject(self.epoch, holder);
        let commit = self.records.get(&(Kind::StorageCommit, holder, subject)).cloned();
        let Some(commit) = commit.filter(|commit| committed_in_time(self.chain, commit)) else {
            return Ok(Shown::Unpaid(Unpaid::NotCommitted, Digest::ZERO));
        };
        self.owe_audits(auditors.len())?;
        let proof = self.records.get(&(Kind::StorageProof, holder, subject)).cloned();
        let Some(proof) = proof.filter(|proof| shown_in_time(self.chain, proof)) else {
            self.credit_missing(&subject, auditors);
            return Ok(Shown::Unpaid(Unpaid::NotOpened, commit.id()));
        };
        let (lost, credited) = (self.lost_disputes(holder), self.good_audits.len());
        // Whoever let pass what could not be shown was wrong, however many they are. What a holder, or who has
        // its key, signed besides is no fault of those who looked at what counts.
        let is_unshown = lost.iter().any(|dispute| dispute.commit == commit.id());
        let verdict = match is_unshown {
            true => Some(Verdict::Fail),
            false => self.judge_proof(&commit, &proof, auditors),
        };
        if let Some(verdict) = verdict {
            self.credit_audits(&proof, verdict, auditors);
        }
        if verdict.is_none() || is_unshown {
            self.credit_missing(&subject, auditors);
        }
        if is_unshown {
            let accusers = lost.iter().filter(|dispute| dispute.commit == commit.id());
            let accusers = accusers.map(|dispute| dispute.accuser);
            self.credit_accuser(&proof, auditors, accusers, credited)?;
        }
        Ok(match verdict {
            _ if !lost.is_empty() => Shown::Unpaid(Unpaid::NotShown, proof.id()),
            None => Shown::Unpaid(Unpaid::NoQuorum, proof.id()),
            Some(Verdict::Fail) => Shown::Unpaid(Unpaid::WrongProof, proof.id()),
            Some(Verdict::Pass) => {
                let absent = match &commit.record().body {
                    Body::StorageCommit(body) => body.absent.as_slice(),
                    _ => &[],
                };
                let cell_bytes = self.chain.params().holding.cell_bytes;
                let inventory = holding::Inventory::owed(packs, absent, cell_bytes);
                Shown::Proven(inventory.packs().to_vec(), proof.id())
            }
        })
    }

    /// The disputes in which a holder did not show a cell of what it committed to for the epoch. Nobody needs
    /// to have told the contract so: the time to show it was over before the cutoff.
    fn lost_disputes(&self, holder: AccountId) -> Vec<Dispute> {
        let cutoff = self.chain.schedule.cutoff(self.epoch);
        let disputes = self.chain.disputes_about(self.epoch, holder).iter().copied();
        disputes.filter(|dispute| dispute.until < cutoff && !dispute.is_answered).collect()
    }

    /// Pays who was drawn, doubted and disputed first what those were due who let pass what could not be
    /// shown. Nobody else is paid for a dispute: with a stolen key one signs what nobody can show, but is not
    /// drawn to look at it, and has nobody pass it. `credited` is where the credits of this holder begin.
    fn credit_accuser(
        &mut self,
        proof: &VerifiedRecord,
        drawn: &Seats,
        mut lost: impl Iterator<Item = AccountId>,
        credited: usize,
    ) -> Result<(), Invariant> {
        let mut wrong = 0u64;
        for (by, verdict, _) in self.verdicts_by(proof, drawn) {
            if verdict == Verdict::Pass {
                let sum = wrong.checked_add(drawn.of(by) as u64);
                wrong = sum.ok_or(Invariant::Count("seats of audits"))?;
            }
        }
        let credits = &self.good_audits;
        let place = |accuser| {
            let mut places = credits.iter().enumerate().skip(credited);
            places.find(|(_, credit)| credit.auditor == accuser).map(|(place, _)| place)
        };
        let credit = lost.find_map(place).and_then(|place| self.good_audits.get_mut(place));
        if let Some(credit) = credit {
            let seats = credit.seats.checked_add(wrong);
            credit.seats = seats.ok_or(Invariant::Count("seats of audits"))?;
        }
        Ok(())
    }

    /// The verdict of the drawn auditors on a proof. One that is of another commitment, or of one over
    /// something else than what was assigned, is wrong, whatever they say.
    fn judge_proof(
        &self,
        commit: &VerifiedRecord,
        proof: &VerifiedRecord,
        drawn: &Seats,
    ) -> Option<Verdict> {
        let is_of_it =
            matches!(&proof.record().body, Body::StorageProof(body) if body.commit == commit.id());
        if !is_of_it || !commits_to_assigned(self.chain, commit) {
            return Some(Verdict::Fail);
        }
        let heard = of_seats(&self.verdicts_by(proof, drawn), drawn);
        verdict::storage(heard, self.count_missing(&proof.record().subject, drawn))
    }

    /// Credits the drawn auditors whose verdict is the right one.
    fn credit_audits(&mut self, record: &VerifiedRecord, right: Verdict, drawn: &Seats) {
        for (by, verdict, audit) in self.verdicts_on(record) {
            if verdict == right {
                self.credit(by, audit.id(), drawn);
            }
        }
    }

    fn credit(&mut self, auditor: AccountId, audit: Digest, drawn: &Seats) {
        let seats = drawn.of(auditor) as u64;
        if seats > 0 {
            self.good_audits.push(Credit { auditor, audit, seats });
        }
    }

    /// The seats of those drawn auditors who say that nothing came in time.
    fn count_missing(&self, work: &Digest, drawn: &Seats) -> usize {
        let is_missing = |auditor: &AccountId| self.missing.contains_key(&(*auditor, *work));
        drawn.holders().into_iter().filter(is_missing).map(|auditor| drawn.of(auditor)).sum()
    }

    fn credit_missing(&mut self, work: &Digest, drawn: &Seats) {
        for auditor in drawn.holders() {
            if let Some(audit) = self.missing.get(&(auditor, *work)).map(|audit| audit.id()) {
                self.credit(auditor, audit, drawn);
            }
        }
    }

    pub(super) fn verdict_of_drawn(
        &mut self,
        record: &VerifiedRecord,
        drawn: &Seats,
    ) -> Result<Option<Verdict>, Invariant> {
        invariant::are_others(record.id(), record.record().account, drawn)?;
        self.owe_audits(drawn.len())?;
        let verdict = majority(&self.verdicts_by(record, drawn), drawn);
        if let Some(verdict) = verdict {
            self.credit_audits(record, verdict, drawn);
        }
        Ok(verdict)
    }

    /// The verdicts of the drawn auditors on a record.
    pub(super) fn verdicts_by(
        &self,
        record: &VerifiedRecord,
        drawn: &Seats,
    ) -> Vec<(AccountId, Verdict, Arc<VerifiedRecord>)> {
        let mut verdicts = self.verdicts_on(record);
        verdicts.retain(|(by, ..)| drawn.has(*by));
        verdicts
    }

    pub(super) fn datanet_of(&self, record: &VerifiedRecord) -> Option<crate::DatanetId> {
        let made = record.record();
        let model = match &made.body {
            Body::Shard(body) => body.model,
            Body::Attribution(body) => body.model,
            _ => return None,
        };
        self.chain.run_in(model, made.epoch).map(|model| model.datanet)
    }

    /// Whoever attributed an output that was paid for gets the platform's part of its fee, and less of
    /// it where the pot is too small for all. One who is customer, server, developer and contributor
    /// at once so gets back at most what it paid, whatever others pay.
    pub(super) fn pay_attribution_work(&mut self, fees: &[Redeemed]) -> Result<(), Invariant> {
        let pot = self.pot(self.chain.params().economics.emission_attribution_bps)?;
        let parts = self.platform_parts(fees)?;
        let (mut due, mut sum) = (Vec::new(), 0u128);
        for output in self.of_kind(Kind::Attribution) {
            let part = parts.get(&output.id()).filter(|_| self.is_servers(&output));
            if let Some(part) = part {
                sum = sum.checked_add(*part).ok_or(Invariant::Part(Source::Serving))?;
                due.push((output, *part));
            } else {
                let account = output.record().account;
                self.refuse(account, Source::Serving, output.id(), Unpaid::NotRedeemed);
            }
        }
        let paid_before = self.lines.len();
        for (output, part) in due {
            let account = output.record().account;
            if self.judge_attribution(&output)? != Some(Verdict::Pass) {
                self.refuse(account, Source::Serving, output.id(), Unpaid::NotAudited);
                continue;
            }
            // What earns nothing is no part of a sum, which may be nothing too.
            if part > 0 {
                let amount = mul_div(pot, part, sum.max(pot));
                let amount = amount.ok_or(Invariant::Part(Source::Serving))?;
                self.pay(account, Source::Serving, amount, output.id());
            }
            if let Some(datanet) = self.datanet_of(&output) {
                self.count_use(datanet, |used| &mut used.outputs)?;
            }
        }
        invariant::within_pot(Source::Serving, pot, self.lines_since(paid_before)?)
    }

    /// The platform's part of the fee of each output of the epoch.
    fn platform_parts(&self, fees: &[Redeemed]) -> Result<BTreeMap<Digest, u128>, Invariant> {
        let rate = u128::from(self.chain.params().economics.fee_platform_bps);
        let mut parts = BTreeMap::new();
        let outputs = fees.iter().flat_map(|redeemed| &redeemed.outputs);
        for (output, fee) in outputs.filter(|(output, _)| output.record().epoch == self.epoch) {
            let part = mul_div(*fee, rate, BPS).filter(|part| part <= fee);
            let part = part.ok_or(Invariant::Part(Source::Serving))?;
            // Of an output that was redeemed in two steps, both count.
            let sum = parts.entry(output.id()).or_insert(0u128);
            *sum = sum.checked_add(part).ok_or(Invariant::Part(Source::Serving))?;
        }
        Ok(parts)
    }

    /// Whether an output was served by who offered the model in the epoch.
    fn is_servers(&self, output: &VerifiedRecord) -> bool {
        let Body::Attribution(body) = &output.record().body else { return false };
        let end = self.chain.schedule.start(self.epoch.next());
        self.chain.was_server(body.model, output.record().account, (self.start_block(), end))
    }

    /// The verdict of the drawn auditors on an output of the epoch, who are credited for it.
    fn judge_attribution(&mut self, output: &VerifiedRecord) -> Result<Option<Verdict>, Invariant> {
        let drawn = self.included_in(output).and(attribution_auditors(self.chain, output));
        drawn.map_or(Ok(None), |drawn| self.verdict_of_drawn(output, &drawn))
    }

    /// The verdict on an attribution of any epoch, without crediting anybody.
    pub(super) fn attribution_verdict(&self, output: &VerifiedRecord) -> Option<Verdict> {
        self.included_in(output)?;
        let drawn = attribution_auditors(self.chain, output)?;
        majority(&self.verdicts_by(output, &drawn), &drawn)
    }

    /// Whether most of those drawn find an attribution false. No fewer will do: a liar among silent
    /// auditors would take an honest output's fee from everybody.
    pub(super) fn is_found_false(&self, output: &VerifiedRecord) -> bool {
        attribution_auditors(self.chain, output).is_some_and(|drawn| {
            let heard = self.verdicts_by(output, &drawn);
            let fails = heard.iter().filter(|(_, verdict, _)| *verdict == Verdict::Fail);
            drawn.have_majority(fails.map(|(by, ..)| *by))
        })
    }

    /// Pays each audit whose verdict was the right one, for each seat that it fills, an equal part of the
    /// pot of all that were due.
    pub(super) fn pay_audits(&mut self) -> Result<(), Invariant> {
        let pot = self.pot(self.chain.params().economics.emission_audits_bps)?;
        let credited = core::mem::take(&mut self.good_audits);
        invariant::audits_are_due(&credited, self.audits_due)?;
        // By what was due: an auditor that is silent leaves its part in the vault.
        let share = pot.checked_div(u128::from(self.audits_due));
        let paid_before = self.lines.len();
        for Credit { auditor, audit, seats } in credited {
            let amount = share.and_then(|share| share.checked_mul(u128::from(seats)));
            let amount = amount.ok_or(Invariant::Part(Source::Audits))?;
            self.pay(auditor, Source::Audits, amount, audit);
        }
        invariant::within_pot(Source::Audits, pot, self.lines_since(paid_before)?)
    }

    pub(super) const fn start_block(&self) -> BlockNumber {
        self.chain.schedule.start(self.epoch)
    }
}

/// What the drawn auditors that were heard say together, each as often as it has seats.
pub(super) fn majority(
    heard: &[(AccountId, Verdict, Arc<VerifiedRecord>)],
    drawn: &Seats,
) -> Option<Verdict> {
    verdict::majority(of_seats(heard, drawn), drawn.len())
}

/// A verdict for each seat of those heard.
fn of_seats(heard: &[(AccountId, Verdict, Arc<VerifiedRecord>)], drawn: &Seats) -> Vec<Verdict> {
    let of_seats =
        |(by, verdict, _): &(AccountId, Verdict, _)| core::iter::repeat_n(*verdict, drawn.of(*by));
    heard.iter().flat_map(of_seats).collect()
}
