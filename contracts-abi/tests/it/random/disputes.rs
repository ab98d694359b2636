//! The Disputes: who may be asked for what and until when, what an answer pays and what silence costs. A node
//! loses once for an epoch, whoever accuses one that can show its cell loses its bond, and nobody gains money.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall;
use protocol::chain::ChainView;
use protocol::holding::{Cell, Inventory, RowKey};
use protocol::merkle::{SumNode, Tree};
use protocol::record::StorageCommitBody;
use protocol::slice::{Slice, prove};
use protocol::{AccountId, BlobRef, Digest, Epoch, Hash};

use super::account::{self, Account};
use super::driver::{Done, Draw, Encoded, Model, NO_ROLE, Step, need};
use crate::contracts::blake3_slices::noise;
use crate::contracts::world::{
    ACCOUNTS, COMMIT_BLOCKS, Coordinator, DISPUTE_BOND, Disputes, EPOCH_BLOCKS, FAULT, OPEN,
    Registry, RewardVault, SETTLE_BLOCKS, World, header, path, sum_nodes, who,
};

/// Development accounts that send and are paid: each of the first accounts is of the one of its number, and the
/// next three are hot keys.
const PEOPLE: usize = 8;
const ANSWER_BLOCKS: u64 = SETTLE_BLOCKS - SETTLE_BLOCKS / 2;
const MOST: u8 = 10;
/// Lengths of the packs that are held, in bytes.
const LENGTHS: [usize; 3] = [700, 3_000, 5_000];

/// What somebody commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Commit {
    epoch: u64,
    account: u64,
    packs: usize,
    /// Makes it another one.
    nonce: u8,
    /// Whether it has what it commits to.
    is_held: bool,
    /// Whether it is on the seed of its epoch.
    is_on_seed: bool,
}

/// How the record of a dispute is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoilt {
    No,
    Kind,
    Body,
    Signature,
}

/// What an answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Right,
    /// Another chunk.
    Chunk,
    /// A chunk with a hash too many beside it.
    Slice,
    /// Another pack.
    Pack,
    /// A pack with a node too many beside it.
    Path,
}

#[derive(Clone, Debug)]
pub(super) enum Call {
    Open {
        accuser: u64,
        commit: Commit,
        signer: usize,
        at: u64,
        cell: u32,
        spoilt: Spoilt,
    },
    Answer {
        commit: Commit,
        cell: u32,
        shown: Shown,
    },
    Expire {
        commit: Commit,
        cell: u32,
    },
    Rotate(u64, usize),
    Stake(u64, u128),
    /// The contract for the next epoch, or another.
    Name(bool),
}

#[derive(Clone, Debug)]
struct Dispute {
    accuser: u64,
    until: u64,
    bond: u128,
    by_owner: bool,
    is_open: bool,
}

#[derive(Clone)]
pub(super) struct Accusations {
    genesis: u64,
    cell_bytes: u64,
    accounts: Vec<Account>,
    held: Vec<u128>,
    vault: u128,
    /// By epoch and account: how many there were, and whether one was lost.
    cases: BTreeMap<(u64, u64), (u8, bool)>,
    disputes: BTreeMap<(Commit, u32), Dispute>,
    /// Whether this contract judges, by the first epoch for which that is so.
    judges: BTreeMap<u64, bool>,
}

/// A commitment with what is behind it.
struct Made {
    key: RowKey,
    blobs: Vec<Vec<u8>>,
    inventory: Inventory,
    rows: Vec<Digest>,
    body: StorageCommitBody,
}

impl Commit {
    fn cells(&self, cell_bytes: u64) -> u32 {
        let cells = LENGTHS[..self.packs].iter().map(|length| length.div_ceil(cell_bytes as usize));
        cells.sum::<usize>() as u32
    }

