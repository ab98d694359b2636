//! What must hold of every settlement, whatever records and logs it was computed from.
//!
//! Nothing that anybody sends can break these: where one breaks, this program is wrong. Then no result
//! is better than a wrong one, so [`super::settle`] returns the invariant as an error and pays nobody.
//! Each is stated here once, checked at the end of the part of the ledger that it is about.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Credit, Line, Source, Zero};
use crate::{
    balance::Balance,
    chain::DatanetUse,
    draw::Seats,
    ids::{AccountId, Amount, DatanetId, Digest, ModelId},
    record::VerifiedRecord,
};

/// Something that cannot happen, and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invariant {
    /// The parameters divide more than the emission of an epoch, or a pot is beyond what an amount can
    /// hold.
    #[error("a pot of {0} basis points is no part of the emission")]
    Pot(u32),
    /// A part of a pot or of a fee is beyond what an amount can hold.
    #[error("a part for {0} is larger than the whole that it is taken from")]
    Part(Source),
    /// A pot paid more than it holds.
    #[error("the pot for {of} holds {pot} and paid {paid}")]
    Pots {
        /// What the pot is for.
        of: Source,
        /// What it holds.
        pot: u128,
        /// What it paid.
        paid: u128,
    },
    /// A count is beyond its type, or contradicts the work that was counted.
    #[error("the count of {0} is wrong")]
    Count(&'static str),
    /// A holder was neither proven nor refused, or both.
    #[error("{judged} of {holders} holders were judged")]
    Holders {
        /// Holders that the placement names.
        holders: usize,
        /// Holders that were proven or refused.
        judged: usize,
    },
    /// An auditor was drawn for its own work.
    #[error("the auditors of record {0} are not others")]
    Auditors(Digest),
    /// An audit was credited twice.
    #[error("audit {0} is paid twice")]
    AuditTwice(Digest),
    /// Audits of more seats were credited than were due.
    #[error("audits of {credited} seats are paid where {due} were due")]
    AuditsDue {
        /// Seats whose audits are paid.
        credited: u64,
        /// Seats whose audits were due.
        due: u64,
    },
    /// A shard was paid twice, or both paid and refused.
    #[error("shard {0} is paid twice, or paid and refused")]
    ShardTwice(Digest),
    /// A part of a run was paid twice, in one epoch or in two.
    #[error("a part of run {0} is paid twice")]
    PartTwice(ModelId),
    /// A run was paid more than its order put into escrow.
    #[error("run {model} is paid {paid} of an escrow of {escrow}")]
    Escrow {
        /// The run that was overpaid.
        model: ModelId,
        /// What its order paid.
        escrow: u128,
        /// What its parts were paid in all epochs.
        paid: u128,
    },
    /// What divides a fee is no attribution.
    #[error("record {0} divides a fee and is no attribution")]
    NoOutput(Digest),
    /// The outputs of a redemption have more than was redeemed.
    #[error("outputs have more than the range that was redeemed")]
    Range,
    /// A redemption covers another sum than moved on chain.
    #[error("a redemption covers {covered} where {moved} moved on chain")]
    Moved {
        /// Length of the range of receipts.
        covered: u128,
        /// What the escrow paid to the vault.
        moved: u128,
    },
    /// The weights of a division are beyond what can be added, or it lost or invented something.
    #[error("the division of {0} among its payees does not add up")]
    Division(u128),
    /// Fees were lost or invented.
    #[error("{moved} were redeemed and {paid} paid out")]
    Fees {
        /// What was redeemed for outputs.
        moved: u128,
        /// What was paid out of it.
        paid: u128,
    },
    /// A line pays nothing.
    #[error("a line for account {account} pays nothing")]
    EmptyLine {
        /// Whom the line names.
        account: AccountId,
    },
    /// A line names a record that the chain did not include.
    #[error("record {0} is paid or refused and was not included")]
    Unlisted(Digest),
    /// The balances are not sorted by account, or name one twice.
    #[error("the balances name account {0} twice or out of order")]
    Unsorted(AccountId),
    /// An account that had earned something has less now.
    #[error("account {0} has less than before")]
    Fell(AccountId),
    /// The balances are not the ones before plus what was paid.
    #[error("the balances add up to {found}, and the ones before with all payouts to {expected}")]
    Balances {
        /// The ones before and all lines.
        expected: Balance,
        /// The new ones.
        found: Balance,
    },
    /// A Datanet is listed as used, out of order or without any use.
    #[error("the uses of Datanet {0} are none, or out of order")]
    Use(DatanetId),
}

