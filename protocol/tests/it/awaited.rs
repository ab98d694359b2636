//! What a node keeps of records that the chain has not taken in.

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    AccountId, Digest, Epoch, Hash, ModelId, Round,
    awaited::Awaited,
    chain::ChainView,
    codec::Wire,
    limits::MAX_AWAITED_BYTES_PER_ACCOUNT,
    record::{
        AuditBody, Body, Finding, Kind, Record, RoundCloseBody, StorageProofBody, Verdict,
        VerifiedRecord, audit_subject, round_subject, storage_subject,
    },
    rules::included_in,
};

use crate::{
    chain::{EPOCH_BLOCKS, domain, key},
    net::Net,
    serving::{ask, request, served},
};

/// An account that the chain knows, with a key and without a node: names are free.
const NAME: AccountId = AccountId(9);

fn signed(epoch: Epoch, account: AccountId, subject: Digest, body: Body) -> Arc<VerifiedRecord> {
    let record = Record { epoch, account, subject, body };
    let signed = record.sign(&domain(), &key(account.0)).unwrap();
    Arc::new(signed.verify(&domain()).unwrap())
}

fn audit(epoch: Epoch, by: AccountId, of: AccountId, finding: Finding) -> Arc<VerifiedRecord> {
    let work = storage_subject(epoch, of);
    let body = Body::Audit(AuditBody { of, work, finding });
    signed(epoch, by, audit_subject(of, &work), body)
}

fn close(epoch: Epoch, by: AccountId) -> Arc<VerifiedRecord> {
    let (model, round, base) = (ModelId(1), Round(0), Hash::ZERO);
    let body = RoundCloseBody { model, round, base, shards: vec![], next: Hash::ZERO };
    signed(epoch, by, round_subject(model, round, &base), Body::RoundClose(body))
}

fn is_kept(view: &ChainView, record: &Arc<VerifiedRecord>) -> bool {
    Awaited::default().take(view, record)
}

/// Otherwise a rule against junk would keep the honest waiting.
#[test]
fn what_honest_nodes_sign_is_kept_before_the_chain_has_it() {
    let mut net = served(12);
    let (mut kinds, mut asked) = (BTreeSet::new(), 0);
    while net.chain.now() < 4 * EPOCH_BLOCKS {
        if net.chain.now().is_multiple_of(7) {
            let from = 101 * u128::from(asked);
            asked += 1;
            assert_eq!(ask(&mut net, request(asked, 1, (from, from + 101))), None);
        }
        net.step();
        let view = &net.chain.view;
        for peer in &net.peers {
            let own = peer.pool.values().filter(|record| record.record().account == peer.account);
            for record in own.filter(|record| {
                record.record().epoch >= view.epoch() && included_in(view, record).is_none()
            }) {
                assert!(is_kept(view, record), "{:?}", record.record());
                kinds.insert(record.record().body.kind());
            }
        }
    }
    let all = [
        Kind::StorageCommit,
        Kind::StorageProof,
        Kind::ShardResult,
        Kind::RoundClose,
        Kind::Audit,
        Kind::Attribution,
    ];
    // A served model is trained: of shards and closes there are no more.
    let expected = all.into_iter().filter(|k| !matches!(k, Kind::ShardResult | Kind::RoundClose));
    assert_eq!(kinds, expected.collect());
}

#[test]
fn a_run_is_kept_whole_before_the_chain_has_it() {
    let mut net = Net::new(5, 3, 3);
    net.order_model(2);
    let mut kinds = BTreeSet::new();
    while net.chain.now() < 82 {
        net.step();
        let view = &net.chain.view;
        for record in net.peers.iter().flat_map(|peer| peer.pool.values()) {
            if record.record().epoch >= view.epoch() && included_in(view, record).is_none() {
                assert!(is_kept(view, record), "{:?}", record.record());
                kinds.insert(record.record().body.kind());
            }
        }
    }
    assert!(kinds.contains(&Kind::ShardResult) && kinds.contains(&Kind::RoundClose), "{kinds:?}");
}