    /// On the seed of its epoch, or on none where that is not there yet.
    fn make(&self, world: &mut World<'_>) -> Made {
        let seed = Coordinator::seedCall { epoch: self.epoch, purpose: 0 };
        let found = world.chain.call(who(0), world.coordinator, seed.abi_encode().into());
        let s1 = found.map_or(Digest::ZERO, |word| Digest(word[..].try_into().unwrap()));
        let key = RowKey::new(&s1, AccountId(self.account));
        let noise = |length: &usize| noise(*length, u64::from(self.nonce) * 9_999 + *length as u64);
        let blobs: Vec<_> = LENGTHS[..self.packs].iter().map(noise).collect();
        let packs = blobs.iter().map(|blob| BlobRef::new(hash(blob), blob.len() as u64));
        let inventory = Inventory::new(packs.collect(), world.cell_bytes);
        let row = |cell: &Cell| match self.is_held {
            true => key.row(&slice_of(&blobs, cell).chunk),
            false => Digest([7; 32]),
        };
        let rows: Vec<_> = inventory.chosen(&key).iter().map(row).collect();
        let mut seed = s1;
        seed.0[0] ^= u8::from(!self.is_on_seed);
        let body = inventory.commit(&seed, &rows, Vec::new());
        Made { key, blobs, inventory, rows, body }
    }
}

fn hash(blob: &[u8]) -> Hash {
    Hash(*blake3::hash(blob).as_bytes())
}

/// The chosen chunk of a cell.
fn slice_of(blobs: &[Vec<u8>], cell: &Cell) -> Slice {
    let blob = blobs.iter().find(|blob| hash(blob) == cell.pack).expect("it is one of them");
    prove(blob, cell.chunk).expect("it is in the pack")
}

impl Made {
    fn opening(&self, number: u32, shown: Shown) -> Disputes::CellOpening {
        let cell = self.inventory.cell(&self.key, number);
        // Beyond the last there is nothing to show, and nobody is asked.
        let cell = cell.unwrap_or_else(|| self.inventory.chosen(&self.key)[0]);
        let packs = self.inventory.packs();
        let mut index = packs.iter().position(|pack| pack.hash == cell.pack).unwrap();
        if shown == Shown::Pack {
            index = (index + 1) % packs.len();
        }
        let mut slice = slice_of(&self.blobs, &cell);
        let payloads: Vec<_> = self.rows.iter().map(|row| row.0).collect();
        let siblings = Tree::new(&payloads).prove(u64::from(cell.number)).unwrap();
        let mut inventory = self.inventory.tree().prove(index as u64).unwrap();
        match shown {
            Shown::Chunk => slice.chunk[0] ^= 1,
            Shown::Slice => slice.siblings.push(Digest::ZERO),
            Shown::Path => inventory.push(SumNode { hash: Digest::ZERO, sum: 0 }),
            Shown::Right | Shown::Pack => {}
        }
        Disputes::CellOpening {
            pack: packs[index].hash.0.into(),
            length: packs[index].length,
            packIndex: index as u64,
            packCount: packs.len() as u64,
            inventory: sum_nodes!(Disputes, &inventory),
            row: path(u64::from(number), payloads.len(), &siblings),
            chunk: slice.chunk.into(),
            slice: slice.siblings.iter().map(|s| s.0.into()).collect(),
        }
    }
}

impl Accusations {
    fn start_of(&self, epoch: u64) -> u64 {
        self.genesis + epoch * EPOCH_BLOCKS
    }

    fn epoch(&self, block: u64) -> u64 {
        block.saturating_sub(self.genesis) / EPOCH_BLOCKS
    }

    fn operator_at(&self, account: u64, block: u64) -> Address {
        let account = self.accounts.get(account as usize - 1);
        account.map_or(Address::ZERO, |account| account.operator_at(block))
    }

    /// Whether somebody was the operator at the begin or the end of a block of the time to commit.
    fn was_operator(&self, commit: &Commit, signer: usize, at: u64) -> bool {
        let start = self.start_of(commit.epoch);
        let is_in_time = at >= start && at <= start + COMMIT_BLOCKS;
        let mut operators = [at, at - 1].into_iter().map(|at| self.operator_at(commit.account, at));
        is_in_time && operators.any(|operator| operator == who(signer))
    }