/// The sum of some lines.
pub(super) fn sum(lines: &[Line]) -> Result<u128, Invariant> {
    let add = |sum: u128, line: &Line| sum.checked_add(line.amount.0);
    lines.iter().try_fold(0, add).ok_or(Invariant::Count("what is paid"))
}

/// A pot pays at most what it holds; the rest stays in the vault.
pub(super) fn within_pot(of: Source, pot: u128, lines: &[Line]) -> Result<(), Invariant> {
    let paid = sum(lines)?;
    if paid <= pot { Ok(()) } else { Err(Invariant::Pots { of, pot, paid }) }
}

/// Of a run no more is ever paid than was paid for it.
pub(super) const fn within_escrow(
    model: ModelId,
    escrow: u128,
    paid: u128,
) -> Result<(), Invariant> {
    if paid <= escrow { Ok(()) } else { Err(Invariant::Escrow { model, escrow, paid }) }
}

/// Shards are paid their prices, and what emission `added`: no more than its pot, nor than the platform's
/// part of all prices. `prices` are each with the platform's part.
pub(super) fn shards_are_paid_for(
    prices: &[(u128, u128)],
    added: u128,
    pot: u128,
    lines: &[Line],
) -> Result<(), Invariant> {
    let total = |of: fn(&(u128, u128)) -> u128| {
        let add = |sum: u128, price| sum.checked_add(of(price));
        prices.iter().try_fold(0, add).ok_or(Invariant::Count("prices of shards"))
    };
    let (price, platform) = (total(|(price, _)| *price)?, total(|(_, platform)| *platform)?);
    let most = pot.min(platform);
    if added > most {
        return Err(Invariant::Pots { of: Source::Shards, pot: most, paid: added });
    }
    let moved = price.checked_add(added).ok_or(Invariant::Count("prices of shards"))?;
    let paid = sum(lines)?;
    if paid == moved { Ok(()) } else { Err(Invariant::Fees { moved, paid }) }
}

/// Every unit of what outputs are paid goes to somebody, and nothing else does.
pub(super) fn fees_are_whole(moved: u128, lines: &[Line]) -> Result<(), Invariant> {
    let paid = sum(lines)?;
    if paid == moved { Ok(()) } else { Err(Invariant::Fees { moved, paid }) }
}

/// Nobody judges itself.
pub(super) fn are_others(
    record: Digest,
    worker: AccountId,
    drawn: &Seats,
) -> Result<(), Invariant> {
    if drawn.has(worker) { Err(Invariant::Auditors(record)) } else { Ok(()) }
}

/// No audit is credited twice, and those of no more seats than were due.
pub(super) fn audits_are_due(credited: &[Credit], due: u64) -> Result<(), Invariant> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = credited.iter().find(|credit| !seen.insert(credit.audit)) {
        return Err(Invariant::AuditTwice(twice.audit));
    }
    let seats = credited.iter().try_fold(0u64, |sum, credit| sum.checked_add(credit.seats));
    let credited = seats.ok_or(Invariant::Count("seats of audits"))?;
    if credited <= due { Ok(()) } else { Err(Invariant::AuditsDue { credited, due }) }
}

/// Of the shards that were looked at, each is paid once, refused once, or earned nothing.
pub(super) fn shards_once(lines: &[Line], zeros: &[Zero]) -> Result<(), Invariant> {
    let paid = lines.iter().filter(|line| line.source == Source::Shards).map(|line| line.record);
    let refused = zeros.iter().filter(|zero| zero.source == Source::Shards).map(|zero| zero.record);
    let mut seen = BTreeSet::new();
    match paid.chain(refused).find(|record| !seen.insert(*record)) {
        Some(twice) => Err(Invariant::ShardTwice(twice)),
        None => Ok(()),
    }
}

