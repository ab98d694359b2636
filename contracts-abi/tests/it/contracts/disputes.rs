//! A node that committed to 16 packs of 64 MiB must open one cell of one of them.

use alloy::primitives::{Address, U256, keccak256};
use alloy::sol_types::SolValue as _;
use protocol::holding::{Inventory, RowKey};
use protocol::merkle::Tree;
use protocol::record::SignedRecord;
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
    let s1 = seed(&mut world, 0);
    assert_eq!(s1, expected_seed(&mut world), "the beacon is as the protocol derives it");

    let held = hold(s1);
    let body = held.inventory.commit(&s1, &held.rows, Vec::new());
    let signed = world.signed((0, ACCUSED), 9, body, ACCUSED as usize);
    let case = Case {
        commit: signed.record.id(&world.domain()),
        open: opening_of(&world, &signed, held.cell),
    };
    refused(&mut world, &case.open);
    another_seed(&mut world, &held, &s1);

    let disputes = world.disputes;
    let other = Disputes::openDisputeCall { cell: held.cell ^ 1, ..case.open.clone() };
    world.send(3, disputes, &other);
    world.send(3, disputes, &case.open);
    assert_eq!(locked(&mut world, 3), 3 * DISPUTE_BOND, "the second costs twice as much");
    world.fails::<Disputes::DisputedBefore, _>(3, disputes, &case.open);
    let answer_gas = case.answer(&mut world, &held, &s1);
    world.fails::<Disputes::DisputedBefore, _>(3, disputes, &case.open);
    case.expire(&mut world, other.cell);
    // A node loses once for an epoch, whatever else it cannot open.
    let third = Disputes::openDisputeCall { cell: held.cell ^ 2, ..case.open.clone() };
    world.fails::<Disputes::FaultBefore, _>(3, disputes, &third);
    world.fails::<Disputes::NoDispute, _>(4, disputes, &case.expiry(other.cell));
    check_gas(&[("dispute_answer_64mib", answer_gas)], &[("dispute_answer_64mib", 450_000)]);
}

/// Two disputes at once that nobody answers: one fault, and both bonds come back.
pub(crate) fn at_once(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let case = Case::made_up(&mut world, ACCUSED as usize);
    let disputes = world.disputes;
    for cell in 0..2 {
        world.send(3, disputes, &case.about(cell));
    }
    assert_eq!(locked(&mut world, 3), 3 * DISPUTE_BOND);
    let until = world.chain.head() + 3;
    world.chain.advance_to(until);
    let before = stake(&mut world, ACCUSED);
    for cell in 0..2 {
        world.send(4, disputes, &case.expiry(cell));
    }
    assert_eq!(before - stake(&mut world, ACCUSED), FAULT);
    assert_eq!(locked(&mut world, 3), 0);
}

/// Whoever takes all ten places pays more than an epoch's budget.
pub(crate) fn places(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let case = Case::made_up(&mut world, ACCUSED as usize);
    let disputes = world.disputes;
    for cell in 0..10 {
        let accuser = if cell == 9 { 1 } else { 3 };
        world.send(
            accuser as usize,
            disputes,
            &Disputes::openDisputeCall { accuser, ..case.about(cell) },
        );
    }
    assert_eq!(locked(&mut world, 3) + locked(&mut world, 1), 1023 * DISPUTE_BOND);
    let lost = (1023 - 5) * DISPUTE_BOND;
    assert!(
        lost > super::world::BUDGET,
        "even where it asks itself, and half of ten bonds comes back"
    );
    world.fails::<Disputes::TooMany, _>(3, disputes, &case.about(10));
}

/// The time to answer ends before the cutoff, and a key that is changed after signing helps nobody.
pub(crate) fn times_and_keys(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let signed_at = world.start(0) + 1;
    let case = Case::made_up(&mut world, ACCUSED as usize);
    let (disputes, registry) = (world.disputes, world.registry);
    let operator = who(7);
    let change = Registry::rotateOperatorCall { account: ACCUSED, operator };
    world.send(ACCUSED as usize, registry, &change);
    let changed_at = world.chain.head();
    let with = |signed_at| Disputes::openDisputeCall { signedAt: signed_at, ..case.about(0) };
    for wrong in [world.start(0) - 1, world.start(0) + 21, changed_at + 1] {
        world.fails::<Disputes::NotACommitment, _>(3, disputes, &with(wrong));
    }
    // At the begin of that block it was the old one.
    world.send(3, disputes, &with(changed_at));
    // What is sent now is in the next block, and there are three to answer.
    let cutoff = world.cutoff(0);
    world.chain.advance_to(cutoff - 4);
    world.fails::<Disputes::TooLate, _>(3, disputes, &with(signed_at));
}

