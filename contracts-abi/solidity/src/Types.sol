// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice How blocks make epochs. Fixed for the life of a Coordinator.
struct EpochParams {
    /// The first block of epoch 0.
    uint64 genesisBlock;
    /// Blocks of an epoch.
    uint64 epochBlocks;
    /// Blocks from an epoch's start in which a storage commitment must be included.
    uint64 commitBlocks;
    /// Blocks after an epoch in which its records may still be included, and before which nobody may
    /// propose its settlement.
    uint64 settleBlocks;
    /// Blocks after a proposal in which it may be challenged; also the time to answer a dispute.
    uint64 challengeBlocks;
    /// Bytes of a cell, the grain of storage proofs.
    uint64 cellBytes;
}

/// @notice One epoch's result. Its id is keccak256(abi.encode(settlement)).
struct Settlement {
    /// The epoch that is settled.
    uint64 epoch;
    /// Id of the final settlement that this one builds on; zero for the first.
    bytes32 parent;
    /// What the chain included for the epoch: the fold over record ids that IInclusion keeps.
    bytes32 records;
    /// Merkle-sum root over (account, free, lane), all cumulative, sorted by account: see Leaf.
    bytes32 payoutRoot;
    /// Sum of all of them, free and lane.
    uint128 total;
    /// BLAKE3 hash of the list of all (account, free, lane), which whoever recomputes it has.
    bytes32 balances;
    /// Length of that list in bytes.
    uint64 balancesLength;
    /// Hash of the packed list of Datanet uses.
    bytes32 uses;
    /// Replicas proven in this epoch.
    uint32 replicasProven;
    /// Nodes whose storage proof failed.
    uint32 storageFaults;
    /// Shards that passed their audit.
    uint32 shardsVerified;
    /// Shards that failed it.
    uint32 shardsRejected;
}

/// @notice How often a Datanet was used in an epoch.
struct DatanetUse {
    uint64 datanet;
    /// Verified shards that read it.
    uint32 shards;
    /// Outputs attributed to it.
    uint32 outputs;
}

/// @notice The signed header of a record (EIP-712 type Record). Its digest is the record's id.
struct Record {
    uint8 kind;
    uint64 epoch;
    uint64 account;
    /// What it is about; (kind, account, subject) is unique inside an epoch.
    bytes32 subject;
    /// keccak256 of the canonical body.
    bytes32 body;
}

/// @notice What a consumer promises a serving account (EIP-712 type Receipt).
struct Receipt {
    address payer;
    uint64 payee;
    uint64 model;
    /// Everything this payer has ever promised this payee, this use included.
    uint256 cumulative;
    /// What this use costs: the receipt is for (cumulative - price, cumulative], and nothing before.
    uint256 price;
    uint64 nonce;
    bytes32 request;
}

/// @notice The place of a leaf in a Merkle tree: siblings bottom-up.
struct Path {
    uint64 index;
    uint64 count;
    bytes32[] siblings;
}

/// @notice A node of a Merkle-sum tree.
struct SumNode {
    bytes32 hash;
    uint128 sum;
}

/// @notice A leaf of a payout tree with its place; the number of leaves comes with it.
struct Leaf {
    uint64 account;
    /// All that is paid as soon as it is final.
    uint128 free;
    /// All that was earned in the newcomers' lane, which is paid as stake.
    uint128 lane;
    uint64 index;
    SumNode[] siblings;
}

/// @notice The opening of a cell.
struct CellOpening {
    /// The pack that contains the cell, and its length in bytes.
    bytes32 pack;
    uint64 length;
    /// The pack's place in the inventory.
    uint64 packIndex;
    uint64 packCount;
    SumNode[] inventory;
    /// The row's place under the rows root.
    Path row;
    /// The chunk and the BLAKE3 chaining values beside its path.
    bytes chunk;
    bytes32[] slice;
}
