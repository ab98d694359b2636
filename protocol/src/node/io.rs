//! What goes into a node and what comes out of it.

use alloc::{sync::Arc, vec::Vec};

use crate::{
    blob::BlobRef,
    chain::{Challenge, DatanetUse, Settlement, Transaction},
    holding::CellOpening,
    ids::{
        AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress, Hash, ModelId, NodeId, Round,
    },
    order::OrderFault,
    receipt::SignedReceipt,
    record::{
        AttributionBody, Record, ReplayReport, ShardBody, StorageCommitBody, Verdict,
        VerifiedRecord,
    },
    training::ShardTask,
};

/// Names a job, so that its answer finds the part that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// What happens to a node.
#[derive(Debug, Clone)]
pub enum Input {
    /// The chain view has a new block.
    Block,
    /// A record arrived, or one of its own came back signed and durable.
    Record(Arc<VerifiedRecord>),
    /// A job is finished.
    Done(OpId, Done),
    /// A consumer asks to use a model.
    Serve(ServeRequest),
    /// A consumer pays for more of an answer that is being computed.
    Raise {
        /// The driver's number for the request.
        request: u64,
        /// Its receipt for all of the use so far, its signature checked by the driver.
        receipt: SignedReceipt,
    },
    /// The process ended during a job of a training run, so many times in a row; told at the start.
    Ended {
        /// The run whose job was under way.
        model: ModelId,
        /// How often, since such a job was last done.
        times: u32,
    },
}

/// A paid request to a served model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeRequest {
    /// The driver's number for it.
    pub id: u64,
    /// The consumer's receipt, its signature checked by the driver.
    pub receipt: SignedReceipt,
    /// Length of the prompt in tokens.
    pub tokens_in: u32,
    /// Most tokens to generate. The receipt need not pay for all of them at once.
    pub tokens_out: u32,
}

/// What a node wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Sign with the operator's key, append durably to the log, gossip, and hand back as
    /// [`Input::Record`].
    Sign(Record),
    /// Send to the chain; its effect shows in the view. Sending twice is harmless.
    Submit(Transaction),
    /// Do something slow and answer with [`Input::Done`].
    Job(OpId, Job),
    /// Something an operator or a test may want to know.
    Event(Event),
}

