//! The DatanetRegistry: which Datanets there are, what comes into them, and what is locked for it. Every
//! deposit is in the contract until it goes back to who paid it, once.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, U256};
use protocol::chain::ChainView;

use super::account::{self, Account};
use super::driver::{Done, Draw, Encoded, Model, NO_ROLE, PANIC, Step, need};
use crate::contracts::world::abi::datanets::DatanetRegistry as D;
use crate::contracts::world::abi::open::Open;
use crate::contracts::world::{
    ACCOUNTS, DEPOSIT_BLOCKS, DEPOSIT_PER_BYTE, LEAST_PACK, MAX_PACK, OPEN, Registry, World, who,
};

/// Development accounts that send: each of the first accounts is of the one of its number, the next has an
/// account without a stake, and the last has none.
const PEOPLE: usize = 6;
const POOR: u64 = ACCOUNTS + 1;
/// Who lets the contract take nothing.
const FORGETFUL: usize = 3;
/// Who counts uses.
const COUNTER: usize = 0;
const MAX_PACKS: usize = 256;
const MAX_NAME: usize = 128;
const MIN_STAKE: u128 = 100 * OPEN;
const REVIEWED: u8 = 1;
const STAKED: u8 = 2;

/// What somebody brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    datanet: u64,
    account: u64,
    lengths: Vec<u64>,
    /// Packs that are named.
    packs: usize,
    units: u32,
    manifest: u8,
}

#[derive(Clone, Debug)]
pub(super) enum Call {
    Create { owner: u64, name: usize, domain: usize, policy: u8 },
    Contribute(Offer),
    Admit(u64, Offer),
    TakeBack(u64),
    Withdraw(u64),
    Snapshot(u64),
    Uses(Vec<(u64, u32, u32)>),
    Unstake(u64, u128),
}

#[derive(Clone, Debug)]
struct Datanet {
    owner: u64,
    policy: u8,
    shards: u64,
    outputs: u64,
}

#[derive(Clone)]
pub(super) struct Data {
    accounts: Vec<Account>,
    held: Vec<u128>,
    datanets: Vec<Datanet>,
    /// With who paid for each, and what.
    submissions: BTreeMap<u64, (Offer, usize, u128)>,
    submitted: u64,
    /// Of contributions: who paid, what, and until when.
    deposits: BTreeMap<u64, (usize, u128, u64)>,
    contributions: u64,
}

impl Offer {
    fn locks(&self) -> u128 {
        let counted = self.lengths.iter().map(|length| u128::from(*length).max(LEAST_PACK));
        counted.sum::<u128>() * DEPOSIT_PER_BYTE
    }

    fn check(&self) -> Done {
        let packs = self.packs;
        need(packs > 0 && packs <= MAX_PACKS && packs == self.lengths.len(), "BadPacks")?;
        let is_pack = |length: &u64| *length > 0 && *length <= MAX_PACK;
        need(self.lengths.iter().all(is_pack), "BadPack")?;
        let bytes: u64 = self.lengths.iter().sum();
        need(self.units > 0 && u64::from(self.units) <= bytes, "BadUnits")
    }

    fn packs(&self) -> Vec<B256> {
        (0..self.packs).map(|place| B256::repeat_byte(place as u8)).collect()
    }
}

