//! The Coordinator: which records come in, by whose keys, in which order, and the seeds of epochs. What a node
//! reads out of the chain's log, its fold over it, who may sign, and its seeds are those of the contracts.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, U256, keccak256};
use protocol::chain::{ChainView, Purpose};
use protocol::eip712::{Domain, EvmKey};
use protocol::record::{Body, Record, SignedRecord, StorageProofBody, batch, storage_subject};
use protocol::{AccountId, Digest, Epoch, Hash};

use super::account::{self, Account};
use super::driver::{Done, Draw, Encoded, Model, Step, need};
use crate::contracts::world::{
    ACCOUNTS, COMMIT_BLOCKS, Coordinator, EPOCH_BLOCKS, FAULT, OPEN, Registry, SETTLE_BLOCKS,
    World, who,
};
use contracts_abi::devchain::DEV_KEYS;

/// Development accounts that sign and send.
const PEOPLE: usize = 8;
/// Who may slash, so that hot keys are dismissed.
const SLASHER: usize = 0;
/// Most records of a batch.
const MOST: usize = 256;
/// Most accounts.
const NAMES: usize = 6;

/// How the signature of a record is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    Well,
    /// With the other of two public keys.
    Flipped,
    /// With the other of two equal signatures, which a stranger could make.
    High,
    Zero,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    epoch: u64,
    account: u64,
    signer: usize,
    nonce: u8,
    /// Whether its subject is the one that its body determines.
    is_well_formed: bool,
    signed: Signed,
}

#[derive(Clone, Debug)]
pub(super) enum Call {
    /// With so many bytes missing at the end.
    Include {
        epoch: u64,
        records: Vec<Sent>,
        missing: usize,
    },
    Capture {
        epoch: u64,
        purpose: u8,
    },
    Register {
        owner: usize,
        operator: usize,
    },
    Rotate(u64, usize),
    Slash(u64, u128),
}

#[derive(Clone)]
pub(super) struct Records {
    genesis: u64,
    domain: Domain,
    accounts: Vec<Account>,
    heads: BTreeMap<u64, B256>,
    /// The first of each account that is well formed, by epoch.
    counts: BTreeMap<(u64, u64), Digest>,
    /// Others that came in.
    others: Vec<(u64, Digest)>,
    block: u64,
    began: u64,
    /// Accounts whose keys were dismissed, with the block.
    dismissed: Vec<(u64, u64)>,
}

/// The order of the curve, less the number in 32 bytes.
fn negated(s: &[u8]) -> [u8; 32] {
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let order = U256::from_str_radix(order, 16).unwrap();
    (order - U256::from_be_slice(s)).to_be_bytes()
}

impl Sent {
    fn make(&self, domain: &Domain) -> SignedRecord {
        let (epoch, account) = (Epoch(self.epoch), AccountId(self.account));
        let commit = Digest([self.nonce; 32]);
        let body = StorageProofBody { commit, openings: Hash([3; 32]), length: 1_000 };
        let mut subject = storage_subject(epoch, account);
        subject.0[0] ^= u8::from(!self.is_well_formed);
        let record = Record { epoch, account, subject, body: Body::StorageProof(body) };
        let key = EvmKey::from_bytes(&DEV_KEYS[self.signer]).unwrap();
        let mut signed = record.sign(domain, &key).unwrap();
        let bytes = &mut signed.signature.0;
        match self.signed {
            Signed::Well => {}
            Signed::Flipped => bytes[64] ^= 27 ^ 28,
            Signed::High => {
                let high = negated(&bytes[32..64]);
                bytes[32..64].copy_from_slice(&high);
                bytes[64] ^= 27 ^ 28;
            }
            Signed::Zero => *bytes = [0; 65],
        }
        signed
    }
}

impl Records {
    fn epoch(&self, block: u64) -> u64 {
        block.saturating_sub(self.genesis) / EPOCH_BLOCKS
    }

    fn operator(&self, account: u64) -> Address {
        let index = usize::try_from(account).unwrap().checked_sub(1);
        let account = index.and_then(|index| self.accounts.get(index));
        account.map_or(Address::ZERO, |account| account.operator)
    }

    fn include(&mut self, epoch: u64, records: &[Sent], missing: usize, block: u64) -> Done {
        let now = self.epoch(block);
        let cutoff = |epoch: u64| self.genesis + (epoch + 1) * EPOCH_BLOCKS + SETTLE_BLOCKS;
        need(epoch <= now + 1 && block < cutoff(epoch), "WrongEpoch")?;
        need(records.len() <= MOST, "TooManyRecords")?;
        need(missing == 0 || records.is_empty(), "Truncated")?;
        let belongs = |sent: &&Sent| {
            let is_by_operator = who(sent.signer) == self.operator(sent.account);
            sent.epoch == epoch && sent.signed == Signed::Well && is_by_operator
        };
        let accepted: Vec<_> = records.iter().filter(belongs).copied().collect();
        need(!accepted.is_empty(), "NothingIncluded")?;
        for sent in accepted {
            let id = sent.make(&self.domain).record.id(&self.domain);
            let head = self.heads.entry(epoch).or_default();
            *head = keccak256([head.0, id.0].concat());
            let first = self.counts.contains_key(&(epoch, sent.account));
            if sent.is_well_formed && !first {
                self.counts.insert((epoch, sent.account), id);
            } else if !self.counts.values().any(|of| *of == id) {
                self.others.push((epoch, id));
            }
        }
        Ok(())
    }