    fn open(&mut self, from: usize, call: &Call, block: u64) -> Done {
        let Call::Open { accuser, commit, signer, at, cell, spoilt } = *call else { return Ok(()) };
        let (epoch, account) = (commit.epoch, commit.account);
        need(account::controls(&self.accounts, accuser, who(from)), "NotController")?;
        let judges = self.judges.range(..=epoch).next_back().is_some_and(|(_, is)| *is);
        need(judges, "NotDisputes")?;
        let until = block + ANSWER_BLOCKS;
        need(until < self.start_of(epoch + 1) + SETTLE_BLOCKS, "TooLate")?;
        let (place, at_fault) = self.cases.get(&(epoch, account)).copied().unwrap_or_default();
        need(!at_fault, "FaultBefore")?;
        need(place < MOST, "TooMany")?;
        let is_signed = spoilt == Spoilt::No && self.was_operator(&commit, signer, at);
        need(is_signed, "NotACommitment")?;
        need(cell < commit.cells(self.cell_bytes), "NoSuchCell")?;
        need(block > self.start_of(epoch), "SeedNotYet")?;
        need(commit.is_on_seed, "NotACommitment")?;
        need(!self.disputes.contains_key(&(commit, cell)), "DisputedBefore")?;
        // Each costs twice what the one before did.
        let bond = (0..place).fold(DISPUTE_BOND, |bond, _| 2 * bond);
        account::of(&mut self.accounts, accuser)?.lock(bond, who(from), block)?;
        let by_owner = who(signer) == account::of(&mut self.accounts, account)?.owner;
        let dispute = Dispute { accuser, until, bond, by_owner, is_open: true };
        self.disputes.insert((commit, cell), dispute);
        self.cases.insert((epoch, account), (place + 1, false));
        Ok(())
    }