impl Data {
    fn datanet(&mut self, id: u64) -> Result<&mut Datanet, &'static str> {
        let index = usize::try_from(id).unwrap().checked_sub(1);
        index.and_then(|index| self.datanets.get_mut(index)).ok_or("UnknownDatanet")
    }

    fn controls(&self, account: u64, from: usize) -> Done {
        need(account::controls(&self.accounts, account, who(from)), "NotController")
    }

    fn contribute(&mut self, from: usize, offer: &Offer, block: u64) -> Done {
        let policy = self.datanet(offer.datanet)?.policy;
        self.controls(offer.account, from)?;
        offer.check()?;
        if policy == STAKED {
            let account = account::of(&mut self.accounts, offer.account)?;
            need(account.stake - account.leaving >= MIN_STAKE, "StakeTooLow")?;
        }
        let lets = from != FORGETFUL && from != COUNTER;
        need(lets, "ERC20InsufficientAllowance")?;
        let locks = offer.locks();
        let left = self.held[from].checked_sub(locks);
        self.held[from] = left.ok_or("ERC20InsufficientBalance")?;
        if policy == REVIEWED {
            self.submitted += 1;
            self.submissions.insert(self.submitted, (offer.clone(), from, locks));
        } else {
            self.admitted(from, locks, block);
        }
        Ok(())
    }

    fn admitted(&mut self, payer: usize, locks: u128, block: u64) {
        self.contributions += 1;
        self.deposits.insert(self.contributions, (payer, locks, block + DEPOSIT_BLOCKS));
    }

    fn admit(&mut self, from: usize, submission: u64, offer: &Offer, block: u64) -> Done {
        let owner = self.datanet(offer.datanet)?.owner;
        self.controls(owner, from)?;
        let known = self.submissions.get(&submission).filter(|(known, ..)| known == offer);
        let (_, payer, locks) = known.cloned().ok_or("NotSubmitted")?;
        self.submissions.remove(&submission);
        self.admitted(payer, locks, block);
        Ok(())
    }

    fn offer(&self, draw: &mut Draw) -> Offer {
        let count = match draw.below(24) {
            0 => 0,
            1 => MAX_PACKS,
            2 => MAX_PACKS + 1,
            _ => 1 + draw.below(3),
        };
        let long = draw.of(&[0, MAX_PACK, MAX_PACK + 1, u64::MAX]);
        let mut lengths: Vec<_> =
            (0..count).map(|_| draw.of(&[1, 700, LEAST_PACK as u64, 5_000, 9_000])).collect();
        if count > 0 && draw.one_in(12) {
            lengths[draw.below(count)] = long;
        }
        let bytes = lengths.iter().fold(0, |sum: u64, length| sum.saturating_add(*length));
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX - 1);
        Offer {
            datanet: draw.below(self.datanets.len() + 2) as u64,
            account: 1 + draw.below(POOR as usize + 1) as u64,
            packs: if draw.one_in(16) { count + 1 } else { count },
            units: draw.of(&[1, 1, 1, bytes, bytes + 1, 0]),
            lengths,
            manifest: draw.below(3) as u8,
        }
    }

    fn think(&self, draw: &mut Draw) -> Call {
        let account = 1 + draw.below(POOR as usize) as u64;
        match draw.below(20) {
            0..=2 => Call::Create {
                owner: account,
                name: draw.of(&[0, 1, MAX_NAME, MAX_NAME + 1]),
                domain: draw.of(&[0, 1, MAX_NAME, MAX_NAME + 1]),
                policy: draw.below(3) as u8,
            },
            3..=9 => Call::Contribute(self.offer(draw)),
            10..=12 => {
                let known: Vec<_> = self.submissions.iter().collect();
                let drawn = (!known.is_empty()).then(|| draw.of(&known));
                let (submission, mut offer) = match drawn {
                    Some((number, (offer, ..))) => (*number, offer.clone()),
                    None => (draw.below(3) as u64, self.offer(draw)),
                };
                offer.manifest ^= u8::from(draw.one_in(6));
                Call::Admit(submission + u64::from(draw.one_in(8)), offer)
            }
            13 | 14 => Call::TakeBack(draw.below(self.contributions as usize + 2) as u64),
            15 | 16 => Call::Withdraw(draw.below(self.submitted as usize + 2) as u64),
            17 => Call::Snapshot(draw.below(self.datanets.len() + 2) as u64),
            18 => {
                let one = |draw: &mut Draw| {
                    let datanet = draw.below(self.datanets.len() + 2) as u64;
                    (datanet, draw.of(&[0, 1, u32::MAX]), draw.below(9) as u32)
                };
                Call::Uses((0..draw.below(4)).map(|_| one(draw)).collect())
            }
            _ => Call::Unstake(account, draw.of(&[OPEN, 5_000 * OPEN, 9_901 * OPEN])),
        }
    }
}

