//! The Settlements: proposals side by side, objections, rulings and challenges. Every bond is locked, back, paid
//! or in the vault; of each epoch one is final, in order; and nothing that is right falls by a challenge.

mod proofs;
mod thoughts;
mod tree;

use std::collections::BTreeMap;

use alloy::primitives::{B256, U256, keccak256};
use alloy::sol_types::SolValue;
use protocol::chain::ChainView;
use protocol::{Digest, Epoch};

use super::account::{self, Account};
use super::driver::{Done, Draw, Encoded, Model, NO_ROLE, Step, need};
use crate::contracts::world::abi::datanets::DatanetRegistry;
use crate::contracts::world::{
    BOND, BUDGET, CHALLENGE_BLOCKS, EPOCH_BLOCKS, OBJECTION_BOND, Registry, RewardVault,
    SETTLE_BLOCKS, Settlements, World, who,
};
use proofs::Proof;
use tree::{Crooked, Leaf, Tree};

/// Development accounts that send and are paid: the first rules on objections, and of the next three each has
/// the account of its number.
const PEOPLE: usize = 8;
/// The hot key of account 3.
const HOT: usize = 6;
/// Whose account nobody has.
const STRANGER: usize = 7;
const RULING_BLOCKS: u64 = 4 * CHALLENGE_BLOCKS;
/// Accounts that are paid.
const PAID: u64 = 8;

/// Something that is proposed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Told {
    epoch: u64,
    parent: B256,
    leaves: Vec<Leaf>,
    crooked: Option<Crooked>,
    total: u128,
    /// Whether it is of the records that came in, which are none.
    is_of_records: bool,
    /// For how many shards the only Datanet was used.
    shards: u32,
}

fn uses(shards: u32) -> Vec<Settlements::DatanetUse> {
    let used = Settlements::DatanetUse { datanet: 1, shards, outputs: 2 };
    if shards == 0 { Vec::new() } else { vec![used] }
}

impl Told {
    fn tree(&self) -> Tree {
        Tree::new(&self.leaves, self.crooked)
    }

    fn abi(&self) -> Settlements::Settlement {
        let packed = uses(self.shards).iter().fold(Vec::new(), |packed, u| {
            [packed, u.datanet.to_be_bytes().to_vec(), u.shards.to_be_bytes().to_vec()].concat()
        });
        let outputs = if self.shards == 0 { vec![] } else { 2_u32.to_be_bytes().to_vec() };
        Settlements::Settlement {
            epoch: self.epoch,
            parent: self.parent,
            records: B256::repeat_byte(u8::from(!self.is_of_records)),
            payoutRoot: self.tree().root(),
            total: self.total,
            balances: B256::repeat_byte(1),
            balancesLength: 3,
            uses: keccak256([packed, outputs].concat()),
            replicasProven: 4,
            storageFaults: 5,
            shardsVerified: 6,
            shardsRejected: 7,
        }
    }

    fn id(&self) -> B256 {
        keccak256(self.abi().abi_encode())
    }

    fn sum(&self) -> u128 {
        self.leaves.iter().map(|(_, free, lane)| free + lane).sum()
    }