/// Slow work of disk, network, GPU or CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Have a blob in the store; answered at once when it is there. A longer one is refused.
    Fetch(BlobRef),
    /// Read the chosen chunk of every cell ([`crate::holding::Inventory::chosen`]) and commit.
    Commit {
        /// The account whose rows these are.
        account: AccountId,
        /// The assigned packs; those that are missing are declared absent.
        packs: Vec<BlobRef>,
        /// The first seed of the epoch.
        s1: Digest,
    },
    /// Open the sampled cells of a commitment and store the openings as a blob.
    Open {
        /// The account whose rows these are.
        account: AccountId,
        /// The assigned packs.
        packs: Vec<BlobRef>,
        /// What was committed to.
        commit: StorageCommitBody,
        /// The first seed of the epoch.
        s1: Digest,
        /// The second seed, which picks the cells.
        s2: Digest,
    },
    /// Fetch the openings that a storage proof names and judge them
    /// ([`crate::rules::judge_storage`]).
    AuditStorage {
        /// The proof, which names its openings.
        proof: Arc<VerifiedRecord>,
    },
    /// Open one cell of a commitment ([`crate::holding::Inventory::open_cell`]).
    OpenCell {
        /// The account whose rows these are.
        account: AccountId,
        /// The assigned packs.
        packs: Vec<BlobRef>,
        /// What was committed to.
        commit: StorageCommitBody,
        /// The first seed of the epoch.
        s1: Digest,
        /// The number of the cell.
        cell: u32,
    },
    /// Fetch the openings that a storage proof names, from whoever has them, and find the cell that they
    /// do not show ([`crate::rules::unshown_cell`]).
    LookAgain {
        /// What the proof has to be of.
        commit: Arc<VerifiedRecord>,
        /// The proof, which names its openings.
        proof: Arc<VerifiedRecord>,
        /// Who should have them: the holder, and everybody who says that he saw them.
        from: Vec<NodeId>,
    },
    /// Have snapshot, tokenizer and initial checkpoint of a run ready.
    Prepare {
        /// The run to make ready.
        model: ModelId,
    },
    /// Compute a shard: train, or in the sketch round capture sketches.
    Compute {
        /// The run that the shard is part of.
        model: ModelId,
        /// The round that is open.
        round: Round,
        /// The part of the round's work.
        slot: u32,
        /// The checkpoint to start from.
        base: Hash,
        /// Global unit numbers in the snapshot.
        units: Vec<u32>,
        /// All that is random in it.
        seed: u64,
        /// Whether to train or to capture sketches.
        task: ShardTask,
    },
    /// Do a shard again and compare.
    Replay {
        /// The shard as claimed.
        shard: ShardBody,
        /// Global unit numbers in the snapshot.
        units: Vec<u32>,
        /// All that is random in it.
        seed: u64,
        /// Whether to train or to capture sketches.
        task: ShardTask,
        /// Who has the payload.
        from: Vec<NodeId>,
    },
    /// Fetch payloads, take the outer step, keep the checkpoint.
    Aggregate {
        /// The run whose round closes.
        model: ModelId,
        /// The checkpoint before.
        base: Hash,
        /// The payloads, in canonical order.
        payloads: Vec<BlobRef>,
        /// Who has them.
        from: Vec<NodeId>,
        /// The checkpoint that a close names. Whoever took this very step before has the answer; whoever
        /// only has a blob of that name has been given it by anybody, and takes the step.
        expected: Option<Hash>,
    },
    /// Generate, attribute, and store the transcript.
    Infer {
        /// The driver's number for the request.
        request: u64,
        /// The model that the consumer pays for.
        model: ModelId,
    },
    /// Recompute an attribution from its transcript.
    AuditAttribution {
        /// The attribution, which names its transcript.
        record: Arc<VerifiedRecord>,
    },
    /// Run `settle()` on the balances before the epoch, and keep the new ones for whoever asks.
    Settle {
        /// The epoch, which is over.
        epoch: Epoch,
    },
    /// Recompute what was proposed, which shows at once what of everything else is wrong; answered with what
    /// follows from the chain.
    Verify {
        /// What was proposed.
        settlement: Settlement,
    },
    /// Find the challenge that ends a proposal which is wrong ([`crate::settle::refute`]), by what this node
    /// came to itself, and by the list of balances that its proposer may have published.
    Refute {
        /// What was proposed.
        settlement: Settlement,
    },
    /// Claim what the final settlement of an epoch owes an account.
    Claim {
        /// The epoch whose final settlement is claimed from.
        epoch: Epoch,
        /// The account that is paid.
        account: AccountId,
    },
}

/// The answer to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The blob is there.
    Fetched,
    /// The commitment over what is there.
    Committed(StorageCommitBody),
    /// The openings are stored as this blob.
    Opened(BlobRef),
    /// What an audit of a storage proof or of an attribution came to.
    Judged(Verdict),
    /// A cell, opened for the chain.
    CellOpened(CellOpening),
    /// The first sampled cell that the openings do not show; none where they show all.
    Looked(Option<u32>),
    /// The run can start from this checkpoint.
    Prepared(Hash),
    /// A finished shard.
    Computed(ShardBody),
    /// What a replay found.
    Replayed(ReplayReport),
    /// The next checkpoint.
    Aggregated(Hash),
    /// The attribution of a served output.
    Inferred(AttributionBody),
    /// The settlement of an epoch, and the uses that its hash stands for.
    Settled(Settlement, Vec<DatanetUse>),
    /// The challenge that ends a wrong settlement; nothing where none is known.
    Refuted(Option<Challenge>),
    /// What is owed was claimed, or nothing is owed.
    Claimed,
    /// It could not be done.
    Failed(Failure),
}

