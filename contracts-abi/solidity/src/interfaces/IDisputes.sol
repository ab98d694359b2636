// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {CellOpening, Record} from "../Types.sol";

/// @title Storage disputes
/// @notice An accuser names a cell that a node committed to hold; anyone may answer with the one
/// chunk that the epoch's first seed picked in it. Of the blocks between an epoch and its cutoff half are
/// to answer, rounded up, and no dispute is opened that would end after the cutoff: a settlement then sees
/// which were answered, and pays no storage to whoever left one unanswered. The vault names the contract for
/// each epoch: of two of them an accused would lose twice, and places would cost half as much.
interface IDisputes {
    /// @notice A node must open a cell of a commitment until a block.
    event DisputeOpened(
        uint64 indexed epoch,
        uint64 indexed account,
        uint64 indexed accuser,
        bytes32 commitment,
        uint32 cell,
        uint64 until
    );
    /// @notice The cell was opened by `by`; the accuser lost its bond, and half of the lowest went to the accused.
    event DisputeAnswered(
        uint64 indexed epoch,
        uint64 indexed account,
        bytes32 commitment,
        uint32 cell,
        address by
    );
    /// @notice Nobody opened the cell: the node does not hold what it committed to. Nothing is slashed where
    /// it was at fault for the epoch already.
    event StorageFault(
        uint64 indexed epoch,
        uint64 indexed account,
        bytes32 commitment,
        uint32 cell,
        uint128 slashed
    );

    /// @notice Between an epoch and its cutoff there are fewer than two blocks.
    error NoTimeToAnswer(uint64 settleBlocks);
    /// @notice The vault names another contract for disputes about the epoch.
    error NotDisputes(uint64 epoch);
    /// @notice The record is not a storage commitment on the epoch's seed with this body, signed by who was
    /// the operator then.
    error NotACommitment();
    /// @notice The commitment has fewer cells.
    error NoSuchCell(uint32 cell, uint32 cells);
    /// @notice The time to answer would end after the epoch's cutoff.
    error TooLate(uint64 epoch);
    /// @notice Nobody is asked for a cell twice.
    error DisputedBefore(bytes32 commitment, uint32 cell);
    /// @notice There were ten disputes about the node in the epoch.
    error TooMany(uint64 epoch, uint64 account);
    /// @notice The node has lost for the epoch already.
    error FaultBefore(uint64 epoch, uint64 account);
    /// @notice There is no open dispute.
    error NoDispute(bytes32 commitment, uint32 cell);
    /// @notice The time to answer runs until this block, or ended with it.
    error AnswerWindow(uint64 until);
    /// @notice The pack does not contain the cell.
    error WrongPack(uint256 firstCell, uint256 cells);
    /// @notice The inventory or the rows are not what was committed.
    error WrongCommitment(bytes32 inventory, bytes32 rows);
    /// @notice The chunk is not the picked chunk of the pack.
    error WrongChunk(uint64 chunkIndex);

    /// @notice Names a cell of a commitment; locks the accuser's bond, which is twice as large for each
    /// dispute that there was about the node in the epoch.
    /// @param accuser Who accuses; the caller is its owner or operator.
    /// @param record The commitment.
    /// @param signature By who was its account's operator at the end or the begin of block `signedAt`.
    /// @param body The commitment's canonical body.
    /// @param signedAt A block from the epoch's start to its commit deadline.
    /// @param cell Which cell to open.
    function openDispute(
        uint64 accuser,
        Record calldata record,
        bytes calldata signature,
        bytes calldata body,
        uint64 signedAt,
        uint32 cell
    ) external;

    /// @notice Opens the cell that the row is of; half of the lowest bond goes to the accused, the rest of
    /// the accuser's to the vault.
    function answerDispute(
        uint64 epoch,
        uint64 account,
        bytes32 commitment,
        CellOpening calldata opening
    ) external;

    /// @notice Ends a dispute that nobody answered: a fault, once in an epoch. The node's stake is slashed for the
    /// vault, where a hot key signed by no more than that may lose, and the accuser has its bond back.
    function expireDispute(uint64 epoch, uint64 account, bytes32 commitment, uint32 cell) external;

    /// @notice An open dispute; all zero when there is none.
    function dispute(
        uint64 epoch,
        uint64 account,
        bytes32 commitment,
        uint32 cell
    ) external view returns (uint64 accuser, uint64 until, uint128 bond);

    /// @notice How many disputes there were about a node in an epoch, and whether it lost one.
    function disputesAbout(
        uint64 epoch,
        uint64 account
    ) external view returns (uint8 disputes, bool atFault);
}