/// Every line pays something, and whatever is paid or refused can be looked up on the chain.
pub(super) fn lines_are_backed(
    lines: &[Line],
    zeros: &[Zero],
    listed: &BTreeMap<Digest, Arc<VerifiedRecord>>,
) -> Result<(), Invariant> {
    if let Some(line) = lines.iter().find(|line| line.amount == Amount::ZERO) {
        return Err(Invariant::EmptyLine { account: line.account });
    }
    let named = lines.iter().map(|line| line.record).chain(zeros.iter().map(|zero| zero.record));
    let mut named = named.filter(|record| *record != Digest::ZERO);
    match named.find(|record| !listed.contains_key(record)) {
        Some(record) => Err(Invariant::Unlisted(record)),
        None => Ok(()),
    }
}

/// The new balances are the ones before, in whatever order, plus what was paid: sorted, nobody lost or
/// twice, nobody with less of either part than before, and of each part all together exactly what the
/// lines add.
pub(super) fn balances_follow(
    before: &[(AccountId, Balance)],
    lines: &[Line],
    after: &[(AccountId, Balance)],
) -> Result<Amount, Invariant> {
    let add = |sum: Balance, more: Balance| sum.checked_add(more);
    let all = |balances: &[(AccountId, Balance)]| {
        balances.iter().map(|(_, balance)| *balance).try_fold(Balance::ZERO, add)
    };
    let overflow = Invariant::Count("what is owed");
    let mut pairs = after.iter().zip(after.iter().skip(1));
    if let Some((_, (account, _))) = pairs.find(|((a, _), (b, _))| a >= b) {
        return Err(Invariant::Unsorted(*account));
    }
    let now: BTreeMap<_, _> = after.iter().copied().collect();
    let has_less = |(account, had): &&(AccountId, Balance)| {
        now.get(account).is_none_or(|now| now.free < had.free || now.lane < had.lane)
    };
    if let Some((account, _)) = before.iter().find(has_less) {
        return Err(Invariant::Fell(*account));
    }
    let earned = lines.iter().map(Line::balance).try_fold(Balance::ZERO, add);
    let expected = all(before).zip(earned).and_then(|(before, earned)| add(before, earned));
    let (found, expected) = all(after).zip(expected).ok_or(overflow)?;
    if found != expected {
        return Err(Invariant::Balances { expected, found });
    }
    Ok(found.total())
}

