//! Properties of settlement and of its verification.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, Amount, Balance, Digest, Epoch, Hash, Timestamp,
    chain::{BlockHeader, ChainView, Challenge, Settlement, Transaction},
    codec::Wire,
    hash::blake3,
    record::{
        AuditBody, Body, Finding, Record, ReplayReport, ShardBody, SignedRecord, Verdict,
        VerifiedRecord, audit_subject, shard_subject, storage_subject,
    },
    settle::{
        Outcome, SettleError, Source, VerifyError, decode_balances, encode_balances, payout_tree,
        refute, settle, verify,
    },
};

use crate::{
    chain::{domain, key},
    net::Net,
};

fn settled() -> Net {
    let mut net = Net::new(5, 4, 30);
    net.peer(3).faults.forges = true;
    net.order_model(3);
    net.run_epochs(3);
    net
}

fn total_of(outcome: &Outcome, account: u64) -> u128 {
    let own = outcome.lines.iter().filter(|line| line.account.0 == account);
    own.map(|line| line.amount.0).sum()
}

/// A network in the last blocks in which records of epoch 2 are taken in.
fn before_cutoff() -> Net {
    let mut net = Net::new(5, 4, 30);
    net.peer(3).faults.forges = true;
    net.order_model(3);
    let cutoff = net.chain.view.schedule.cutoff(Epoch(2));
    net.run_to(cutoff.0 - 2);
    net
}

/// The settlement of epoch 2 with more records, which the chain takes in where it can.
fn settled_with(net: &mut Net, added: Vec<SignedRecord>) -> (ChainView, Outcome) {
    let epoch = Epoch(2);
    let (mut view, parent) = (net.chain.view.clone(), net.parent(epoch));
    let at = view.now().next();
    let block = |number| BlockHeader { number, hash: Digest([7; 32]), timestamp: Timestamp(0) };
    let mut by_epoch: BTreeMap<Epoch, Vec<SignedRecord>> = BTreeMap::new();
    added.into_iter().for_each(|r| by_epoch.entry(r.record.epoch).or_default().push(r));
    let events: Vec<_> = by_epoch
        .into_iter()
        .filter_map(|(epoch, records)| net.chain.include(at, epoch, records))
        .collect();
    view.apply(block(at), &events);
    view.apply(block(view.schedule.cutoff(epoch)), &[]);
    let outcome = settle(&view, epoch, &parent).unwrap();
    (view, outcome)
}

#[test]
fn what_an_attacker_adds_never_raises_what_it_earns() {
    let honest = settled_with(&mut before_cutoff(), vec![]).1;
    let mut net = before_cutoff();
    let mut added = vec![];
    let mut add = |record: Record, signer: u64| {
        added.push(record.sign(&domain(), &key(signer)).unwrap());
    };
    let known: Vec<_> = net.peers[0].pool.values().cloned().collect();
    for record in &known {
        let made = record.record();
        // Everybody's records, signed by the attacker; its own under other subjects and epochs.
        add(made.clone(), 3);
        add(Record { account: AccountId(3), ..made.clone() }, 3);
        if made.account.0 == 3 {
            add(Record { subject: Digest([9; 32]), ..made.clone() }, 3);
            add(Record { epoch: Epoch(made.epoch.0 + 1), ..made.clone() }, 3);
        }
        if let Body::Shard(shard) = &made.body {
            let mut shard = shard.clone();
            shard.slot = 2;
            let subject = shard_subject(shard.model, shard.round, 2, &shard.base);
            let (epoch, account) = (made.epoch, AccountId(3));
            add(Record { epoch, account, subject, body: Body::Shard(shard) }, 3);
        }
        if made.account.0 == 3
            && let Some(finding) = passing(record)
        {
            let body = AuditBody { of: made.account, work: made.subject, finding };
            let subject = audit_subject(made.account, &made.subject);
            let (epoch, account) = (made.epoch, AccountId(3));
            add(Record { epoch, account, subject, body: Body::Audit(body) }, 3);
        }
    }
    let (view, outcome) = settled_with(&mut net, added);
    assert_ne!(outcome.settlement.records, honest.settlement.records, "the chain took some in");
    assert!(total_of(&outcome, 3) <= total_of(&honest, 3));
    // Whatever was added, anyone who has the chain comes to the same result.
    assert!(verify(&view, &outcome.settlement, &net.parent(Epoch(2))).is_ok());
}