    /// Whether it says of every account once what it has, and of nobody less than what is final.
    fn is_right(&self, last: Option<&Self>) -> bool {
        let is_sorted = self.leaves.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let last = last.filter(|last| last.id() == self.parent);
        let mut before = last.iter().flat_map(|last| &last.leaves);
        let is_kept = |(account, free, lane): &Leaf| {
            self.leaves.iter().any(|now| now.0 == *account && now.1 >= *free && now.2 >= *lane)
        };
        let is_whole = self.crooked.is_none() && self.total == self.sum();
        is_whole && is_sorted && before.all(is_kept)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Call {
    Propose(u64, Told),
    Object(u64, Told),
    Rule(Told, bool),
    Finalise(Told, u32),
    Close(Told),
    CloseContested(u64),
    Challenge(Told, Box<Proof>),
    Stake(u64, u128),
}

#[derive(Clone, Debug)]
struct Proposal {
    proposer: u64,
    since: u64,
    bond: u128,
    /// None is zero.
    objector: u64,
    objected: u64,
    objection: u128,
    is_right: bool,
}

#[derive(Clone)]
pub(super) struct Rivals {
    genesis: u64,
    accounts: Vec<Account>,
    held: Vec<u128>,
    vault: u128,
    /// What is final, by epoch.
    settled: Vec<Told>,
    released: u128,
    live: BTreeMap<Told, Proposal>,
    contested: Vec<Option<(Told, Proposal)>>,
    delays: BTreeMap<Told, u32>,
    /// What was proposed last.
    told: Vec<Told>,
    shards: u64,
}

impl Rivals {
    fn next(&self) -> u64 {
        self.settled.len() as u64
    }

    fn last_id(&self) -> B256 {
        self.settled.last().map_or(B256::ZERO, Told::id)
    }

    fn cutoff(&self, epoch: u64) -> u64 {
        self.genesis + (epoch + 1) * EPOCH_BLOCKS + SETTLE_BLOCKS
    }

    fn controls(&self, account: u64, from: usize) -> Done {
        need(account::controls(&self.accounts, account, who(from)), "NotController")
    }

    fn live(&self, told: &Told) -> Result<Proposal, &'static str> {
        self.live.get(told).cloned().ok_or("NotProposed")
    }

    fn require_next(&self, told: &Told) -> Done {
        need(told.epoch == self.next(), "NotNext")?;
        need(told.parent == self.last_id(), "WrongParent")?;
        need(told.total >= self.released, "TotalShrinks")?;
        need(told.total <= (self.released + BUDGET).min(self.vault), "TotalTooLarge")
    }

    fn propose(&mut self, from: usize, account: u64, told: &Told, block: u64) -> Done {
        self.controls(account, from)?;
        self.require_next(told)?;
        need(block >= self.cutoff(told.epoch), "EpochNotOver")?;
        need(told.is_of_records, "WrongRecords")?;
        if let Ok(old) = self.live(told) {
            need(old.objector != 0, "AlreadyProposed")?;
            need(block > old.objected + RULING_BLOCKS, "ObjectionPending")?;
            self.contested.push(Some((told.clone(), old)));
            *self.delays.entry(told.clone()).or_default() += 1;
        }
        account::of(&mut self.accounts, account)?.lock(BOND, who(from), block)?;
        let (objector, objected, objection, is_right) = (0, 0, 0, false);
        let (proposer, since, bond) = (account, block, BOND);
        let proposal = Proposal { proposer, since, bond, objector, objected, objection, is_right };
        self.live.insert(told.clone(), proposal);
        self.told.push(told.clone());
        Ok(())
    }

    fn object(&mut self, from: usize, account: u64, told: &Told, block: u64) -> Done {
        self.controls(account, from)?;
        let proposal = self.live(told)?;
        need(told.epoch >= self.next(), "Settled")?;
        need(!proposal.is_right, "FoundRight")?;
        need(proposal.objector == 0, "ObjectionPending")?;
        need(block <= proposal.since + CHALLENGE_BLOCKS, "WindowClosed")?;
        let delays = self.delays.get(told).copied().unwrap_or_default();
        let bond = (OBJECTION_BOND << delays).min(proposal.bond);
        account::of(&mut self.accounts, account)?.lock(bond, who(from), block)?;
        let (objector, objected, objection) = (account, block, bond);
        self.live.insert(told.clone(), Proposal { objector, objected, objection, ..proposal });
        Ok(())
    }

    fn rule(&mut self, from: usize, told: &Told, uphold: bool, block: u64) -> Done {
        need(from == 0, NO_ROLE)?;
        let proposal = self.live(told)?;
        need(proposal.objector != 0, "NoObjection")?;
        need(told.epoch >= self.next(), "Settled")?;
        need(block <= proposal.objected + RULING_BLOCKS, "RulingClosed")?;
        if uphold {
            return self.defeat(told, proposal.objector as usize, block);
        }
        self.take(proposal.objector, proposal.objection, proposal.proposer as usize)?;
        let (objector, is_right) = (0, true);
        self.live.insert(told.clone(), Proposal { objector, is_right, ..proposal });
        Ok(())
    }

    fn finalise(&mut self, told: &Told, shards: u32, block: u64) -> Done {
        let proposal = self.live(told)?;
        need(proposal.objector == 0, "ObjectionPending")?;
        need(block > proposal.since + CHALLENGE_BLOCKS, "WindowOpen")?;
        need(shards == told.shards, "WrongUses")?;
        self.require_next(told)?;
        self.live.remove(told);
        account::of(&mut self.accounts, proposal.proposer)?.unlock(proposal.bond, block)?;
        self.released = told.total;
        self.shards += u64::from(shards);
        self.settled.push(told.clone());
        Ok(())
    }

    /// What is final says who loses a bond.
    fn close(&mut self, from: usize, told: &Told, proposal: &Proposal, block: u64) -> Done {
        let last = self.settled.get(told.epoch as usize).ok_or("NotSettled")?;
        let Proposal { proposer, bond, objector, objection, .. } = *proposal;
        if last == told {
            account::of(&mut self.accounts, proposer)?.unlock(bond, block)?;
            return match objector {
                0 => Ok(()),
                _ => self.take(objector, objection, proposer as usize),
            };
        }
        if objector == 0 {
            return self.take(proposer, bond, from);
        }
        account::of(&mut self.accounts, objector)?.unlock(objection, block)?;
        self.take(proposer, bond, objector as usize)
    }

    fn defeat(&mut self, told: &Told, winner: usize, block: u64) -> Done {
        let proposal = self.live(told)?;
        self.live.remove(told);
        if proposal.objector != 0 {
            let objector = account::of(&mut self.accounts, proposal.objector)?;
            objector.unlock(proposal.objection, block)?;
        }
        self.take(proposal.proposer, proposal.bond, winner)
    }

    /// Half of a lost bond is the winner's, and half the vault's.
    fn take(&mut self, loser: u64, bond: u128, winner: usize) -> Done {
        account::of(&mut self.accounts, loser)?.seize(bond)?;
        self.held[winner] += bond / 2;
        self.vault += bond - bond / 2;
        Ok(())
    }
}

impl Model for Rivals {
    type Call = Call;
    const CALLS: &'static [&'static str] = &[
        "Settlements.propose",
        "Settlements.object",
        "Settlements.rule",
        "Settlements.finalise",
        "Settlements.close",
        "Settlements.closeContested",
        "Settlements.challengeSum",
        "Settlements.challengeTotal",
        "Settlements.challengeLeaf",
        "Settlements.challengeOrder",
        "Settlements.challengeLoss",
    ];