/// Why a job could not be done, as far as a decision depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nobody had the bytes, or not in time.
    Unavailable,
    /// The bytes are there and are wrong.
    Invalid,
    /// This machine cannot do it now: no device, disk full, read-only.
    Local,
}

/// Something an operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This node caught another's storage proof.
    StorageFault {
        /// The holder whose proof is wrong.
        account: AccountId,
        /// The epoch that the proof is of.
        epoch: Epoch,
    },
    /// This node's replay rejected a shard.
    ShardRejected {
        /// The worker whose shard it is.
        account: AccountId,
        /// Of which run.
        model: ModelId,
        /// Of which round.
        round: Round,
        /// What the replay found.
        report: ReplayReport,
    },
    /// A round closed and this node has the next checkpoint.
    RoundClosed {
        /// Of which run.
        model: ModelId,
        /// The round that closed.
        round: Round,
        /// The checkpoint now.
        checkpoint: Hash,
        /// How many payloads it is made of.
        shards: u32,
    },
    /// A round that had closed is open again: most members follow another close of it. What was told
    /// of it and of later rounds no longer holds.
    RoundReopened {
        /// Of which run.
        model: ModelId,
        /// The round that is open again.
        round: Round,
    },
    /// A leader's checkpoint is not what its payloads give.
    CheckpointMismatch {
        /// Of which run.
        model: ModelId,
        /// The round that the close would have ended.
        round: Round,
    },
    /// A run is finished: checkpoint, and sketches by slot.
    ModelReady {
        /// The model whose run is finished.
        model: ModelId,
        /// The final checkpoint.
        checkpoint: Hash,
        /// The sketch blobs, by slot.
        sketches: Vec<BlobRef>,
        /// Merkle root over the addresses of the sketches.
        sketch_root: Digest,
    },
    /// A request is paid for up to so many tokens of its answer, of which the last step was due now. Without
    /// another step the answer ends there.
    Paid {
        /// The driver's number for the request.
        request: u64,
        /// Tokens of the answer that are paid for.
        tokens: u32,
    },
    /// A step of payment was refused; what was paid before stands.
    Unpaid {
        /// The driver's number for the request.
        request: u64,
        /// What the consumer is told.
        reason: Refusal,
    },
    /// A request was served and its attribution recorded.
    Served {
        /// The driver's number for the request.
        request: u64,
        /// Id of the attribution record.
        record: Digest,
        /// What all of the use cost.
        price: Amount,
    },
    /// A request was refused.
    Refused {
        /// The driver's number for the request.
        request: u64,
        /// What the consumer is told.
        reason: Refusal,
    },
    /// A proposal does not follow from the chain.
    WrongSettlement {
        /// Of which epoch.
        epoch: Epoch,
    },
}

/// Why a consumer's request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The model is not published, or another node serves it.
    #[error("this node does not serve that model")]
    NotServed,
    /// The receipt is made out to somebody else.
    #[error("the receipt is made out to another account")]
    WrongPayee,
    /// The receipt is for another contract than the one that pays here.
    #[error(
        "the receipt is not for {escrow}, the escrow that pays this node; one of you has an old file of the \
         network"
    )]
    WrongEscrow {
        /// The one that does.
        escrow: EvmAddress,
    },
    /// The network has a contract that this node does not know.
    #[error("the network has a new contract, {contract}, and this node not its new file yet")]
    UnknownContract {
        /// The one that the chain names.
        contract: EvmAddress,
    },
    /// The receipt promises less than the price.
    #[error("the receipt promises {offered} where {price} is due")]
    TooLittle {
        /// What the use costs, in the smallest unit.
        price: Amount,
        /// What the receipt adds to what was promised before.
        offered: Amount,
    },
    /// The receipt's part of all promises is not the one after the last.
    #[error(
        "the receipt has to be for what lies above the {promised} that were promised before, and for \
         nothing else"
    )]
    WrongRange {
        /// What was promised before.
        promised: Amount,
    },
    /// A step of payment is not for the request, as it was asked and paid so far.
    #[error(
        "the receipt does not pay for more of this use: it names another, or other promises for it"
    )]
    WrongUse,
    /// The deposit does not cover the use beside what was promised and is not redeemed yet.
    #[error(
        "of {price} that are promised, in the smallest unit, the deposit covers {available}; \
         `openledger deposit add` puts more in"
    )]
    NoDeposit {
        /// What is left of the deposit for this use.
        available: Amount,
        /// What the receipt promises for it.
        price: Amount,
    },
    /// The consumer asked for its deposit back.
    #[error(
        "the deposit was asked back, so nothing is served on it until block {until}; `openledger \
         deposit add` keeps it here"
    )]
    Withdrawing {
        /// The last block in which it may be taken.
        until: BlockNumber,
    },
    /// The request is longer than the limits allow.
    #[error("the request is longer than the limits allow")]
    TooLong,
    /// The node computes as many requests as it can, or this one already.
    #[error("the node is busy with other requests; try again later")]
    Busy,
    /// The node could not compute an answer.
    #[error("the node could not compute an answer")]
    Failed,
}

