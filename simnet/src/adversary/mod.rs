//! Who cheats, and how.
//!
//! A way of cheating is an [`Adversary`]: what its nodes do otherwise than honest ones, at each place
//! where a host stands between its machine and the world. Each has a file of its own, with the
//! [`Profile`] under which scenarios name it, and a place in [`ALL`]. They know everything
//! ([`World`]), the worst case.
//!
//! Several may act through the same nodes, in the order of the scenario: the first that answers a job
//! has answered it; records and transactions pass through all of them, each changing what the one
//! before made of it; a blob is served if none refuses.

mod absent_proposer;
mod censoring_proposer;
mod coalition;
mod colluding_auditor;
mod copied_shard;
mod data_copying;
mod data_splitting;
mod dispute_griefing;
mod eclipse;
mod empty_units;
mod epoch_skipping;
mod equivocation;
mod false_attribution;
mod false_length;
mod false_settlement;
mod forged_shard;
mod gossip_spam;
mod grinding;
mod invented_base;
mod kind;
mod late_audit;
mod late_commitment;
mod late_reveal;
mod lazy_auditor;
mod lazy_jury;
mod lazy_storage;
mod objection;
mod on_demand;
mod outsourcing;
mod record_flood;
mod replayed_binding;
mod self_dealing;
mod self_ordering;
mod slot_hog;
mod sybil;
mod unpaid_withdrawal;
mod whitewashing;
mod withheld_attribution;
mod world;

pub use absent_proposer::ABSENT_PROPOSER;
pub use censoring_proposer::CENSORING_PROPOSER;
pub use coalition::{Coalition, Coalitions, Facts};
pub use colluding_auditor::COLLUDING_AUDITOR;
pub use copied_shard::COPIED_SHARD;
pub use data_copying::DATA_COPYING;
pub use data_splitting::DATA_SPLITTING;
pub use dispute_griefing::DISPUTE_GRIEFING;
pub use eclipse::ECLIPSE;
pub use empty_units::EMPTY_UNITS;
pub use epoch_skipping::EPOCH_SKIPPING;
pub use equivocation::EQUIVOCATION;
pub use false_attribution::FALSE_ATTRIBUTION;
pub use false_length::FALSE_LENGTH;
pub use false_settlement::FALSE_SETTLEMENT;
pub use forged_shard::FORGED_SHARD;
pub use gossip_spam::GOSSIP_SPAM;
pub use grinding::GRINDING;
pub use invented_base::INVENTED_BASE;
pub use kind::{AdversaryKind, AdversaryPlan, Profile};
pub use late_audit::LATE_AUDIT;
pub use late_commitment::LATE_COMMITMENT;
pub use late_reveal::LATE_REVEAL;
pub use lazy_auditor::LAZY_AUDITOR;
pub use lazy_jury::LAZY_JURY;
pub use lazy_storage::LAZY_STORAGE;
pub use objection::OBJECTION;
pub use on_demand::ON_DEMAND;
pub use outsourcing::OUTSOURCING;
pub use record_flood::RECORD_FLOOD;
pub use replayed_binding::REPLAYED_BINDING;
pub use self_dealing::SELF_DEALING;
pub use self_ordering::SELF_ORDERING;
pub use slot_hog::SLOT_HOG;
pub use sybil::{SYBIL, SYBIL_DIVIDED, SYBIL_DUST, SYBIL_UNSTAKED};
pub use unpaid_withdrawal::UNPAID_WITHDRAWAL;
pub use whitewashing::WHITEWASHING;
pub use withheld_attribution::WITHHELD_ATTRIBUTION;
pub use world::{Answer, World};

use protocol::{
    AccountId, Amount, Balance, BlockNumber, Digest, Epoch, Hash,
    chain::{ChainView, Settlement, Transaction},
    hash::blake3,
    node::Job,
    params::Params,
    record::Record,
    settle::{encode_balances, payout_tree},
};

use crate::units::Span;

/// The ways of cheating that scenario files can name, in the order of reports.
pub const ALL: [AdversaryKind; 39] = [
    LAZY_STORAGE,
    ON_DEMAND,
    OUTSOURCING,
    SYBIL,
    SYBIL_UNSTAKED,
    SYBIL_DUST,
    SYBIL_DIVIDED,
    ECLIPSE,
    GOSSIP_SPAM,
    LATE_COMMITMENT,
    LATE_REVEAL,
    LATE_AUDIT,
    LAZY_AUDITOR,
    COLLUDING_AUDITOR,
    FALSE_SETTLEMENT,
    CENSORING_PROPOSER,
    OBJECTION,
    ABSENT_PROPOSER,
    WHITEWASHING,
    FORGED_SHARD,
    COPIED_SHARD,
    INVENTED_BASE,
    LAZY_JURY,
    DATA_COPYING,
    DATA_SPLITTING,
    SELF_DEALING,
    SELF_ORDERING,
    EQUIVOCATION,
    EPOCH_SKIPPING,
    REPLAYED_BINDING,
    RECORD_FLOOD,
    FALSE_LENGTH,
    GRINDING,
    SLOT_HOG,
    EMPTY_UNITS,
    DISPUTE_GRIEFING,
    WITHHELD_ATTRIBUTION,
    FALSE_ATTRIBUTION,
    UNPAID_WITHDRAWAL,
];

