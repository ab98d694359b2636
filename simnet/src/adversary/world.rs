//! What an adversary sees of the network, and what it can do there.

use protocol::{
    AccountId, Amount, Epoch, EvmAddress, Hash,
    chain::{ChainView, DatanetUse, Settlement, Transaction},
    holding::Openings,
    node::{Done, Failure, Job},
    record::{Record, SignedRecord},
};

use crate::{
    kernel::{Draws, Streams, Time},
    units::Span,
};

/// The answer to a job.
#[derive(Debug, Clone)]
pub struct Answer {
    /// How long it takes, in microseconds.
    pub taken: u64,
    /// What the machine is told.
    pub done: Done,
    /// A blob that the node has from then on.
    pub gains: Option<Hash>,
    /// What the host sends to the chain at once.
    pub submits: Option<Transaction>,
}

impl Answer {
    /// An answer after some microseconds.
    pub const fn after(taken: u64, done: Done) -> Self {
        Self { taken, done, gains: None, submits: None }
    }

    /// The host cannot do it.
    pub const fn local() -> Self {
        Self::after(0, Done::Failed(Failure::Local))
    }

    /// Nobody has the bytes.
    pub const fn unavailable(taken: u64) -> Self {
        Self::after(taken, Done::Failed(Failure::Unavailable))
    }
}

/// The network as one who knows everything sees it: the worst case of an adversary.
pub trait World {
    /// Virtual time: that of the event that happens.
    fn now(&self) -> Time;

    /// The chain as nodes see it.
    fn chain(&self) -> &ChainView;

    /// Number of nodes.
    fn nodes(&self) -> usize;

    /// The account of a node.
    fn account(&self, node: usize) -> AccountId;

    /// The node of an account.
    fn node_of(&self, account: AccountId) -> Option<usize>;

    /// Whether a node is online.
    fn is_online(&self, node: usize) -> bool;

    /// The coalition, by its place in the scenario, that a node belongs to.
    fn coalition(&self, node: usize) -> Option<usize>;

    /// Draws without state.
    fn draws(&self) -> Draws;

    /// Random streams of the run's seed.
    fn streams(&self) -> Streams;

    /// What an honest host of a node answers.
    fn honest(&mut self, node: usize, job: Job) -> Answer;

    /// Whether a node has a blob.
    fn has(&self, node: usize, blob: &Hash) -> bool;

    /// Gives a node a blob, as a transfer would.
    fn hold(&mut self, node: usize, blob: Hash);

    /// Takes a blob from a node's disk.
    fn delete(&mut self, node: usize, blob: &Hash);

    /// Time of a transfer to a node from whoever has the blob, in microseconds; `None` when nobody
    /// gives it.
    fn fetch(&mut self, node: usize, blob: &Hash, bytes: u64) -> Option<u64>;

    /// Makes a node sign a record and send it, after a time.
    fn sign(&mut self, node: usize, record: Record, after: Span);

    /// A record as a node signs it, of which nobody knows yet.
    fn signed(&self, node: usize, record: Record) -> SignedRecord;

    /// The transaction that registered a node, which everybody can see.
    fn registration(&self, node: usize) -> Transaction;

    /// Sends a transaction from a node.
    fn submit(&mut self, node: usize, transaction: Transaction);

    /// Puts withholding peers around a node: a share of all that it asks.
    fn eclipse(&mut self, victim: usize, share: f64);

    /// Registers a node anew, under a name that nobody knows.
    fn rename(&mut self, node: usize);

    /// Stores openings of a node, to be shown as its proof.
    fn show(&mut self, node: usize, openings: &Openings) -> Answer;

    /// One way between two nodes, in microseconds.
    fn one_way(&self, from: usize, to: usize) -> u64;

    /// Time between two blocks.
    fn block_span(&self) -> Span;

    /// Whether an honest auditor caught a node in an epoch.
    fn was_caught(&self, epoch: Epoch, node: usize) -> bool;

    /// Settles an epoch from the records of a node's own coalition.
    fn settle_without_others(&mut self, node: usize, epoch: Epoch) -> Answer;

    /// The uses that a settlement names, if somebody computed them.
    fn uses_of(&self, settlement: &Settlement) -> Option<Vec<DatanetUse>>;

    /// What an account has earned by a settlement that somebody computed.
    fn earned(&self, epoch: Epoch, account: AccountId) -> Option<Amount>;

    /// A shard that nobody computed, at once.
    fn forged(&mut self, node: usize, job: &Job) -> Option<Answer>;

    /// The shard of another node in the same round, as one's own; one who is first waits.
    fn copied(&mut self, node: usize, job: &Job) -> Option<Answer>;

    /// Orders one more run for a coalition, of its own money.
    fn order_own_run(&mut self);

    /// Uses a coalition's own model once, as its own customer.
    fn use_own_model(&mut self, coalition: usize);

    /// Uses a model of others once, as a coalition's own consumer.
    fn use_others_model(&mut self, coalition: usize);

    /// The address of a coalition's own consumer.
    fn consumer(&self, coalition: usize) -> EvmAddress;

    /// Sends a transaction from a coalition's own consumer.
    fn consume(&mut self, coalition: usize, transaction: Transaction);
}