    fn sent(&self, draw: &mut Draw, epoch: u64) -> Sent {
        let account = draw.below(NAMES + 1) as u64;
        let operator = (0..PEOPLE).find(|person| who(*person) == self.operator(account));
        let signer = operator.filter(|_| !draw.one_in(5)).unwrap_or_else(|| draw.below(PEOPLE));
        let wrong = draw.of(&[Signed::Flipped, Signed::High, Signed::Zero]);
        Sent {
            epoch: if draw.one_in(8) { epoch.wrapping_add(1) } else { epoch },
            account,
            signer,
            nonce: draw.below(3) as u8,
            is_well_formed: !draw.one_in(4),
            signed: if draw.one_in(8) { wrong } else { Signed::Well },
        }
    }

    fn near(&self, draw: &mut Draw, block: u64) -> u64 {
        let now = self.epoch(block);
        match draw.below(10) {
            0 => now + 2,
            1 => now + 1,
            2 | 3 => now.saturating_sub(1),
            4 => now.saturating_sub(2),
            _ => now,
        }
    }
}

impl Model for Records {
    type Call = Call;
    const CALLS: &'static [&'static str] =
        &["Coordinator.include", "Coordinator.capture", "Registry.rotateOperator"];

    fn start(world: &mut World<'_>) -> Self {
        let role = keccak256("SLASHER_ROLE");
        let grant = Registry::grantRoleCall { role, account: who(SLASHER) };
        world.send(0, world.registry, &grant);
        let first = world.start(0) - 3;
        world.chain.advance_to(first);
        let staked = |owner| Account::staked(owner, 10_000 * OPEN);
        Self {
            genesis: world.genesis,
            domain: world.domain(),
            accounts: (1..=ACCOUNTS as usize).map(staked).collect(),
            heads: BTreeMap::new(),
            counts: BTreeMap::new(),
            others: Vec::new(),
            block: first,
            began: first,
            dismissed: Vec::new(),
        }
    }

    fn draw(&self, draw: &mut Draw, block: u64) -> Step<Call> {
        let account = 1 + draw.below(NAMES) as u64;
        let epoch = self.near(draw, block);
        let call = match draw.below(20) {
            0..=10 => {
                let count = if draw.one_in(40) { MOST + draw.below(2) } else { draw.below(7) };
                let records: Vec<_> = (0..count).map(|_| self.sent(draw, epoch)).collect();
                let missing = if draw.one_in(12) { 1 + draw.below(150) } else { 0 };
                Call::Include { epoch, records, missing }
            }
            11 | 12 => Call::Capture { epoch, purpose: draw.below(4) as u8 },
            13 if self.accounts.len() < NAMES => {
                Call::Register { owner: draw.below(PEOPLE), operator: draw.below(PEOPLE) }
            }
            14 => Call::Slash(account, draw.of(&[FAULT, 20 * FAULT])),
            _ => Call::Rotate(account, draw.below(PEOPLE)),
        };
        let owner = self.accounts.get(account as usize - 1).map(|account| account.owner);
        let from = match &call {
            Call::Slash(..) => SLASHER,
            Call::Rotate(..) if !draw.one_in(6) => {
                (0..PEOPLE).find(|person| Some(who(*person)) == owner).unwrap_or(0)
            }
            _ => draw.below(PEOPLE),
        };
        let into = block.saturating_sub(self.genesis) % EPOCH_BLOCKS;
        let until = |of: u64| (EPOCH_BLOCKS + of - into) % EPOCH_BLOCKS;
        let wait = match (draw.below(20), &call) {
            (0, _) => draw.below(EPOCH_BLOCKS as usize) as u64,
            (1, _) => draw.below(4) as u64,
            // The first block of an epoch, the last of the time to commit, and the cutoff, or one beside it.
            (2..=7, Call::Capture { .. }) => {
                until(draw.of(&[0, 1, COMMIT_BLOCKS, COMMIT_BLOCKS + 1]))
            }
            (2 | 3, Call::Include { .. }) => until(draw.of(&[0, SETTLE_BLOCKS - 1, SETTLE_BLOCKS])),
            _ => 0,
        };
        Step { wait, from, call }
    }

    fn encode(&self, world: &mut World<'_>, call: &Call) -> Encoded {
        let (at, registry) = (world.coordinator, world.registry);
        match call {
            Call::Include { epoch, records, missing } => {
                let made: Vec<_> = records.iter().map(|sent| sent.make(&self.domain)).collect();
                let mut batch = batch::encode(&made);
                // No more than the last record, or the batch would only be shorter.
                let last = batch.len() / records.len().max(1);
                batch.truncate(batch.len() - (*missing).min(last.saturating_sub(1)));
                let call = Coordinator::includeCall { epoch: *epoch, batch: batch.into() };
                Encoded::new("Coordinator.include", at, &call)
            }
            Call::Capture { epoch, purpose } => {
                let call = Coordinator::captureCall { epoch: *epoch, purpose: *purpose };
                Encoded::new("Coordinator.capture", at, &call)
            }
            Call::Register { owner, operator } => {
                let call = Registry::registerCall {
                    owner: who(*owner),
                    operator: who(*operator),
                    payout: who(*owner),
                    nodeId: B256::ZERO,
                    binding: vec![0; 64].into(),
                };
                Encoded::new("Registry.register", registry, &call)
            }
            Call::Rotate(account, operator) => {
                let (account, operator) = (*account, who(*operator));
                let call = Registry::rotateOperatorCall { account, operator };
                Encoded::new("Registry.rotateOperator", registry, &call)
            }
            Call::Slash(account, amount) => {
                let (account, amount, to) = (*account, *amount, who(0));
                let call = Registry::slashCall { account, amount, byOwner: false, to };
                Encoded::new("Registry.slash", registry, &call)
            }
        }
    }

    fn apply(&mut self, from: usize, call: &Call, block: u64) -> Done {
        self.block = block;
        match call {
            Call::Include { epoch, records, missing } => {
                self.include(*epoch, records, *missing, block)
            }
            Call::Capture { epoch, purpose } => {
                need(*purpose < 3, "UnknownPurpose")?;
                let start = self.genesis + epoch * EPOCH_BLOCKS;
                let of = [start, start + COMMIT_BLOCKS, start + EPOCH_BLOCKS];
                need(block > of[usize::from(*purpose)], "SeedNotYet")
            }
            Call::Register { owner, operator } => {
                let (owner, operator) = (who(*owner), who(*operator));
                self.accounts.push(Account::new(owner, operator, owner, block));
                Ok(())
            }
            Call::Rotate(number, operator) => {
                let account = account::of(&mut self.accounts, *number)?;
                need(account.owner == who(from), "NotOwner")?;
                account.rotate(who(*operator), block)
            }
            Call::Slash(number, amount) => {
                let account = account::of(&mut self.accounts, *number)?;
                let before = account.operator;
                account.slash(*amount, false, block);
                if account.operator != before {
                    self.dismissed.push((*number, block));
                }
                Ok(())
            }
        }
    }

    fn compare(&self, world: &mut World<'_>, _from: usize, call: &Call) {
        if let Call::Include { epoch, .. } = call {
            let call = Coordinator::recordsOfCall { epoch: *epoch };
            let head = self.heads.get(epoch).copied().unwrap_or_default();
            assert_eq!(world.read(world.coordinator, &call), head, "of {epoch}");
        }
    }

    fn compare_all(&self, world: &mut World<'_>) {
        for (index, account) in self.accounts.iter().enumerate() {
            account.compare(world, index as u64 + 1);
        }
    }

    fn compare_view(&self, world: &mut World<'_>, view: &ChainView) {
        let now = self.epoch(self.block);
        for epoch in now.saturating_sub(2)..=now + 2 {
            let head = self.heads.get(&epoch).copied().unwrap_or_default();
            assert_eq!(view.records_head(Epoch(epoch)).0, head.0, "of {epoch}");
        }
        for ((epoch, account), id) in &self.counts {
            let known = view.record(Epoch(*epoch), id).expect("it counts");
            assert_eq!(known.record().account, AccountId(*account));
        }
        for (epoch, id) in &self.others {
            assert!(view.record(Epoch(*epoch), id).is_none(), "it counts for nothing");
        }
        self.compare_seeds(world, view, now);
        self.compare_authority(world, view);
    }
}

impl Records {
    fn compare_seeds(&self, world: &mut World<'_>, view: &ChainView, now: u64) {
        let purposes = [Purpose::Commit, Purpose::Open, Purpose::Settle];
        for (number, purpose) in purposes.into_iter().enumerate() {
            let known = view.seed(Epoch(now), purpose);
            let start = self.genesis + now * EPOCH_BLOCKS;
            let of = [start, start + COMMIT_BLOCKS, start + EPOCH_BLOCKS][number];
            assert_eq!(known.is_some(), world.chain.head() >= of);
            if let Some(known) = known {
                let call = Coordinator::seedCall { epoch: now, purpose: number as u8 };
                assert_eq!(world.read(world.coordinator, &call).0, known.0);
            }
        }
    }

    /// Who may sign for an account: now as the contract judges records, and in blocks before as it judges
    /// disputes, but for the block in which a key was dismissed, where that names the key still.
    fn compare_authority(&self, world: &mut World<'_>, view: &ChainView) {
        let first = world.chain.head().saturating_sub(24).max(self.began);
        for (index, account) in self.accounts.iter().enumerate() {
            account.compare_keys(world, view, index as u64 + 1, (first, 4), &self.dismissed);
        }
    }
}