/// Each Datanet that is listed was used, and is listed once, in order.
pub(super) fn uses_are_real(uses: &[DatanetUse]) -> Result<(), Invariant> {
    if let Some(unused) = uses.iter().find(|used| used.shards == 0 && used.outputs == 0) {
        return Err(Invariant::Use(unused.datanet));
    }
    match uses.iter().zip(uses.iter().skip(1)).find(|(a, b)| a.datanet >= b.datanet) {
        Some((_, twice)) => Err(Invariant::Use(twice.datanet)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use proptest::prelude::*;

    use super::*;
    use crate::draw::{self, Weights};
    use crate::settle::Unpaid;

    const A: AccountId = AccountId(1);
    const B: AccountId = AccountId(2);
    const WORK: Digest = Digest([7; 32]);

    fn line(source: Source, amount: u128, record: Digest) -> Line {
        Line { account: A, source, amount: Amount(amount), is_held: false, record }
    }

    fn zero(source: Source, record: Digest) -> Zero {
        Zero { account: A, source, record, reason: Unpaid::NotAudited }
    }

    #[test]
    fn a_pot_that_pays_more_than_it_holds_is_seen() {
        let lines = [line(Source::Shards, 6, WORK), line(Source::Shards, 5, WORK)];
        assert_eq!(within_pot(Source::Shards, 11, &lines), Ok(()));
        let broken = Invariant::Pots { of: Source::Shards, pot: 10, paid: 11 };
        assert_eq!(within_pot(Source::Shards, 10, &lines), Err(broken));
        let lines = [line(Source::Shards, u128::MAX, WORK), line(Source::Shards, 1, WORK)];
        assert_eq!(sum(&lines), Err(Invariant::Count("what is paid")));
    }

    #[test]
    fn shards_that_are_paid_more_than_their_runs_paid_are_seen() {
        let run = ModelId(4);
        assert_eq!(within_escrow(run, 10, 10), Ok(()));
        let broken = Invariant::Escrow { model: run, escrow: 10, paid: 11 };
        assert_eq!(within_escrow(run, 10, 11), Err(broken));
        // Two parts of 10, of which 1 each is the platform's.
        let paid = |worker, treasury| {
            let lines =
                [line(Source::Shards, worker, WORK), line(Source::Treasury, treasury, WORK)];
            move |added, pot| shards_are_paid_for(&[(10, 1), (10, 1)], added, pot, &lines)
        };
        assert_eq!(paid(20, 2)(2, 5), Ok(()));
        assert_eq!(paid(19, 2)(1, 1), Ok(()), "the pot is too small");
        assert_eq!(paid(19, 2)(2, 5), Err(Invariant::Fees { moved: 22, paid: 21 }));
        let beyond = |pot, paid| Err(Invariant::Pots { of: Source::Shards, pot, paid });
        assert_eq!(paid(21, 2)(3, 5), beyond(2, 3), "more than the platform's part");
        assert_eq!(paid(20, 2)(2, 1), beyond(1, 2));
    }

    #[test]
    fn a_fee_of_which_a_unit_is_lost_or_invented_is_seen() {
        let lines = [line(Source::Model, 6, WORK), line(Source::Stake, 4, WORK)];
        assert_eq!(fees_are_whole(10, &lines), Ok(()));
        for moved in [9, 11] {
            let broken = Invariant::Fees { moved, paid: 10 };
            assert_eq!(fees_are_whole(moved, &lines), Err(broken));
        }
    }

    #[test]
    fn who_is_drawn_for_its_own_work_is_seen() {
        let weights = Weights::new([(A, 1), (B, 1)]);
        let of_a = draw::storage_auditors(&WORK, A, &weights, 3);
        assert_eq!(are_others(WORK, A, &of_a), Ok(()));
        assert_eq!(are_others(WORK, B, &of_a), Err(Invariant::Auditors(WORK)));
    }

    #[test]
    fn audits_that_are_paid_twice_or_were_not_due_are_seen() {
        let credit = |auditor, audit, seats| Credit { auditor, audit, seats };
        let audits = [credit(A, WORK, 1), credit(B, Digest([8; 32]), 2)];
        assert_eq!(audits_are_due(&audits, 3), Ok(()));
        let broken = Invariant::AuditsDue { credited: 3, due: 2 };
        assert_eq!(audits_are_due(&audits, 2), Err(broken));
        let twice = [credit(A, WORK, 1), credit(B, WORK, 1)];
        assert_eq!(audits_are_due(&twice, 9), Err(Invariant::AuditTwice(WORK)));
    }

    #[test]
    fn a_shard_that_is_paid_and_refused_is_seen() {
        let (lines, zeros) = ([line(Source::Shards, 1, WORK)], [zero(Source::Shards, WORK)]);
        assert_eq!(shards_once(&lines, &[]), Ok(()));
        assert_eq!(shards_once(&lines, &zeros), Err(Invariant::ShardTwice(WORK)));
        let twice = [lines[0], lines[0]];
        assert_eq!(shards_once(&twice, &[]), Err(Invariant::ShardTwice(WORK)));
    }

    #[test]
    fn lines_of_nothing_and_of_work_that_is_not_in_the_log_are_seen() {
        let none = BTreeMap::new();
        assert_eq!(lines_are_backed(&[line(Source::Stake, 1, Digest::ZERO)], &[], &none), Ok(()));
        let empty = Invariant::EmptyLine { account: A };
        assert_eq!(lines_are_backed(&[line(Source::Stake, 0, WORK)], &[], &none), Err(empty));
        let unlisted = Err(Invariant::Unlisted(WORK));
        assert_eq!(lines_are_backed(&[line(Source::Stake, 1, WORK)], &[], &none), unlisted);
        assert_eq!(lines_are_backed(&[], &[zero(Source::Storage, WORK)], &none), unlisted);
    }

    #[test]
    fn balances_that_do_not_follow_are_seen() {
        let lines = [
            line(Source::Stake, 3, WORK),
            Line { is_held: true, ..line(Source::Storage, 2, WORK) },
        ];
        let follow = |before: &[(AccountId, Balance)], after: &[(AccountId, Balance)]| {
            balances_follow(before, &lines, after)
        };
        let of = |free, lane| Balance { free: Amount(free), lane: Amount(lane) };
        let before = [(A, of(9, 1)), (B, of(1, 0))];
        let after = [(A, of(12, 3)), (B, of(1, 0))];
        assert_eq!(follow(&before, &after), Ok(Amount(16)));
        assert_eq!(follow(&before, &after[..1]), Err(Invariant::Fell(B)), "an account is gone");
        let less = [(A, of(8, 3)), (B, of(7, 0))];
        assert_eq!(follow(&before, &less), Err(Invariant::Fell(A)));
        let freed = [(A, of(15, 0)), (B, of(1, 0))];
        assert_eq!(
            follow(&before, &freed),
            Err(Invariant::Fell(A)),
            "what is held is not freed so"
        );
        let more = [(A, of(12, 3)), (B, of(2, 0))];
        let broken = Invariant::Balances { expected: of(13, 3), found: of(14, 3) };
        assert_eq!(follow(&before, &more), Err(broken));
        let moved = [(A, of(13, 2)), (B, of(1, 0))];
        let broken = Invariant::Balances { expected: of(13, 3), found: of(14, 2) };
        assert_eq!(follow(&before, &moved), Err(broken), "nor paid at once");
        let unsorted = [after[1], after[0]];
        assert_eq!(follow(&before, &unsorted), Err(Invariant::Unsorted(A)));
        let twice = [after[0], after[0]];
        assert_eq!(follow(&before[..1], &twice), Err(Invariant::Unsorted(A)));
        let all = [(A, of(u128::MAX, 0)), (B, of(1, 0))];
        assert_eq!(follow(&[], &all), Err(Invariant::Count("what is owed")));
    }

    #[test]
    fn uses_that_are_none_or_listed_twice_are_seen() {
        let used = |id, shards| DatanetUse { datanet: DatanetId(id), shards, outputs: 0 };
        assert_eq!(uses_are_real(&[used(1, 1), used(2, 3)]), Ok(()));
        assert_eq!(uses_are_real(&[used(1, 1), used(2, 0)]), Err(Invariant::Use(DatanetId(2))));
        assert_eq!(uses_are_real(&[used(1, 1), used(1, 1)]), Err(Invariant::Use(DatanetId(1))));
    }

    proptest! {
        /// Moving a single unit anywhere breaks an equation somewhere.
        #[test]
        fn no_unit_is_moved_unseen(
            before in proptest::collection::btree_map(1u64..9, 0u128..1 << 100, 1..6),
            paid in proptest::collection::vec((1u64..9, 1u128..1 << 100, any::<bool>()), 1..9),
            at: prop::sample::Index,
            is_more: bool,
            is_lane: bool,
        ) {
            let of = |(id, had)| (AccountId(id), Balance { free: Amount(had), lane: Amount(had / 3) });
            let before: Vec<_> = before.into_iter().map(of).collect();
            let line = |(id, sum, is_held): &(u64, u128, bool)| {
                Line { account: AccountId(*id), is_held: *is_held, ..line(Source::Stake, *sum, WORK) }
            };
            let lines: Vec<_> = paid.iter().map(line).collect();
            let mut after: BTreeMap<_, _> = before.iter().copied().collect();
            for line in &lines {
                let has = after.entry(line.account).or_default();
                *if line.is_held { &mut has.lane.0 } else { &mut has.free.0 } += line.amount.0;
            }
            let mut after: Vec<_> = after.into_iter().collect();
            let total = after.iter().map(|(_, has)| has.free.0 + has.lane.0).sum();
            prop_assert_eq!(balances_follow(&before, &lines, &after), Ok(Amount(total)));
            let has = &mut after[at.index(paid.len()) % before.len()].1;
            let part = if is_lane { &mut has.lane.0 } else { &mut has.free.0 };
            *part = if is_more { *part + 1 } else { part.wrapping_sub(1) };
            prop_assert!(balances_follow(&before, &lines, &after).is_err());
        }
    }

    #[test]
    fn an_invariant_says_what_should_have_held() {
        let broken = vec![
            (Invariant::Fees { moved: 10, paid: 9 }, "10 were redeemed and 9 paid out"),
            (Invariant::Part(Source::Storage), "a part for storage is larger than the whole"),
            (
                Invariant::Pots { of: Source::Audits, pot: 1, paid: 2 },
                "the pot for audits holds 1 and paid 2",
            ),
        ];
        for (invariant, text) in broken {
            assert!(alloc::format!("{invariant}").starts_with(text), "{invariant}");
        }
    }
}