    /// What is asked of somebody, and whether there is still time.
    fn asked(
        &self,
        commit: Commit,
        cell: u32,
        block: u64,
    ) -> Result<(Dispute, bool), &'static str> {
        let dispute = self.disputes.get(&(commit, cell)).filter(|dispute| dispute.is_open);
        dispute.map(|d| (d.clone(), block <= d.until)).ok_or("NoDispute")
    }

    fn answer(&mut self, commit: Commit, cell: u32, shown: Shown, block: u64) -> Done {
        let (dispute, is_time) = self.asked(commit, cell, block)?;
        need(is_time, "AnswerWindow")?;
        need(shown != Shown::Path, "BadPath")?;
        need(shown != Shown::Pack || commit.packs == 1, "WrongPack")?;
        need(commit.is_held && shown != Shown::Chunk, "WrongCommitment")?;
        need(shown != Shown::Slice, "WrongChunk")?;
        account::of(&mut self.accounts, dispute.accuser)?.seize(dispute.bond)?;
        // Half of the lowest bond is the accused's, whoever answers for it, and the rest everybody's.
        self.held[commit.account as usize] += DISPUTE_BOND / 2;
        self.vault += dispute.bond - DISPUTE_BOND / 2;
        self.disputes.insert((commit, cell), Dispute { is_open: false, ..dispute });
        Ok(())
    }

    fn expire(&mut self, commit: Commit, cell: u32, block: u64) -> Done {
        let (dispute, is_time) = self.asked(commit, cell, block)?;
        need(!is_time, "AnswerWindow")?;
        account::of(&mut self.accounts, dispute.accuser)?.unlock(dispute.bond, block)?;
        let case = self.cases.entry((commit.epoch, commit.account)).or_default();
        if !case.1 {
            let accused = account::of(&mut self.accounts, commit.account)?;
            self.vault += accused.slash(FAULT, dispute.by_owner, block);
        }
        case.1 = true;
        self.disputes.insert((commit, cell), Dispute { is_open: false, ..dispute });
        Ok(())
    }

    /// Blocks until a dispute about the epoch before this one, or about this one, is opened in time for the
    /// last time.
    fn until_cutoff(&self, block: u64) -> u64 {
        let into = block.saturating_sub(self.genesis) % EPOCH_BLOCKS;
        (EPOCH_BLOCKS + SETTLE_BLOCKS - ANSWER_BLOCKS - 1 - into) % EPOCH_BLOCKS
    }

    /// Blocks until the last one in which one that is open may be answered, or one more.
    fn until_over(&self, draw: &mut Draw, block: u64) -> u64 {
        let open = self.disputes.values().filter(|dispute| dispute.is_open);
        let left: Vec<_> = open.filter_map(|dispute| dispute.until.checked_sub(block)).collect();
        if left.is_empty() { 0 } else { draw.of(&left) + draw.below(2) as u64 }
    }

    fn commit(&self, draw: &mut Draw, block: u64) -> Commit {
        let now = self.epoch(block);
        let epoch = match draw.below(12) {
            0 => now + 1,
            1 => now.saturating_sub(1),
            _ => now,
        };
        let account = draw.of(&[1, 2, 2, 2, 2, 2, 3, 9]);
        Commit {
            epoch,
            account,
            packs: 1 + draw.below(3),
            nonce: draw.below(3) as u8,
            is_held: !draw.one_in(4),
            is_on_seed: !draw.one_in(12),
        }
    }

    /// One that signed then, or somebody.
    fn accusation(&self, draw: &mut Draw, block: u64) -> Call {
        let mut commit = self.commit(draw, block);
        if draw.one_in(8)
            && let Some(((before, _), _)) = self.disputes.iter().next_back()
        {
            commit = *before;
        }
        let start = self.start_of(commit.epoch);
        let at = match draw.below(8) {
            0 => start + draw.below(COMMIT_BLOCKS as usize + 3) as u64 - 1,
            _ => block.clamp(start, start + COMMIT_BLOCKS),
        };
        let operator = self.operator_at(commit.account, at - draw.below(2) as u64);
        let signer = (0..PEOPLE).find(|person| who(*person) == operator).unwrap_or(PEOPLE - 1);
        let signer = if draw.one_in(10) { draw.below(PEOPLE) } else { signer };
        let cell = draw.below(commit.cells(self.cell_bytes) as usize + 1) as u32;
        let spoilt = draw.of(&[Spoilt::Kind, Spoilt::Body, Spoilt::Signature]);
        let spoilt = if draw.one_in(12) { spoilt } else { Spoilt::No };
        let accuser = 1 + draw.below(ACCOUNTS as usize) as u64;
        Call::Open { accuser, commit, signer, at, cell, spoilt }
    }

    /// A dispute that is open and has time left or none, or another.
    fn any(&self, draw: &mut Draw, block: u64, is_time: bool) -> (Commit, u32) {
        let is_due = |d: &Dispute| d.is_open && (block <= d.until) == is_time;
        let open: Vec<_> = self.disputes.iter().filter(|(_, d)| is_due(d)).collect();
        let open: Vec<_> = open.into_iter().map(|(key, _)| *key).collect();
        if open.is_empty() || draw.one_in(12) {
            return (self.commit(draw, block), draw.below(4) as u32);
        }
        draw.of(&open)
    }
}

