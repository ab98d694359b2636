//! What consumers paid, by attribution.
//!
//! A fee is settled in the epoch in which its redemption landed, or in that of its output where this is
//! the next: before, its auditors were not drawn or have not spoken. Receipts are cumulative, so a
//! redemption covers a range of promises, and each receipt names the part of it that is its own. An
//! output has what of its part was redeemed and no earlier output has had; what no output accounts for
//! stays in the vault. So an attribution that is withheld, late, false or of another model moves nothing
//! to anybody, and nothing is paid twice, whatever a consumer signs: redeemed ranges never overlap.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use super::{Division, Invariant, Source, invariant, ledger::Ledger, range::Remainder};
use crate::{
    chain::Redemption,
    ids::{AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress, ModelId},
    limits::FEE_EPOCHS,
    math::{BPS, SplitError, mul_div, split},
    record::{AttributionBody, Body, Verdict, VerifiedRecord},
    rules::{of_use_until, shares_are_whole},
};

/// A redemption, divided among the outputs that it pays for.
pub(super) struct Redeemed {
    payee: AccountId,
    /// Attributions of outputs, with what was redeemed for each: more than nothing.
    pub(super) outputs: Vec<(Arc<VerifiedRecord>, u128)>,
}

/// Outputs by consumer and server, those first whose attributions the chain took in first.
type Outputs =
    BTreeMap<(EvmAddress, AccountId), BTreeMap<(BlockNumber, Digest), Arc<VerifiedRecord>>>;