/// A stranger with the accused's hot key signs in epoch after epoch what nobody holds, and disputes it itself.
pub(crate) fn stolen_key(chain: &mut dyn Chain) {
    const THIEF: usize = 7;
    let mut world = World::deploy(chain);
    let (registry, disputes) = (world.registry, world.disputes);
    let change =
        |operator| Registry::rotateOperatorCall { account: ACCUSED, operator: who(operator) };
    let most = FAULT + FAULT / 2;
    let allow = Registry::setAllowanceCall { account: ACCUSED, perPeriod: most, inAll: most };
    world.send(ACCUSED as usize, registry, &allow);
    world.send(ACCUSED as usize, registry, &change(THIEF));
    let s1 = seed(&mut world, 0);
    let body = |cells: u8| {
        let packs = (0..cells).map(|i| BlobRef::new(Hash([i * 16 + 3; 32]), PACK_BYTES)).collect();
        let inventory = Inventory::new(packs, 16 << 20);
        let rows = vec![Digest([1; 32]); inventory.cells() as usize];
        inventory.commit(&s1, &rows, Vec::new())
    };
    let before = stake(&mut world, ACCUSED);
    let thief = world.balance(who(3));
    let signed = world.signed((0, ACCUSED), 9, body(2), THIEF);
    let open = opening_of(&world, &signed, 0);
    let commit = signed.record.id(&world.domain());
    let case = Case { commit, open };
    world.send(3, disputes, &case.open);
    let head = world.chain.head();
    world.chain.advance_to(head + 3);
    world.send(3, disputes, &case.expiry(0));
    assert_eq!(before - stake(&mut world, ACCUSED), FAULT);
    assert_eq!(world.balance(who(3)), thief, "it earns nothing");
    let used = world.read(registry, &Registry::allowanceOfCall { account: ACCUSED }).used;
    assert_eq!(used, FAULT, "and has used what its owner let it");
    rest_of_allowance(&mut world, before - most);
}

/// Another fault takes what is left of the allowance, and the key with it.
fn rest_of_allowance(world: &mut World<'_>, left: u128) {
    let registry = world.registry;
    let role = Registry::grantRoleCall { role: keccak256("SLASHER_ROLE"), account: who(0) };
    world.send(0, registry, &role);
    let fault = Registry::slashCall { account: ACCUSED, amount: FAULT, byOwner: false, to: who(0) };
    world.send(0, registry, &fault);
    assert_eq!(stake(world, ACCUSED), left);
    let at = world.chain.head();
    let operator = Registry::operatorOfCall { account: ACCUSED };
    assert_eq!(world.read(registry, &operator), Address::ZERO, "it is dismissed");
    let signer = Registry::operatorAtCall { account: ACCUSED, blockNumber: at };
    assert_eq!(world.read(registry, &signer), who(7), "what it signed in this block is still its");
    world.send(0, registry, &fault);
    assert_eq!(stake(world, ACCUSED), left, "more than that is never lost");
    let change = Registry::rotateOperatorCall { account: ACCUSED, operator: who(2) };
    world.send(ACCUSED as usize, registry, &change);
    assert_eq!(world.read(registry, &operator), who(2));
    let used = world.read(registry, &Registry::allowanceOfCall { account: ACCUSED }).used;
    assert_eq!(used, 0, "another key is allowed as much again");
}

