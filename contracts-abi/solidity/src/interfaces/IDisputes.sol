// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {CellOpening, Record} from "../Types.sol";

/// @title Storage disputes
/// @notice An accuser names a cell that a node committed to hold; anyone may answer with the one
/// chunk that the epoch's first seed picked in it.
interface IDisputes {
    /// @notice A node must open a cell until a block.
    event DisputeOpened(
        uint64 indexed epoch,
        uint64 indexed account,
        uint64 indexed accuser,
        uint32 cell,
        uint64 until
    );
    /// @notice The cell was opened by `by`; half of the accuser's bond went to the accused.
    event DisputeAnswered(uint64 indexed epoch, uint64 indexed account, uint32 cell, address by);
    /// @notice Nobody opened the cell: the node does not hold what it committed to.
    event StorageFault(uint64 indexed epoch, uint64 indexed account, uint32 cell, uint128 slashed);

    /// @notice The record is not a signed storage commitment with this body.
    error NotACommitment();
    /// @notice The commitment has fewer cells.
    error NoSuchCell(uint32 cell, uint32 cells);
    /// @notice Disputes about an epoch end with the next one.
    error TooLate(uint64 epoch);
    /// @notice One dispute at a time for a node and epoch.
    error DisputeOpen(uint64 epoch, uint64 account);
    /// @notice The node has lost for the epoch already.
    error FaultBefore(uint64 epoch, uint64 account);
    /// @notice There is no open dispute.
    error NoDispute(uint64 epoch, uint64 account);
    /// @notice The time to answer runs until this block, or ended with it.
    error AnswerWindow(uint64 until);
    /// @notice The pack does not contain the cell.
    error WrongPack(uint256 firstCell, uint256 cells);
    /// @notice The inventory or the rows are not what was committed.
    error WrongCommitment(bytes32 inventory, bytes32 rows);
    /// @notice The chunk is not the picked chunk of the pack.
    error WrongChunk(uint64 chunkIndex);

    /// @notice Names a cell of a commitment; locks the accuser's bond.
    /// @param accuser Who accuses; the caller is its owner or operator.
    /// @param record The commitment.
    /// @param signature By who was its account's operator at the commit deadline.
    /// @param body The commitment's canonical body.
    /// @param cell Which cell to open.
    function openDispute(
        uint64 accuser,
        Record calldata record,
        bytes calldata signature,
        bytes calldata body,
        uint32 cell
    ) external;

    /// @notice Opens the cell; half of the accuser's bond goes to the accused, the rest to the vault.
    function answerDispute(uint64 epoch, uint64 account, CellOpening calldata opening) external;

    /// @notice Ends a dispute that nobody answered: a fault, once in an epoch. The node's stake is slashed; half
    /// of that goes to the accuser, the rest to the vault.
    function expireDispute(uint64 epoch, uint64 account) external;

    /// @notice An open dispute; all zero when there is none.
    function dispute(
        uint64 epoch,
        uint64 account
    ) external view returns (uint64 accuser, uint64 until, uint32 cell);
}
