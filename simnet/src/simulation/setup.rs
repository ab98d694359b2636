//! From a scenario to a network that can run: contracts, accounts, stake, data, nodes.

use std::collections::BTreeMap;

use protocol::{
    AccountId, Amount, BlobRef, DatanetId, EvmAddress, NodeId,
    chain::{ChainEvent, ChainView, Contribution, Transaction},
};

use super::{
    Economy, Env, Event, Executor, Gossip, Measurements, Observer, Settlements, SetupError,
    Simulation, Store, Work,
    attribution::AdverseData,
    backend::{Backend, StandIns},
    ledger::Ledger,
    links::Links,
    population::Population,
    refereeing,
    schedule::Schedule,
    training::developer,
};
use crate::{
    Scenario,
    adversary::Coalitions,
    chain::{Chain, ChainError},
    faults::{Faults, Sessions},
    kernel::{Draws, Streams, Time},
    network::{self, Network, Underlay},
    nodes::{
        Contributor, Identity, Role, SharedBlobs, Signer, SimNode, contributors, identities, kinds,
    },
};

/// Accounts that are registered in one block.
const BATCH: usize = 20_000;

/// What a researcher brings beside the scenario.
#[derive(Default)]
pub struct Parts {
    /// Delays between nodes, in place of the scenario's.
    pub underlay: Option<Box<dyn Underlay>>,
}

pub(super) fn simulation(scenario: Scenario, parts: Parts) -> Result<Simulation, SetupError> {
    scenario.check()?;
    let (streams, draws) = (Streams::new(scenario.seed), Draws::new(scenario.seed));
    let count = scenario.population.nodes;
    let network = network(&scenario, parts.underlay, draws)?;
    let mut chain = Chain::deploy(&scenario, setup_blocks(count))?;
    let mut blobs = SharedBlobs::default();
    let mut coalitions = Coalitions::new(&scenario.adversaries);
    let data = contributors(&scenario, &coalitions, &streams, &mut blobs)?;
    let registry = chain.view().registry;
    let ids = identities(&streams, 0..count, registry);
    let roles = kinds(&scenario, draws, end_of(&scenario, &chain));
    let stakes = stakes(&scenario, &coalitions, &roles);
    let accounts = register(&mut chain, &scenario, &ids, &data, &stakes)?;
    fund_adversaries(&mut chain, &ids, &roles);
    contribute(&mut chain, &scenario, &accounts, &data)?;
    // The setting is not part of what is simulated, so no block of it is replaced.
    chain.start(&scenario.chain);
    let backend = backend(&scenario, chain.view(), &mut blobs)?;
    let adverse_data = AdverseData::new(adverse_data(&data, &accounts)?);
    let nodes = nodes(&ids, &roles, &accounts, &mut coalitions)?;
    let sessions = Sessions::new(scenario.churn, draws);
    let now = block_time(&scenario, chain.head().0 + 1);
    let signer = signer(streams, &ids);
    let mut env = Env {
        schedule: Schedule::new(now, scenario.quantum.0),
        links: Links::new(&scenario, network),
        population: Population::new(nodes, coalitions, sessions, &scenario),
        ledger: Ledger::new(chain),
        streams,
        draws,
        scenario,
    };
    start(&mut env, roles.into_iter().map(|(_, _, leaves)| leaves));
    let referee = refereeing::begin(env.view());
    Ok(Simulation {
        env,
        gossip: Gossip::new(signer),
        store: Store::new(blobs, all_packs(&data)),
        settlements: Settlements::default(),
        work: Work::new(backend, adverse_data),
        economy: Economy::default(),
        measurements: Measurements::default(),
        referee,
        observer: Observer::default(),
        executor: Executor::default(),
    })
}

/// The backend that a scenario asks for, when its data is on chain.
#[cfg_attr(
    not(feature = "real-compute"),
    expect(clippy::unnecessary_wraps, reason = "the real model can fail to be set up")
)]
fn backend(
    scenario: &Scenario,
    view: &ChainView,
    blobs: &mut SharedBlobs,
) -> Result<Box<dyn Backend>, SetupError> {
    #[cfg(feature = "real-compute")]
    if scenario.training.real_compute {
        return Ok(Box::new(super::real::Real::new(view, blobs)?));
    }
    #[cfg(not(feature = "real-compute"))]
    let _ = (view, blobs);
    Ok(Box::new(StandIns(scenario.training.clone())))
}

