//! The result of a run.

mod words;

pub use words::{KPIS, KpiWords};

use std::{collections::BTreeSet, fmt};

use protocol::{
    AccountId, Amount, BlockNumber, Epoch, Hash,
    settle::{Line, Unpaid},
};
use serde::Serialize;

use crate::{Scenario, chain::Books, kernel::Time, nodes::Kind};

/// Where the settlement of an epoch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody has proposed a settlement.
    Missing,
    /// Proposed and not final.
    Proposed,
    /// The settlement is final: nobody can object any more.
    Final,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "missing",
            Self::Proposed => "proposed",
            Self::Final => "final",
        })
    }
}

/// One epoch: storage at its end, and what its settlement says.
#[derive(Debug, Clone, Serialize)]
pub struct EpochRow {
    /// The epoch that the row is about.
    pub epoch: Epoch,
    /// Packs in the network.
    pub packs: u64,
    /// Packs of which a node that is online really has its assigned replica.
    pub packs_alive: u64,
    /// Replicas that placement asks for.
    pub replicas_assigned: u64,
    /// Those that are really there, on nodes that are online.
    pub replicas_live: u64,
    /// Those that the settlement pays for.
    pub replicas_proven: u32,
    /// Nodes with assigned packs.
    pub holders: u64,
    /// Lazy ones among them.
    pub adverse_holders: u64,
    /// Lazy holders against whom an auditor found a fault.
    pub adverse_caught: u64,
    /// Others against whom one did.
    pub others_caught: u64,
    /// Storage faults in the settlement.
    pub storage_faults: u32,
    /// Those of adversaries, and of whoever had one among its auditors that fails what is right.
    pub adverse_faults: u64,
    /// Honest holders without an included commitment.
    pub honest_not_committed: u64,
    /// Honest holders without a proof.
    pub honest_not_opened: u64,
    /// Honest holders whose proof was wrong, or who did not show a disputed cell.
    pub honest_wrong: u64,
    /// Honest holders whose proof too few auditors confirmed.
    pub honest_no_quorum: u64,
    /// Where the settlement is.
    pub status: Status,
    /// Block of the proposal.
    pub proposed_block: Option<BlockNumber>,
    /// Block in which it became final.
    pub final_block: Option<BlockNumber>,
    /// Everything that was earned up to this epoch.
    pub total: Amount,
}

impl EpochRow {
    pub(crate) const fn new(epoch: Epoch, packs: u64, replicas_assigned: u64) -> Self {
        Self {
            epoch,
            packs,
            packs_alive: 0,
            replicas_assigned,
            replicas_live: 0,
            replicas_proven: 0,
            holders: 0,
            adverse_holders: 0,
            adverse_caught: 0,
            others_caught: 0,
            storage_faults: 0,
            adverse_faults: 0,
            honest_not_committed: 0,
            honest_not_opened: 0,
            honest_wrong: 0,
            honest_no_quorum: 0,
            status: Status::Missing,
            proposed_block: None,
            final_block: None,
            total: Amount::ZERO,
        }
    }

    pub(crate) const fn count_unpaid(&mut self, reason: Unpaid) {
        match reason {
            Unpaid::NotCommitted => self.honest_not_committed += 1,
            Unpaid::NotOpened => self.honest_not_opened += 1,
            Unpaid::WrongProof | Unpaid::NotShown => self.honest_wrong += 1,
            Unpaid::NoQuorum => self.honest_no_quorum += 1,
            // What concerns shards and fees, of which there are none.
            _ => {}
        }
    }
}

/// The contracts' books at the end of an epoch.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct BooksRow {
    /// The epoch that the row is about.
    pub epoch: Epoch,
    /// The sums of the contracts after its last block.
    #[serde(flatten)]
    pub books: Books,
}

/// What one node did and was paid, over the whole run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct NodeRow {
    /// Its number in the run, from zero.
    pub node: u32,
    /// The account that it works for at the end.
    pub account: AccountId,
    /// How it behaves: honest, offline, or as an adversary.
    pub kind: Kind,
    /// Whether it was online at the end.
    pub is_online: bool,
    /// Packs assigned in the last epoch.
    pub assigned: u64,
    /// Those that it has.
    pub held: u64,
    /// What the last final settlement says it has earned.
    pub earned: Amount,
    /// What the contract has paid it.
    pub paid: Amount,
}

/// One reason of one payment.
#[derive(Debug, Clone, Copy)]
pub struct PayoutRow {
    /// In which epoch.
    pub epoch: Epoch,
    /// The account that is paid.
    pub account: AccountId,
    /// Of which kind.
    pub kind: Kind,
    /// For what and how much.
    pub line: Line,
}

/// All nodes of a kind.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct KindRow {
    /// The behaviour that these nodes share.
    pub kind: Kind,
    /// Number of nodes that behave so.
    pub nodes: u64,
    /// What they have earned.
    pub earned: Amount,
    /// What they were paid.
    pub paid: Amount,
    /// Paid on average.
    pub mean: Amount,
}

