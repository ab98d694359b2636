//! Who cheats, and how.
//!
//! A way of cheating is an [`Adversary`]: what its nodes do otherwise than honest ones, at the places
//! where a host stands between its machine and the world. Several may act through the same nodes.
//! They know everything ([`World`]), the worst case. One of one's own is given to
//! [`Simulation::with`](crate::Simulation::with); `examples/own_adversary.rs` is one.

mod auditing;
mod compute;
mod identity;
mod network;
mod settlement;
mod storage;

use protocol::{BlockNumber, Hash, chain::Transaction, node::Job, record::Record};

use crate::{
    kernel::Time,
    scenario::{AdversaryKind, AdversaryPlan},
    simulation::{Answer, World},
    units::Span,
};

/// A way of cheating. Every method has the honest behaviour as its default.
pub trait Adversary: Send {
    /// Answers a job of a node's machine; `None` leaves it to the honest host.
    fn job(&mut self, _world: &mut World<'_>, _node: usize, _job: &Job) -> Option<Answer> {
        None
    }

    /// What is signed and sent instead of a record, each after a time.
    fn sign(
        &mut self,
        _world: &mut World<'_>,
        _node: usize,
        record: Record,
    ) -> Vec<(Span, Record)> {
        vec![(Span::ZERO, record)]
    }

    /// What is sent to the chain instead of a transaction.
    fn submit(
        &mut self,
        _world: &mut World<'_>,
        _node: usize,
        transaction: Transaction,
    ) -> Option<Transaction> {
        Some(transaction)
    }

    /// Acts by itself after a block; `members` are its nodes.
    fn block(&mut self, _world: &mut World<'_>, _members: &[u32], _block: BlockNumber) {}

    /// Whether a node of its own gives a blob to another node.
    fn gives(&self, _node: usize, _to: usize, _blob: &Hash) -> bool {
        true
    }
}

/// Nodes that cheat together.
#[derive(Default)]
pub struct Gang {
    /// What they do, in this order.
    pub behaviours: Vec<Box<dyn Adversary>>,
    /// Since when.
    pub from: Time,
    /// Their nodes.
    pub members: Vec<u32>,
}

impl Gang {
    /// The gang of a plan; its members come when the network is set up.
    pub fn new(plan: &AdversaryPlan, number: usize) -> Self {
        let kinds = std::iter::once(plan.kind).chain(plan.also.iter().copied());
        let behaviours = kinds.filter_map(|kind| build(kind, plan, number)).collect();
        Self { behaviours, from: Time(plan.from.0), members: Vec::new() }
    }
}

/// The behaviour of a kind's nodes; `None` where they are honest, and for one that needs a part that
/// does not exist, which scenarios are refused for.
fn build(kind: AdversaryKind, plan: &AdversaryPlan, number: usize) -> Option<Box<dyn Adversary>> {
    Some(match kind {
        AdversaryKind::LazyStorage => Box::new(storage::Lazy),
        AdversaryKind::OnDemand => Box::new(storage::OnDemand),
        AdversaryKind::Outsourcing => Box::new(storage::Outsourcing),
        AdversaryKind::Sybil | AdversaryKind::SybilUnstaked => Box::<storage::Sybil>::default(),
        AdversaryKind::Eclipse => Box::new(network::Eclipse::new(plan.victims, plan.strength)),
        AdversaryKind::GossipSpam => Box::new(network::Spam::new(plan.strength)),
        AdversaryKind::LateReveal => Box::new(network::LateReveal),
        AdversaryKind::LazyAuditor => Box::new(auditing::LazyAuditor),
        AdversaryKind::ColludingAuditor => Box::new(auditing::Colluding::new(number)),
        AdversaryKind::FalseSettlement => Box::new(settlement::False::new(false)),
        AdversaryKind::WithheldLog => Box::new(settlement::False::new(true)),
        AdversaryKind::CensoringProposer => Box::new(settlement::Censor),
        AdversaryKind::Whitewashing => Box::<identity::Whitewashing>::default(),
        AdversaryKind::ForgedShard => Box::new(compute::Forged::new(plan.strength)),
        AdversaryKind::CopiedShard => Box::new(compute::Copied::new(plan.strength)),
        AdversaryKind::SelfDealing => Box::new(compute::SelfDealing::new(number, plan.strength)),
        AdversaryKind::LazyJury | AdversaryKind::DataCopying | AdversaryKind::DataSplitting => {
            return None;
        }
    })
}
