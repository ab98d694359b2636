//! What a settlement says about one account: each line with what was claimed of it, and what earned nothing.
//!
//! Claims are cumulative, so what the vault has paid covers the first of everything that was earned: lines
//! count in the order of their epochs and, within one, of the settlement.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Division, Invariant, Line, Outcome, Source, Unpaid, Work, Zero};
use crate::{
    balance::Balance,
    chain::ChainView,
    ids::{AccountId, Amount, Digest, ModelId},
};

/// A line with what of it the vault has paid out, or made stake of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What was earned, and by what.
    pub line: Line,
    /// How much of it was claimed; at most the line's amount.
    pub claimed: Amount,
}

/// One settlement for one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What the account had earned in all settlements before.
    pub before: Balance,
    /// What it earned, in the order of the settlement.
    pub entries: Vec<Entry>,
    /// What earned it nothing.
    pub zeros: Vec<Zero>,
}

impl Outcome {
    /// What this settlement says about an account, of which `claimed` was claimed. The amounts of the entries
    /// together are exactly the account's leaf less `before`. `models` are those trained on its data
    /// ([`trained_on`]).
    ///
    /// # Errors
    /// [`Invariant`] where the lines are more than the leaf, or than an amount can hold.
    pub fn statement(
        &self,
        account: AccountId,
        claimed: Balance,
        models: &BTreeSet<ModelId>,
    ) -> Result<Statement, Invariant> {
        let too_much = Invariant::Count("what an account earned");
        let of_account = self.lines.iter().filter(|line| line.account == account);
        let lines: Vec<Line> = of_account.copied().collect();
        let mut added = Balance::ZERO;
        for line in &lines {
            added = added.checked_add(line.balance()).ok_or(too_much)?;
        }
        let earned = self.earned(account);
        let before = Balance {
            free: earned.free.checked_sub(added.free).ok_or(too_much)?,
            lane: earned.lane.checked_sub(added.lane).ok_or(too_much)?,
        };
        // What of the claims is left for these lines.
        let mut left = Balance {
            free: above(claimed.free, before.free),
            lane: above(claimed.lane, before.lane),
        };
        let entries = lines.into_iter().map(|line| {
            let left = if line.is_held { &mut left.lane } else { &mut left.free };
            let claimed = line.amount.min(*left);
            *left = above(*left, claimed);
            Entry { line, claimed }
        });
        let entries = entries.collect();
        Ok(Statement { before, entries, zeros: self.zeros_of(account, models) })
    }

    /// What of an account's work, and of its data, earned nothing.
    fn zeros_of(&self, account: AccountId, models: &BTreeSet<ModelId>) -> Vec<Zero> {
        let of_account = self.zeros.iter().filter(|zero| zero.account == account);
        let mut zeros: Vec<Zero> = of_account.copied().collect();
        let is_paid = |line: &&Line| line.account == account && line.source == Source::Attribution;
        let paid: BTreeSet<Digest> =
            self.lines.iter().filter(is_paid).map(|line| line.record).collect();
        for Work { record, model, output } in self.works.values() {
            let Some((output, division)) = output.and_then(|of| Some((of, of.division?))) else {
                continue;
            };
            let reason = match division {
                Division::Attributed | Division::Declared => Unpaid::NoShare,
                Division::FoundFalse => Unpaid::FoundFalse,
                Division::NotWhole => Unpaid::NotWhole,
            };
            let zero = |source| Zero { account, source, record: *record, reason };
            if models.contains(model) && !paid.contains(record) {
                zeros.push(zero(Source::Attribution));
            }
            if output.server == account && reason != Unpaid::NoShare {
                zeros.push(zero(Source::Serving));
            }
        }
        zeros
    }
}

/// By how much one amount is above another; nothing where it is not.
fn above(amount: Amount, other: Amount) -> Amount {
    Amount(amount.0.max(other.0).abs_diff(other.0))
}

