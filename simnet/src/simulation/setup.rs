//! From a scenario to a network that can run: contracts, accounts, stake, data, nodes.

use std::collections::BTreeMap;

use protocol::{
    AccountId, DatanetId, EvmAddress, Hash, NodeId,
    chain::{ChainEvent, Contribution, Transaction},
    node::{Node, NodeConfig},
};

use super::{Event, SetupError, Simulation, Tally};
use crate::{
    Scenario,
    chain::{Chain, ChainError, STAKE, named_address},
    kernel::{Actor, EventQueue as _, HeapQueue, Purpose, Streams, Time},
    network::Network,
    nodes::{
        Contributor, Identity, Kind, Pool, RecordTable, SharedBlobs, SimNode, contributors,
        identities, kinds,
    },
    trace::Trace,
};

/// Blocks of the setting before time runs by itself: registrations, stakes, contributions.
const SETUP_BLOCKS: u64 = 4;

pub(super) fn simulation(scenario: Scenario) -> Result<Simulation, SetupError> {
    scenario.check()?;
    let streams = Streams::new(scenario.seed);
    let mut chain = Chain::deploy(&scenario)?;
    let mut blobs = SharedBlobs::default();
    let data = contributors(&scenario, &streams, &mut blobs)?;
    let ids = identities(&streams, scenario.population.nodes, chain.view().registry);
    let accounts = register(&mut chain, &scenario, &ids)?;
    contribute(&mut chain, &scenario, &accounts, &data)?;
    let nodes = nodes(&scenario, &streams, &chain, &ids, &accounts)?;
    let by_account = (0u32..).zip(&nodes).map(|(index, node)| (node.account, index)).collect();
    let parts = data.iter().flat_map(|contributor| &contributor.parts);
    let packs: Vec<(Hash, u64)> = parts.flat_map(|part| part.packs.iter().copied()).collect();
    let mut queue = HeapQueue::new(scenario.population.nodes);
    let start = block_time(&scenario, SETUP_BLOCKS + 1);
    queue.push(start, Actor::CHAIN, Actor::CHAIN, Event::Mine);
    for (index, node) in (0u32..).zip(&nodes) {
        if let Some(at) = node.leaves.filter(|at| *at > Time(0)) {
            queue.push(at.max(start), Actor::node(index), Actor::CHAIN, Event::Leave);
        }
    }
    Ok(Simulation {
        network: Network::new(&scenario),
        streams,
        queue,
        chain,
        nodes,
        by_account,
        packs,
        blobs,
        records: RecordTable::default(),
        settled: BTreeMap::new(),
        final_at: BTreeMap::new(),
        caught: std::collections::BTreeSet::new(),
        epochs: Vec::new(),
        books: Vec::new(),
        trace: Trace::default(),
        tally: Tally::default(),
        now: start,
        is_over: false,
        referee: crate::referee::Referee::default(),
        scenario,
    })
}

const fn block_time(scenario: &Scenario, block: u64) -> Time {
    Time(scenario.chain.block.0.saturating_mul(block))
}

/// Registers nodes and contributors, and stakes for the nodes; accounts by owner.
fn register(
    chain: &mut Chain,
    scenario: &Scenario,
    ids: &[Identity],
) -> Result<BTreeMap<EvmAddress, AccountId>, ChainError> {
    let sponsor = chain.sponsor();
    let mut transactions: Vec<_> = ids
        .iter()
        .map(|id| Transaction::Register {
            owner: id.owner,
            operator: id.operator.address(),
            payout: id.payout,
            node: id.node,
            binding: id.binding,
        })
        .collect();
    transactions.extend((0..scenario.workload.contributors).map(|index| {
        let owner = named_address(b"contributor", index);
        Transaction::Register {
            owner,
            operator: owner,
            payout: owner,
            node: NodeId::ZERO,
            binding: [0; 64],
        }
    }));
    let transactions: Vec<_> = transactions.into_iter().map(|tx| (sponsor, tx)).collect();
    let events = chain.set_up(block_time(scenario, 2), &transactions)?;
    let mut accounts = BTreeMap::new();
    for event in events {
        if let ChainEvent::AccountRegistered { account, owner, .. } = event {
            accounts.insert(owner, account);
        }
    }
    let stakes: Vec<_> = ids
        .iter()
        .map(|id| {
            let account = account_of(&accounts, id.owner)?;
            Ok((sponsor, Transaction::StakeFor { account, amount: STAKE }))
        })
        .collect::<Result<_, ChainError>>()?;
    chain.set_up(block_time(scenario, 3), &stakes)?;
    Ok(accounts)
}

fn account_of(
    accounts: &BTreeMap<EvmAddress, AccountId>,
    owner: EvmAddress,
) -> Result<AccountId, ChainError> {
    accounts.get(&owner).copied().ok_or(ChainError::NotRegistered(owner))
}

/// Creates the Datanet and admits every contribution, all in one block.
fn contribute(
    chain: &mut Chain,
    scenario: &Scenario,
    accounts: &BTreeMap<EvmAddress, AccountId>,
    data: &[Contributor],
) -> Result<(), ChainError> {
    let founder = named_address(b"contributor", 0);
    let create = Transaction::CreateDatanet {
        owner: account_of(accounts, founder)?,
        name: "simulated".to_owned(),
        domain: "bytes".to_owned(),
        licence: 0,
    };
    let mut transactions = vec![(founder, create)];
    for (index, contributor) in (0u32..).zip(data) {
        let owner = named_address(b"contributor", index);
        let account = account_of(accounts, owner)?;
        for part in &contributor.parts {
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
    chain.set_up(block_time(scenario, SETUP_BLOCKS), &transactions)?;
    Ok(())
}

fn nodes(
    scenario: &Scenario,
    streams: &Streams,
    chain: &Chain,
    ids: &[Identity],
    accounts: &BTreeMap<EvmAddress, AccountId>,
) -> Result<Vec<SimNode>, ChainError> {
    let epochs = scenario.epochs + crate::scenario::WARM_UP_EPOCHS;
    let last = chain.view().schedule.start(protocol::Epoch(epochs));
    let kinds = kinds(scenario, streams, block_time(scenario, last.0));
    let config = NodeConfig { computes: false, auto_claim: true };
    (0u32..)
        .zip(ids.iter().zip(kinds))
        .map(|(index, (id, (kind, leaves)))| {
            let account = account_of(accounts, id.owner)?;
            Ok(SimNode {
                kind,
                account,
                operator: id.operator.clone(),
                address: id.operator.address(),
                leaves,
                is_online: kind != Kind::Offline || leaves != Some(Time(0)),
                machine: Node::new(account, config),
                pool: Pool::default(),
                gossip: streams.stream(index, Purpose::Gossip),
                request: streams.stream(index, Purpose::Request),
            })
        })
        .collect()
}