/// A key that comes and goes within a block would be named by neither its begin nor its end.
pub(crate) fn one_key_a_block(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let registry = world.registry;
    let change =
        |operator| Registry::rotateOperatorCall { account: ACCUSED, operator: who(operator) };
    let done = world.send_together(ACCUSED as usize, registry, &[change(7), change(2)]);
    assert_eq!(done, [true, false]);
    let operator = Registry::operatorAtCall { account: ACCUSED, blockNumber: world.chain.head() };
    assert_eq!(world.read(registry, &operator), who(7));
    world.send(ACCUSED as usize, registry, &change(2));
}

/// Where there is no time to answer, no dispute could be lost or won in time.
pub(crate) fn no_time(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let params = (world.chain.head() + 130, 40u64, 20u64, 1u64, 6u64, 16u64 << 20);
    let coordinator = super::world::deploy(
        world.chain,
        "Coordinator",
        &(params, world.registry).abi_encode_params(),
    );
    let arguments = (coordinator, world.vault, world.verifier, DISPUTE_BOND, FAULT);
    world.cannot_deploy("Disputes", &arguments.abi_encode_params());
}

/// One commitment, and the call that disputes it.
struct Case {
    commit: Digest,
    open: Disputes::openDisputeCall,
}

fn seed(world: &mut World<'_>, epoch: u64) -> Digest {
    world.chain.advance_to(world.start(epoch) + 1);
    let seed = Coordinator::seedCall { epoch, purpose: 0 };
    Digest(world.read(world.coordinator, &seed).0)
}

fn opening_of(world: &World<'_>, signed: &SignedRecord, cell: u32) -> Disputes::openDisputeCall {
    Disputes::openDisputeCall {
        accuser: 3,
        record: header(signed),
        signature: signed.signature.0.to_vec().into(),
        body: signed.record.body.to_bytes().into(),
        signedAt: world.start(signed.record.epoch.0) + 1,
        cell,
    }
}

fn stake(world: &mut World<'_>, account: u64) -> u128 {
    world.read(world.registry, &Registry::stakeOfCall { account }).stake
}

fn locked(world: &mut World<'_>, account: u64) -> u128 {
    world.read(world.registry, &Registry::stakeOfCall { account }).locked
}

fn expected_seed(world: &mut World<'_>) -> Digest {
    let block = world.chain.hash_of(world.start(0));
    let words = (31_337u64, world.coordinator, 0u64, U256::ZERO, block);
    Digest(keccak256(words.abi_encode_params()).0)
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
    let body = with(|call| call.body = call.body.slice(..88 - 1));
    world.fails::<Disputes::NotACommitment, _>(3, disputes, &body);
    let before = with(|call| call.signedAt -= 2);
    world.fails::<Disputes::NotACommitment, _>(3, disputes, &before);
    let other = with(|call| call.record.account = 1);
    world.fails::<Disputes::NotACommitment, _>(3, disputes, &other);
}

/// What was made for a block that was replaced can be shown by nobody, and nobody is asked to.
fn another_seed(world: &mut World<'_>, held: &Held, s1: &Digest) {
    let mut replaced = *s1;
    replaced.0[0] ^= 1;
    let body = held.inventory.commit(&replaced, &held.rows, Vec::new());
    let signed = world.signed((0, ACCUSED), 9, body, ACCUSED as usize);
    let open = opening_of(world, &signed, held.cell);
    world.fails::<Disputes::NotACommitment, _>(3, world.disputes, &open);
}

impl Case {
    /// A commitment to 64 cells that nobody holds.
    fn made_up(world: &mut World<'_>, signer: usize) -> Self {
        Self::of(world, 0, signer)
    }

    /// The same for an epoch.
    fn of(world: &mut World<'_>, epoch: u64, signer: usize) -> Self {
        let s1 = seed(world, epoch);
        let packs = (0..16u8).map(|i| BlobRef::new(Hash([i * 16 + 3; 32]), PACK_BYTES)).collect();
        let inventory = Inventory::new(packs, 16 << 20);
        let rows: Vec<_> = (0..inventory.cells()).map(|i| Digest([i as u8; 32])).collect();
        let body = inventory.commit(&s1, &rows, Vec::new());
        let signed = world.signed((epoch, ACCUSED), 9, body, signer);
        Self { commit: signed.record.id(&world.domain()), open: opening_of(world, &signed, 0) }
    }

