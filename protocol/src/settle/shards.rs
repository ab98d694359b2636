//! What work on runs earns: the price of each verified part, from what its order paid into escrow.
//!
//! Emission adds to it at most the platform's part of the price. So one who orders runs for itself, and
//! works on all their parts, gets back at most what it paid, whatever others pay.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use super::{
    Invariant, Source, Unpaid, invariant,
    ledger::{Ledger, count_one},
};
use crate::{
    chain::ShardFault,
    draw::{Part, Seats},
    ids::{AccountId, ModelId},
    math::{BPS, mul_div},
    record::{Body, Kind, Verdict, VerifiedRecord},
};

/// A shard that is paid.
struct Earned {
    shard: Arc<VerifiedRecord>,
    part: Part,
    /// What the order pays for the part, and how much of that is the platform's.
    price: u128,
    platform: u128,
}

/// Claims of one part by one worker: their auditors are paid for one of them, whatever it starts from.
#[derive(Default)]
struct Audited {
    /// Whether one of them had a verdict.
    is_judged: bool,
    /// Seats that are due where none has.
    seats: usize,
}

impl Ledger<'_> {
    /// Pays the price of each part of a run that was verified in the epoch, with what emission adds.
    pub(super) fn pay_shards(&mut self) -> Result<(), Invariant> {
        let pot = self.pot(self.chain.params().economics.emission_shards_bps)?;
        let paid = self.chain.paid_shards(self.epoch);
        let mut shards = self.of_kind(Kind::ShardResult);
        // Of two who did the same, the first in a block is paid: the other may have copied it.
        shards.sort_by_key(|shard| (self.included_in(shard), shard.id()));
        let (mut audited, mut earned) = (BTreeMap::new(), Vec::new());
        for shard in shards {
            let part = paid.get(&shard.id()).copied();
            let verdict = self.judge_shard(&shard, &mut audited)?;
            if let Some(part) = part {
                count_one(&mut self.shards_verified, "verified shards")?;
                if let Some(datanet) = self.datanet_of(&shard) {
                    self.count_use(datanet, |used| &mut used.shards)?;
                }
                let price = self.chain.price_of(part).ok_or(Invariant::Part(Source::Shards))?.0;
                let rate = self.chain.params().economics.fee_platform_bps;
                let platform = mul_div(price, rate.into(), BPS).filter(|part| *part <= price);
                let platform = platform.ok_or(Invariant::Part(Source::Treasury))?;
                earned.push(Earned { shard, part, price, platform });
                continue;
            }
            let reason = match verdict {
                Err(ShardFault::NotDue) => Unpaid::NotDue,
                Err(ShardFault::Base) => Unpaid::UnknownBase,
                Err(ShardFault::Before) | Ok(Some(Verdict::Pass)) => Unpaid::DoneBefore,
                Err(ShardFault::NotFixed) | Ok(None) => Unpaid::NotAudited,
                Ok(Some(Verdict::Fail)) => Unpaid::ShardRejected,
            };
            if reason == Unpaid::ShardRejected {
                count_one(&mut self.shards_rejected, "rejected shards")?;
            }
            self.refuse(shard.record().account, Source::Shards, shard.id(), reason);
        }
        for Audited { seats, .. } in audited.into_values().filter(|claims| !claims.is_judged) {
            self.owe_audits(seats)?;
        }
        self.pay_earned(pot, &earned)
    }

    /// The verdict of the drawn auditors on a shard, who are credited for it: of several claims of one part
    /// by one worker, for one. A worker could else have its friends paid for as many as it makes.
    fn judge_shard(
        &mut self,
        shard: &VerifiedRecord,
        audited: &mut BTreeMap<(Part, AccountId), Audited>,
    ) -> Result<Result<Option<Verdict>, ShardFault>, Invariant> {
        let drawn = match self.chain.shard_auditors(shard) {
            Ok(drawn) => drawn,
            Err(fault) => return Ok(Err(fault)),
        };
        let Body::Shard(body) = &shard.record().body else { return Ok(Err(ShardFault::NotDue)) };
        let part = Part { model: body.model, round: body.round, slot: body.slot };
        let claims = audited.entry((part, shard.record().account)).or_default();
        let verdict = self.shard_verdict(shard, &drawn);
        if verdict.is_some() && !claims.is_judged {
            claims.is_judged = true;
            return self.verdict_of_drawn(shard, &drawn).map(Ok);
        }
        invariant::are_others(shard.id(), shard.record().account, &drawn)?;
        claims.seats = claims.seats.max(drawn.len());
        Ok(Ok(verdict))
    }

    fn shard_verdict(&self, shard: &VerifiedRecord, drawn: &Seats) -> Option<Verdict> {
        super::emission::majority(&self.verdicts_by(shard, drawn), drawn)
    }

    fn pay_earned(&mut self, pot: u128, earned: &[Earned]) -> Result<(), Invariant> {
        let add = |sum: u128, earned: &Earned| sum.checked_add(earned.platform);
        let sum = earned.iter().try_fold(0, add).ok_or(Invariant::Part(Source::Shards))?;
        let (paid_before, mut added) = (self.lines.len(), 0u128);
        for Earned { shard, price, platform, .. } in earned {
            let (account, record) = (shard.record().account, shard.id());
            let emission = match platform {
                0 => 0,
                // Less than the platform's part where the pot is too small for all.
                part => mul_div(pot, *part, sum.max(pot)).ok_or(Invariant::Part(Source::Shards))?,
            };
            added = added.checked_add(emission).ok_or(Invariant::Part(Source::Shards))?;
            let net = price.checked_sub(*platform).and_then(|net| net.checked_add(emission));
            self.pay(account, Source::Shards, net.ok_or(Invariant::Part(Source::Shards))?, record);
            self.pay(self.chain.treasury, Source::Treasury, *platform, record);
        }
        let prices: Vec<_> = earned.iter().map(|earned| (earned.price, earned.platform)).collect();
        invariant::shards_once(&self.lines, &self.zeros)?;
        invariant::shards_are_paid_for(&prices, added, pot, self.lines_since(paid_before)?)?;
        self.check_escrows(earned)
    }

    /// What a run is paid in all epochs is at most what its order paid.
    fn check_escrows(&self, earned: &[Earned]) -> Result<(), Invariant> {
        let mut now: BTreeMap<ModelId, Vec<Part>> = BTreeMap::new();
        for Earned { part, .. } in earned {
            now.entry(part.model).or_default().push(*part);
        }
        for (model, parts) in now {
            let escrow = self.chain.order(model).map(|order| order.escrow.amount().0);
            let escrow = escrow.map_err(|_| Invariant::Part(Source::Shards))?;
            let before = self.chain.parts_paid_before(model, self.epoch);
            let all: Vec<_> = before.chain(parts).collect();
            if all.iter().collect::<BTreeSet<_>>().len() != all.len() {
                return Err(Invariant::PartTwice(model));
            }
            let price = |part: &Part| self.chain.price_of(*part);
            let add = |sum: u128, part: &Part| sum.checked_add(price(part)?.0);
            let paid = all.iter().try_fold(0u128, add).ok_or(Invariant::Part(Source::Shards))?;
            invariant::within_escrow(model, escrow, paid)?;
        }
        Ok(())
    }
}
