// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Bonded} from "./Bonded.sol";
import {ICoordinator} from "./interfaces/ICoordinator.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {IRewardVault} from "./interfaces/IRewardVault.sol";
import {IStorageVerifier} from "./interfaces/IStorageVerifier.sol";
import {Merkle} from "./libraries/Merkle.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {CellOpening, Record} from "./Types.sol";

/// @title Storage disputes
contract Disputes is IDisputes, Bonded {
    using TypedData for Record;

    struct Dispute {
        uint64 accuser;
        uint64 until;
        uint32 cell;
        uint32 cells;
        /// keccak256(inventory root ‖ rows root).
        bytes32 committed;
    }

    uint8 private constant PURPOSE_S1 = 0;
    uint8 private constant KIND_STORAGE_COMMIT = 1;
    /// Fixed part of a commitment's body: inventory, rows, bytes, cells, number of absent packs.
    uint256 private constant COMMIT_BODY = 80;
    uint256 private constant CHUNK_BYTES = 1024;

    /// @notice Checks BLAKE3 openings.
    IStorageVerifier public immutable VERIFIER;
    /// @notice What an accuser locks.
    uint128 public immutable DISPUTE_BOND;
    /// @notice What a node loses for an unanswered dispute, as far as its stake goes.
    uint128 public immutable FAULT;
    uint64 private immutable COMMIT_BLOCKS;
    uint64 private immutable CELL_BYTES;

    mapping(uint64 epoch => mapping(uint64 account => Dispute)) private _disputes;

    constructor(
        ICoordinator coordinator,
        IRewardVault vault,
        IStorageVerifier verifier,
        uint128 disputeBond,
        uint128 fault
    ) Bonded(coordinator, vault) {
        VERIFIER = verifier;
        (DISPUTE_BOND, FAULT) = (disputeBond, fault);
        COMMIT_BLOCKS = coordinator.epochParams().commitBlocks;
        CELL_BYTES = coordinator.epochParams().cellBytes;
    }

    /// @inheritdoc IDisputes
    function openDispute(
        uint64 accuser,
        Record calldata record,
        bytes calldata signature,
        bytes calldata body,
        uint32 cell
    ) external {
        _requireController(accuser);
        uint64 epoch = record.epoch;
        if (COORDINATOR.currentEpoch() > epoch + 1) revert TooLate(epoch);
        Dispute storage d = _disputes[epoch][record.account];
        if (d.until != 0) revert DisputeOpen(epoch, record.account);
        _requireCommitment(record, signature, body);
        uint32 cells = uint32(bytes4(body[72:76]));
        if (cell >= cells) revert NoSuchCell(cell, cells);
        COORDINATOR.capture(epoch, PURPOSE_S1);

        uint64 until = uint64(block.number) + CHALLENGE_BLOCKS;
        (d.accuser, d.until, d.cell, d.cells) = (accuser, until, cell, cells);
        d.committed = keccak256(body[:64]);
        emit DisputeOpened(epoch, record.account, accuser, cell, until);
        REGISTRY.lock(accuser, DISPUTE_BOND, msg.sender);
    }

    /// @inheritdoc IDisputes
    function answerDispute(uint64 epoch, uint64 account, CellOpening calldata opening) external {
        Dispute memory d = _disputes[epoch][account];
        if (d.until == 0) revert NoDispute(epoch, account);
        if (block.number > d.until) revert AnswerWindow(d.until);
        bytes32 seed = COORDINATOR.seed(epoch, PURPOSE_S1);
        bytes32 key = keccak256(abi.encodePacked("openledger/row/v1", seed, account));
        uint256 firstCell = _requireCommitted(d, opening, key);
        uint64 chunkIndex = _pickedChunk(key, d.cell, uint64(d.cell - firstCell), opening.length);
        bool proven = VERIFIER.verify(
            opening.pack, opening.length, chunkIndex, opening.chunk, opening.slice
        );
        if (!proven) revert WrongChunk(chunkIndex);
        delete _disputes[epoch][account];
        emit DisputeAnswered(epoch, account, d.cell, msg.sender);
        // To the accused and not to the caller, before whom anyone could bring the same opening.
        _takeBond(d.accuser, DISPUTE_BOND, REGISTRY.payoutOf(account));
    }

    /// @inheritdoc IDisputes
    function expireDispute(uint64 epoch, uint64 account) external {
        Dispute memory d = _disputes[epoch][account];
        if (d.until == 0) revert NoDispute(epoch, account);
        if (block.number <= d.until) revert AnswerWindow(d.until);
        if (d.cells == 0) revert FaultBefore(epoch, account);
        // It stays, without cells: a node loses once for an epoch, whatever else it cannot open.
        _disputes[epoch][account].cells = 0;
        REGISTRY.unlock(d.accuser, DISPUTE_BOND);
        uint128 slashed = REGISTRY.slash(account, FAULT, address(this));
        emit StorageFault(epoch, account, d.cell, slashed);
        _share(slashed, REGISTRY.payoutOf(d.accuser));
    }

    /// @inheritdoc IDisputes
    function dispute(
        uint64 epoch,
        uint64 account
    ) external view returns (uint64 accuser, uint64 until, uint32 cell) {
        Dispute storage d = _disputes[epoch][account];
        return (d.accuser, d.until, d.cell);
    }

    /// Requires a storage commitment that an operator of its account signed. Whether it came in in time
    /// is no question here: whoever signs that it holds something can be asked to show it.
    function _requireCommitment(
        Record calldata record,
        bytes calldata signature,
        bytes calldata body
    ) private view {
        bool shape = record.kind == KIND_STORAGE_COMMIT && body.length >= COMMIT_BODY;
        if (!shape || keccak256(body) != record.body) revert NotACommitment();
        bytes32 id = record.digest(TypedData.separator(address(COORDINATOR)));
        (address signer, ECDSA.RecoverError fault, ) = ECDSA.tryRecoverCalldata(id, signature);
        uint64 deadline = COORDINATOR.epochStart(record.epoch) + COMMIT_BLOCKS;
        bool signed = fault == ECDSA.RecoverError.NoError
            && signer == REGISTRY.operatorAt(record.account, deadline);
        if (!signed) revert NotACommitment();
    }

    /// Requires that pack and row are those committed to; gives the pack's first cell.
    function _requireCommitted(
        Dispute memory d,
        CellOpening calldata opening,
        bytes32 key
    ) private view returns (uint256 firstCell) {
        uint128 cells = uint128((uint256(opening.length) + CELL_BYTES - 1) / CELL_BYTES);
        bytes32 leaf = Merkle.packLeaf(opening.pack, opening.length);
        bytes32 inventory;
        (inventory, firstCell) =
            Merkle.sumRoot(leaf, cells, 0, opening.packIndex, opening.packCount, opening.inventory);
        if (d.cell < firstCell || d.cell >= firstCell + cells) {
            revert WrongPack(firstCell, cells);
        }
        bytes32 row = keccak256(abi.encodePacked(key, opening.chunk));
        bytes32 rows = Merkle.root(Merkle.rowLeaf(row), opening.row);
        bool placed = opening.row.index == d.cell && opening.row.count == d.cells;
        if (!placed || keccak256(abi.encodePacked(inventory, rows)) != d.committed) {
            revert WrongCommitment(inventory, rows);
        }
    }

    /// The chunk of the pack that the seed picks in a cell.
    /// @param key Of the node's rows in this epoch.
    /// @param cell The cell's number in the inventory.
    /// @param cellInPack Its number in the pack.
    /// @param length The pack's length.
    function _pickedChunk(
        bytes32 key,
        uint32 cell,
        uint64 cellInPack,
        uint64 length
    ) private view returns (uint64) {
        uint256 start = uint256(cellInPack) * CELL_BYTES;
        uint256 size = length - start;
        if (size > CELL_BYTES) size = CELL_BYTES;
        uint256 chunks = (size + CHUNK_BYTES - 1) / CHUNK_BYTES;
        uint64 draw = uint64(bytes8(keccak256(abi.encodePacked(key, "cell", cell))));
        return uint64(start / CHUNK_BYTES + draw % chunks);
    }
}