/// Puts on the calendar what begins by itself; each node leaves when it is said to.
fn start(env: &mut Env, leaves: impl Iterator<Item = Option<Time>>) {
    env.schedule.push_global(env.now(), Event::Mine);
    env.plan_faults();
    for (index, leaves) in leaves.enumerate() {
        begin(env, index, leaves);
    }
}

/// A node is there at the start, or not.
fn begin(env: &mut Env, index: usize, leaves: Option<Time>) {
    // One that was never there has an account all the same, and is drawn like the others.
    if leaves == Some(Time(0)) {
        return;
    }
    if let Some(at) = env.absent_until(index) {
        env.schedule.push_own(at, index, Event::Return);
        return;
    }
    let now = env.now();
    env.population.start_machine(index, now);
    if let Some(at) = leaves {
        env.schedule.push_own(at.max(now), index, Event::Leave(0));
    }
    env.plan_leave(index);
}

/// The clock of a scenario, in virtual time from the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The first epoch in which storage is proven.
    pub first: protocol::Epoch,
    /// When it begins.
    pub begins: Time,
    /// How long an epoch is, in microseconds.
    pub epoch: u64,
    /// When the last of them is over; its settlement comes after.
    pub ends: Time,
}

/// When the epochs of a scenario are, so that faults can be put at them.
///
/// # Errors
/// [`SetupError`] for a scenario that could not start: an impossible one, or one whose data or
/// regions are not there.
pub fn clock(scenario: &Scenario) -> Result<Clock, SetupError> {
    scenario.check()?;
    network(scenario, None, Draws::new(scenario.seed))?;
    let chain = Chain::deploy(scenario, setup_blocks(scenario.population.nodes))?;
    let first = protocol::Epoch(crate::scenario::WARM_UP_EPOCHS);
    let start = |epoch| block_time(scenario, chain.view().schedule.start(epoch).0);
    let ends = start(protocol::Epoch(first.0 + scenario.epochs));
    Ok(Clock { first, begins: start(first), epoch: scenario.epoch_span().0, ends })
}

/// The signer of all nodes, which knows who they are.
fn signer(streams: Streams, ids: &[Identity]) -> Signer {
    let mut signer = Signer::new(streams);
    signer.know(ids.iter().map(|id| id.operator).collect());
    signer
}

fn all_packs(data: &[Contributor]) -> Vec<BlobRef> {
    let parts = data.iter().flat_map(|contributor| &contributor.parts);
    parts.flat_map(|part| part.packs.iter().copied()).collect()
}

fn nodes(
    ids: &[Identity],
    roles: &[Role],
    accounts: &BTreeMap<EvmAddress, AccountId>,
    coalitions: &mut Coalitions,
) -> Result<Vec<SimNode>, ChainError> {
    let mut nodes = Vec::with_capacity(ids.len());
    for (index, (id, (kind, coalition, _))) in (0u32..).zip(ids.iter().zip(roles)) {
        let mut node = SimNode::new(*kind, account_of(accounts, id.owner)?, index);
        if let Some(coalition) = coalition {
            node.join(*coalition);
            coalitions.join((*coalition).into(), index);
        }
        nodes.push(node);
    }
    Ok(nodes)
}

fn network(
    scenario: &Scenario,
    own: Option<Box<dyn Underlay>>,
    draws: Draws,
) -> Result<Network, SetupError> {
    let underlay = match own {
        Some(underlay) => underlay,
        None => network::build(scenario, draws)?,
    };
    let faults = Faults::new(&scenario.events, underlay.regions(), draws)?;
    Ok(Network::new(scenario, underlay, faults))
}

/// When the last epoch is over.
const fn end_of(scenario: &Scenario, chain: &Chain) -> Time {
    let over = protocol::Epoch(scenario.epochs + crate::scenario::WARM_UP_EPOCHS);
    block_time(scenario, chain.view().schedule.start(over).0)
}

const fn block_time(scenario: &Scenario, block: u64) -> Time {
    Time(scenario.chain.block.0.saturating_mul(block))
}

/// Blocks that registering many nodes takes before the first epoch; few fit into the first epoch.
fn setup_blocks(nodes: u32) -> u64 {
    let batches = (nodes as usize).div_ceil(BATCH) as u64;
    if batches > 1 { 2 * batches + 8 } else { 6 }
}

/// The registration of somebody who runs no node.
const fn without_node(owner: EvmAddress) -> Transaction {
    let (operator, payout) = (owner, owner);
    Transaction::Register { owner, operator, payout, node: NodeId::ZERO, binding: [0; 64] }
}

