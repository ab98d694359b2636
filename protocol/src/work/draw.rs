//! Who is drawn for what. Each lot is one function here, pure in a public seed and the accounts that
//! may be drawn, so that everybody draws the same and a rule about chances changes one place.
//!
//! Which seed and which accounts is the question of [`crate::rules`] and of [`crate::chain`]; how packs
//! find their holders is [`crate::placement`].

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    hash::{keccak, leading_u64},
    ids::{AccountId, Digest},
    limits::MAX_SHARDS_PER_ROUND,
};

/// The auditors of one holder's storage in an epoch, from its second seed and the members at its
/// start, sorted by id. None of them is the holder.
pub fn storage_auditors(
    opened: &Digest,
    holder: AccountId,
    members: &[AccountId],
    count: u32,
) -> Vec<AccountId> {
    let seed = keccak(&[&opened.0, &holder.0.to_be_bytes()]);
    sample(&seed, b"storage auditor", members, Some(holder), count)
}

/// The auditors of a shard, from randomness that did not exist when the shard was anchored. None of
/// them is the worker.
pub fn shard_auditors(
    after_anchor: &Digest,
    record: &Digest,
    worker: AccountId,
    members: &[AccountId],
    count: u32,
) -> Vec<AccountId> {
    let others: Vec<_> = members.iter().copied().filter(|member| *member != worker).collect();
    let seed = keccak(&[&after_anchor.0, &record.0]);
    let mut ranked = rank(&seed, b"shard auditor", &others);
    ranked.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    ranked
}

/// The auditors of an attribution: drawn as those of a shard are, among all members when it was
/// anchored. None of them is the server.
pub fn attribution_auditors(
    after_anchor: &Digest,
    record: &Digest,
    server: AccountId,
    members: &[AccountId],
    count: u32,
) -> Vec<AccountId> {
    shard_auditors(after_anchor, record, server, members, count)
}

/// The leaders of a training round, by rank.
pub fn round_leaders(round_seed: &Digest, members: &[AccountId]) -> Vec<AccountId> {
    rank(round_seed, b"leader", members)
}

/// The members of a training run, sorted by id: all candidates where one round can close over a shard
/// of each, and otherwise as many as it can.
pub fn run_members(after_order: &Digest, candidates: &[AccountId]) -> Vec<AccountId> {
    let mut drawn = rank(after_order, b"run member", candidates);
    drawn.truncate(MAX_SHARDS_PER_ROUND);
    drawn.sort_unstable();
    drawn
}

/// The proposers of a settlement, by rank.
pub fn proposers(seed: &Digest, candidates: &[AccountId]) -> Vec<AccountId> {
    rank(seed, b"proposer", candidates)
}

/// All accounts in an order that the seed gives, each place as likely for any of them.
fn rank(seed: &Digest, purpose: &[u8], accounts: &[AccountId]) -> Vec<AccountId> {
    let mut ranked: Vec<_> = accounts
        .iter()
        .map(|account| (keccak(&[&seed.0, purpose, &account.0.to_be_bytes()]), *account))
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, account)| account).collect()
}

/// Draws `count` distinct accounts from a list sorted by id, one of them left out: the first steps
/// of a Fisher–Yates shuffle, so the cost does not depend on the length of the list.
fn sample(
    seed: &Digest,
    purpose: &[u8],
    accounts: &[AccountId],
    without: Option<AccountId>,
    count: u32,
) -> Vec<AccountId> {
    let left_out = without.and_then(|id| accounts.binary_search(&id).ok());
    let total = accounts.len().saturating_sub(usize::from(left_out.is_some()));
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(total);
    let mut moved = BTreeMap::<usize, usize>::new();
    let mut drawn = Vec::new();
    for step in 0..count {
        let word = leading_u64(&keccak(&[&seed.0, purpose, &(step as u64).to_be_bytes()]));
        let rest = total.saturating_sub(step) as u64;
        // A 64-bit draw over fewer than 2^32 accounts: the bias is below 2^-32.
        let offset = usize::try_from(word.checked_rem(rest).unwrap_or(0)).unwrap_or(0);
        let at = step.saturating_add(offset);
        let here = moved.get(&step).copied().unwrap_or(step);
        let taken = moved.insert(at, here).unwrap_or(at);
        let skip = usize::from(left_out.is_some_and(|place| taken >= place));
        drawn.extend(accounts.get(taken.saturating_add(skip)));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sample_is_distinct_complete_and_leaves_one_out(
            total in 1u64..40, without in 1u64..40, count in 0u32..50, seed: u8,
        ) {
            let accounts: Vec<_> = (1..=total).map(AccountId).collect();
            let without = AccountId(without);
            let mut drawn = sample(&Digest([seed; 32]), b"test", &accounts, Some(without), count);
            let others = accounts.iter().filter(|id| **id != without).count();
            prop_assert_eq!(drawn.len(), others.min(count as usize));
            drawn.sort_unstable();
            drawn.dedup();
            prop_assert_eq!(drawn.len(), others.min(count as usize));
            prop_assert!(drawn.iter().all(|id| *id != without && accounts.contains(id)));
        }
    }

    #[test]
    fn every_account_is_drawn_as_often_as_any_other() {
        let accounts: Vec<_> = (1..=20).map(AccountId).collect();
        let mut hits = [0u32; 21];
        for round in 0..4_000u32 {
            let seed = keccak(&[&round.to_be_bytes()]);
            for id in sample(&seed, b"test", &accounts, None, 3) {
                hits[id.0 as usize] += 1;
            }
        }
        // Expected 600 each; five standard deviations are 113.
        assert!(hits[1..].iter().all(|hits| (487..=713).contains(hits)), "{hits:?}");
    }
}
