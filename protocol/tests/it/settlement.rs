//! Properties of settlement and of its verification.

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    AccountId, Amount, Digest, Epoch,
    chain::{Settlement, Transaction},
    codec::Wire,
    eip712::Signature,
    node::Event,
    record::{
        AuditBody, Body, Finding, Record, ReplayReport, SignedRecord, Verdict, VerifiedRecord,
        audit_subject, shard_subject, storage_subject,
    },
    settle::{EpochLog, Outcome, Source, VerifyError, settle, verify},
};

use crate::{
    chain::{TREASURY, domain, key},
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

#[test]
fn what_an_attacker_adds_never_raises_what_it_earns() {
    let net = settled();
    for epoch in [0, 2] {
        let (epoch, evidence) = (Epoch(epoch), net.evidence(0));
        let parent = net.parent(epoch);
        let honest = settle(&net.chain.view, epoch, &parent, &evidence).unwrap().0;
        let mut attacked = evidence.clone();
        let mut add = |record: Record, signer: u64| {
            let signed = record.sign(&domain(), &key(signer)).unwrap();
            let verified = Arc::new(signed.verify(&domain()).unwrap());
            attacked.records.insert(verified.id(), verified);
        };
        for record in evidence.records.values() {
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
        let (outcome, log) = settle(&net.chain.view, epoch, &parent, &attacked).unwrap();
        assert!(total_of(&outcome, 3) <= total_of(&honest, 3), "{epoch}");
        // Whatever was added, anyone who has the log comes to the same result.
        assert!(verify(&net.chain.view, &outcome.settlement, &log).is_ok());
    }
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

/// Every auditor says of a proof that was not shown that it is missing, once as the holder's and once as
/// that of each other account, and says of all else what it said as that of others too.
#[test]
fn a_duty_is_paid_once_whatever_names_its_audit_is_given_under() {
    let net = settled();
    let (epoch, mut evidence) = (Epoch(2), net.evidence(0));
    let parent = net.parent(epoch);
    let is_shown = |record: &Arc<VerifiedRecord>| match &record.record().body {
        Body::StorageProof(_) => record.record().account.0 == 2,
        Body::Audit(body) => body.of.0 == 2 && matches!(body.finding, Finding::Storage { .. }),
        _ => false,
    };
    evidence.records.retain(|_, record| !is_shown(record));
    let work = storage_subject(epoch, AccountId(2));
    let missing = (1..=5).map(|auditor| (auditor, work, Finding::StorageMissing));
    let others = evidence.records.values().filter_map(|record| match &record.record().body {
        Body::Audit(body) => Some((record.record().account.0, body.work, body.finding)),
        _ => None,
    });
    let all: Vec<_> = missing.chain(others).collect();
    for (auditor, work, finding) in all {
        for of in (1..=5).map(AccountId) {
            let body = Body::Audit(AuditBody { of, work, finding });
            let subject = audit_subject(of, &work);
            let record = Record { epoch, account: AccountId(auditor), subject, body };
            let signed = record.sign(&domain(), &key(auditor)).unwrap();
            let verified = Arc::new(signed.verify(&domain()).unwrap());
            evidence.records.insert(verified.id(), verified);
        }
    }
    let (outcome, _) = settle(&net.chain.view, epoch, &parent, &evidence).unwrap();
    let paid = outcome.lines.iter().filter(|line| line.source == Source::Audits);
    let duties = paid.map(|line| match &evidence.records[&line.record].record().body {
        Body::Audit(body) => (line.account, body.work),
        other => panic!("{other:?} is paid as an audit"),
    });
    let duties: Vec<_> = duties.collect();
    let distinct: BTreeSet<_> = duties.iter().collect();
    assert_eq!(distinct.len(), duties.len(), "a duty is paid twice");
    let auditors = net.chain.view.storage_auditors(epoch, AccountId(2)).holders();
    let of_missing = duties.iter().filter(|(_, of)| *of == work).map(|(by, _)| *by);
    assert_eq!(of_missing.collect::<Vec<_>>(), auditors);
}

#[test]
fn of_two_verdicts_of_one_auditor_the_one_in_the_log_counts() {
    let net = settled();
    let (epoch, mut evidence) = (Epoch(2), net.evidence(0));
    let parent = net.parent(epoch);
    let honest = settle(&net.chain.view, epoch, &parent, &evidence).unwrap().0;
    let records: Vec<_> = evidence.records.values().cloned().collect();
    for record in records {
        let Body::Audit(body) = &record.record().body else { continue };
        let body = AuditBody { finding: contrary(body.finding), ..*body };
        let contrary = Record { body: Body::Audit(body), ..record.record().clone() };
        let auditor = contrary.account.0;
        let signed = contrary.sign(&domain(), &key(auditor)).unwrap();
        let contrary = Arc::new(signed.verify(&domain()).unwrap());
        evidence.records.insert(contrary.id(), contrary);
    }
    let (outcome, log) = settle(&net.chain.view, epoch, &parent, &evidence).unwrap();
    assert_ne!(outcome.settlement, honest.settlement, "half of the contrary ones count");
    assert_eq!(verify(&net.chain.view, &outcome.settlement, &log).unwrap(), outcome);
}

#[test]
fn the_log_alone_gives_the_settlement_again() {
    let net = settled();
    for epoch in 0..3 {
        let outcome = net.outcome(epoch);
        let again = verify(&net.chain.view, &outcome.settlement, net.log(epoch)).unwrap();
        assert_eq!(&again, outcome);
        // Every node settles alike, whatever order its records came in.
        let parent = net.parent(Epoch(epoch));
        let own = settle(&net.chain.view, Epoch(epoch), &parent, &net.evidence(4)).unwrap().0;
        assert_eq!(own.settlement, outcome.settlement);
    }
}

#[test]
fn anchors_after_the_cutoff_change_nothing() {
    let mut net = settled();
    let before = net.outcome(2).clone();
    let ids: Vec<_> = net.peers[0].pool.values().map(|r| (r.record().epoch, r.id())).collect();
    for (epoch, id) in ids {
        let root = protocol::rules::anchor_root(&id);
        net.chain.waiting.push(Transaction::Anchor { epoch, root });
    }
    net.chain.mine();
    net.chain.mine();
    assert!(verify(&net.chain.view, &before.settlement, net.log(2)).is_ok());
}

#[test]
fn every_flipped_byte_is_seen() {
    let net = settled();
    let settlement = net.outcome(2).settlement;
    let log = net.log(2);
    for at in (0..log.len()).step_by(log.len() / 150) {
        let mut bytes = log.to_vec();
        bytes[at] ^= 1;
        assert!(verify(&net.chain.view, &settlement, &bytes).is_err(), "byte {at}");
    }
}

fn edited(net: &Net, edit: impl Fn(&mut EpochLog)) -> VerifyError {
    let mut log = EpochLog::from_bytes(net.log(2)).unwrap();
    edit(&mut log);
    verify(&net.chain.view, &net.outcome(2).settlement, &log.to_bytes()).unwrap_err()
}

#[test]
fn each_region_of_the_log_has_its_error() {
    let net = settled();
    let view = &net.chain.view;
    let settlement = net.outcome(2).settlement;
    let dropped = edited(&net, |log| {
        log.records.pop();
    });
    assert!(matches!(dropped, VerifyError::RecordsRoot { .. }), "{dropped}");
    let resigned = edited(&net, |log| log.records[0].signature = Signature([0; 65]));
    assert!(matches!(resigned, VerifyError::BadSignature(0)), "{resigned}");
    let balances = edited(&net, |log| log.balances[0].1.0 += 1);
    assert!(matches!(balances, VerifyError::Settle(_)), "{balances}");
    let unopened = edited(&net, |log| log.openings.clear());
    assert!(matches!(unopened, VerifyError::Payouts { .. }), "{unopened}");
    let epoch = edited(&net, |log| log.epoch = Epoch(1));
    assert!(matches!(epoch, VerifyError::WrongEpoch { .. }), "{epoch}");
    let reordered = edited(&net, |log| log.records.reverse());
    assert!(matches!(reordered, VerifyError::LogHash { .. }), "{reordered}");
    let truncated = verify(view, &settlement, &net.log(2)[..100]).unwrap_err();
    assert!(matches!(truncated, VerifyError::Malformed(_)), "{truncated}");

    let mut inflated = settlement;
    inflated.total = Amount(inflated.total.0 + 1);
    let error = verify(view, &inflated, net.log(2)).unwrap_err();
    assert!(matches!(error, VerifyError::Payouts { .. }), "{error}");
    let mut leaves = net.outcome(2).leaves.clone();
    leaves[0].1.0 += 1;
    inflated = settlement;
    inflated.payout_root = protocol::settle::payout_tree(&leaves).root();
    let error = verify(view, &inflated, net.log(2)).unwrap_err();
    assert!(matches!(error, VerifyError::Payouts { .. }), "{error}");
    let mut counted = settlement;
    counted.storage_faults += 1;
    assert_eq!(verify(view, &counted, net.log(2)).unwrap_err(), VerifyError::Counts);
}

#[test]
fn a_claim_proves_its_leaf() {
    let net = settled();
    let outcome = net.outcome(2);
    for (account, amount) in &outcome.leaves {
        let (cumulative, index, count, path) = outcome.claim(*account).unwrap();
        let payload = (*account, cumulative).to_bytes();
        let root = &outcome.settlement.payout_root;
        let sums = protocol::merkle::verify_sum(root, count, index, &payload, cumulative.0, &path);
        assert_eq!(sums.map(|(_, total)| total), Some(outcome.settlement.total.0));
        assert_eq!(cumulative, *amount);
    }
    assert!(outcome.claim(AccountId(999)).is_none());
}

#[test]
fn a_log_keeps_its_records_readable() {
    let net = settled();
    let log = EpochLog::from_bytes(net.log(2)).unwrap();
    assert_eq!(log.to_bytes(), net.log(2));
    assert!(log.records.iter().all(|r: &SignedRecord| r.clone().verify(&domain()).is_ok()));
}

#[test]
fn a_log_longer_than_any_is_objected_to_unread() {
    let mut net = Net::new(5, 3, 11);
    net.run_to(60);
    let state = *net.chain.view.settlement(Epoch(0)).unwrap();
    let mut net = Net::new(5, 3, 11);
    net.run_to(state.proposed.0 - 2);
    let settlement = Settlement { log_length: u64::MAX, ..state.settlement };
    net.chain.waiting.push(Transaction::Propose { proposer: TREASURY, settlement });
    net.run_epochs(3);
    assert!(net.events().any(|(_, event)| matches!(event, Event::WrongSettlement { .. })));
    assert_eq!(net.chain.bonds_lost[&TREASURY], 1);
    assert_eq!(net.outcome(0).settlement.log_length, state.settlement.log_length);
}