/// What an auditor says who passes everything; `None` of records that are not audited.
fn passing(record: &VerifiedRecord) -> Option<Finding> {
    let (record, verdict, body) = (record.id(), Verdict::Pass, &record.record().body);
    let ppm = 1_000_000;
    let report = ReplayReport { overlap: ppm, cosine: ppm, norm: ppm };
    match body {
        Body::StorageProof(_) => Some(Finding::Storage { record, verdict }),
        Body::Shard(_) => Some(Finding::Shard { record, verdict, report }),
        Body::Attribution(_) => Some(Finding::Attribution { record, verdict }),
        Body::StorageCommit(_) | Body::RoundClose(_) | Body::Audit(_) => None,
    }
}

/// The same with the opposite verdict.
fn contrary(finding: Finding) -> Finding {
    let opposite = |verdict| match verdict {
        Verdict::Pass => Verdict::Fail,
        Verdict::Fail => Verdict::Pass,
    };
    match finding {
        Finding::Storage { record, verdict } => {
            Finding::Storage { record, verdict: opposite(verdict) }
        }
        Finding::StorageMissing => finding,
        Finding::Shard { record, verdict, report } => {
            Finding::Shard { record, verdict: opposite(verdict), report }
        }
        Finding::Attribution { record, verdict } => {
            Finding::Attribution { record, verdict: opposite(verdict) }
        }
    }
}

/// Every auditor gives its audits as those of each other account too, and says of every holder that its
/// proof is missing.
#[test]
fn a_duty_is_paid_once_whatever_names_its_audit_is_given_under() {
    let mut net = before_cutoff();
    let epoch = Epoch(2);
    let given = net.peers[0].pool.values().filter_map(|record| match &record.record().body {
        Body::Audit(body) => Some((record.record().account.0, body.work, body.finding)),
        _ => None,
    });
    let missing = (1..=5).flat_map(|auditor| {
        let of = (1..=5).map(|holder| storage_subject(epoch, AccountId(holder)));
        of.map(move |work| (auditor, work, Finding::StorageMissing))
    });
    let all: Vec<_> = given.chain(missing).collect();
    let mut added = vec![];
    for (auditor, work, finding) in all {
        for of in (1..=5).map(AccountId) {
            let body = Body::Audit(AuditBody { of, work, finding });
            let subject = audit_subject(of, &work);
            let record = Record { epoch, account: AccountId(auditor), subject, body };
            added.push(record.sign(&domain(), &key(auditor)).unwrap());
        }
    }
    let (view, outcome) = settled_with(&mut net, added);
    let paid = outcome.lines.iter().filter(|line| line.source == Source::Audits);
    let duties = paid.map(|line| match &view.record(epoch, &line.record).unwrap().record().body {
        Body::Audit(body) => (line.account, body.work),
        other => panic!("{other:?} is paid as an audit"),
    });
    let duties: Vec<_> = duties.collect();
    let distinct: BTreeSet<_> = duties.iter().collect();
    assert!(duties.len() > 3);
    assert_eq!(distinct.len(), duties.len(), "a duty is paid twice");
}

/// A worker claims its parts again from checkpoints that there are not, and everybody passes that.
#[test]
fn a_part_that_is_claimed_from_another_checkpoint_keeps_its_auditors_and_is_paid_once() {
    let before = || {
        let mut net = Net::new(5, 4, 30);
        net.order_model(20);
        net.run_to(net.chain.view.schedule.cutoff(Epoch(2)).0 - 2);
        net
    };
    let honest = settled_with(&mut before(), vec![]).1;
    let mut net = before();
    let is_claim = |record: &&VerifiedRecord| {
        let made = record.record();
        (made.account.0, made.epoch.0) == (1, 2) && matches!(made.body, Body::Shard(_))
    };
    let known: Vec<_> = net.peers[0].pool.values().cloned().collect();
    let claims: Vec<_> = known.iter().map(|record| &**record).filter(is_claim).collect();
    assert!(claims.len() >= 2);
    let (mut added, mut pairs) = (vec![], vec![]);
    for first in claims {
        let Body::Shard(shard) = &first.record().body else { continue };
        let base = Hash([9; 32]);
        let subject = shard_subject(shard.model, shard.round, shard.slot, &base);
        let body = Body::Shard(ShardBody { base, ..shard.clone() });
        let again = Record { subject, body, ..first.record().clone() };
        let again = again.sign(&domain(), &key(1)).unwrap();
        let verified = again.clone().verify(&domain()).unwrap();
        for auditor in 1..=5 {
            let (of, work, finding) = (AccountId(1), subject, passing(&verified).unwrap());
            let (account, epoch) = (AccountId(auditor), Epoch(2));
            let body = Body::Audit(AuditBody { of, work, finding });
            let audit = Record { epoch, account, subject: audit_subject(of, &work), body };
            added.push(audit.sign(&domain(), &key(auditor)).unwrap());
        }
        added.push(again);
        pairs.push((first.clone(), verified));
    }
    let (view, outcome) = settled_with(&mut net, added);
    for (first, again) in &pairs {
        let block = view.included(Epoch(2), &first.id());
        assert!(view.included(Epoch(2), &again.id()) > block, "the second came in later");
        assert_eq!((view.shard_fixed(first), view.shard_fixed(again)), (block, block));
    }
    let shards = |outcome: &Outcome, account| {
        let lines = outcome.lines.iter().filter(|line| line.source == Source::Shards);
        lines.filter(|line| line.account.0 == account).map(|line| line.amount.0).sum::<u128>()
    };
    for account in 1..=5 {
        assert_eq!(shards(&outcome, account), shards(&honest, account));
    }
}

