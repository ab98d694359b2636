//! What comes in for an epoch: in time, late, twice, by the wrong key, cut, or not at all.

use alloy::sol_types::SolCall;
use protocol::chain::{Purpose, Transaction};
use protocol::holding::Inventory;
use protocol::record::{
    AuditBody, Body, Finding, Kind, Record, SignedRecord, StorageProofBody, Verdict, audit_subject,
    batch, storage_subject,
};
use protocol::{AccountId, Digest, Epoch, Hash};

use super::network::{BANK, HONEST, Network, OTHERS, THIEVES};
use crate::contracts::world::Coordinator;

impl Network {
    /// Sends some of what could come in with the next block, in one batch by whoever it is.
    pub(super) fn include(&mut self) {
        if self.draw.is_in(4) {
            let account = self.draw.of(&[HONEST, THIEVES[0], OTHERS[0], OTHERS[1]]);
            self.rotate(account);
        }
        let now = self.view.epoch();
        for epoch in [Some(now), now.0.checked_sub(1).map(Epoch)].into_iter().flatten() {
            let mut records = self.storage_of(epoch);
            if self.draw.is_in(15) {
                records.extend(self.junk(epoch));
            }
            if records.is_empty() {
                continue;
            }
            // Of a batch the end is missing now and then, so all of it stays out.
            if self.draw.is_in(5) {
                let batch = batch::encode(&records);
                let cut = batch[..batch.len() - 1 - self.draw.below(60)].to_vec();
                let call = Coordinator::includeCall { epoch: epoch.0, batch: cut.into() };
                let at = self.chain.deployment().coordinator;
                self.chain.send(BANK, at, call.abi_encode());
            } else {
                self.chain.submit(BANK, &Transaction::Include { epoch, records });
            }
        }
        self.dispute(now);
    }

    /// What holders and auditors have to say about storage, each with some delay.
    fn storage_of(&mut self, epoch: Epoch) -> Vec<SignedRecord> {
        let placement = self.view.placement(epoch);
        let mut records = Vec::new();
        for (holder, packs) in placement.holders() {
            let subject = storage_subject(epoch, holder);
            let commit = self.view.record_of(epoch, &(Kind::StorageCommit, holder, subject));
            let Some(commit) = commit.map(|record| record.id()) else {
                if let Some(s1) = self.view.seed(epoch, Purpose::Commit)
                    && self.draw.is_in(25)
                {
                    let cells = self.view.params().holding.cell_bytes;
                    let inventory = Inventory::owed(packs, &[], cells);
                    let rows: Vec<_> = (0..inventory.cells()).map(|_| self.draw.digest()).collect();
                    let body = Body::StorageCommit(inventory.commit(&s1, &rows, Vec::new()));
                    records.push(self.made(epoch, holder, subject, body));
                }
                continue;
            };
            let proof = self.view.record_of(epoch, &(Kind::StorageProof, holder, subject));
            match proof.map(|record| record.id()) {
                None if self.draw.is_in(30) => {
                    let openings = Hash(self.draw.digest().0);
                    let body = Body::StorageProof(StorageProofBody { commit, openings, length: 1 });
                    records.push(self.made(epoch, holder, subject, body));
                }
                None => {}
                Some(proof) => records.extend(self.audits_of(epoch, holder, proof)),
            }
        }
        records
    }

    fn audits_of(&mut self, epoch: Epoch, of: AccountId, proof: Digest) -> Vec<SignedRecord> {
        let work = storage_subject(epoch, of);
        let subject = audit_subject(of, &work);
        let mut audits = Vec::new();
        for auditor in self.view.storage_auditors(epoch, of).holders() {
            let is_there = self.view.record_of(epoch, &(Kind::Audit, auditor, subject)).is_some();
            if !is_there && self.draw.is_in(30) {
                let is_lie = self.draw.is_in(15);
                let verdict = if is_lie { Verdict::Fail } else { Verdict::Pass };
                let finding = match self.draw.below(8) {
                    0 => Finding::StorageMissing,
                    _ => Finding::Storage { record: proof, verdict },
                };
                let body = Body::Audit(AuditBody { of, work, finding });
                audits.push(self.made(epoch, auditor, subject, body));
            }
        }
        audits
    }

    fn made(&self, epoch: Epoch, account: AccountId, subject: Digest, body: Body) -> SignedRecord {
        self.sign(Record { epoch, account, subject, body }, &self.key(account))
    }

    /// What came in already, and what is of another account, key, epoch or subject.
    fn junk(&mut self, epoch: Epoch) -> Vec<SignedRecord> {
        let known: Vec<_> = self.view.records(epoch).map(|(r, _)| r.signed().clone()).collect();
        let mut junk = Vec::new();
        for signed in known.iter().take(3) {
            let mut record = signed.record.clone();
            let thief = self.draw.of(&THIEVES);
            match self.draw.below(5) {
                0 => {
                    junk.push(signed.clone());
                    continue;
                }
                1 => record.account = thief,
                2 => record.epoch = record.epoch.next(),
                3 => record.subject = self.draw.digest(),
                _ => {}
            }
            junk.push(self.sign(record, &self.key(thief)));
        }
        junk
    }

    /// A thief asks a holder that does not run for a cell, which so loses stake and its pay.
    fn dispute(&mut self, epoch: Epoch) {
        let (accuser, holder) = (self.draw.of(&THIEVES), self.draw.of(&OTHERS));
        let key = (Kind::StorageCommit, holder, storage_subject(epoch, holder));
        let Some(commit) = self.view.record_of(epoch, &key).cloned() else { return };
        let Some(at) = self.view.included(epoch, &commit.id()) else { return };
        if self.draw.is_in(3) {
            let commit = Box::new(commit.signed().clone());
            let open = Transaction::OpenDispute { accuser, commit, at, cell: 0 };
            let operator = self.operator(accuser);
            self.chain.submit(operator, &open);
        }
    }
}