impl Model for Accusations {
    type Call = Call;
    const CALLS: &'static [&'static str] =
        &["Disputes.openDispute", "Disputes.answerDispute", "Disputes.expireDispute"];

    fn start(world: &mut World<'_>) -> Self {
        world.chain.advance_to(world.start(0));
        let staked = |owner| Account::staked(owner, 10_000 * OPEN);
        Self {
            genesis: world.genesis,
            cell_bytes: world.cell_bytes,
            accounts: (1..=ACCOUNTS as usize).map(staked).collect(),
            held: (0..PEOPLE).map(|person| world.balance(who(person)).to()).collect(),
            vault: world.balance(world.vault).to(),
            cases: BTreeMap::new(),
            disputes: BTreeMap::new(),
            judges: BTreeMap::from([(0, true)]),
        }
    }

    fn draw(&self, draw: &mut Draw, block: u64) -> Step<Call> {
        let account = 1 + draw.below(ACCOUNTS as usize) as u64;
        let call = match draw.below(24) {
            0..=9 => self.accusation(draw, block),
            10..=17 => {
                let is_late = draw.one_in(8);
                let (commit, cell) = self.any(draw, block, !is_late);
                let wrong = draw.of(&[Shown::Chunk, Shown::Slice, Shown::Pack, Shown::Path]);
                let shown = if draw.one_in(4) { wrong } else { Shown::Right };
                Call::Answer { commit, cell, shown }
            }
            18 | 19 => {
                let is_early = draw.one_in(8);
                let (commit, cell) = self.any(draw, block, is_early);
                Call::Expire { commit, cell }
            }
            20 => Call::Rotate(account, draw.of(&[account as usize, 4, 5, 6])),
            21 => Call::Stake(account, (1 + draw.below(2_000) as u128) * OPEN),
            22 if draw.one_in(4) => Call::Name(false),
            _ => Call::Name(true),
        };
        let from = match (&call, draw.below(10)) {
            (Call::Stake(..), _) => 0,
            (_, 0) => draw.below(PEOPLE),
            (Call::Open { accuser, .. }, 1) => {
                let hot = self.operator_at(*accuser, block);
                (0..PEOPLE).find(|person| who(*person) == hot).unwrap_or(PEOPLE - 1)
            }
            (Call::Open { accuser, .. }, _) => *accuser as usize,
            (Call::Rotate(account, _), _) => *account as usize,
            (Call::Name(_), _) => 0,
            _ => draw.below(PEOPLE),
        };
        let wait = match draw.below(24) {
            // So that it ends in the last block before the cutoff, or one later.
            1 => self.until_cutoff(block) + draw.below(2) as u64,
            0 => EPOCH_BLOCKS - block.saturating_sub(self.genesis) % EPOCH_BLOCKS,
            2 => ANSWER_BLOCKS,
            3 | 4 => draw.below(3) as u64,
            5..=7 => self.until_over(draw, block),
            _ => 0,
        };
        Step { wait, from, call }
    }

    fn encode(&self, world: &mut World<'_>, call: &Call) -> Encoded {
        let (at, registry) = (world.disputes, world.registry);
        match *call {
            Call::Open { .. } => encode_open(world, call),
            Call::Answer { commit, cell, shown } => {
                let (made, commitment) = id_of(world, &commit);
                let (epoch, account) = (commit.epoch, commit.account);
                let opening = made.opening(cell, shown);
                let call = Disputes::answerDisputeCall { epoch, account, commitment, opening };
                Encoded::new("Disputes.answerDispute", at, &call)
            }
            Call::Expire { commit, cell } => {
                let (_, commitment) = id_of(world, &commit);
                let (epoch, account) = (commit.epoch, commit.account);
                let call = Disputes::expireDisputeCall { epoch, account, commitment, cell };
                Encoded::new("Disputes.expireDispute", at, &call)
            }
            Call::Rotate(account, operator) => {
                let call = Registry::rotateOperatorCall { account, operator: who(operator) };
                Encoded::new("Registry.rotateOperator", registry, &call)
            }
            Call::Stake(account, amount) => {
                let call = Registry::stakeForCall { account, amount };
                Encoded::new("Registry.stakeFor", registry, &call)
            }
            Call::Name(is_this) => {
                let new = if is_this { at } else { who(9) };
                let call = RewardVault::setDisputesCall { newDisputes: new };
                Encoded::new("RewardVault.setDisputes", world.vault, &call)
            }
        }
    }

    fn apply(&mut self, from: usize, call: &Call, block: u64) -> Done {
        match *call {
            Call::Open { .. } => self.open(from, call, block),
            Call::Answer { commit, cell, shown } => self.answer(commit, cell, shown, block),
            Call::Expire { commit, cell } => self.expire(commit, cell, block),
            Call::Rotate(account, operator) => {
                let account = account::of(&mut self.accounts, account)?;
                need(account.owner == who(from), "NotOwner")?;
                account.rotate(who(operator), block)
            }
            Call::Stake(account, amount) => {
                self.held[0] -= amount;
                account::of(&mut self.accounts, account)?.stake += amount;
                Ok(())
            }
            Call::Name(is_this) => {
                need(from == 0, NO_ROLE)?;
                self.judges.insert(self.epoch(block) + 1, is_this);
                Ok(())
            }
        }
    }

    fn compare(&self, world: &mut World<'_>, _from: usize, call: &Call) {
        let at = world.disputes;
        if let Call::Open { commit, cell, .. }
        | Call::Answer { commit, cell, .. }
        | Call::Expire { commit, cell } = call
        {
            let (epoch, account) = (commit.epoch, commit.account);
            let (_, commitment) = id_of(world, commit);
            let asked = Disputes::disputeCall { epoch, account, commitment, cell: *cell };
            let found = world.read(at, &asked);
            let open = self.disputes.get(&(*commit, *cell)).filter(|dispute| dispute.is_open);
            let expected = open.map_or((0, 0, 0), |d| (d.accuser, d.until, d.bond));
            assert_eq!((found.accuser, found.until, found.bond), expected);
            let about = world.read(at, &Disputes::disputesAboutCall { epoch, account });
            let case = self.cases.get(&(epoch, account)).copied().unwrap_or_default();
            assert_eq!((about.disputes, about.atFault), case);
        }
        for (index, account) in self.accounts.iter().enumerate() {
            account.compare(world, index as u64 + 1);
        }
        let vault = world.vault;
        assert_eq!(world.read(vault, &RewardVault::heldCall {}), U256::from(self.vault));
        assert_eq!(world.balance(at), U256::ZERO, "bonds are stake, or gone");
    }

    fn compare_all(&self, world: &mut World<'_>) {
        let locked = account::compare_money(world, &self.accounts, &self.held, self.vault);
        let open = self.disputes.values().filter(|dispute| dispute.is_open);
        assert_eq!(locked, open.map(|dispute| dispute.bond).sum::<u128>());
    }

    fn compare_view(&self, _world: &mut World<'_>, view: &ChainView) {
        for ((epoch, account), (count, _)) in &self.cases {
            let known = view.disputes_about(Epoch(*epoch), AccountId(*account));
            assert_eq!(known.len(), usize::from(*count), "of {account} in {epoch}");
        }
    }
}

/// A commitment, and the id of its record.
fn id_of(world: &mut World<'_>, commit: &Commit) -> (Made, B256) {
    let made = commit.make(world);
    let of = (commit.epoch, commit.account);
    let signed = world.signed(of, commit.nonce, made.body.clone(), 0);
    let id = signed.record.id(&world.domain());
    (made, id.0.into())
}

fn encode_open(world: &mut World<'_>, call: &Call) -> Encoded {
    let Call::Open { accuser, commit, signer, at, cell, spoilt } = *call else {
        unreachable!("a dispute is opened")
    };
    let made = commit.make(world);
    let of = (commit.epoch, commit.account);
    let signed = world.signed(of, commit.nonce, made.body, signer);
    let mut call = Disputes::openDisputeCall {
        accuser,
        record: header(&signed),
        signature: signed.signature.0.to_vec().into(),
        body: signed.record.body.to_bytes().into(),
        signedAt: at,
        cell,
    };
    match spoilt {
        Spoilt::No => {}
        Spoilt::Kind => call.record.kind ^= 3,
        Spoilt::Body => call.body = call.body.slice(..87),
        Spoilt::Signature => call.signature = call.signature.slice(..64),
    }
    Encoded::new("Disputes.openDispute", world.disputes, &call)
}