/// What each node has at stake, in order.
fn stakes(scenario: &Scenario, coalitions: &Coalitions, roles: &[Role]) -> Vec<Amount> {
    let mut names = vec![0; coalitions.count()];
    for number in roles.iter().filter_map(|role| role.1) {
        names[usize::from(number)] += 1;
    }
    let stake = |(_, number, _): &Role| {
        let number = usize::from((*number)?);
        let of = coalitions.get(number)?.facts.stakes;
        Some(of.of(scenario.stake(), names[number]))
    };
    roles.iter().map(|role| stake(role).unwrap_or(scenario.stake())).collect()
}

/// Registers nodes, contributors and model developers, and stakes for the nodes; accounts by owner.
fn register(
    chain: &mut Chain,
    scenario: &Scenario,
    ids: &[Identity],
    data: &[Contributor],
    stakes: &[Amount],
) -> Result<BTreeMap<EvmAddress, AccountId>, ChainError> {
    let sponsor = chain.sponsor();
    let nodes = ids.iter().map(Identity::registration);
    let models = if scenario.training.is_on() { scenario.training.models } else { 0 };
    let owners = data.iter().map(|contributor| contributor.owner);
    let others = owners.chain((0..models).map(developer)).map(without_node);
    let mut transactions = nodes.chain(others).map(|register| (sponsor, register));
    let mut accounts = BTreeMap::new();
    loop {
        let batch: Vec<_> = transactions.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        for event in chain.set_up(block_time(scenario, chain.head().0 + 1), &batch)? {
            if let ChainEvent::AccountRegistered { account, owner, .. } = event {
                accounts.insert(owner, account);
            }
        }
    }
    let staked: Vec<_> =
        ids.iter().zip(stakes).filter(|(_, stake)| **stake > Amount::ZERO).collect();
    for batch in staked.chunks(BATCH) {
        let stakes = batch
            .iter()
            .map(|(id, amount)| {
                let (account, amount) = (account_of(&accounts, id.owner)?, **amount);
                Ok((sponsor, Transaction::StakeFor { account, amount }))
            })
            .collect::<Result<Vec<_>, ChainError>>()?;
        chain.set_up(block_time(scenario, chain.head().0 + 1), &stakes)?;
    }
    Ok(accounts)
}

/// Bytes that a coalition can lock a deposit for, beside what it contributes at the start.
const JUNK: u64 = 100 << 20;

/// Gives the first node of each coalition the money for the junk that it may contribute.
fn fund_adversaries(chain: &mut Chain, ids: &[Identity], roles: &[Role]) {
    let mut first = BTreeMap::new();
    for (id, (_, coalition, _)) in ids.iter().zip(roles) {
        if let Some(number) = coalition {
            first.entry(*number).or_insert(id.operator);
        }
    }
    first.into_values().for_each(|operator| chain.fund_bytes(operator, JUNK));
}

fn account_of(
    accounts: &BTreeMap<EvmAddress, AccountId>,
    owner: EvmAddress,
) -> Result<AccountId, ChainError> {
    accounts.get(&owner).copied().ok_or(ChainError::NotRegistered(owner))
}

/// The accounts under which coalitions contributed data, with their numbers.
fn adverse_data(
    data: &[Contributor],
    accounts: &BTreeMap<EvmAddress, AccountId>,
) -> Result<BTreeMap<AccountId, usize>, ChainError> {
    let theirs = data.iter().filter_map(|part| Some((part.owner, part.coalition?)));
    theirs.map(|(owner, number)| Ok((account_of(accounts, owner)?, number))).collect()
}

/// Creates the Datanet and admits every contribution, all in one block.
fn contribute(
    chain: &mut Chain,
    scenario: &Scenario,
    accounts: &BTreeMap<EvmAddress, AccountId>,
    data: &[Contributor],
) -> Result<(), ChainError> {
    let Some(founder) = data.first().map(|contributor| contributor.owner) else { return Ok(()) };
    let create = Transaction::CreateDatanet {
        owner: account_of(accounts, founder)?,
        name: "simulated".to_owned(),
        domain: "bytes".to_owned(),
        licence: 0,
    };
    let mut transactions = vec![(founder, create)];
    for contributor in data {
        let owner = contributor.owner;
        let account = account_of(accounts, owner)?;
        for part in &contributor.parts {
            chain.fund_data(owner, &part.packs);
            let contribution = Contribution {
                id: 0,
                datanet: DatanetId(1),
                account,
                manifest: part.manifest,
                packs: part.packs.clone(),
                units: part.units,
            };
            transactions.push((owner, Transaction::Contribute(contribution)));
        }
    }
    chain.set_up(block_time(scenario, chain.head().0 + 1), &transactions)?;
    Ok(())
}
