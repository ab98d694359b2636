//! Why a scenario cannot be.

use crate::units::Span;

/// A scenario that cannot be. Names are the paths of scenario files.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScenarioError {
    /// A count or time that must not be zero is.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// Not a share.
    #[error("{name} is {value}; it has to be from 0 to 1")]
    NotAShare {
        /// The key of the scenario, or the adversary's name.
        name: &'static str,
        /// What it is.
        value: f64,
    },
    /// Not above zero.
    #[error("{name} is {value}; it has to be a number above 0")]
    NotPositive {
        /// The key of the scenario, or the adversary's name.
        name: &'static str,
        /// What it is.
        value: f64,
    },
    /// Not a number from 1 on.
    #[error("{name} is {value}; it has to be at least 1")]
    BelowOne {
        /// The key of the scenario, or the adversary's name.
        name: &'static str,
        /// What it is.
        value: f64,
    },
    /// Longer than virtual time is counted.
    #[error("the epochs take {lasts} of virtual time; at most {limit} is possible")]
    TooLong {
        /// Blocks times epochs.
        lasts: Span,
        /// The largest span that is taken.
        limit: Span,
    },
    /// A time that no run reaches.
    #[error("{name} is {value}; at most {limit} is possible")]
    TooLate {
        /// The key of the scenario, or the adversary's name.
        name: &'static str,
        /// What it is.
        value: Span,
        /// The largest span that is taken.
        limit: Span,
    },
    /// Not a number from 0 to a million.
    #[error("{name} is {value}; it has to be a number from 0 to 1000000")]
    OutOfRange {
        /// The key of the scenario, or the adversary's name.
        name: &'static str,
        /// What it is.
        value: f64,
    },
    /// Certain loss would stop every transfer.
    #[error("a loss of 1 lets nothing through; it has to be below 1")]
    TotalLoss,
    /// More faulty nodes than nodes.
    #[error("offline and adverse shares add up to {0}; they have to leave honest nodes (below 1)")]
    NobodyHonest(f64),
    /// Every pack needs distinct holders.
    #[error("{replicas} replicas need at least as many nodes; there are {nodes}")]
    TooFewNodes {
        /// Number of nodes.
        nodes: u32,
        /// Number of replicas of each pack.
        replicas: u32,
    },
    /// Beyond the protocol's own limits or what this version can hold.
    #[error("{name} is {value}; at most {limit} is possible")]
    TooLarge {
        /// The key of the scenario, or the adversary's name.
        name: &'static str,
        /// What it is.
        value: u64,
        /// The largest value that is taken.
        limit: u64,
    },
    /// The smallest pack is larger than the largest.
    #[error("the smallest pack has {min} bytes and the largest {max}")]
    PackSizes {
        /// The smallest pack, in bytes.
        min: u64,
        /// The largest pack, in bytes.
        max: u64,
    },
    /// A contributor would have nothing.
    #[error("{contributors} contributors cannot share {packs} packs; each needs one")]
    TooManyContributors {
        /// Number of contributors.
        contributors: u32,
        /// Number of packs.
        packs: u32,
    },
    /// An epoch must hold its commitment, its audits and the settlement of the one before.
    #[error("an epoch of {epoch_blocks} blocks is too short; with these windows it needs {needed}")]
    EpochTooShort {
        /// Blocks of an epoch.
        epoch_blocks: u64,
        /// Blocks that the windows need.
        needed: u64,
    },
    /// Honest nodes could not answer disputes in time, and somebody disputes what they hold.
    #[error(
        "half of chain.settle_blocks is the time in which a node answers a dispute: {settle_blocks} are too \
         few for links of {one_way} one way, {needed} are enough"
    )]
    NoTimeToAnswer {
        /// Blocks from the end of an epoch to its cutoff.
        settle_blocks: u64,
        /// The longest way between a node and the chain.
        one_way: Span,
        /// As many as there have to be.
        needed: u64,
    },
    /// An evening that ends before it begins, or after midnight.
    #[error("the evening is from {from} to {until}; it has to end after it begins, by 24h")]
    Evening {
        /// When it begins.
        from: Span,
        /// When it ends.
        until: Span,
    },
    /// This program was built without the real model.
    #[error(
        "training.real_compute needs a simnet with the real model; build it with \
         `cargo build --release --bin simnet --features openledger-simnet/real-compute`"
    )]
    WithoutRealCompute,
    /// Something needs models, and none is trained.
    #[error("{name} needs a model, and none is trained; set training.rounds")]
    NoModel {
        /// The key or the adversary that needs it.
        name: &'static str,
    },
    /// Beyond what was measured.
    #[error("{name} is {value}; what follows from it was measured up to {most}")]
    Unmeasured {
        /// The key of the scenario, or the adversary's name.
        name: &'static str,
        /// What it is.
        value: f64,
        /// The largest measured value.
        most: f64,
    },
    /// Requests to a model that there is not.
    #[error("inference.models names model {number}; {models} are trained, counted from 0")]
    UnknownModel {
        /// The number of the run, from zero.
        number: u32,
        /// How many there are.
        models: u32,
    },
    /// The part that this needs does not exist yet.
    #[error("not simulated yet: {part}, which {name} needs")]
    NotYet {
        /// What was asked for.
        name: &'static str,
        /// What is missing.
        part: &'static str,
    },
}
