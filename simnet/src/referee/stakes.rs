//! Whose stake counts, and for how much: the least that stayed in an account at the end of every block of an
//! epoch, where that is enough to count.

use std::collections::BTreeMap;

use protocol::{
    AccountId, Amount, BlockNumber, Digest, Epoch,
    settle::{Outcome, Source},
};

use super::{Laws, Referee, Rule};

/// What was at stake in every account at the end of the blocks in which it changed.
#[derive(Debug, Default)]
pub(super) struct Stakes(BTreeMap<AccountId, Vec<(BlockNumber, Amount)>>);

impl Stakes {
    /// The blocks after one were replaced.
    pub(super) fn forget_after(&mut self, stays: BlockNumber) {
        for changes in self.0.values_mut() {
            changes.retain(|(block, _)| *block <= stays);
        }
    }

    /// The least that an account had at the end of any block of an epoch.
    fn least_in(&self, laws: &Laws, epoch: Epoch, account: AccountId) -> Amount {
        let (first, end) = (laws.start(epoch), laws.start(epoch.next()));
        let changes = self.0.get(&account).map_or(&[][..], Vec::as_slice);
        let before = changes.iter().take_while(|(block, _)| block.0 <= first).last();
        let begun = before.map_or(Amount::ZERO, |(_, amount)| *amount);
        let within = changes.iter().filter(|(block, _)| block.0 > first && block.0 < end);
        within.map(|(_, amount)| *amount).fold(begun, Amount::min)
    }

    /// What each account weighs in an epoch, of those that have enough.
    fn weights(&self, laws: &Laws, epoch: Epoch) -> BTreeMap<AccountId, Amount> {
        let weight = |account: &AccountId| {
            let least = self.least_in(laws, epoch, *account);
            (least >= laws.min_stake).then_some((*account, least))
        };
        self.0.keys().filter_map(weight).collect()
    }
}

impl Referee {
    /// So much is at stake in an account from a block on, without what is leaving.
    pub(crate) fn staked(&mut self, account: AccountId, amount: Amount, block: BlockNumber) {
        let changes = self.stakes.0.entry(account).or_default();
        match changes.last_mut() {
            Some((last, before)) if *last == block => *before = amount,
            _ => changes.push((block, amount)),
        }
    }

    /// Seats are of those whose stake counts, and what consumers pay for stake is shared by it.
    pub(super) fn judge_stakes(&mut self, laws: &Laws, outcome: &Outcome) {
        let epoch = outcome.settlement.epoch;
        // Work at the end of an epoch is judged under the next one.
        let before = [1, 2].map(|back| epoch.0.checked_sub(back).map(Epoch));
        let seats = before.map(|of| of.map(|of| self.stakes.weights(laws, of)).unwrap_or_default());
        // While nobody has held anything for an epoch, what is at stake by then counts.
        let is_begun = seats.iter().all(|weights| !weights.is_empty());
        let audits = outcome.lines.iter().filter(|line| line.source == Source::Audits);
        for line in audits.filter(|_| is_begun) {
            if seats.iter().all(|weights| !weights.contains_key(&line.account)) {
                self.find(Rule::SeatsByStake, || {
                    format!("epoch {epoch}, account {}", line.account)
                });
            }
        }
        let weights = self.stakes.weights(laws, epoch);
        let mut parts = BTreeMap::<Digest, BTreeMap<AccountId, u128>>::new();
        for line in outcome.lines.iter().filter(|line| line.source == Source::Stake) {
            let part = parts.entry(line.record).or_default();
            *part.entry(line.account).or_default() += line.amount.0;
        }
        let wrong =
            parts.iter().find(|(_, part)| !weights.is_empty() && !is_shared(part, &weights));
        if let Some((output, _)) = wrong {
            self.find(Rule::FeesByStake, || format!("epoch {epoch}, output {output}"));
        }
    }
}

/// Whether a sum is divided by weight, to a unit each and what a double rounds away.
#[expect(clippy::cast_precision_loss, reason = "compared as closely as a double can")]
fn is_shared(parts: &BTreeMap<AccountId, u128>, weights: &BTreeMap<AccountId, Amount>) -> bool {
    let sum = parts.values().sum::<u128>() as f64;
    let all = weights.values().map(|weight| weight.0).sum::<u128>() as f64;
    let is_right = |account: &AccountId| {
        let weight = weights.get(account).map_or(0.0, |weight| weight.0 as f64);
        let due = sum * weight / all;
        let has = parts.get(account).copied().unwrap_or(0) as f64;
        (has - due).abs() <= 2.0 + due * 1e-9
    };
    parts.keys().chain(weights.keys()).all(is_right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_the_least_that_stayed_from_the_first_block_to_the_last() {
        let laws = Laws { genesis: 100, epoch_blocks: 10, min_stake: Amount(5), ..Laws::default() };
        let mut referee = Referee::default();
        let changes = [(90, 50), (110, 20), (115, 30), (119, 8), (120, 40), (135, 4)];
        for (block, amount) in changes {
            referee.staked(AccountId(1), Amount(amount), BlockNumber(block));
        }
        referee.staked(AccountId(2), Amount(60), BlockNumber(121));
        let weights = |epoch| {
            let weights = referee.stakes.weights(&laws, Epoch(epoch));
            weights.into_iter().map(|(id, amount)| (id.0, amount.0)).collect::<Vec<_>>()
        };
        assert_eq!(weights(0), [(1, 50)]);
        assert_eq!(weights(1), [(1, 8)], "what came back in the last block stayed in none before");
        assert_eq!(weights(2), [(1, 40)], "what came after the first block was not held in it");
        assert_eq!(weights(3), [(2, 60)], "too little counts for nothing");
    }
}
