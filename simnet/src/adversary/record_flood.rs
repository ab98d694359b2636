//! Records in blocks that are worth nothing.

use protocol::{
    BlockNumber, Digest, Epoch, Hash, ModelId, Round,
    chain::Transaction,
    hash::keccak,
    record::{
        AuditBody, Body, Finding, Record, RoundCloseBody, ShardBody, StorageCommitBody,
        StorageProofBody, Verdict, audit_subject, round_subject, shard_subject, storage_subject,
    },
};

use super::{Adversary, AdversaryKind, Profile, World};

/// Fills epochs with records.
pub const RECORD_FLOOD: AdversaryKind = AdversaryKind(&Profile::new(
    "record-flood",
    "Has the chain take in records of all kinds that are worth nothing: of work that nobody has, of\nother epochs, under subjects that are not theirs.",
    |plan| Box::new(RecordFlood { per_block: plan.strength * MOST, made: 0 }),
));

/// Records of a node in a block, where it is as hard as can be.
const MOST: f64 = 8.0;

/// Pays for the inclusion of junk.
struct RecordFlood {
    per_block: f64,
    made: u64,
}

impl Adversary for RecordFlood {
    fn act(&mut self, world: &mut dyn World, members: &[u32], _: BlockNumber) {
        for member in members {
            let node = *member as usize;
            let now = world.chain().epoch();
            let mut records = [Vec::new(), Vec::new()];
            let mut left = self.per_block;
            while left >= 1.0 {
                left -= 1.0;
                self.made += 1;
                let (late, of) = ((self.made % 2) as usize, self.made as usize % world.nodes());
                let epoch = Epoch(now.0 + late as u64);
                let record = junk(world, node, of, (epoch, self.made));
                records[late].push(world.signed(node, record));
            }
            for (late, records) in (0..).zip(records).filter(|(_, records)| !records.is_empty()) {
                let epoch = Epoch(now.0 + late);
                world.submit(node, Transaction::Include { epoch, records });
            }
        }
    }
}

/// One of six kinds of records that nobody asked for.
fn junk(world: &dyn World, node: usize, of: usize, (epoch, number): (Epoch, u64)) -> Record {
    let noise = keccak(&[b"junk", &number.to_be_bytes()]);
    let (account, of) = (world.account(node), world.account(of));
    let (hash, model, round) = (Hash(noise.0), ModelId(number % 3), Round((number % 5) as u32));
    let (work, slot) = (storage_subject(epoch, of), (number % 64) as u32);
    let (subject, body) = match number % 6 {
        0 => {
            let (inventory, rows) = (noise, noise);
            let absent = vec![hash; (number % 32) as usize];
            let (bytes, cells, seed) = (1 << 40, 1 << 20, number);
            let body = StorageCommitBody { inventory, rows, bytes, cells, seed, absent };
            // Under a subject that is not its own: its own commitment would be the first to suffer.
            (noise, Body::StorageCommit(body))
        }
        1 => {
            let body = StorageProofBody { commit: noise, openings: hash, length: u32::MAX };
            (noise, Body::StorageProof(body))
        }
        2 => {
            let (loss_first, loss_last) = (0, 0);
            let (payload, length, tokens) = (hash, u32::MAX, u32::MAX);
            let shard = ShardBody {
                model,
                round,
                slot,
                base: hash,
                payload,
                length,
                loss_first,
                loss_last,
                tokens,
            };
            (shard_subject(model, round, slot, &hash), Body::Shard(shard))
        }
        3 => {
            let shards = vec![noise; (number % 64) as usize];
            let body = RoundCloseBody { model, round, base: hash, shards, next: hash };
            (round_subject(model, round, &hash), Body::RoundClose(body))
        }
        4 => {
            let finding = Finding::Storage { record: noise, verdict: Verdict::Fail };
            (audit_subject(of, &work), Body::Audit(AuditBody { of, work, finding }))
        }
        _ => {
            let body = AuditBody { of, work: noise, finding: Finding::StorageMissing };
            (Digest(noise.0), Body::Audit(body))
        }
    };
    Record { epoch, account, subject, body }
}
