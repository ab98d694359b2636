//! The slow work of a driver, with a toy model: an update is the hash of its inputs.

use protocol::{
    AccountId, Amount, Balance, BlobRef, Digest, Epoch, Hash, ModelId, Round,
    chain::Settlement,
    codec::Wire,
    hash::blake3,
    holding::{Inventory, Openings, RowKey, sample},
    node::{Done, Failure, Job},
    ranges::Ranges,
    record::{
        AttributionBody, Body, ReplayReport, ShardBody, StorageCommitBody, Verdict, VerifiedRecord,
    },
    rules::{judge_storage, unshown_cell},
    settle::{refute, settle},
    slice,
};

use crate::{
    chain::CONTRIBUTOR,
    net::{Net, Peer},
};

impl Net {
    pub(crate) fn work(&mut self, index: usize, job: Job) -> Done {
        let done = match job {
            Job::Fetch(blob) => self.fetch(index, blob.hash).map(|_| Done::Fetched),
            Job::Commit { account, packs, s1 } => Some(self.commit(index, account, &packs, s1)),
            Job::Open { account, packs, commit, s1, s2 } => {
                Some(self.open(index, account, &packs, &commit, (s1, s2)))
            }
            Job::AuditStorage { proof } => self.audit_storage(index, &proof),
            Job::OpenCell { account, packs, commit, s1, cell } => {
                self.open_cell(index, account, &packs, &commit, (s1, cell))
            }
            Job::LookAgain { commit, proof, from } => {
                assert!(!from.is_empty(), "somebody is asked");
                self.look_again(index, &commit, &proof)
            }
            Job::Prepare { model } => Some(Done::Prepared(blake3(&model.to_bytes()))),
            Job::Compute { model, round, slot, base, units, seed, .. } => {
                Some(self.compute(index, (model, round, slot), base, &units, seed))
            }
            Job::Replay { shard, units, seed, .. } => self.replay(index, &shard, &units, seed),
            Job::Aggregate { base, payloads, expected, .. } => {
                Some(self.aggregate(index, base, &payloads, expected))
            }
            Job::Infer { request, model } => Some(self.infer(index, request, model)),
            Job::AuditAttribution { record } => {
                let Body::Attribution(body) = &record.record().body else { panic!() };
                let is_right =
                    body.transcript == blake3(b"transcript") && !self.peers[index].faults.condemns;
                Some(Done::Judged(if is_right { Verdict::Pass } else { Verdict::Fail }))
            }
            Job::Settle { epoch } => self.settle(index, epoch),
            Job::Refute { settlement } => self.refute(&settlement),
            Job::Verify { settlement } => self.verify(&settlement),
            Job::Claim { epoch, account } => self.claim(epoch, account),
        };
        done.unwrap_or(Done::Failed(Failure::Unavailable))
    }

    /// From the own store, or from any node that is online.
    fn fetch(&mut self, index: usize, blob: Hash) -> Option<Vec<u8>> {
        let is_pack = self.origin.contains_key(&blob);
        if self.peers[index].refused_blobs.contains(&blob)
            || is_pack && self.peers[index].faults.stores_nothing
        {
            return None;
        }
        let have = |peer: &&Peer| !peer.faults.offline && peer.blobs.contains_key(&blob);
        let found = self.peers[index].blobs.get(&blob).cloned();
        let found = found.or_else(|| Some(self.peers.iter().find(have)?.blobs[&blob].clone()));
        let bytes = found.or_else(|| self.origin.get(&blob).cloned())?;
        self.peers[index].blobs.insert(blob, bytes.clone());
        Some(bytes)
    }

    fn rows(&self, index: usize, inventory: &Inventory, key: &RowKey) -> Vec<Digest> {
        let row = |pack: &Hash, chunk| match self.peers[index].blobs.get(pack) {
            Some(bytes) => key.row(&slice::prove(bytes, chunk).unwrap().chunk),
            None => key.row(b"made up"),
        };
        inventory.chosen(key).iter().map(|cell| row(&cell.pack, cell.chunk)).collect()
    }