/// Why a node has nothing to do right now, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Waiting {
    /// No pack is assigned to it yet.
    #[error(
        "no pack is assigned to this node in epoch {0}; placement needs two epochs after joining"
    )]
    NoAssignment(Epoch),
    /// The chain does not show its commitment yet.
    #[error("waiting for the chain to include the storage commitment of epoch {0}")]
    Inclusion(Epoch),
    /// The sample is drawn at this block.
    #[error("committed; the cells to open are drawn at block {0}")]
    Sample(BlockNumber),
    /// Storage is proven; the next epoch starts at this block.
    #[error("storage is proven; the next epoch starts at block {0}")]
    NextEpoch(BlockNumber),
    /// A cell that is disputed on chain cannot be read.
    #[error(
        "cell {cell} of epoch {epoch} is disputed and cannot be read: bring its pack back, or stake is \
         lost after block {until}"
    )]
    Unshown {
        /// The epoch of the commitment.
        epoch: Epoch,
        /// The number of the cell, among all of the commitment.
        cell: u32,
        /// The last block in which it may be shown.
        until: BlockNumber,
    },
    /// No training run was ordered.
    #[error("no model is being trained on this network")]
    NoTrainingRun,
    /// The snapshot or the tokenizer of a run is still being fetched.
    #[error("fetching the data of model {0}")]
    Preparing(ModelId),
    /// An order is no run, on any node.
    #[error("the order of model {0} is refused by the network: {1}")]
    Refused(ModelId, OrderFault),
    /// A run needs more memory than this node gives.
    #[error(
        "model {model} is not worked on: it needs {needs} bytes of memory, and --max-memory allows \
         {limit}"
    )]
    TooLarge {
        /// The run that is not begun.
        model: ModelId,
        /// Bytes that it needs.
        needs: u64,
        /// Bytes that this node gives to all runs.
        limit: u64,
    },
    /// Other runs have the memory that it needs.
    #[error(
        "model {model} waits for the {needs} bytes of memory that other runs have; raise --max-memory"
    )]
    NoMemory {
        /// The run that waits.
        model: ModelId,
        /// Bytes that it needs.
        needs: u64,
    },
    /// Its data could not be had, or cannot be used.
    #[error("the data of model {0} could not be read; it is tried again at block {1}")]
    Failed(ModelId, BlockNumber),
    /// Its jobs ended the process.
    #[error(
        "model {model} is left alone until block {until}: this program ended {times} times in a row \
         while it worked on it"
    )]
    Quarantined {
        /// The run that is put off.
        model: ModelId,
        /// How often in a row.
        times: u32,
        /// When it is tried again.
        until: BlockNumber,
    },
    /// The node's shard of a round is being computed.
    #[error("computing a shard of model {0}, round {1}")]
    Computing(ModelId, Round),
    /// Others' shards or audits of a round are not there yet.
    #[error("waiting for the shards and audits of others: model {0}, round {1}")]
    Others(ModelId, Round),
}
