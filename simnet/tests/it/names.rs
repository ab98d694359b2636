//! What many names get, without stake, with next to none, and with one stake for all of them.

use protocol::{Amount, Digest, settle::Source};
use simnet::{
    Scenario,
    adversary::{self, AdversaryKind},
    report::{Report, Status},
    scenario::AdversaryPlan,
};

use crate::{faultless, run, sized, with};

/// Honest nodes against names of one operator, through two epochs of proofs.
fn against(honest: u32, kind: AdversaryKind, names: u32) -> Report {
    let share = f64::from(names) / f64::from(honest + names);
    run(with(sized(honest + names, 2, 120, 3), |scenario| {
        faultless(scenario);
        scenario.adversaries = vec![AdversaryPlan::new(kind, share)];
    }))
}

/// What the operator earned by something of its kind, and what all did.
fn earned(report: &Report, source: Source) -> (u128, u128) {
    let of_work = report.payouts.iter().filter(|row| row.line.source == source);
    of_work.filter(|row| row.line.record != Digest::ZERO).fold((0, 0), |(mine, all), row| {
        let amount = row.line.amount.0;
        (mine + if row.kind.is_adverse() { amount } else { 0 }, all + amount)
    })
}

#[test]
fn four_hundred_names_without_stake_hold_no_seat_and_no_more_than_their_lane() {
    for kind in [adversary::SYBIL_UNSTAKED, adversary::SYBIL_DUST] {
        let report = against(10, kind, 400);
        let failed: Vec<_> = report.checks.iter().filter(|check| !check.holds).collect();
        assert!(failed.is_empty(), "{kind}: {failed:?}");
        assert!(report.epochs.iter().all(|row| row.status == Status::Final), "{kind}");
        let (seats, all) = earned(&report, Source::Audits);
        assert!(seats == 0 && all > 0, "{kind}: {seats} of {all} for audits");
        let (storage, all) = earned(&report, Source::Storage);
        let pot = Scenario::default().budget().0 * 4 / 10 * report.epochs.len() as u128;
        assert!(storage > 0, "{kind}: the lane lets them in");
        assert!(storage * 10 <= pot, "{kind}: {storage} of {pot}, where all had {all}");
    }
}

/// The more names, the longer each takes to earn a stake; until it has, nothing of it leaves the vault.
#[test]
fn names_without_stake_take_nothing_out_until_each_has_earned_a_stake() {
    // Over twelve seeds one name earned 957 to 1,200, and of ten none more than 308.
    const LEAST: u128 = 600 * Amount::ONE_OPEN.0;
    for names in [1, 10, 100] {
        let share = f64::from(names) / f64::from(10 + names);
        let report = run(with(sized(10 + names, 3, 120, 3), |scenario| {
            faultless(scenario);
            scenario.chain.least_stake = 600;
            scenario.adversaries = vec![AdversaryPlan::new(adversary::SYBIL_UNSTAKED, share)];
        }));
        let failed: Vec<_> = report.checks.iter().filter(|check| !check.holds).collect();
        assert!(failed.is_empty(), "{names}: {failed:?}");
        let of = |is_adverse: bool| {
            report.nodes.iter().filter(move |node| node.kind.is_adverse() == is_adverse)
        };
        assert_eq!(of(true).count() as u32, names);
        assert!(of(false).all(|node| node.paid == node.earned), "they have a stake");
        assert!(of(true).map(|node| node.earned.0).sum::<u128>() > LEAST, "all together");
        for node in of(true) {
            let expected = if node.earned.0 < LEAST { Amount::ZERO } else { node.earned };
            assert_eq!((node.paid, names == 1), (expected, node.earned.0 >= LEAST), "{names}");
        }
    }
}

/// One stake under one name, ten and a hundred: a fifth of all stake has about a fifth of the seats.
#[test]
fn one_stake_has_no_more_seats_the_more_names_it_has() {
    for names in [1, 10, 100] {
        let report = against(20, adversary::SYBIL_DIVIDED, names);
        let (seats, all) = earned(&report, Source::Audits);
        let share = seats as f64 / all as f64;
        // Three seats over each of at least twenty holders in each of two epochs: five standard
        // deviations of 120 draws are 0.18.
        assert!(share < 0.38, "{names} names: {share}");
        assert!(names > 1 || share > 0.02, "one name with the stake of five has seats: {share}");
        let (storage, all) = earned(&report, Source::Storage);
        assert!(storage * 100 <= all * 27, "{names} names: {storage} of {all} for storage");
    }
}