impl Model for Data {
    type Call = Call;
    const CALLS: &'static [&'static str] = &[
        "DatanetRegistry.createDatanet",
        "DatanetRegistry.contribute",
        "DatanetRegistry.admit",
        "DatanetRegistry.takeBack",
        "DatanetRegistry.withdrawSubmission",
        "DatanetRegistry.publishSnapshot",
        "DatanetRegistry.addUses",
    ];

    fn start(world: &mut World<'_>) -> Self {
        use alloy::primitives::keccak256;
        let (role, account) = (keccak256("COUNTER_ROLE"), who(COUNTER));
        world.send(0, world.datanets, &Registry::grantRoleCall { role, account });
        let owner = who(POOR as usize);
        let (operator, payout, node, binding) = (owner, owner, B256::ZERO, vec![0; 64].into());
        let call = Registry::registerCall { owner, operator, payout, nodeId: node, binding };
        world.send(0, world.registry, &call);
        for person in 1..PEOPLE {
            let value = U256::from(2_000 * OPEN);
            world.send(0, world.open, &Open::transferCall { to: who(person), value });
            if person != FORGETFUL {
                let (spender, value) = (world.datanets, U256::MAX);
                world.send(person, world.open, &Open::approveCall { spender, value });
            }
        }
        let staked = |owner| Account::staked(owner, 10_000 * OPEN);
        let mut accounts: Vec<_> = (1..=ACCOUNTS as usize).map(staked).collect();
        accounts.push(Account::staked(POOR as usize, 0));
        Self {
            accounts,
            held: (0..PEOPLE).map(|person| world.balance(who(person)).to()).collect(),
            datanets: Vec::new(),
            submissions: BTreeMap::new(),
            submitted: 0,
            deposits: BTreeMap::new(),
            contributions: 0,
        }
    }

    fn draw(&self, draw: &mut Draw, block: u64) -> Step<Call> {
        let deposits: Vec<_> = self.deposits.iter().collect();
        if draw.one_in(16) && !deposits.is_empty() {
            // The first block in which it may be taken back, or the one before.
            let (number, (_, _, until)) = draw.of(&deposits);
            if let Some(wait) = (until - draw.below(2) as u64).checked_sub(block) {
                return Step { wait, from: draw.below(PEOPLE), call: Call::TakeBack(*number) };
            }
        }
        let call = self.think(draw);
        let owner_of = |datanet: u64| {
            let index = usize::try_from(datanet).unwrap().wrapping_sub(1);
            self.datanets.get(index).map_or(5, |datanet| datanet.owner as usize)
        };
        let from = match &call {
            Call::Uses(_) if !draw.one_in(6) => COUNTER,
            _ if draw.one_in(8) => draw.below(PEOPLE),
            Call::Create { owner: account, .. } | Call::Unstake(account, _) => *account as usize,
            Call::Contribute(offer) => offer.account as usize,
            Call::Admit(_, offer) => owner_of(offer.datanet),
            Call::Snapshot(datanet) => owner_of(*datanet),
            Call::Withdraw(number) => {
                self.submissions.get(number).map_or_else(|| draw.below(PEOPLE), |(_, by, _)| *by)
            }
            _ => draw.below(PEOPLE),
        };
        let wait = if draw.one_in(10) { draw.below(DEPOSIT_BLOCKS as usize) as u64 } else { 0 };
        Step { wait, from, call }
    }

    fn encode(&self, world: &mut World<'_>, call: &Call) -> Encoded {
        let at = world.datanets;
        match call {
            Call::Create { owner, name, domain, policy } => {
                let (name, domain) = ("x".repeat(*name), "y".repeat(*domain));
                let (owner, policy, licence) = (*owner, *policy, 7);
                let call = D::createDatanetCall { name, domain, licence, policy, owner };
                Encoded::new("DatanetRegistry.createDatanet", at, &call)
            }
            Call::Contribute(offer) => {
                let call = contributed(offer);
                Encoded::new("DatanetRegistry.contribute", at, &call)
            }
            Call::Admit(submission, offer) => {
                let submission = *submission;
                let D::contributeCall { id, account, manifest, packs, lengths, units } =
                    contributed(offer);
                let call =
                    D::admitCall { submission, id, account, manifest, packs, lengths, units };
                Encoded::new("DatanetRegistry.admit", at, &call)
            }
            Call::TakeBack(contribution) => {
                let call = D::takeBackCall { contribution: *contribution };
                Encoded::new("DatanetRegistry.takeBack", at, &call)
            }
            Call::Withdraw(submission) => {
                let call = D::withdrawSubmissionCall { submission: *submission };
                Encoded::new("DatanetRegistry.withdrawSubmission", at, &call)
            }
            Call::Snapshot(id) => {
                let call = D::publishSnapshotCall { id: *id, root: B256::ZERO, units: 1 };
                Encoded::new("DatanetRegistry.publishSnapshot", at, &call)
            }
            Call::Uses(uses) => {
                let used = |(datanet, shards, outputs): &(u64, u32, u32)| D::DatanetUse {
                    datanet: *datanet,
                    shards: *shards,
                    outputs: *outputs,
                };
                let call = D::addUsesCall { uses: uses.iter().map(used).collect() };
                Encoded::new("DatanetRegistry.addUses", at, &call)
            }
            Call::Unstake(account, amount) => {
                let call = Registry::requestUnstakeCall { account: *account, amount: *amount };
                Encoded::new("Registry.requestUnstake", world.registry, &call)
            }
        }
    }

    fn apply(&mut self, from: usize, call: &Call, block: u64) -> Done {
        match call {
            Call::Create { owner, name, domain, policy } => {
                self.controls(*owner, from)?;
                need((1..=MAX_NAME).contains(name) && *domain <= MAX_NAME, "BadName")?;
                let (owner, policy) = (*owner, *policy);
                self.datanets.push(Datanet { owner, policy, shards: 0, outputs: 0 });
                Ok(())
            }
            Call::Contribute(offer) => self.contribute(from, offer, block),
            Call::Admit(submission, offer) => self.admit(from, *submission, offer, block),
            Call::TakeBack(number) => {
                let (payer, locks, until) = *self.deposits.get(number).ok_or("NoDeposit")?;
                need(block >= until, "DepositLocked")?;
                self.deposits.remove(number);
                self.held[payer] += locks;
                Ok(())
            }
            Call::Withdraw(number) => {
                let known = self.submissions.get(number).filter(|(_, payer, _)| *payer == from);
                let locks = known.ok_or("NoDeposit")?.2;
                self.submissions.remove(number);
                self.held[from] += locks;
                Ok(())
            }
            Call::Snapshot(id) => {
                let owner = self.datanet(*id)?.owner;
                self.controls(owner, from)
            }
            Call::Uses(uses) => {
                need(from == COUNTER, NO_ROLE)?;
                for (id, shards, outputs) in uses {
                    // One that there is not counts for nothing, and stops nothing.
                    let Ok(datanet) = self.datanet(*id) else { continue };
                    let sum = datanet.shards.checked_add(u64::from(*shards));
                    datanet.shards = sum.ok_or(PANIC)?;
                    datanet.outputs += u64::from(*outputs);
                }
                Ok(())
            }
            Call::Unstake(number, amount) => {
                let account = account::of(&mut self.accounts, *number)?;
                need(account.owner == who(from), "NotOwner")?;
                need(*amount <= account.free(), "InsufficientStake")?;
                account.leaving += amount;
                Ok(())
            }
        }
    }

    fn compare(&self, world: &mut World<'_>, _from: usize, _call: &Call) {
        let at = world.datanets;
        let counts = (
            world.read(at, &D::datanetsCall {}),
            world.read(at, &D::submissionsCall {}),
            world.read(at, &D::contributionsCall {}),
        );
        let expected = (self.datanets.len() as u64, self.submitted, self.contributions);
        assert_eq!(counts, expected);
        let waiting = self.submissions.values().map(|(_, _, locks)| locks);
        let locked = waiting.chain(self.deposits.values().map(|(_, locks, _)| locks)).sum::<u128>();
        assert_eq!(world.balance(at), U256::from(locked), "every deposit is there");
        for (person, held) in self.held.iter().enumerate() {
            assert_eq!(world.balance(who(person)), U256::from(*held), "{person}");
        }
    }

    fn compare_all(&self, world: &mut World<'_>) {
        let at = world.datanets;
        for (index, datanet) in self.datanets.iter().enumerate() {
            let found = world.read(at, &D::datanetCall { id: index as u64 + 1 });
            let found = (found.owner, found.policy, found.shards, found.outputs);
            let Datanet { owner, policy, shards, outputs } = *datanet;
            assert_eq!(found, (owner, policy, shards, outputs));
        }
        for contribution in 1..=self.contributions {
            let found = world.read(at, &D::depositOfCall { contribution });
            let known = self.deposits.get(&contribution);
            let expected = known.map_or((Address::ZERO, 0, 0), |(payer, locks, until)| {
                (who(*payer), *locks, *until)
            });
            assert_eq!((found.payer, found.amount.to(), found.until), expected);
        }
    }

    fn compare_view(&self, _world: &mut World<'_>, view: &ChainView) {
        assert_eq!(view.datanets().count(), self.datanets.len());
        assert_eq!(view.contributions().len() as u64, self.contributions);
    }
}

fn contributed(offer: &Offer) -> D::contributeCall {
    D::contributeCall {
        id: offer.datanet,
        account: offer.account,
        manifest: B256::repeat_byte(offer.manifest),
        packs: offer.packs(),
        lengths: offer.lengths.clone(),
        units: offer.units,
    }
}