    fn commit(&self, index: usize, account: AccountId, packs: &[BlobRef], s1: Digest) -> Done {
        let peer = &self.peers[index];
        let is_liar = peer.faults.claims_lost || peer.faults.stores_nothing;
        let is_absent = |pack: &Hash| !is_liar && !peer.blobs.contains_key(pack);
        let absent: Vec<_> = packs.iter().map(|pack| pack.hash).filter(is_absent).collect();
        let cell_bytes = self.chain.view.params().holding.cell_bytes;
        let inventory = Inventory::owed(packs, &absent, cell_bytes);
        let rows = self.rows(index, &inventory, &RowKey::new(&s1, account));
        Done::Committed(inventory.commit(&s1, &rows, absent))
    }

    fn open(
        &mut self,
        index: usize,
        account: AccountId,
        packs: &[BlobRef],
        commit: &StorageCommitBody,
        (s1, s2): (Digest, Digest),
    ) -> Done {
        let holding = self.chain.view.params().holding;
        let inventory = Inventory::owed(packs, &commit.absent, holding.cell_bytes);
        let key = RowKey::new(&s1, account);
        let rows = self.rows(index, &inventory, &key);
        let picked = sample(&s2, account, commit.cells, holding.opened_cells);
        let blobs = &mut self.peers[index].blobs;
        let openings = Openings::open(&rows, &inventory.chosen(&key), &picked, |cell| {
            slice::prove(blobs.get(&cell.pack)?, cell.chunk)
        });
        let bytes = openings.to_bytes();
        let stored = BlobRef::new(blake3(&bytes), bytes.len() as u64);
        blobs.insert(stored.hash, bytes);
        Done::Opened(stored)
    }

    fn audit_storage(&mut self, index: usize, proof: &VerifiedRecord) -> Option<Done> {
        let Body::StorageProof(body) = &proof.record().body else { panic!() };
        if self.peers[index].faults.passes_unseen {
            return Some(Done::Judged(Verdict::Pass));
        }
        if self.peers[index].faults.misses_proofs {
            return None;
        }
        let commit = self.peers[index].pool.get(&body.commit)?.clone();
        let openings = self.fetch(index, body.openings)?;
        Some(Done::Judged(judge_storage(&self.chain.view, &commit, proof, &openings)))
    }

    fn look_again(
        &mut self,
        index: usize,
        commit: &VerifiedRecord,
        proof: &VerifiedRecord,
    ) -> Option<Done> {
        let Body::StorageProof(body) = &proof.record().body else { panic!() };
        let openings = self.fetch(index, body.openings)?;
        Some(Done::Looked(unshown_cell(&self.chain.view, commit, proof, &openings)))
    }

    fn open_cell(
        &self,
        index: usize,
        account: AccountId,
        packs: &[BlobRef],
        commit: &StorageCommitBody,
        (s1, cell): (Digest, u32),
    ) -> Option<Done> {
        let cell_bytes = self.chain.view.params().holding.cell_bytes;
        let inventory = Inventory::owed(packs, &commit.absent, cell_bytes);
        let key = RowKey::new(&s1, account);
        let cell = inventory.cell(&key, cell)?;
        let slice = slice::prove(self.peers[index].blobs.get(&cell.pack)?, cell.chunk)?;
        let rows = self.rows(index, &inventory, &key);
        inventory.open_cell(&rows, &cell, slice).map(Done::CellOpened)
    }

    fn compute(
        &mut self,
        index: usize,
        (model, round, slot): (ModelId, Round, u32),
        base: Hash,
        units: &[u32],
        seed: u64,
    ) -> Done {
        let mut payload = update(base, units, seed);
        if self.peers[index].faults.forges {
            payload = b"other data".to_vec();
        }
        let hash = blake3(&payload);
        let length = payload.len() as u32;
        self.peers[index].blobs.insert(hash, payload);
        let (loss_first, loss_last, tokens) = (9, 8, 100);
        Done::Computed(ShardBody {
            model,
            round,
            slot,
            base,
            payload: hash,
            length,
            loss_first,
            loss_last,
            tokens,
        })
    }

