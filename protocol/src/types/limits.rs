//! Every bound that a hostile peer could push against, in one file, related by assertions.

/// Longest canonical encoding of one message on the control plane, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Longest body of one record, in bytes.
pub const MAX_RECORD_BODY_BYTES: usize = 64 * 1024;
/// Records in one pull-sync answer.
pub const MAX_RECORDS_PER_ANSWER: usize = 64;
/// Packs in one contribution, as the DatanetRegistry has it.
pub const MAX_PACKS_PER_CONTRIBUTION: usize = 256;
/// Units in one contribution.
pub const MAX_UNITS_PER_CONTRIBUTION: usize = 1 << 20;
/// Bytes of a manifest blob.
pub const MAX_MANIFEST_BYTES: usize = 64 << 20;
/// Packs that a commitment may declare absent.
pub const MAX_ABSENT_PACKS: usize = 1024;
/// Openings in one storage proof.
pub const MAX_OPENINGS: usize = 1024;
/// Bytes of the blob that carries the openings of one storage proof.
pub const MAX_OPENINGS_BYTES: usize = 4 << 20;
/// Height of any Merkle tree: 2⁴⁰ leaves are more than anybody has.
pub const MAX_TREE_HEIGHT: usize = 40;
/// Payees of one attribution record.
pub const MAX_SHARES: usize = 4096;
/// Closes of a round that are kept of one member: the honest one closes it again only where its run went
/// back to the round before.
pub const MAX_CLOSES_PER_MEMBER: usize = 2;
/// Shards that one round may close over.
pub const MAX_SHARDS_PER_ROUND: usize = 256;
/// Bytes of the update payload of one shard.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 20;
/// Bytes of a list of balances.
pub const MAX_BALANCES_BYTES: usize = 40 * MAX_BALANCES + 4;
/// Accounts in a list of balances.
pub const MAX_BALANCES: usize = 1 << 24;
/// Records that one account may have in an epoch; what the chain takes in beyond counts for nothing.
pub const MAX_RECORDS_PER_ACCOUNT: u32 = 16_384;
/// Bytes of one account's records that a node keeps before the chain has them.
pub const MAX_AWAITED_BYTES_PER_ACCOUNT: usize = 512 * 1024;
/// Bytes of all records that a node keeps before the chain has them.
pub const MAX_AWAITED_BYTES: usize = 64 << 20;
/// Disputes about the storage of one account in an epoch, as the contract has it.
pub const MAX_DISPUTES: usize = 10;
/// Records in one transaction of a node: the chain takes 256 at most.
pub const MAX_RECORDS_PER_BATCH: usize = 64;
/// Bytes of records in one transaction of a node, which pays 24 units of gas for each.
pub const MAX_BATCH_BYTES: usize = 128 * 1024;
/// In how many epochs, from its own on, an output's receipt may be redeemed for its fee to follow the
/// attribution. Before its own it may be, too: in the one in which it was served.
pub const FEE_EPOCHS: u64 = 4;
/// Deposits of consumers that a view of the chain remembers; the smallest make room for others.
pub const MAX_DEPOSITS: usize = 1 << 18;
/// Bytes of the configuration of a training run, as the chain carries it.
pub const MAX_CONFIG_BYTES: usize = 4096;
/// Ranges of contributions that the order of a training run may name.
pub const MAX_RUN_RANGES: usize = 200;
/// The longest text of a message about a use, in bytes: a part of an answer, or a reason.
pub const MAX_USAGE_TEXT: usize = 4096;
/// Ranges of promises that pay for one use.
pub const MAX_RANGES: usize = 128;
/// Tokens of an answer that are paid for ahead at a time.
pub const PAID_AHEAD_TOKENS: u32 = 32;
/// Longest prompt of an inference, in bytes.
pub const MAX_PROMPT_BYTES: usize = 16 * 1024;
/// Most tokens that one inference may generate.
pub const MAX_GENERATED_TOKENS: u32 = 4096;

const _: () = assert!(
    MAX_RECORD_BODY_BYTES < MAX_MESSAGE_BYTES,
    "a record with its signature and Merkle path fits into one message"
);
const _: () = assert!(
    MAX_RECORD_BODY_BYTES * 4 < MAX_AWAITED_BYTES_PER_ACCOUNT,
    "there is room for all that an honest account makes in a few blocks"
);
const _: () = assert!(
    MAX_ABSENT_PACKS * 32 < MAX_RECORD_BODY_BYTES,
    "a storage commitment with every absent pack fits into a record body"
);
const _: () = assert!(
    MAX_SHARES * 12 < MAX_RECORD_BODY_BYTES,
    "an attribution to every payee fits into a record body"
);
const _: () = assert!(
    MAX_SHARDS_PER_ROUND * 32 < MAX_RECORD_BODY_BYTES,
    "a round close that lists every shard fits into a record body"
);
const _: () = assert!(
    MAX_RUN_RANGES * 16 + 512 < MAX_CONFIG_BYTES,
    "the configuration of a run with every range fits into what the chain carries"
);