impl Ledger<'_> {
    /// The fees that this settlement divides. Work at the end of an epoch counts for the next one, and its
    /// receipt may be redeemed at once: divided then, with nobody to say that it is false, it would go by
    /// the declared data whatever its server attributes.
    pub(super) fn fees_due(&self) -> Result<Vec<Redeemed>, Invariant> {
        let outputs = self.outputs();
        let mut due = Vec::new();
        for redeemed_in in (self.epoch.back(1).0..=self.epoch.0).map(Epoch) {
            for redemption in self.chain.redemptions(redeemed_in) {
                let mut fees = self.divide(redemption, redeemed_in, &outputs)?;
                let settled_in = |output: &VerifiedRecord| output.record().epoch.max(redeemed_in);
                fees.outputs.retain(|(output, _)| settled_in(output) == self.epoch);
                due.push(fees);
            }
        }
        Ok(due)
    }

    /// The outputs whose attributions came in while they could still be audited.
    fn outputs(&self) -> Outputs {
        let mut outputs = Outputs::new();
        for record in self.known.values() {
            let Body::Attribution(body) = &record.record().body else { continue };
            let receipt = &body.receipt.receipt;
            let Some(block) = self.included_in(record) else { continue };
            if block <= of_use_until(self.chain, record) {
                let of_pair = outputs.entry((receipt.payer, receipt.payee)).or_default();
                of_pair.insert((block, record.id()), Arc::clone(record));
            }
        }
        outputs
    }

    /// Gives each output what is its own of a redeemed range and was not given to an earlier one. The
    /// settlement after that of the redemption comes to the same: what it knows beside came in later.
    fn divide(
        &self,
        redemption: &Redemption,
        redeemed_in: Epoch,
        outputs: &Outputs,
    ) -> Result<Redeemed, Invariant> {
        let near = redeemed_in.next().back(FEE_EPOCHS)..=redeemed_in.next();
        let (from, to) = (redemption.from.0, redemption.to.0);
        let covered = to.checked_sub(from).ok_or(Invariant::Range)?;
        let moved = redemption.amount.0;
        if covered != moved {
            return Err(Invariant::Moved { covered, moved });
        }
        let (mut remainder, mut given) = (Remainder::new(from, to), 0u128);
        let mut paid = Vec::new();
        let of_pair = outputs.get(&(redemption.payer, redemption.payee));
        for record in of_pair.into_iter().flat_map(BTreeMap::values) {
            let body = attribution_of(record)?;
            let receipt = &body.receipt.receipt;
            // What says other promises than its receipt names is paid by none.
            let Some(ranges) = body.ranges.of(receipt) else { continue };
            let is_in = |(start, end): &(Amount, Amount)| start.0 < to && end.0 > from;
            let is_touched = near.contains(&record.record().epoch) && ranges.iter().any(is_in);
            // What another escrow pays is counted there. And the contract has checked one receipt of the
            // range, and not this one.
            let is_its_own = receipt.escrow == redemption.escrow;
            if !is_touched || !is_its_own || body.receipt.verify(&self.chain.domain).is_err() {
                continue;
            }
            let mut fee = 0u128;
            for (start, end) in ranges {
                let taken = remainder.take(start.0, end.0).ok_or(Invariant::Range)?;
                fee = fee.checked_add(taken).ok_or(Invariant::Range)?;
            }
            if fee > 0 {
                given = given.checked_add(fee).ok_or(Invariant::Range)?;
                paid.push((Arc::clone(record), fee));
            }
        }
        if given > moved {
            return Err(Invariant::Range);
        }
        Ok(Redeemed { payee: redemption.payee, outputs: paid })
    }

    /// Splits the fees that are due. Whoever attributed wrongly earns no more than if it had
    /// said nothing, and neither do its friends: the fee stays in the vault.
    pub(super) fn pay_fees(&mut self, fees: Vec<Redeemed>) -> Result<(), Invariant> {
        let (paid_before, mut all) = (self.lines.len(), 0u128);
        for Redeemed { payee, outputs } in fees {
            for (record, fee) in outputs {
                let body = attribution_of(&record)?;
                let division = self.division_of(&record, body);
                self.divisions.insert(record.id(), division);
                let shares = match division {
                    Division::FoundFalse | Division::NotWhole => continue,
                    Division::Attributed => Some(body.shares.as_slice()),
                    Division::Declared => None,
                };
                self.split_fee(fee, payee, &record, body.model, shares)?;
                all = all.checked_add(fee).ok_or(Invariant::Count("what was redeemed"))?;
            }
        }
        invariant::fees_are_whole(all, self.lines_since(paid_before)?)
    }

    /// How the fee of an output is divided.
    fn division_of(&self, record: &VerifiedRecord, body: &AttributionBody) -> Division {
        if self.is_found_false(record) {
            return Division::FoundFalse;
        }
        if !shares_are_whole(self.chain, record, body) {
            return Division::NotWhole;
        }
        // Silence of the auditors and the doubt of a few are no fault of the server.
        match self.attribution_verdict(record) {
            Some(Verdict::Pass) => Division::Attributed,
            _ => Division::Declared,
        }
    }

    /// Splits one fee: platform, then contributors, developer, stakers and nodes.
    fn split_fee(
        &mut self,
        gross: u128,
        server: AccountId,
        output: &VerifiedRecord,
        model: ModelId,
        shares: Option<&[(AccountId, u32)]>,
    ) -> Result<(), Invariant> {
        if gross == 0 {
            return Ok(());
        }
        let paid_before = self.lines.len();
        let (record, used_in) = (output.id(), output.record().epoch);
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
        let weights: Vec<_> = match shares {
            Some(shares) => shares.iter().map(|(id, ppm)| (*id, u128::from(*ppm))).collect(),
            None => self.pool_of(model, used_in)?,
        };
        // By attribution where it holds; otherwise to the declared pool.
        self.pay_by_weight(contributors, Source::Attribution, &weights, treasury, record)?;
        // Of an output of a model that there is not the developer's part is the platform's, as the
        // contributors' part is.
        let earns = match self.chain.developer_in(model, used_in) {
            Some(developer) => developer,
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

    /// Everyone whose data a model was trained on, by bytes of the packs that they brought first; nobody
    /// for a base, or a model that there is not. All units of a run are cut from its packs by its members, who do
    /// not begin one of which a pack is not as long as the chain says; what a contributor declares beside
    /// that weighs nothing.
    fn pool_of(&self, model: ModelId, used_in: Epoch) -> Result<Vec<(AccountId, u128)>, Invariant> {
        let (mut bytes, mut seen) = (BTreeMap::<AccountId, u128>::new(), BTreeSet::new());
        let is_there = self.chain.run_in(model, used_in).is_some();
        let data = is_there.then(|| self.chain.run_data(model)).into_iter().flatten();
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

/// The attribution that a record carries.
fn attribution_of(record: &VerifiedRecord) -> Result<&AttributionBody, Invariant> {
    match &record.record().body {
        Body::Attribution(body) => Ok(body),
        _ => Err(Invariant::NoOutput(record.id())),
    }
}
