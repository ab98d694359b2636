//! Claiming work again until friends are drawn for it.

use std::collections::BTreeMap;

use protocol::{
    BlockNumber, Epoch, Hash,
    chain::{ChainView, Transaction},
    draw::{self, Part},
    hash::keccak,
    record::{Body, Record, ShardBody, shard_subject},
};

use super::{Adversary, AdversaryKind, Profile, World};
use crate::units::Span;

/// Varies what it claims until its friends judge it.
pub const GRINDING: AdversaryKind = AdversaryKind(
    &Profile::new(
        "grinding",
        "Claims its shards again in every way that it can (bytes, checkpoint, epoch, block) until most of\nthose who are drawn to judge them are its own.",
        |_| Box::new(Grinding { claims: BTreeMap::new() }),
    )
    .with_model(),
);

/// Looks at whom each of its claims drew, and makes another where these are not its friends.
struct Grinding {
    /// The newest claim of each part, by node, and how many there were.
    claims: BTreeMap<(usize, Part), (Record, u32)>,
}

/// Claims of a part, at most.
const TRIES: u32 = 12;

impl Adversary for Grinding {
    fn sign(&mut self, _: &mut dyn World, node: usize, record: Record) -> Vec<(Span, Record)> {
        if let Body::Shard(shard) = &record.body {
            self.claims.entry((node, part_of(shard))).or_insert_with(|| (record.clone(), 0));
        }
        vec![(Span::ZERO, record)]
    }

    fn act(&mut self, world: &mut dyn World, members: &[u32], _: BlockNumber) {
        let mut again = Vec::new();
        for ((node, part), (record, tries)) in &mut self.claims {
            let is_disliked = has_friends(world, members, *node, (record, *part)) == Some(false);
            if is_disliked && *tries < TRIES && world.is_online(*node) {
                *tries += 1;
                *record = varied(world.chain(), record, *tries);
                again.push((*node, record.clone()));
            }
        }
        for (node, record) in again {
            let (epoch, records) = (record.epoch, vec![world.signed(node, record.clone())]);
            world.submit(node, Transaction::Include { epoch, records });
            world.sign(node, record, Span::ZERO);
        }
    }
}

const fn part_of(shard: &ShardBody) -> Part {
    Part { model: shard.model, round: shard.round, slot: shard.slot }
}

/// Whether its own have most of the seats over a claim; `None` while nobody is drawn.
fn has_friends(
    world: &dyn World,
    members: &[u32],
    node: usize,
    (record, part): (&Record, Part),
) -> Option<bool> {
    let chain = world.chain();
    let block = chain.included(record.epoch, &record.id(&chain.domain))?;
    let block = chain.part_fixed(record.epoch, record.account, part).unwrap_or(block);
    let weights = chain.run_weights(&chain.run_slots(part.model)?, block);
    let (count, worker) = (chain.params().training.auditors, world.account(node));
    let drawn = draw::shard_auditors(&chain.hash_after(block)?, part, worker, &weights, count);
    let friends = members.iter().map(|member| drawn.of(world.account(*member as usize)));
    Some(friends.sum::<usize>() * 2 > drawn.len())
}

/// The same part once more: of an invented checkpoint, of other bytes, and for the epoch that is open for
/// the longest.
fn varied(chain: &ChainView, record: &Record, tries: u32) -> Record {
    let Body::Shard(shard) = &record.body else { return record.clone() };
    let noise = Hash(keccak(&[b"ground", &record.subject.0, &tries.to_be_bytes()]).0);
    let mut shard = shard.clone();
    match tries % 3 {
        0 => shard.base = noise,
        1 => shard.tokens ^= tries,
        _ => shard.payload = noise,
    }
    let subject = shard_subject(shard.model, shard.round, shard.slot, &shard.base);
    let epoch = Epoch(chain.epoch().0 + u64::from(tries % 2));
    Record { epoch, subject, body: Body::Shard(shard), ..record.clone() }
}
