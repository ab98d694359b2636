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
import {CellOpening, EpochParams, Record} from "./Types.sol";

/// @title Storage disputes
contract Disputes is IDisputes, Bonded {
    using TypedData for Record;

    struct Dispute {
        uint64 accuser;
        uint64 until;
        /// Of the commitment; none once it is over, so that no cell is asked for twice.
        uint32 cells;
        /// How many there were before it about the same node and epoch: its bond doubled as often.
        uint8 place;
        /// Whether the account's owner signed the commitment, and not a hot key, which may lose only so much.
        bool byOwner;
        /// keccak256(inventory root ‖ rows root).
        bytes32 committed;
    }

    /// What there was about a node in an epoch.
    struct Case {
        uint8 disputes;
        bool atFault;
    }

    uint8 private constant PURPOSE_S1 = 0;
    uint8 private constant KIND_STORAGE_COMMIT = 1;
    /// Fixed part of a commitment's body: inventory, rows, bytes, cells, seed, number of absent packs.
    uint256 private constant COMMIT_BODY = 88;
    uint8 private constant MAX_DISPUTES = 10;
    uint256 private constant CHUNK_BYTES = 1024;

    /// @notice Checks BLAKE3 openings.
    IStorageVerifier public immutable VERIFIER;
    /// @notice What an accuser locks.
    uint128 public immutable DISPUTE_BOND;
    /// @notice What a node loses for an unanswered dispute, as far as its stake goes.
    uint128 public immutable FAULT;
    uint64 private immutable COMMIT_BLOCKS;
    uint64 private immutable CELL_BYTES;
    uint64 private immutable ANSWER_BLOCKS;

    mapping(uint64 epoch => mapping(uint64 account => Case)) private _cases;
    /// By the hash of epoch, account, id of the commitment, and cell.
    mapping(bytes32 => Dispute) private _disputes;

    constructor(
        ICoordinator coordinator,
        IRewardVault vault,
        IStorageVerifier verifier,
        uint128 disputeBond,
        uint128 fault
    ) Bonded(coordinator, vault) {
        VERIFIER = verifier;
        (DISPUTE_BOND, FAULT) = (disputeBond, fault);
        EpochParams memory params = coordinator.epochParams();
        (COMMIT_BLOCKS, CELL_BYTES) = (params.commitBlocks, params.cellBytes);
        // Half of the time between an epoch and its cutoff is to notice, and half to answer.
        if (params.settleBlocks < 2) revert NoTimeToAnswer(params.settleBlocks);
        ANSWER_BLOCKS = params.settleBlocks - params.settleBlocks / 2;
    }

    /// @inheritdoc IDisputes
    function openDispute(
        uint64 accuser,
        Record calldata record,
        bytes calldata signature,
        bytes calldata body,
        uint64 signedAt,
        uint32 cell
    ) external {
        _requireController(accuser);
        (uint64 epoch, uint64 account) = (record.epoch, record.account);
        if (VAULT.disputesOf(epoch) != address(this)) revert NotDisputes(epoch);
        uint64 until = uint64(block.number) + ANSWER_BLOCKS;
        if (until >= COORDINATOR.cutoff(epoch)) revert TooLate(epoch);
        Case storage c = _cases[epoch][account];
        if (c.atFault) revert FaultBefore(epoch, account);
        uint8 place = c.disputes;
        if (place == MAX_DISPUTES) revert TooMany(epoch, account);
        (bytes32 commitment, address signer) =
            _requireCommitment(record, signature, body, signedAt);
        uint32 cells = uint32(bytes4(body[72:76]));
        if (cell >= cells) revert NoSuchCell(cell, cells);
        // What was made for a block that was replaced can be shown by nobody.
        bytes32 seed = COORDINATOR.capture(epoch, PURPOSE_S1);
        if (bytes8(body[76:84]) != bytes8(seed)) revert NotACommitment();

        Dispute storage d = _disputes[_key(epoch, account, commitment, cell)];
        if (d.until != 0) revert DisputedBefore(commitment, cell);
        (d.accuser, d.until, d.cells, d.place) = (accuser, until, cells, place);
        (d.committed, d.byOwner) = (keccak256(body[:64]), signer == REGISTRY.ownerOf(account));
        c.disputes = place + 1;
        emit DisputeOpened(epoch, account, accuser, commitment, cell, until);
        REGISTRY.lock(accuser, _bond(place), msg.sender);
    }

    /// @inheritdoc IDisputes
    function answerDispute(
        uint64 epoch,
        uint64 account,
        bytes32 commitment,
        CellOpening calldata opening
    ) external {
        uint32 cell = uint32(opening.row.index);
        bytes32 id = _key(epoch, account, commitment, cell);
        Dispute memory d = _disputes[id];
        if (d.cells == 0) revert NoDispute(commitment, cell);
        if (block.number > d.until) revert AnswerWindow(d.until);
        bytes32 seed = COORDINATOR.seed(epoch, PURPOSE_S1);
        bytes32 key = keccak256(abi.encodePacked("openledger/row/v1", seed, account));
        uint256 firstCell = _requireCommitted(d, cell, opening, key);
        uint64 chunkIndex = _pickedChunk(key, cell, uint64(cell - firstCell), opening.length);
        bool proven = VERIFIER.verify(
            opening.pack, opening.length, chunkIndex, opening.chunk, opening.slice
        );
        if (!proven) revert WrongChunk(chunkIndex);
        _disputes[id].cells = 0;
        emit DisputeAnswered(epoch, account, commitment, cell, msg.sender);
        // To the accused and not to the caller, before whom anyone could bring the same opening.
        // And half of the first bond only, however dear the place was: with half of each, whoever has friends
        // make the places dear and then shows nothing to an honest auditor would be paid for its loss.
        uint128 bond = _bond(d.place);
        REGISTRY.seize(d.accuser, bond, address(this));
        _share(DISPUTE_BOND, REGISTRY.payoutOf(account));
        if (bond > DISPUTE_BOND) VAULT.fund(bond - DISPUTE_BOND);
    }

    /// @inheritdoc IDisputes
    function expireDispute(
        uint64 epoch,
        uint64 account,
        bytes32 commitment,
        uint32 cell
    ) external {
        bytes32 id = _key(epoch, account, commitment, cell);
        Dispute memory d = _disputes[id];
        if (d.cells == 0) revert NoDispute(commitment, cell);
        if (block.number <= d.until) revert AnswerWindow(d.until);
        _disputes[id].cells = 0;
        Case storage c = _cases[epoch][account];
        bool isFirst = !c.atFault;
        c.atFault = true;
        REGISTRY.unlock(d.accuser, _bond(d.place));
        // A node loses once for an epoch, whatever else it cannot open.
        uint128 slashed =
            isFirst ? REGISTRY.slash(account, FAULT, d.byOwner, address(this)) : 0;
        emit StorageFault(epoch, account, commitment, cell, slashed);
        // Nothing to the accuser, which may have signed what it disputes with a stolen key. The settlement pays
        // it, where it was drawn to look and those who were with it let pass what they had not seen.
        if (slashed > 0) VAULT.fund(slashed);
    }

    /// @inheritdoc IDisputes
    function dispute(
        uint64 epoch,
        uint64 account,
        bytes32 commitment,
        uint32 cell
    ) external view returns (uint64 accuser, uint64 until, uint128 bond) {
        Dispute storage d = _disputes[_key(epoch, account, commitment, cell)];
        if (d.cells != 0) (accuser, until, bond) = (d.accuser, d.until, _bond(d.place));
    }

    /// @inheritdoc IDisputes
    function disputesAbout(
        uint64 epoch,
        uint64 account
    ) external view returns (uint8 disputes, bool atFault) {
        Case storage c = _cases[epoch][account];
        return (c.disputes, c.atFault);
    }

    /// Each costs twice what the one before did: whoever asks itself, so that others cannot, pays more
    /// than it earns.
    function _bond(uint8 place) private view returns (uint128) {
        return DISPUTE_BOND * (uint128(1) << place);
    }

    function _key(
        uint64 epoch,
        uint64 account,
        bytes32 commitment,
        uint32 cell
    ) private pure returns (bytes32) {
        return keccak256(abi.encode(epoch, account, commitment, cell));
    }

    /// Requires a storage commitment that was signed by who was its account's operator at the end or the
    /// begin of a block of the time to commit; gives its id and the signer. Whether it came in in time is no
    /// question here: whoever signs that it holds something can be asked to show it. Nor does it help to change
    /// keys after signing.
    function _requireCommitment(
        Record calldata record,
        bytes calldata signature,
        bytes calldata body,
        uint64 signedAt
    ) private view returns (bytes32 id, address signer) {
        bool shape = record.kind == KIND_STORAGE_COMMIT && body.length >= COMMIT_BODY;
        if (!shape || keccak256(body) != record.body) revert NotACommitment();
        id = record.digest(TypedData.separator(address(COORDINATOR)));
        ECDSA.RecoverError fault;
        (signer, fault, ) = ECDSA.tryRecoverCalldata(id, signature);
        uint64 start = COORDINATOR.epochStart(record.epoch);
        bool signed = fault == ECDSA.RecoverError.NoError
            && signedAt >= start && signedAt <= start + COMMIT_BLOCKS
            && (signer == REGISTRY.operatorAt(record.account, signedAt)
                || signer == REGISTRY.operatorAt(record.account, signedAt - 1));
        if (!signed) revert NotACommitment();
    }

    /// Requires that pack and row are those committed to; gives the pack's first cell.
    function _requireCommitted(
        Dispute memory d,
        uint32 cell,
        CellOpening calldata opening,
        bytes32 key
    ) private view returns (uint256 firstCell) {
        uint128 cells = uint128((uint256(opening.length) + CELL_BYTES - 1) / CELL_BYTES);
        bytes32 leaf = Merkle.packLeaf(opening.pack, opening.length);
        bytes32 inventory;
        (inventory, firstCell) =
            Merkle.sumRoot(leaf, cells, 0, opening.packIndex, opening.packCount, opening.inventory);
        if (cell < firstCell || cell >= firstCell + cells) {
            revert WrongPack(firstCell, cells);
        }
        bytes32 row = keccak256(abi.encodePacked(key, opening.chunk));
        bytes32 rows = Merkle.root(Merkle.rowLeaf(row), opening.row);
        bool placed = opening.row.index == cell && opening.row.count == d.cells;
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
