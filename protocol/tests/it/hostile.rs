//! Whatever arrives: no panic, one encoding, bounded memory.

use std::sync::Arc;

use proptest::prelude::*;
use protocol::{
    AccountId, Digest, Epoch, Hash, ModelId, Round,
    codec::Wire,
    holding::{Opening, Openings},
    manifest::{Manifest, Unit},
    merkle::{Path, SumNode},
    message::{Answer, Gossip, Request},
    node::{Done, Failure, Input, Node, OpId, Output},
    receipt::SignedReceipt,
    record::{
        AttributionBody, AuditBody, Body, Finding, Kind, Record, ReplayReport, RoundCloseBody,
        ShardBody, SignedRecord, StorageCommitBody, StorageProofBody, Verdict, audit_subject,
        round_subject, shard_subject, storage_subject,
    },
    slice::Slice,
    training::RunConfig,
};

use crate::{
    chain::{domain, key},
    net::{Net, new_node},
};

/// Bytes that decode are the only encoding of what they decode to.
fn reads<T: Wire>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(value.to_bytes(), bytes);
    }
}

fn reads_all(bytes: &[u8]) {
    reads::<Gossip>(bytes);
    reads::<Request>(bytes);
    reads::<Answer>(bytes);
    reads::<SignedRecord>(bytes);
    reads::<SignedReceipt>(bytes);
    reads::<Manifest>(bytes);
    reads::<Unit>(bytes);
    reads::<RunConfig>(bytes);
    let _ = protocol::settle::decode_balances(bytes);
    let _ = protocol::record::batch::included(bytes, |_| true);
    reads::<Openings>(bytes);
    reads::<Opening>(bytes);
    reads::<Slice>(bytes);
    reads::<Path>(bytes);
    reads::<SumNode>(bytes);
    reads::<Kind>(bytes);
    reads::<StorageCommitBody>(bytes);
    reads::<StorageProofBody>(bytes);
    reads::<ShardBody>(bytes);
    reads::<RoundCloseBody>(bytes);
    reads::<AuditBody>(bytes);
    reads::<AttributionBody>(bytes);
}

proptest! {
    #[test]
    fn arbitrary_bytes_decode_to_one_value_or_to_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        tag in 0u8..8,
    ) {
        reads_all(&bytes);
        // With a likely first byte, and with small counts, decoders get further.
        let mut likely = vec![tag];
        likely.extend(bytes.iter().map(|byte| if byte % 3 == 0 { *byte } else { 0 }));
        reads_all(&likely);
    }

    #[test]
    fn changed_messages_decode_to_one_value_or_to_an_error(
        at: prop::sample::Index, to: u8, cut: prop::sample::Index,
    ) {
        for mut bytes in crate::golden::samples() {
            let index = at.index(bytes.len());
            bytes[index] = to;
            reads_all(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            reads_all(&bytes);
        }
    }
}

fn random_body(net: &mut Net) -> Body {
    let (a, b) = (net.random(), net.random());
    let digest = Digest([a as u8 % 4; 32]);
    let hash = Hash(digest.0);
    let (model, round) = (ModelId(a % 3), Round((b % 5) as u32));
    match a % 5 {
        0 => Body::StorageCommit(StorageCommitBody {
            inventory: digest,
            rows: digest,
            bytes: a,
            cells: b as u32,
            seed: b,
            absent: vec![hash],
        }),
        1 => Body::StorageProof(StorageProofBody {
            commit: digest,
            openings: hash,
            length: a as u32,
        }),
        2 => Body::Shard(ShardBody {
            model,
            round,
            slot: (b >> 8) as u32 % 7,
            base: hash,
            payload: hash,
            length: 1,
            loss_first: 1,
            loss_last: 1,
            tokens: 1,
        }),
        3 => Body::RoundClose(RoundCloseBody {
            model,
            round,
            base: hash,
            shards: vec![digest; (b % 9) as usize],
            next: hash,
        }),
        _ => Body::Audit(AuditBody {
            of: AccountId(b % 8),
            work: digest,
            finding: random_finding(a >> 8, b >> 8),
        }),
    }
}

fn random_finding(a: u64, b: u64) -> Finding {
    let record = Digest([b as u8; 32]);
    let verdict = if (b >> 8).is_multiple_of(2) { Verdict::Pass } else { Verdict::Fail };
    match a % 4 {
        0 => Finding::Storage { record, verdict },
        1 => Finding::StorageMissing,
        2 => Finding::Shard { record, verdict, report: ReplayReport::NOTHING },
        _ => Finding::Attribution { record, verdict },
    }
}

fn subject_of(body: &Body, epoch: Epoch, account: AccountId) -> Digest {
    match body {
        Body::Shard(shard) => shard_subject(shard.model, shard.round, shard.slot, &shard.base),
        Body::RoundClose(close) => round_subject(close.model, close.round, &close.base),
        Body::Audit(audit) => audit_subject(audit.of, &audit.work),
        _ => storage_subject(epoch, account),
    }
}

fn random_done(net: &mut Net) -> Done {
    let a = net.random();
    match a % 6 {
        0 => Done::Fetched,
        1 => Done::Judged(Verdict::Fail),
        2 => Done::Prepared(Hash([a as u8; 32])),
        3 => Done::Replayed(ReplayReport { overlap: a as u32, cosine: 0, norm: u32::MAX }),
        4 => Done::Aggregated(Hash([a as u8; 32])),
        _ => Done::Failed(Failure::Invalid),
    }
}

#[test]
fn nonsense_that_is_well_signed_neither_panics_nor_piles_up() {
    let mut net = Net::new(5, 3, 40);
    net.order_model(5);
    net.run_to(92);
    // A machine that hears nothing but nonsense: strangers, members, wrong epochs, wrong answers.
    let mut node = new_node(AccountId(1));
    let mut longest = 0;
    for round in 0..4000u64 {
        let body = random_body(&mut net);
        let account = AccountId(net.random() % 7);
        let epoch = Epoch(net.random() % 5);
        let subject = subject_of(&body, epoch, account);
        let record = Record { epoch, account, subject, body };
        let signed = record.sign(&domain(), &key(account.0)).unwrap();
        let verified = Arc::new(signed.verify(&domain()).unwrap());
        node.handle(&net.chain.view, Input::Record(Arc::clone(&verified)));
        node.handle(&net.chain.view, Input::Record(verified));
        let done = random_done(&mut net);
        let op = OpId(net.random() % 50);
        node.handle(&net.chain.view, Input::Done(op, done));
        if round % 100 == 0 {
            net.chain.mine();
            node.handle(&net.chain.view, Input::Block);
        }
        while let Some(output) = node.poll_output() {
            if let Output::Sign(record) = output {
                assert!(record.is_well_formed(&domain()));
            }
        }
        longest = longest.max(format!("{node:?}").len() * usize::from(round % 500 == 0));
    }
    assert!(longest < 4_000_000, "the machine holds {longest} characters of state");
}

#[test]
fn an_idle_node_fits_in_three_kilobytes() {
    assert!(size_of::<Node>() <= 3000, "{} bytes", size_of::<Node>());
}