    fn start(world: &mut World<'_>) -> Self {
        let create = DatanetRegistry::createDatanetCall {
            name: "verse".into(),
            domain: "poetry".into(),
            licence: 1,
            policy: 0,
            owner: 1,
        };
        world.send(1, world.datanets, &create);
        let accounts = account::with_hot_key(world, who(HOT));
        Self {
            genesis: world.genesis,
            accounts,
            held: (0..PEOPLE).map(|person| world.balance(who(person)).to()).collect(),
            vault: world.balance(world.vault).to(),
            settled: Vec::new(),
            released: 0,
            live: BTreeMap::new(),
            contested: Vec::new(),
            delays: BTreeMap::new(),
            told: Vec::new(),
            shards: 0,
        }
    }

    fn draw(&self, draw: &mut Draw, block: u64) -> Step<Call> {
        let last = if draw.one_in(6) { self.last_moment(draw, block) } else { None };
        let (wait, call) = last.unwrap_or_else(|| (self.wait(draw, block), self.think(draw)));
        let from = match (&call, draw.below(10)) {
            (Call::Stake(..), _) => 0,
            (_, 0) => draw.of(&[HOT, STRANGER]),
            (Call::Propose(account, _) | Call::Object(account, _), _) => *account as usize,
            (Call::Rule(..), _) => 0,
            _ => draw.below(PEOPLE),
        };
        Step { wait, from, call }
    }

    fn encode(&self, world: &mut World<'_>, call: &Call) -> Encoded {
        let at = world.settlements;
        match call {
            Call::Propose(proposer, told) => {
                let (proposer, settlement) = (*proposer, told.abi());
                let call = Settlements::proposeCall { proposer, settlement };
                Encoded::new("Settlements.propose", at, &call)
            }
            Call::Object(account, told) => {
                let (account, settlement, reason) = (*account, told.abi(), B256::ZERO);
                let call = Settlements::objectCall { settlement, account, reason };
                Encoded::new("Settlements.object", at, &call)
            }
            Call::Rule(told, uphold) => {
                let call = Settlements::ruleCall { settlement: told.abi(), uphold: *uphold };
                Encoded::new("Settlements.rule", at, &call)
            }
            Call::Finalise(told, shards) => {
                let (settlement, uses) = (told.abi(), uses(*shards));
                let call = Settlements::finaliseCall { settlement, uses };
                Encoded::new("Settlements.finalise", at, &call)
            }
            Call::Close(told) => {
                let call = Settlements::closeCall { settlement: told.abi() };
                Encoded::new("Settlements.close", at, &call)
            }
            Call::CloseContested(number) => {
                let call = Settlements::closeContestedCall { number: U256::from(*number) };
                Encoded::new("Settlements.closeContested", at, &call)
            }
            Call::Challenge(told, proof) => proof.encode(at, told),
            Call::Stake(account, amount) => {
                let call = Registry::stakeForCall { account: *account, amount: *amount };
                Encoded::new("Registry.stakeFor", world.registry, &call)
            }
        }
    }