#[test]
fn of_two_verdicts_of_one_auditor_the_first_that_came_in_counts() {
    let honest = settled_with(&mut before_cutoff(), vec![]).1;
    let mut net = before_cutoff();
    let known: Vec<_> = net.peers[0].pool.values().cloned().collect();
    let mut second = vec![];
    for record in known {
        let Body::Audit(body) = &record.record().body else { continue };
        let body = AuditBody { finding: contrary(body.finding), ..*body };
        let contrary = Record { body: Body::Audit(body), ..record.record().clone() };
        let auditor = contrary.account.0;
        second.push(contrary.sign(&domain(), &key(auditor)).unwrap());
    }
    assert!(second.len() > 3);
    let (view, outcome) = settled_with(&mut net, second);
    assert_eq!((&outcome.lines, &outcome.zeros), (&honest.lines, &honest.zeros));
    assert_eq!(verify(&view, &outcome.settlement, &net.parent(Epoch(2))).unwrap(), outcome);
}

#[test]
fn the_chain_alone_gives_the_settlement_again() {
    let net = settled();
    let mut balances = vec![];
    for epoch in 0..3 {
        let outcome = net.outcome(epoch);
        let again = verify(&net.chain.view, &outcome.settlement, &balances).unwrap();
        assert_eq!(&again, outcome);
        balances.clone_from(&outcome.leaves);
    }
}

#[test]
fn nothing_comes_in_after_the_cutoff() {
    let mut net = settled();
    let before = net.outcome(2).clone();
    let known: Vec<_> = net.peers[0].pool.values().map(|r| r.signed().clone()).collect();
    for record in known {
        let epoch = record.record.epoch;
        net.chain.waiting.push(Transaction::Include { epoch, records: vec![record] });
    }
    net.chain.mine();
    net.chain.mine();
    assert!(verify(&net.chain.view, &before.settlement, &net.parent(Epoch(2))).is_ok());
}

#[test]
fn each_way_in_which_a_settlement_is_false_has_its_error() {
    let net = settled();
    let (view, parent) = (&net.chain.view, net.parent(Epoch(2)));
    let settlement = net.outcome(2).settlement;
    let mut richer = parent.clone();
    richer[0].1.free.0 += 1;
    let error = verify(view, &settlement, &richer).unwrap_err();
    assert!(matches!(error, VerifyError::Settle(SettleError::WrongParent(_))), "{error}");
    let others = Settlement { records: Digest([1; 32]), ..settlement };
    let error = verify(view, &others, &parent).unwrap_err();
    assert!(matches!(error, VerifyError::Records { .. }), "{error}");
    let mut inflated = settlement;
    inflated.total = Amount(inflated.total.0 + 1);
    let error = verify(view, &inflated, &parent).unwrap_err();
    assert!(matches!(error, VerifyError::Payouts { .. }), "{error}");
    let mut leaves = net.outcome(2).leaves.clone();
    leaves[0].1.free.0 += 1;
    inflated = settlement;
    inflated.payout_root = payout_tree(&leaves).root();
    let error = verify(view, &inflated, &parent).unwrap_err();
    assert!(matches!(error, VerifyError::Payouts { .. }), "{error}");
    let listed = Settlement { balances: Hash([1; 32]), ..settlement };
    let error = verify(view, &listed, &parent).unwrap_err();
    assert!(matches!(error, VerifyError::Balances { .. }), "{error}");
    let mut counted = settlement;
    counted.storage_faults += 1;
    assert_eq!(verify(view, &counted, &parent).unwrap_err(), VerifyError::Counts);
}

#[test]
fn a_claim_proves_its_leaf() {
    let net = settled();
    let outcome = net.outcome(2);
    // Of a chain on which nobody has claimed yet.
    let view = &crate::chain::FakeChain::new(11, 3).view;
    for (id, earned) in &outcome.leaves {
        let claim = outcome.claim(view, *id).unwrap();
        let Transaction::Claim { account, balance, index, count, path } = claim else {
            panic!("{claim:?}")
        };
        assert_eq!((account, balance), (*id, *earned));
        let (payload, sum) = ((account, balance).to_bytes(), balance.total());
        let root = &outcome.settlement.payout_root;
        let sums = protocol::merkle::verify_sum(root, count, index, &payload, sum.0, &path);
        assert_eq!(sums.map(|(_, total)| total), Some(outcome.settlement.total.0));
    }
    assert!(outcome.claim(view, AccountId(999)).is_none());
}