/// The models that were trained on an account's data: an output of another one never owes it anything.
pub fn trained_on(chain: &ChainView, account: AccountId) -> BTreeSet<ModelId> {
    let is_read = |model: &ModelId| chain.run_data(*model).iter().any(|c| c.account == account);
    chain.models().map(|(_, model)| model.id).filter(is_read).collect()
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::{
        blob::BlobRef,
        chain::Settlement,
        ids::{Epoch, Hash},
        settle::Output,
    };

    const ME: AccountId = AccountId(1);
    const SERVER: AccountId = AccountId(2);
    const MODEL: ModelId = ModelId(7);

    fn line(source: Source, amount: u128, is_held: bool, record: u8) -> Line {
        let record = Digest([record; 32]);
        Line { account: ME, source, amount: Amount(amount), is_held, record }
    }

    fn output(record: u8, division: Division) -> (Digest, Work) {
        let record = Digest([record; 32]);
        let output = Output {
            server: SERVER,
            checkpoint: Hash::ZERO,
            transcript: BlobRef::new(Hash::ZERO, 1),
            division: Some(division),
        };
        (record, Work { record, model: MODEL, output: Some(output) })
    }

    /// An epoch that adds 5 + 6 to 10 free and 4 to 1 in the lane.
    fn outcome() -> Outcome {
        let settlement = Settlement {
            epoch: Epoch(3),
            parent: Digest::ZERO,
            records: Digest::ZERO,
            payout_root: Digest::ZERO,
            total: Amount(26),
            balances: Hash::ZERO,
            balances_length: 0,
            uses: Digest::ZERO,
            replicas_proven: 0,
            storage_faults: 0,
            shards_verified: 0,
            shards_rejected: 0,
        };
        let of = |free, lane| Balance { free: Amount(free), lane: Amount(lane) };
        Outcome {
            settlement,
            leaves: alloc::vec![(ME, of(21, 5))],
            lines: alloc::vec![
                line(Source::Audits, 5, false, 1),
                line(Source::Storage, 4, true, 2),
                line(Source::Attribution, 6, false, 3),
            ],
            zeros: Vec::new(),
            uses: Vec::new(),
            works: BTreeMap::from([
                output(3, Division::Attributed),
                output(4, Division::Attributed),
                output(5, Division::FoundFalse),
                output(6, Division::NotWhole),
            ]),
        }
    }

    #[test]
    fn claims_cover_what_was_earned_first_and_each_part_by_itself() {
        let claimed_of = |free, lane| {
            let claimed = Balance { free: Amount(free), lane: Amount(lane) };
            let found = outcome().statement(ME, claimed, &BTreeSet::new()).unwrap();
            assert_eq!(found.before, Balance { free: Amount(10), lane: Amount(1) });
            found.entries.iter().map(|entry| entry.claimed.0).collect::<Vec<_>>()
        };
        assert_eq!(claimed_of(0, 0), [0, 0, 0]);
        assert_eq!(claimed_of(10, 0), [0, 0, 0], "that was the epochs before");
        assert_eq!(claimed_of(17, 0), [5, 0, 2]);
        assert_eq!(claimed_of(21, 5), [5, 4, 6]);
        assert_eq!(claimed_of(99, 99), [5, 4, 6], "a line is never more than paid");
    }

    #[test]
    fn an_output_that_pays_an_account_nothing_says_why() {
        let zeros = |account, models: &[ModelId]| {
            let models = models.iter().copied().collect();
            let found = outcome().statement(account, Balance::ZERO, &models).unwrap();
            found.zeros.iter().map(|z| (z.record.0[0], z.source, z.reason)).collect::<Vec<_>>()
        };
        let mine = [
            (4, Source::Attribution, Unpaid::NoShare),
            (5, Source::Attribution, Unpaid::FoundFalse),
            (6, Source::Attribution, Unpaid::NotWhole),
        ];
        assert_eq!(zeros(ME, &[MODEL]), mine);
        assert_eq!(zeros(ME, &[]), [], "whose data no model read is owed nothing");
        let served =
            [(5, Source::Serving, Unpaid::FoundFalse), (6, Source::Serving, Unpaid::NotWhole)];
        assert_eq!(zeros(SERVER, &[]), served);
    }
}
