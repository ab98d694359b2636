//! How the verdicts of several auditors become one. Four questions, four rules, side by side because
//! they differ on purpose.
//!
//! - **A training round** ([`veto`]): one drawn auditor that fails a shard keeps it out of the next
//!   checkpoint. A bad update spoils the model for everybody and cannot be taken back, while a good one
//!   that is left out costs the round a little progress. So the doubt decides, and a liar among the
//!   auditors can delay but not poison.
//! - **An emission** ([`majority`]): more than half of those drawn must pass the work, or it is not paid.
//!   Here a veto would let one liar take an honest worker's pay, and paying on any one pass would let one
//!   friend among the auditors pay for nothing. Neither may decide alone.
//! - **A fee** follows the attribution of an output that passes by that majority, and stays in the vault
//!   where as many say that it is false. Between the two, for silence or doubt, it is divided as if
//!   nothing had been attributed: contributors have earned something, and nobody gains by the doubt.
//! - **A storage proof** ([`storage`]): all auditors can check its openings to the last bit, so honest
//!   ones never differ, and a simple majority of those heard is enough. A holder that was slow to show
//!   them to some loses to those who say so.
//!
//! A shard can therefore be paid and yet not be part of a checkpoint, and the other way round.

use crate::{draw::is_majority, record::Verdict};

/// What drawn auditors say of a shard inside its round: a pass only if none of those heard says
/// otherwise; `None` while nobody was heard.
pub fn veto(heard: impl IntoIterator<Item = Verdict>) -> Option<Verdict> {
    let mut heard = heard.into_iter().peekable();
    heard.peek()?;
    let is_good = heard.all(|verdict| verdict == Verdict::Pass);
    Some(if is_good { Verdict::Pass } else { Verdict::Fail })
}

/// What drawn auditors say of work that the vault pays for. `heard` has one verdict for each of the
/// `drawn` seats whose holder said anything: as many as somebody has seats.
///
/// It passes when more than half of those that were drawn pass it, heard or not: of those heard, whoever
/// shows its work to a friend alone would have a majority. It fails when no fewer of those heard fail it
/// than pass it; what is neither was not audited.
pub fn majority(heard: impl IntoIterator<Item = Verdict>, drawn: usize) -> Option<Verdict> {
    let (mut passes, mut fails) = (0usize, 0usize);
    for verdict in heard {
        let count = if verdict == Verdict::Pass { &mut passes } else { &mut fails };
        *count = count.saturating_add(1);
    }
    if is_majority(passes, drawn) {
        Some(Verdict::Pass)
    } else {
        (fails > 0 && fails >= passes).then_some(Verdict::Fail)
    }
}

/// What the drawn auditors say of a storage proof: `heard` are verdicts on its openings, and `missing`
/// is how many say that they could not have them.
///
/// It passes when more passed it than failed or missed it, and fails when no fewer fail it than pass it.
/// One who is silent must not cost an honest holder its pay, so silence counts for nobody.
pub fn storage(heard: impl IntoIterator<Item = Verdict>, missing: usize) -> Option<Verdict> {
    let (mut passes, mut fails) = (0usize, 0usize);
    for verdict in heard {
        let count = if verdict == Verdict::Pass { &mut passes } else { &mut fails };
        *count = count.saturating_add(1);
    }
    if passes > fails.saturating_add(missing) {
        Some(Verdict::Pass)
    } else {
        (fails > 0 && fails >= passes).then_some(Verdict::Fail)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const PASS: Verdict = Verdict::Pass;
    const FAIL: Verdict = Verdict::Fail;

    #[test]
    fn one_failure_stops_a_round_and_not_a_payment() {
        let heard = vec![PASS, PASS, FAIL];
        assert_eq!(veto(heard.clone()), Some(FAIL));
        assert_eq!(majority(heard, 3), Some(PASS));
    }

    #[test]
    fn a_friend_alone_passes_a_round_and_not_a_payment() {
        assert_eq!(veto(vec![PASS]), Some(PASS));
        assert_eq!(majority(vec![PASS], 3), None);
    }

    #[test]
    fn nobody_heard_is_no_verdict() {
        assert_eq!((veto(vec![]), majority(vec![], 3), majority(vec![], 0)), (None, None, None));
        assert_eq!((storage(vec![], 0), storage(vec![], 3)), (None, None));
    }

    #[test]
    fn a_tie_fails_and_a_lone_auditor_decides() {
        assert_eq!(majority(vec![PASS, FAIL], 3), Some(FAIL));
        assert_eq!(majority(vec![PASS], 1), Some(PASS));
        assert_eq!(majority(vec![FAIL], 1), Some(FAIL));
    }

    #[test]
    fn openings_that_some_missed_count_where_more_saw_them() {
        assert_eq!(storage(vec![PASS], 0), Some(PASS), "the others are silent");
        assert_eq!(storage(vec![PASS], 1), None);
        assert_eq!(storage(vec![PASS, PASS], 1), Some(PASS));
        assert_eq!(storage(vec![PASS, FAIL], 0), Some(FAIL));
        assert_eq!(storage(vec![PASS, PASS, FAIL], 1), None);
    }
}