#[test]
fn a_list_of_balances_is_what_its_settlement_names() {
    let net = settled();
    let outcome = net.outcome(2);
    let bytes = encode_balances(&outcome.leaves);
    assert_eq!((blake3(&bytes), bytes.len() as u64), {
        let settlement = outcome.settlement;
        (settlement.balances, settlement.balances_length)
    });
    assert_eq!(decode_balances(&bytes).as_ref(), Ok(&outcome.leaves));
    assert!(decode_balances(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn an_epoch_that_was_settled_long_ago_is_refused_and_not_settled_from_nothing() {
    let mut net = Net::new(5, 3, 11);
    net.run_epochs(7);
    let last = net.chain.view.next_to_settle().0 - 1;
    assert!(last > 5);
    let again = settle(&net.chain.view, Epoch(last), &net.parent(Epoch(last)));
    assert_eq!(again.map(|outcome| outcome.settlement), Ok(net.outcome(last).settlement));
    let forgotten = settle(&net.chain.view, Epoch(1), &net.parent(Epoch(1)));
    assert_eq!(forgotten.unwrap_err(), SettleError::Forgotten(Epoch(1)));
}

#[test]
fn what_the_contract_can_see_is_false_has_its_challenge_and_what_is_right_has_none() {
    let net = settled();
    let (before, right) = (net.parent(Epoch(2)), net.outcome(2));
    let of = |leaves: &[(AccountId, Balance)]| {
        let tree = payout_tree(leaves);
        Settlement { payout_root: tree.root(), total: Amount(tree.sum()), ..right.settlement }
    };
    let refutes = |settlement: &Settlement, list: &[(AccountId, Balance)]| {
        refute(settlement, &before, &[&right.leaves, list])
    };
    let changed = |change: fn(&mut Vec<(AccountId, Balance)>)| {
        let mut leaves = right.leaves.clone();
        change(&mut leaves);
        leaves
    };
    for list in [&[][..], &before, &right.leaves] {
        assert_eq!(refute(&right.settlement, &before, &[&right.leaves, list]), None);
    }
    let more = Settlement { total: Amount(right.settlement.total.0 + 1), ..right.settlement };
    assert!(matches!(refutes(&more, &[]), Some(Challenge::Total { .. })));
    let empty = Settlement { payout_root: Digest::ZERO, ..right.settlement };
    assert!(matches!(refutes(&empty, &[]), Some(Challenge::Total { count: 0, .. })));
    let nothing = Settlement { total: Amount(0), ..empty };
    let Some(Challenge::Loss { found, .. }) = refutes(&nothing, &[]) else { panic!() };
    assert!(found.is_empty());

    let swapped = changed(|leaves| leaves.swap(0, 1));
    let doubled = changed(|leaves| leaves.insert(1, leaves[0]));
    for leaves in [swapped, doubled] {
        let found = refutes(&of(&leaves), &leaves);
        let Some(Challenge::Order { left, right, .. }) = found else { panic!("{found:?}") };
        assert!((left.index, right.index) == (0, 1) && left.account >= right.account);
    }
    let found_of = |leaves: &[(AccountId, Balance)]| match refutes(&of(leaves), leaves) {
        Some(Challenge::Loss { found, .. }) => found.iter().map(|leaf| leaf.index).collect(),
        other => panic!("{other:?}"),
    };
    let count = right.leaves.len() as u64;
    let first = changed(|leaves| {
        leaves.remove(0);
    });
    let last = changed(|leaves| leaves.truncate(leaves.len() - 1));
    let between = changed(|leaves| {
        leaves.remove(1);
    });
    let less = changed(|leaves| leaves[1].1 = Balance::ZERO);
    let places: [Vec<u64>; 4] = [first, last, between, less].map(|leaves| found_of(&leaves));
    assert_eq!(places, [vec![0], vec![count - 2], vec![0, 1], vec![1]]);

    // Of a list that nobody published, or that pays too much to somebody, it sees nothing.
    let hidden = changed(|leaves| leaves[1].1 = Balance::ZERO);
    assert_eq!(refutes(&of(&hidden), &[]), None);
    let inflated = changed(|leaves| leaves[1].1.free.0 += 1);
    assert_eq!(refutes(&of(&inflated), &inflated), None);
}
