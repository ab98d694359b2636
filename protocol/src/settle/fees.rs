//! What consumers paid: every redeemed unit goes to somebody, by attribution.
//!
//! A fee is settled in the epoch in which its redemption landed. Receipts are cumulative, so a
//! redemption covers a range; the attributions whose receipts lie in it divide it, and ranges never
//! overlap, so nothing is paid twice.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use super::{Ledger, Source};
use crate::{
    chain::Redemption,
    ids::{AccountId, Digest, Epoch, ModelId},
    math::{BPS, mul_div, split},
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
}

impl Ledger<'_> {
    /// What was redeemed in an epoch.
    pub(super) fn redeemed(&self, epoch: Epoch) -> Vec<Redeemed> {
        let divide = |redemption: &Redemption| {
            let mut paid = redemption.from.0;
            let output = |record: Arc<VerifiedRecord>| {
                let Body::Attribution(body) = &record.record().body else { return None };
                let until = body.receipt.receipt.cumulative.0;
                let fee = until.saturating_sub(paid);
                paid = until;
                Some((record, fee))
            };
            let outputs = self.covered_by(redemption).into_iter().filter_map(output).collect();
            Redeemed {
                payee: redemption.payee,
                outputs,
                rest: redemption.to.0.saturating_sub(paid),
            }
        };
        self.chain.redemptions(epoch).map(divide).collect()
    }

    /// Splits what was redeemed in the epoch.
    pub(super) fn pay_fees(&mut self, fees: Vec<Redeemed>) {
        for Redeemed { payee, outputs, rest } in fees {
            for (record, fee) in outputs {
                let Body::Attribution(body) = &record.record().body else { continue };
                let verdict = self.attribution_verdict(&record);
                let is_good = shares_are_whole(body) && matches!(verdict, Some((Verdict::Pass, _)));
                for audit in verdict.into_iter().flat_map(|(_, audits)| audits) {
                    self.extra.insert(audit.id(), audit);
                }
                let shares = is_good.then_some(body.shares.as_slice());
                self.split_fee(fee, payee, Some(body), shares, record.id());
                self.extra.insert(record.id(), Arc::clone(&record));
            }
            self.split_fee(rest, payee, None, None, Digest::ZERO);
        }
    }

    /// The attributions whose receipts lie in the redeemed range, in order; of two for the same
    /// receipt the lower id.
    fn covered_by(&self, redemption: &Redemption) -> Vec<Arc<VerifiedRecord>> {
        let mut found = BTreeMap::new();
        for record in self.evidence.records.values() {
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
            if is_covered && self.has_authority(record) && is_signed() {
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
    ) {
        if gross == 0 {
            return;
        }
        let rules = self.chain.params().economics;
        let treasury = self.chain.treasury;
        let platform = mul_div(gross, u128::from(rules.fee_platform_bps), BPS).unwrap_or(0);
        self.pay(treasury, Source::Treasury, platform, record);
        let weights = [
            rules.fee_contributors_bps,
            rules.fee_developer_bps,
            rules.fee_stakers_bps,
            rules.fee_nodes_bps,
        ]
        .map(u128::from);
        let parts = split(gross.saturating_sub(platform), &weights).unwrap_or_default();
        let [contributors, developer, stakers, nodes] = parts[..] else { return };
        let model = output.map(|body| body.model);
        self.pay_contributors(contributors, model, shares, record);
        let developer_account =
            model.and_then(|id| self.chain.model(id)).map(|(_, model)| model.developer);
        self.pay(developer_account.unwrap_or(treasury), Source::Model, developer, record);
        let stakes = self.chain.stakes_at(self.start_block());
        let stakes: Vec<_> = stakes.into_iter().map(|(id, stake)| (id, stake.0)).collect();
        self.pay_by_weight(stakers, Source::Stake, &stakes, treasury, record);
        let serving = nodes.div_ceil(2);
        self.pay(server, Source::Serving, serving, record);
        let proven: Vec<_> =
            self.proven.iter().map(|(id, bytes)| (*id, u128::from(*bytes))).collect();
        let storing = nodes.saturating_sub(serving);
        self.pay_by_weight(storing, Source::Storage, &proven, server, record);
    }

    /// By attribution where it holds; otherwise to the declared pool: everyone whose data the model
    /// was trained on, by units.
    fn pay_contributors(
        &mut self,
        amount: u128,
        model: Option<ModelId>,
        shares: Option<&[(AccountId, u32)]>,
        record: Digest,
    ) {
        let weights: Vec<_> = match shares {
            Some(shares) => shares.iter().map(|(id, ppm)| (*id, u128::from(*ppm))).collect(),
            None => self.pool_of(model),
        };
        let treasury = self.chain.treasury;
        self.pay_by_weight(amount, Source::Attribution, &weights, treasury, record);
    }

    fn pool_of(&self, model: Option<ModelId>) -> Vec<(AccountId, u128)> {
        let Some((ordered, model)) = model.and_then(|id| self.chain.model(id)) else {
            return Vec::new();
        };
        let mut units = BTreeMap::<AccountId, u128>::new();
        for contribution in self.chain.snapshot(model.datanet, *ordered) {
            let sum = units.entry(contribution.account).or_default();
            *sum = sum.saturating_add(u128::from(contribution.units));
        }
        units.into_iter().collect()
    }

    fn pay_by_weight(
        &mut self,
        amount: u128,
        source: Source,
        weights: &[(AccountId, u128)],
        otherwise: AccountId,
        record: Digest,
    ) {
        let values: Vec<_> = weights.iter().map(|(_, weight)| *weight).collect();
        match split(amount, &values) {
            Some(parts) => {
                for ((account, _), part) in weights.iter().zip(parts) {
                    self.pay(*account, source, part, record);
                }
            }
            None => self.pay(otherwise, source, amount, record),
        }
    }
}
