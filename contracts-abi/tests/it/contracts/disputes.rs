//! A node that committed to 16 packs of 64 MiB must open one cell of one of them.

use protocol::holding::{Inventory, RowKey};
use protocol::merkle::Tree;
use protocol::slice::prove;
use protocol::{AccountId, BlobRef, Digest, Hash};

use super::blake3_slices::noise;
use super::chain::Chain;
use super::check_gas;
use super::world::{
    Coordinator, DISPUTE_BOND, Disputes, FAULT, Registry, World, header, path, sum_nodes, who,
};

const ACCUSED: u64 = 2;
const PACK_BYTES: u64 = 64 << 20;

/// What the accused holds, and its commitment.
struct Held {
    blob: Vec<u8>,
    inventory: Inventory,
    rows: Vec<Digest>,
    /// The cell of `blob` that is disputed.
    cell: u32,
}

fn hold(s1: Digest) -> Held {
    let blob = noise(PACK_BYTES as usize, 11);
    let pack = Hash(*blake3::hash(&blob).as_bytes());
    let mut packs: Vec<_> =
        (0..15u8).map(|i| BlobRef::new(Hash([i * 16 + 3; 32]), PACK_BYTES)).collect();
    packs.push(BlobRef::new(pack, PACK_BYTES));
    let inventory = Inventory::new(packs, 16 << 20);
    let key = RowKey::new(&s1, AccountId(ACCUSED));
    let mut rows: Vec<_> = (0..inventory.cells()).map(|i| Digest([i as u8; 32])).collect();
    let chosen = inventory.chosen(&key);
    let cell = chosen.iter().filter(|cell| cell.pack == pack).nth(2).unwrap();
    let chunk = prove(&blob, cell.chunk).unwrap().chunk;
    rows[cell.number as usize] = key.row(&chunk);
    let cell = cell.number;
    Held { blob, inventory, rows, cell }
}

impl Held {
    fn opening(&self, s1: &Digest) -> Disputes::CellOpening {
        let key = RowKey::new(s1, AccountId(ACCUSED));
        let cell = self.inventory.chosen(&key)[self.cell as usize];
        let packs = self.inventory.packs();
        let index = packs.iter().position(|pack| pack.hash == cell.pack).unwrap() as u64;
        let slice = prove(&self.blob, cell.chunk).unwrap();
        let payloads: Vec<_> = self.rows.iter().map(|row| row.0).collect();
        let row = Tree::new(&payloads).prove(u64::from(self.cell)).unwrap();
        Disputes::CellOpening {
            pack: cell.pack.0.into(),
            length: cell.pack_length,
            packIndex: index,
            packCount: packs.len() as u64,
            inventory: sum_nodes!(Disputes, &self.inventory.tree().prove(index).unwrap()),
            row: path(u64::from(self.cell), payloads.len(), &row),
            chunk: slice.chunk.into(),
            slice: slice.siblings.iter().map(|s| s.0.into()).collect(),
        }
    }
}

pub(crate) fn scenario(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let disputes = world.disputes;
    world.chain.advance_to(world.start(0) + 1);
    let seed = Coordinator::seedCall { epoch: 0, purpose: 0 };
    let s1 = world.read(world.coordinator, &seed);
    let s1 = Digest(s1.0);
    assert_eq!(s1, expected_seed(&mut world), "the beacon is as the protocol derives it");

    let held = hold(s1);
    let body = held.inventory.commit(&held.rows, Vec::new());
    let signed = world.signed(ACCUSED, 9, body, ACCUSED as usize);
    let open = Disputes::openDisputeCall {
        accuser: 3,
        record: header(&signed),
        signature: signed.signature.0.to_vec().into(),
        body: signed.record.body.to_bytes().into(),
        cell: held.cell,
    };
    refused(&mut world, &open);

    world.send(3, disputes, &open);
    world.fails::<Disputes::DisputeOpen, _>(3, disputes, &open);
    let answer_gas = answer(&mut world, &held, &s1);
    world.send(3, disputes, &open);
    expire(&mut world);
    // A node loses once for an epoch, whatever else it cannot open.
    world.fails::<Disputes::DisputeOpen, _>(3, disputes, &open);
    let again = Disputes::expireDisputeCall { epoch: 0, account: ACCUSED };
    world.fails::<Disputes::FaultBefore, _>(4, disputes, &again);
    check_gas(&[("dispute_answer_64mib", answer_gas)], &[("dispute_answer_64mib", 450_000)]);
}

fn expected_seed(world: &mut World<'_>) -> Digest {
    use alloy::primitives::U256;
    use alloy::sol_types::SolValue;
    let block = world.chain.hash_of(world.start(0));
    let words = (31_337u64, world.coordinator, 0u64, U256::ZERO, block);
    Digest(alloy::primitives::keccak256(words.abi_encode_params()).0)
}

fn refused(world: &mut World<'_>, open: &Disputes::openDisputeCall) {
    let disputes = world.disputes;
    let with = |change: fn(&mut Disputes::openDisputeCall)| {
        let mut call = open.clone();
        change(&mut call);
        call
    };
    world.fails::<Disputes::NotController, _>(4, disputes, open);
    let cell = with(|call| call.cell = 64);
    world.fails::<Disputes::NoSuchCell, _>(3, disputes, &cell);
    let body = with(|call| call.body = call.body.slice(..80 - 1));
    world.fails::<Disputes::NotACommitment, _>(3, disputes, &body);
    let other = with(|call| call.record.account = 1);
    world.fails::<Disputes::NotACommitment, _>(3, disputes, &other);
}

fn answer(world: &mut World<'_>, held: &Held, s1: &Digest) -> u64 {
    let disputes = world.disputes;
    let opening = held.opening(s1);
    let call = |opening| Disputes::answerDisputeCall { epoch: 0, account: ACCUSED, opening };
    let mut bad = opening.clone();
    bad.slice.swap(0, 1);
    world.fails::<Disputes::WrongChunk, _>(6, disputes, &call(bad));
    let mut bad = opening.clone();
    bad.chunk = vec![0; 1024].into();
    world.fails::<Disputes::WrongCommitment, _>(6, disputes, &call(bad));
    let accused = who(ACCUSED as usize);
    let before = world.balance(accused);
    let gas = world.send(6, disputes, &call(opening.clone()));
    let reward = world.balance(accused) - before;
    let half = alloy::primitives::U256::from(DISPUTE_BOND / 2);
    assert_eq!(reward, half, "the accused is paid for its trouble, whoever brings the opening");
    world.fails::<Disputes::NoDispute, _>(6, disputes, &call(opening));
    gas
}

fn expire(world: &mut World<'_>) {
    let (disputes, registry) = (world.disputes, world.registry);
    let expire = Disputes::expireDisputeCall { epoch: 0, account: ACCUSED };
    world.fails::<Disputes::AnswerWindow, _>(4, disputes, &expire);
    let head = world.chain.head();
    world.chain.advance_to(head + 8);
    let stake_of = Registry::stakeOfCall { account: ACCUSED };
    let before = world.read(registry, &stake_of).stake;
    let accuser = world.balance(who(3));
    world.send(4, disputes, &expire);
    let reward = world.balance(who(3)) - accuser;
    assert_eq!(reward, alloy::primitives::U256::from(FAULT / 2), "half; the rest is everybody's");
    assert_eq!(before - world.read(registry, &stake_of).stake, FAULT);
    assert_eq!(world.read(registry, &Registry::stakeOfCall { account: 3 }).locked, 0);
}