impl KindRow {
    /// A row for every kind that occurs.
    pub(crate) fn all(nodes: &[NodeRow]) -> Vec<Self> {
        let kinds: BTreeSet<_> = nodes.iter().map(|node| node.kind).collect();
        kinds.into_iter().map(|kind| Self::new(kind, nodes)).collect()
    }

    pub(crate) fn new(kind: Kind, nodes: &[NodeRow]) -> Self {
        let mut row =
            Self { kind, nodes: 0, earned: Amount::ZERO, paid: Amount::ZERO, mean: Amount::ZERO };
        for node in nodes.iter().filter(|node| node.kind == kind) {
            row.nodes += 1;
            row.earned = row.earned.saturating_add(node.earned);
            row.paid = row.paid.saturating_add(node.paid);
        }
        row.mean = Amount(row.paid.0 / u128::from(row.nodes.max(1)));
        row
    }
}

/// Counts over the whole run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Totals {
    /// Events that happened.
    pub events: u64,
    /// Outputs of machines.
    pub outputs: u64,
    /// Records that were signed.
    pub records: u64,
    /// Blocks that were mined, without those that were replaced.
    pub blocks: u64,
    /// Transactions that were executed.
    pub transactions: u64,
    /// Those that reverted.
    pub reverted: u64,
    /// Gas of those that succeeded.
    pub gas: u64,
    /// Records handed to machines.
    pub delivered: u64,
    /// Sessions that began after the start.
    pub sessions: u64,
    /// Most events that waited at once.
    pub most_pending: u64,
    /// What the time quantum added to an event on average, in microseconds.
    pub quantum_shift: f64,
    /// Transfers that were given up or that nobody answered.
    pub lost_transfers: u64,
    /// Bytes that nodes fetched.
    pub fetched_bytes: u64,
    /// Bytes of all blobs.
    pub blob_bytes: u64,
    /// Objections that machines raised.
    pub wrong_settlements: u64,
    /// Proposals that were defeated.
    pub defeated: u64,
    /// How often the chain's newest blocks were replaced.
    pub reorgs: u64,
    /// How many blocks were.
    pub replaced_blocks: u64,
    /// How often a node stopped since blocks that it had read were among them.
    pub reorg_stops: u64,
}

/// Something that has to hold.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Check {
    /// What has to hold, as a sentence.
    pub name: &'static str,
    /// Whether it does.
    pub holds: bool,
}

impl Check {
    pub(crate) const fn new(name: &'static str, holds: bool) -> Self {
        Self { name, holds }
    }
}

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was simulated.
    pub scenario: Scenario,
    /// The hash over every output of every node.
    pub trace: Hash,
    /// Whether the run came to its end.
    pub is_complete: bool,
    /// Virtual time, in microseconds.
    pub time: Time,
    /// One row per epoch in which storage was proven.
    pub epochs: Vec<EpochRow>,
    /// One row per kind of node.
    pub kinds: Vec<KindRow>,
    /// One row per node.
    #[serde(skip)]
    pub nodes: Vec<NodeRow>,
    /// One row per reason of a payment.
    #[serde(skip)]
    pub payouts: Vec<PayoutRow>,
    /// The contracts' books at the end of each epoch.
    pub books: Vec<BooksRow>,
    /// The contracts' books at the end.
    pub final_books: Books,
    /// Counts over the whole run.
    pub totals: Totals,
    /// What has to hold.
    pub checks: Vec<Check>,
    /// Where a check that does not hold was first broken.
    pub findings: Vec<String>,
    /// Key figures, in the order of reports.
    pub kpis: Vec<Kpi>,
    /// What went on over time.
    pub series: Vec<Series>,
    /// Distributions of times, in bins.
    pub histograms: Vec<Histogram>,
}

/// A key figure of a run, under a stable name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Kpi {
    /// The name in reports and files.
    pub name: &'static str,
    /// The unit of its values.
    pub unit: &'static str,
    /// How much; `None` where nothing occurred that it could be taken from.
    pub value: Option<f64>,
}

impl Kpi {
    /// The figure of a name in [`KPIS`], in the unit that is written there.
    ///
    /// # Panics
    /// For any other name.
    pub fn new(name: &'static str, value: Option<f64>) -> Self {
        let known = KPIS.iter().find(|known| known.name == name);
        Self { name, unit: known.expect("KPIS lists every figure").unit, value }
    }
}

/// A figure over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// The name in reports and files.
    pub name: &'static str,
    /// The unit of its values.
    pub unit: &'static str,
    /// (virtual time in microseconds, value), in order of time.
    pub points: Vec<(Time, f64)>,
}

/// A distribution, counted in bins.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histogram {
    /// The name in reports and files.
    pub name: &'static str,
    /// In what the bounds are.
    pub unit: &'static str,
    /// (upper bound of a bin, number in it), in order of bounds; empty bins are left out.
    pub bins: Vec<(f64, u64)>,
}

impl Report {
    /// Whether every check holds.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }
}