    fn about(&self, cell: u32) -> Disputes::openDisputeCall {
        Disputes::openDisputeCall { cell, ..self.open.clone() }
    }

    fn expiry(&self, cell: u32) -> Disputes::expireDisputeCall {
        let commitment = self.commit.0.into();
        Disputes::expireDisputeCall { epoch: 0, account: ACCUSED, commitment, cell }
    }

    fn answer(&self, world: &mut World<'_>, held: &Held, s1: &Digest) -> u64 {
        let disputes = world.disputes;
        let opening = held.opening(s1);
        let commitment = self.commit.0.into();
        let call = |opening| Disputes::answerDisputeCall {
            epoch: 0,
            account: ACCUSED,
            commitment,
            opening,
        };
        let mut bad = opening.clone();
        bad.slice.swap(0, 1);
        world.fails::<Disputes::WrongChunk, _>(6, disputes, &call(bad));
        let mut bad = opening.clone();
        bad.chunk = vec![0; 1024].into();
        world.fails::<Disputes::WrongCommitment, _>(6, disputes, &call(bad));
        let mut bad = opening.clone();
        bad.row.index ^= 1;
        // About that cell there is a dispute too, which asks for another row.
        world.fails::<Disputes::WrongCommitment, _>(6, disputes, &call(bad));
        let mut bad = opening.clone();
        bad.row.index ^= 2;
        world.fails::<Disputes::NoDispute, _>(6, disputes, &call(bad));
        let accused = who(ACCUSED as usize);
        let before = world.balance(accused);
        let gas = world.send(6, disputes, &call(opening.clone()));
        let reward = world.balance(accused) - before;
        let half = U256::from(DISPUTE_BOND / 2);
        assert_eq!(reward, half, "the accused is paid for its trouble, whoever brings the opening");
        assert_eq!(locked(world, 3), DISPUTE_BOND, "and the whole bond of two is lost");
        world.fails::<Disputes::NoDispute, _>(6, disputes, &call(opening));
        gas
    }

    fn expire(&self, world: &mut World<'_>, cell: u32) {
        let disputes = world.disputes;
        let expire = self.expiry(cell);
        world.fails::<Disputes::AnswerWindow, _>(4, disputes, &expire);
        let head = world.chain.head();
        world.chain.advance_to(head + 3);
        let before = stake(world, ACCUSED);
        let (accuser, vault) = (world.balance(who(3)), world.balance(world.vault));
        world.send(4, disputes, &expire);
        assert_eq!(world.balance(who(3)), accuser, "who may have signed it itself is paid nothing");
        assert_eq!(world.balance(world.vault) - vault, U256::from(FAULT));
        assert_eq!(before - stake(world, ACCUSED), FAULT);
        assert_eq!(locked(world, 3), 0);
    }
}

/// What is open when another contract judges from the next epoch on ends where it was opened. Otherwise the
/// accused would lose once in each, and who takes all places would have them for half.
pub(crate) fn replaced(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let case = Case::made_up(&mut world, ACCUSED as usize);
    let old = world.disputes;
    for cell in 0..2 {
        world.send(3, old, &case.about(cell));
    }
    let before = stake(&mut world, ACCUSED);
    world.replace_disputes();
    let new = world.disputes;
    for cell in [0, 2] {
        world.fails::<Disputes::NotDisputes, _>(3, new, &case.about(cell));
    }
    world.fails::<Disputes::NoDispute, _>(4, new, &case.expiry(0));
    // Of the epoch that has begun the old one judges all.
    world.send(3, old, &case.about(2));
    let head = world.chain.head();
    world.chain.advance_to(head + 3);
    for cell in 0..3 {
        world.send(4, old, &case.expiry(cell));
        world.fails::<Disputes::NoDispute, _>(4, old, &case.expiry(cell));
    }
    assert_eq!(before - stake(&mut world, ACCUSED), FAULT, "once");
    assert_eq!(locked(&mut world, 3), 0, "all bonds are back");

    let case = Case::of(&mut world, 1, ACCUSED as usize);
    world.fails::<Disputes::NotDisputes, _>(3, old, &case.about(0));
    world.send(3, new, &case.about(0));
    assert_eq!(locked(&mut world, 3), DISPUTE_BOND);
}