/// A way of cheating. Every method has the honest behaviour as its default, so that one who cheats
/// says only where it deviates.
pub trait Adversary: Send {
    /// What is at stake behind each of its nodes.
    fn stakes(&self) -> Stakes {
        Stakes::Whole
    }

    /// The packs of others that it contributes once more.
    fn copies(&self) -> Option<Copies> {
        None
    }

    /// Whether the first contributor's packs are its own, under many accounts.
    fn splits_data(&self) -> bool {
        false
    }

    /// Whether it contributes a pack of more units than text.
    fn declares_empty_units(&self) -> bool {
        false
    }

    /// Whether it orders the last run and is its only customer.
    fn owns_last_run(&self) -> bool {
        false
    }

    /// Whether it orders runs to work on them itself.
    fn orders_for_itself(&self) -> bool {
        false
    }

    /// Whether its nodes say that they serve models faster than all others, and are believed.
    fn wants_to_serve(&self) -> bool {
        false
    }

    /// Whether it proposes settlements that do not follow from the chain.
    fn settles_falsely(&self) -> bool {
        false
    }

    /// Whether its nodes pass storage proofs that they have not seen.
    fn passes_unseen(&self) -> bool {
        false
    }

    /// Whether its nodes say of right proofs that they are wrong.
    fn fails_the_right(&self) -> bool {
        false
    }

    /// Whether its nodes prove with bytes that they fetch for the proof, or that another has.
    fn borrows_bytes(&self) -> bool {
        false
    }

    /// Whether a node keeps a blob that its machine has it fetch; if not, it says that it did.
    fn stores(&mut self, _world: &mut dyn World, _node: usize, _blob: &Hash) -> bool {
        true
    }

    /// Answers a job of a node's machine; `None` leaves it to the honest host.
    fn answer(&mut self, _world: &mut dyn World, _node: usize, _job: &Job) -> Option<Answer> {
        None
    }

    /// What is signed and sent instead of a record, each after a time.
    fn sign(
        &mut self,
        _world: &mut dyn World,
        _node: usize,
        record: Record,
    ) -> Vec<(Span, Record)> {
        vec![(Span::ZERO, record)]
    }

    /// What is sent to the chain instead of a transaction, claims among them.
    fn submit(
        &mut self,
        _world: &mut dyn World,
        _node: usize,
        transaction: Transaction,
    ) -> Option<Transaction> {
        Some(transaction)
    }

    /// Whether a node of its own gives a blob to another node.
    fn serves(&self, _node: usize, _to: usize, _blob: &Hash) -> bool {
        true
    }

    /// Acts by itself after a block; `members` are its nodes.
    fn act(&mut self, _world: &mut dyn World, _members: &[u32], _block: BlockNumber) {}
}

/// What is at stake behind each node of an adversary, from less to more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stakes {
    /// Nothing at all, so it may only hold packs.
    Nothing,
    /// A unit less than what counts.
    Dust,
    /// Of what [`Self::PARTY`] nodes have together, an equal part.
    Divided,
    /// What every node has.
    Whole,
}

impl Stakes {
    /// Nodes whose stake is divided.
    pub const PARTY: u128 = 5;

    /// What a node has, one of so many, where every other has `whole`.
    pub fn of(self, whole: Amount, names: usize) -> Amount {
        match self {
            Self::Nothing => Amount::ZERO,
            Self::Dust => whole.min(Amount(Params::minimal().economics.min_stake.0 - 1)),
            Self::Divided => Amount(whole.0 * Self::PARTY / (names as u128).max(1)),
            Self::Whole => whole,
        }
    }
}

/// Copies of packs that others contributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Copies {
    /// Share of the packs.
    pub share: f64,
    /// Share of the tokens in which a copy differs.
    pub changed: f64,
}

/// A settlement of an epoch that gives one account all that an epoch may pay, beside nothing else: what the
/// contract can check of it is right.
fn nonsense(chain: &ChainView, epoch: Epoch, to: AccountId) -> Settlement {
    let last = chain.last_final().map(|state| (state.id, state.settlement.total));
    let (parent, before) = last.unwrap_or((Digest::ZERO, Amount::ZERO));
    let free = before.saturating_add(chain.budget_of(epoch));
    let leaves = [(to, Balance { free, lane: Amount::ZERO })];
    let (tree, list) = (payout_tree(&leaves), encode_balances(&leaves));
    Settlement {
        epoch,
        parent,
        records: chain.records_head(epoch),
        payout_root: tree.root(),
        total: Amount(tree.sum()),
        balances: blake3(&list),
        balances_length: list.len() as u64,
        uses: Settlement::hash_uses(&[]),
        replicas_proven: 0,
        storage_faults: 0,
        shards_verified: 0,
        shards_rejected: 0,
    }
}

/// A behaviour that is honest everywhere: the default of every method.
struct Honest;

impl Adversary for Honest {}