    fn apply(&mut self, from: usize, call: &Call, block: u64) -> Done {
        match call {
            Call::Propose(account, told) => self.propose(from, *account, told, block),
            Call::Object(account, told) => self.object(from, *account, told, block),
            Call::Rule(told, uphold) => self.rule(from, told, *uphold, block),
            Call::Finalise(told, shards) => self.finalise(told, *shards, block),
            Call::Close(told) => {
                let proposal = self.live(told)?;
                self.close(from, told, &proposal, block)?;
                self.live.remove(told);
                Ok(())
            }
            Call::CloseContested(number) => {
                let index = usize::try_from(*number).unwrap().checked_sub(1);
                let place = index.and_then(|index| self.contested.get_mut(index));
                let (told, proposal) = place.and_then(Option::take).ok_or("NotContested")?;
                self.close(from, &told, &proposal, block)
            }
            Call::Challenge(told, proof) => {
                self.live(told)?;
                proof.shows(self, told)?;
                assert!(!told.is_right(self.settled.last()), "what is right fell: {told:?}");
                self.defeat(told, from, block)
            }
            Call::Stake(account, amount) => {
                self.held[0] -= amount;
                account::of(&mut self.accounts, *account)?.stake += amount;
                Ok(())
            }
        }
    }

    fn compare(&self, world: &mut World<'_>, _from: usize, call: &Call) {
        let told = match call {
            Call::Propose(_, told) | Call::Object(_, told) | Call::Rule(told, _) => Some(told),
            Call::Finalise(told, _) | Call::Close(told) | Call::Challenge(told, _) => Some(told),
            Call::CloseContested(_) | Call::Stake(..) => None,
        };
        told.into_iter().for_each(|told| self.compare_proposal(world, told));
        for (index, account) in self.accounts.iter().enumerate() {
            account.compare(world, index as u64 + 1);
        }
        let vault = world.vault;
        assert_eq!(world.read(vault, &RewardVault::heldCall {}), U256::from(self.vault));
        assert_eq!(world.balance(world.settlements), U256::ZERO, "bonds are stake, or gone");
    }

    fn compare_all(&self, world: &mut World<'_>) {
        let locked = account::compare_money(world, &self.accounts, &self.held, self.vault);
        let set_aside = self.contested.iter().flatten().map(|(_, proposal)| proposal);
        let all = self.live.values().chain(set_aside);
        let bonds = |p: &Proposal| p.bond + if p.objector == 0 { 0 } else { p.objection };
        assert_eq!(locked, all.map(bonds).sum::<u128>(), "of every bond somebody knows");
        for told in self.live.keys() {
            self.compare_proposal(world, told);
        }
        let last = world.read(world.vault, &RewardVault::lastCall {});
        let found = (last.id, last.total, last.nextEpoch);
        assert_eq!(found, (self.last_id(), self.released, self.next()));
        for epoch in 0..=self.next() {
            let id = self.settled.get(epoch as usize).map_or(B256::ZERO, Told::id);
            assert_eq!(world.read(world.vault, &RewardVault::finalOfCall { epoch }), id);
        }
        let count = world.read(world.settlements, &Settlements::contestedCall {});
        assert_eq!(count, U256::from(self.contested.len()));
        let datanet = world.read(world.datanets, &DatanetRegistry::datanetCall { id: 1 });
        assert_eq!(datanet.shards, self.shards);
    }

    fn compare_view(&self, _world: &mut World<'_>, view: &ChainView) {
        assert_eq!(view.next_to_settle().0, self.next());
        let live = self.live.keys().filter(|told| told.epoch == self.next());
        assert_eq!(view.proposals(Epoch(self.next())).count(), live.clone().count());
        assert!(live.clone().all(|told| view.proposal(&Digest(told.id().0)).is_some()));
    }
}

impl Rivals {
    fn compare_proposal(&self, world: &mut World<'_>, told: &Told) {
        let call = Settlements::proposalCall { id: told.id() };
        let found = world.read(world.settlements, &call);
        let Some(p) = self.live.get(told) else {
            assert_eq!((found.proposer, found.openSince, found.objector), (0, 0, 0));
            return;
        };
        assert_eq!((found.proposer, found.openSince), (p.proposer, p.since));
        assert_eq!(found.bond.to::<u128>(), p.bond);
        assert_eq!((found.objector, found.isRight), (p.objector, p.is_right));
        if p.objector != 0 {
            let objection = (found.objectedAt, found.objectionBond.to::<u128>());
            assert_eq!(objection, (p.objected, p.objection));
        }
    }
}
