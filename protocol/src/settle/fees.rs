//! What consumers paid: every redeemed unit goes to somebody, by attribution.
//!
//! A fee is settled in the epoch in which its redemption landed. Receipts are cumulative, so a
//! redemption covers a range; the attributions whose receipts lie in it divide it, and ranges never
//! overlap, so nothing is paid twice.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use super::{Invariant, Source, invariant, ledger::Ledger};
use crate::{
    chain::Redemption,
    ids::{AccountId, Digest, Epoch, ModelId},
    math::{BPS, SplitError, mul_div, split},
    record::{AttributionBody, Body, Verdict, VerifiedRecord},
    rules::shares_are_whole,
};

/// A redemption, divided among the outputs that it pays for.
pub(super) struct Redeemed {
    payee: AccountId,
    /// Attributions of outputs, with the fee of each.
    pub(super) outputs: Vec<(Arc<VerifiedRecord>, u128)>,
    /// What no known attribution accounts for.
    rest: u128,
    /// What moved on chain: the fees of all outputs and the rest.
    moved: u128,
}

impl Ledger<'_> {
    /// What was redeemed in an epoch.
    pub(super) fn redeemed(&self, epoch: Epoch) -> Result<Vec<Redeemed>, Invariant> {
        self.chain.redemptions(epoch).map(|redemption| self.divide(redemption)).collect()
    }

    /// Cuts a redeemed range at the receipts of the outputs that lie in it. An output's fee is what its
    /// receipt adds to the one before, so the pieces fill the range without gap or overlap.
    fn divide(&self, redemption: &Redemption) -> Result<Redeemed, Invariant> {
        let mut paid = redemption.from.0;
        let mut outputs = Vec::new();
        for record in self.covered_by(redemption) {
            let Body::Attribution(body) = &record.record().body else {
                return Err(Invariant::NoOutput(record.id()));
            };
            let until = body.receipt.receipt.cumulative.0;
            let fee = until.checked_sub(paid).ok_or(Invariant::Range)?;
            paid = until;
            outputs.push((record, fee));
        }
        let rest = redemption.to.0.checked_sub(paid).ok_or(Invariant::Range)?;
        let covered = redemption.to.0.checked_sub(redemption.from.0).ok_or(Invariant::Range)?;
        let moved = redemption.amount.0;
        if covered != moved {
            return Err(Invariant::Moved { covered, moved });
        }
        Ok(Redeemed { payee: redemption.payee, outputs, rest, moved })
    }

    /// Splits what was redeemed in the epoch.
    pub(super) fn pay_fees(&mut self, fees: Vec<Redeemed>) -> Result<(), Invariant> {
        let (paid_before, mut all) = (self.lines.len(), 0u128);
        for Redeemed { payee, outputs, rest, moved } in fees {
            all = all.checked_add(moved).ok_or(Invariant::Count("what was redeemed"))?;
            for (record, fee) in outputs {
                let Body::Attribution(body) = &record.record().body else {
                    return Err(Invariant::NoOutput(record.id()));
                };
                let verdict = self.attribution_verdict(&record);
                let is_good = shares_are_whole(body) && verdict == Some(Verdict::Pass);
                let shares = is_good.then_some(body.shares.as_slice());
                self.split_fee(fee, payee, Some(body), shares, record.id())?;
            }
            self.split_fee(rest, payee, None, None, Digest::ZERO)?;
        }
        invariant::fees_are_whole(all, self.lines_since(paid_before)?)
    }

    /// The attributions whose receipts lie in the redeemed range, in order; of two for the same
    /// receipt the lower id.
    fn covered_by(&self, redemption: &Redemption) -> Vec<Arc<VerifiedRecord>> {
        let mut found = BTreeMap::new();
        for record in self.known.values() {
            let Body::Attribution(body) = &record.record().body else { continue };
            let receipt = &body.receipt.receipt;
            let is_covered = receipt.payer == redemption.payer
                && receipt.payee == redemption.payee
                && record.record().account == redemption.payee
                && receipt.cumulative > redemption.from
                && receipt.cumulative <= redemption.to;
            // The receipt's own signature was checked when it was redeemed up to its amount; an
            // attribution with a receipt that the payer never signed must not shift the ranges.
            let is_signed = || body.receipt.verify(&self.chain.domain).is_ok();
            if is_covered && is_signed() {
                found.entry(receipt.cumulative).or_insert_with(|| Arc::clone(record));
            }
        }
        found.into_values().collect()
    }

    /// Splits one fee: platform, then contributors, developer, stakers and nodes.
    fn split_fee(
        &mut self,
        gross: u128,
        server: AccountId,
        output: Option<&AttributionBody>,
        shares: Option<&[(AccountId, u32)]>,
        record: Digest,
    ) -> Result<(), Invariant> {
        if gross == 0 {
            return Ok(());
        }
        let paid_before = self.lines.len();
        let rules = self.chain.params().economics;
        let treasury = self.chain.treasury;
        let platform = mul_div(gross, u128::from(rules.fee_platform_bps), BPS);
        let platform = platform.ok_or(Invariant::Part(Source::Treasury))?;
        self.pay(treasury, Source::Treasury, platform, record);
        let weights = [
            rules.fee_contributors_bps,
            rules.fee_developer_bps,
            rules.fee_stakers_bps,
            rules.fee_nodes_bps,
        ]
        .map(u128::from);
        let net = gross.checked_sub(platform).ok_or(Invariant::Part(Source::Treasury))?;
        let parts = split(net, &weights).map_err(|_| Invariant::Division(net))?;
        let [contributors, developer, stakers, nodes] = parts[..] else {
            return Err(Invariant::Division(net));
        };
        let model = output.map(|body| body.model);
        self.pay_contributors(contributors, model, shares, record)?;
        // Of a fee that no output accounts for, and of an output of a model that nobody ordered, the
        // developer's part is the platform's, as the contributors' part is.
        let earns = match model.and_then(|id| self.chain.model(id)) {
            Some((_, model)) => model.developer,
            None => treasury,
        };
        self.pay(earns, Source::Model, developer, record);
        // What stayed at stake through the whole epoch: who stakes after seeing a fee, or is on its way
        // out, has no part of it.
        let stakes: Vec<_> = self.chain.stakers(self.epoch).iter().collect();
        self.pay_by_weight(stakers, Source::Stake, &stakes, treasury, record)?;
        let serving = nodes.div_ceil(2);
        self.pay(server, Source::Serving, serving, record);
        let proven: Vec<_> =
            self.proven.iter().map(|(id, bytes)| (*id, u128::from(*bytes))).collect();
        let storing = nodes.checked_sub(serving).ok_or(Invariant::Part(Source::Serving))?;
        self.pay_by_weight(storing, Source::Storage, &proven, server, record)?;
        invariant::fees_are_whole(gross, self.lines_since(paid_before)?)
    }

    /// By attribution where it holds; otherwise to the declared pool: everyone whose data the model
    /// was trained on, by bytes.
    fn pay_contributors(
        &mut self,
        amount: u128,
        model: Option<ModelId>,
        shares: Option<&[(AccountId, u32)]>,
        record: Digest,
    ) -> Result<(), Invariant> {
        let weights: Vec<_> = match shares {
            Some(shares) => shares.iter().map(|(id, ppm)| (*id, u128::from(*ppm))).collect(),
            None => self.pool_of(model)?,
        };
        let treasury = self.chain.treasury;
        self.pay_by_weight(amount, Source::Attribution, &weights, treasury, record)
    }

    /// Everyone whose data a model was trained on, by bytes of the packs that they brought first; nobody
    /// for a model that there is not. All units of a run are cut from its packs by its members, who do
    /// not begin one of which a pack is not as long as the chain says; what a contributor declares beside
    /// that weighs nothing.
    fn pool_of(&self, model: Option<ModelId>) -> Result<Vec<(AccountId, u128)>, Invariant> {
        let (mut bytes, mut seen) = (BTreeMap::<AccountId, u128>::new(), BTreeSet::new());
        let data = model.map(|id| self.chain.run_data(id)).into_iter().flatten();
        for (account, pack) in data.flat_map(|c| c.packs.iter().map(|pack| (c.account, pack))) {
            if seen.insert(pack.hash) {
                let sum = bytes.entry(account).or_default();
                let more = sum.checked_add(u128::from(pack.length));
                *sum = more.ok_or(Invariant::Count("bytes of a contributor"))?;
            }
        }
        Ok(bytes.into_iter().collect())
    }

    /// Divides an amount by weight; where nobody has any, all of it goes to one account.
    fn pay_by_weight(
        &mut self,
        amount: u128,
        source: Source,
        weights: &[(AccountId, u128)],
        otherwise: AccountId,
        record: Digest,
    ) -> Result<(), Invariant> {
        let values: Vec<_> = weights.iter().map(|(_, weight)| *weight).collect();
        match split(amount, &values) {
            Ok(parts) => {
                for ((account, _), part) in weights.iter().zip(parts) {
                    self.pay(*account, source, part, record);
                }
            }
            Err(SplitError::NoWeight) => self.pay(otherwise, source, amount, record),
            Err(SplitError::Sum) => return Err(Invariant::Division(amount)),
        }
        Ok(())
    }
}
