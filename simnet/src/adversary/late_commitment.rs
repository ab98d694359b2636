//! Commitments that are made when the sample is known.

use std::collections::BTreeSet;

use protocol::{
    AccountId, BlockNumber, Epoch,
    chain::{Purpose, Transaction},
    node::{Done, Job},
    record::{Body, Kind, Record, StorageProofBody, VerifiedRecord, storage_subject},
};

use super::{Adversary, AdversaryKind, Profile, World};
use crate::units::Span;

/// Commits after the sample is drawn.
pub const LATE_COMMITMENT: AdversaryKind = AdversaryKind(&Profile::new(
    "late-commitment",
    "Commits to what it holds when it is known which cells will be asked for, and opens those.",
    |_| Box::<LateCommitment>::default(),
));

/// Holds back its commitments until the sample is drawn: whoever may do so needs to have nothing else.
#[derive(Default)]
struct LateCommitment {
    held: Vec<(usize, Record)>,
    /// Accounts whose proof of an epoch was made.
    proven: BTreeSet<(Epoch, AccountId)>,
}

impl Adversary for LateCommitment {
    fn sign(&mut self, _: &mut dyn World, node: usize, record: Record) -> Vec<(Span, Record)> {
        if !matches!(record.body, Body::StorageCommit(_)) {
            return vec![(Span::ZERO, record)];
        }
        self.held.push((node, record));
        Vec::new()
    }

    fn act(&mut self, world: &mut dyn World, members: &[u32], block: BlockNumber) {
        let (epoch, schedule) = (world.chain().epoch(), world.chain().schedule);
        let is_known = |record: &Record| block >= schedule.commit_deadline(record.epoch);
        for (node, record) in self.held.extract_if(.., |(_, record)| is_known(record)) {
            include(world, node, record, Span::ZERO);
        }
        self.proven.retain(|(of, _)| of.next() >= epoch);
        for member in members {
            let node = *member as usize;
            let account = world.account(node);
            let key = (Kind::StorageCommit, account, storage_subject(epoch, account));
            let Some(commit) = world.chain().record_of(epoch, &key).cloned() else { continue };
            if self.proven.insert((epoch, account)) {
                prove(world, node, &commit);
            }
        }
    }
}

/// Has the chain take in what no honest machine would send, and shows it to everybody.
pub(super) fn include(world: &mut dyn World, node: usize, record: Record, after: Span) {
    let (epoch, records) = (record.epoch, vec![world.signed(node, record.clone())]);
    world.submit(node, Transaction::Include { epoch, records });
    world.sign(node, record, after);
}

/// Opens what was asked for of a commitment, which no honest machine does of a late one.
fn prove(world: &mut dyn World, node: usize, commit: &VerifiedRecord) {
    let made = commit.record();
    let (epoch, account) = (made.epoch, made.account);
    let chain = world.chain();
    let seeds = (chain.seed(epoch, Purpose::Commit), chain.seed(epoch, Purpose::Open));
    let ((Some(s1), Some(s2)), Body::StorageCommit(body)) = (seeds, &made.body) else { return };
    let packs = chain.placement(epoch).packs_of(account).to_vec();
    let answer = world.honest(node, Job::Open { account, packs, commit: body.clone(), s1, s2 });
    let Done::Opened(openings) = answer.done else { return };
    let Ok(length) = u32::try_from(openings.length) else { return };
    let body = StorageProofBody { commit: commit.id(), openings: openings.hash, length };
    let subject = storage_subject(epoch, account);
    let proof = Record { epoch, account, subject, body: Body::StorageProof(body) };
    include(world, node, proof, Span(answer.taken));
}