#[test]
fn whoever_was_not_drawn_fills_nobodys_memory() {
    let mut net = served(12);
    net.chain.register(NAME, false);
    net.run_to(3 * EPOCH_BLOCKS + 15);
    let view = &net.chain.view;
    let (now, holder) = (view.epoch(), AccountId(1));
    let drawn = view.storage_auditors(now, holder).holders();
    let auditor = *drawn.first().unwrap();
    let other = (2..=5).map(AccountId).find(|id| !drawn.contains(id));
    assert!(is_kept(view, &audit(now, auditor, holder, Finding::StorageMissing)), "the drawn");

    let proof = StorageProofBody { commit: Digest::ZERO, openings: Hash::ZERO, length: 1 };
    let subject = storage_subject(now, NAME);
    let mut refused = vec![
        audit(now, NAME, holder, Finding::StorageMissing),
        audit(now.next().next(), auditor, holder, Finding::StorageMissing),
        audit(Epoch(0), auditor, holder, Finding::StorageMissing),
        close(now, NAME),
        signed(now, NAME, subject, Body::StorageProof(proof)),
    ];
    refused.extend(other.map(|other| audit(now, other, holder, Finding::StorageMissing)));
    // Work that the chain has not taken in has no auditors.
    let (record, verdict) = (Digest([9; 32]), Verdict::Pass);
    refused.push(audit(now, auditor, holder, Finding::Attribution { record, verdict }));
    // Right, and signed by somebody else.
    let subject = storage_subject(now, holder);
    let proof = Body::StorageProof(StorageProofBody {
        commit: Digest::ZERO,
        openings: Hash::ZERO,
        length: 1,
    });
    let forged = Record { epoch: now, account: holder, subject, body: proof };
    let forged = forged.sign(&domain(), &key(NAME.0)).unwrap().verify(&domain()).unwrap();
    refused.push(Arc::new(forged));
    for record in refused {
        assert!(!is_kept(view, &record), "{:?}", record.record());
    }
}

#[test]
fn of_one_server_there_is_so_much_and_it_goes_when_it_is_late() {
    let mut net = served(12);
    assert_eq!(ask(&mut net, request(1, 1, (0, 101))), None);
    let honest = net.peers[0].pool.values().find_map(|record| match &record.record().body {
        Body::Attribution(body) => Some(body.clone()),
        _ => None,
    });
    let mut body = honest.unwrap();
    body.shares = vec![(AccountId(50), 1); 4096];
    let (mut awaited, mut bytes, mut refused) = (Awaited::default(), 0, 0);
    let epoch = net.chain.view.epoch();
    for nonce in 2..40 {
        let to = 101 * u128::from(nonce);
        body.receipt = request(nonce, 1, (to - 101, to)).receipt;
        let subject = body.receipt.receipt.digest(&domain());
        let record = signed(epoch, AccountId(1), subject, Body::Attribution(body.clone()));
        match awaited.take(&net.chain.view, &record) {
            true => bytes += record.signed().to_bytes().len(),
            false => refused += 1,
        }
        assert!(!awaited.take(&net.chain.view, &record), "a key is kept once");
    }
    assert!(refused > 20 && bytes <= MAX_AWAITED_BYTES_PER_ACCOUNT, "{refused} {bytes}");
    let close = close(epoch, AccountId(2));
    assert!(awaited.take(&net.chain.view, &close), "there is room for another's");

    assert!(awaited.remove(&close));
    assert!(awaited.take(&net.chain.view, &close), "what left makes room");
    net.run_to(net.chain.view.schedule.cutoff(epoch).0 + 1);
    assert!(!awaited.forget_late(&net.chain.view).is_empty());
    assert_eq!(awaited.iter().count(), 0);
}