    fn replay(
        &mut self,
        index: usize,
        shard: &ShardBody,
        units: &[u32],
        seed: u64,
    ) -> Option<Done> {
        let is_friend = self.peers[index].faults.passes_all;
        let has_hidden = |peer: &Peer| peer.faults.hides && peer.blobs.contains_key(&shard.payload);
        if self.peers.iter().any(has_hidden) && !is_friend {
            return None;
        }
        let claimed = self.fetch(index, shard.payload)?;
        let is_passed = is_friend || claimed == update(shard.base, units, seed);
        let ppm = if is_passed { 1_000_000 } else { 0 };
        Some(Done::Replayed(ReplayReport { overlap: ppm, cosine: ppm, norm: ppm }))
    }

    fn aggregate(
        &self,
        index: usize,
        base: Hash,
        payloads: &[BlobRef],
        expected: Option<Hash>,
    ) -> Done {
        let leads = expected.is_none();
        if leads && self.peers[index].faults.wrong_checkpoint {
            return Done::Aggregated(blake3(b"wrong"));
        }
        let mut bytes = base.to_bytes();
        payloads.iter().for_each(|payload| payload.hash.encode(&mut bytes));
        Done::Aggregated(blake3(&bytes))
    }

    fn infer(&self, index: usize, request: u64, model: ModelId) -> Done {
        let receipt = self.peers[index].requests[&request].clone();
        let is_wrong = self.peers[index].faults.misattributes;
        let transcript = blake3(if is_wrong { &b"another"[..] } else { &b"transcript"[..] });
        Done::Inferred(AttributionBody {
            model,
            checkpoint: Hash::ZERO,
            receipt,
            ranges: Ranges::default(),
            transcript,
            length: 10,
            tokens_in: 1,
            tokens_out: 1,
            lambda: 0,
            shares: match self.chain.view.base(model) {
                Some(_) => vec![],
                None => vec![(CONTRIBUTOR, 1_000_000)],
            },
        })
    }

    /// The balances before an epoch.
    pub(crate) fn parent(&self, epoch: Epoch) -> Vec<(AccountId, Balance)> {
        let before = epoch.0.checked_sub(1).and_then(|e| self.chain.view.settlement(Epoch(e)));
        let root = before.map_or(Digest::ZERO, |state| state.settlement.payout_root);
        self.leaves[&root].clone()
    }

    fn settle(&mut self, index: usize, epoch: Epoch) -> Option<Done> {
        let parent = self.parent(epoch);
        let mut outcome = settle(&self.chain.view, epoch, &parent).ok()?;
        if self.peers[index].faults.inflates {
            outcome.leaves.iter_mut().for_each(|leaf| leaf.1.free.0 += 1);
            let tree = protocol::settle::payout_tree(&outcome.leaves);
            outcome.settlement.payout_root = tree.root();
            outcome.settlement.total = Amount(tree.sum());
        }
        let faults = self.peers[index].faults;
        outcome.settlement.total.0 += u128::from(faults.overstates);
        let (settlement, uses) = (outcome.settlement, outcome.uses.clone());
        if !faults.inflates && !faults.overstates {
            self.chain.right.insert(settlement.id());
        }
        self.leaves.insert(settlement.payout_root, outcome.leaves.clone());
        self.outcomes.insert(settlement.id(), outcome);
        Some(Done::Settled(settlement, uses))
    }

    fn verify(&self, settlement: &Settlement) -> Option<Done> {
        let parent = self.parent(settlement.epoch);
        let right = settle(&self.chain.view, settlement.epoch, &parent).ok()?;
        Some(Done::Settled(right.settlement, right.uses))
    }

    fn refute(&self, settlement: &Settlement) -> Option<Done> {
        let parent = self.parent(settlement.epoch);
        let right = settle(&self.chain.view, settlement.epoch, &parent).ok()?;
        Some(Done::Refuted(refute(settlement, &parent, &[&right.leaves])))
    }

    fn claim(&mut self, epoch: Epoch, account: AccountId) -> Option<Done> {
        let id = self.chain.view.settlement(epoch)?.settlement.id();
        self.chain.waiting.extend(self.outcomes[&id].claim(&self.chain.view, account));
        Some(Done::Claimed)
    }
}

fn update(base: Hash, units: &[u32], seed: u64) -> Vec<u8> {
    let mut bytes = base.to_bytes();
    units.iter().for_each(|unit| unit.encode(&mut bytes));
    seed.encode(&mut bytes);
    blake3(&bytes).to_bytes()
}
