// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IInclusion} from "../interfaces/IInclusion.sol";
import {IRegistry} from "../interfaces/IRegistry.sol";
import {TypedData} from "../libraries/TypedData.sol";
import {Beacon} from "./Beacon.sol";

/// @title Which records an epoch has
abstract contract Inclusion is Beacon, IInclusion {
    /// Bytes of a record before its body: kind, epoch, account, subject, length of the body.
    uint256 private constant HEADER = 53;
    uint256 private constant SIGNATURE = 65;
    uint256 private constant MAX_RECORDS = 256;

    /// @inheritdoc IInclusion
    IRegistry public immutable REGISTRY;

    /// @inheritdoc IInclusion
    mapping(uint64 epoch => bytes32) public recordsOf;

    constructor(IRegistry registry) {
        REGISTRY = registry;
    }

    /// @inheritdoc IInclusion
    function include(uint64 epoch, bytes calldata batch) external returns (uint256 accepted) {
        uint64 current = currentEpoch();
        if (epoch > current + 1 || block.number >= cutoff(epoch)) {
            revert WrongEpoch(current, epoch);
        }
        _captureFirst(current);
        bytes32 domain = TypedData.separator(address(this));
        bytes32 head = recordsOf[epoch];
        uint256 place = 0;
        uint256 index = 0;
        while (place < batch.length) {
            if (index == MAX_RECORDS) revert TooManyRecords(MAX_RECORDS);
            uint256 next = _end(batch, place);
            bytes32 id = _idOf(batch, place, next - SIGNATURE, domain);
            if (_belongs(batch, place, next - SIGNATURE, id, epoch)) {
                accepted |= 1 << index;
                head = _fold(head, id);
            }
            place = next;
            ++index;
        }
        if (accepted == 0) revert NothingIncluded();
        recordsOf[epoch] = head;
        emit Included(epoch, accepted, head, batch);
    }

    /// Where a record ends that begins at a place of the batch.
    function _end(bytes calldata batch, uint256 place) private pure returns (uint256) {
        if (batch.length < place + HEADER) revert Truncated(batch.length);
        uint256 next = place + HEADER + (_word(batch, place + 49) >> 224) + SIGNATURE;
        if (batch.length < next) revert Truncated(batch.length);
        return next;
    }

    /// The EIP-712 digest of the record between two places of the batch: [TypedData.digest] on packed
    /// fields, without a copy of each. Every record pays for its operations.
    function _idOf(
        bytes calldata batch,
        uint256 place,
        uint256 end,
        bytes32 domain
    ) private pure returns (bytes32 id) {
        bytes32 recordType = TypedData.RECORD_TYPE;
        assembly ("memory-safe") {
            let start := add(batch.offset, place)
            let buffer := mload(0x40)
            let length := sub(sub(end, place), HEADER)
            calldatacopy(buffer, add(start, HEADER), length)
            let body := keccak256(buffer, length)
            let first := calldataload(start)
            mstore(buffer, recordType)
            mstore(add(buffer, 0x20), shr(248, first))
            mstore(add(buffer, 0x40), and(shr(184, first), 0xffffffffffffffff))
            mstore(add(buffer, 0x60), and(shr(120, first), 0xffffffffffffffff))
            mstore(add(buffer, 0x80), calldataload(add(start, 17)))
            mstore(add(buffer, 0xa0), body)
            let hash := keccak256(buffer, 0xc0)
            mstore(buffer, shl(240, 0x1901))
            mstore(add(buffer, 2), domain)
            mstore(add(buffer, 34), hash)
            id := keccak256(buffer, 66)
        }
    }

    /// Whether a record is of an epoch, and signed by who is its account's operator now.
    function _belongs(
        bytes calldata batch,
        uint256 place,
        uint256 end,
        bytes32 id,
        uint64 epoch
    ) private view returns (bool) {
        uint256 first = _word(batch, place);
        if (uint64(first >> 184) != epoch) return false;
        (address signer, ECDSA.RecoverError fault, ) = ECDSA.tryRecover(
            id,
            uint8(_word(batch, end + 64) >> 248),
            bytes32(_word(batch, end)),
            bytes32(_word(batch, end + 32))
        );
        return fault == ECDSA.RecoverError.NoError
            && signer == REGISTRY.operatorOf(uint64(first >> 120));
    }

    function _fold(bytes32 head, bytes32 id) private pure returns (bytes32 folded) {
        assembly ("memory-safe") {
            mstore(0, head)
            mstore(0x20, id)
            folded := keccak256(0, 0x40)
        }
    }

    /// The word at a place of the batch; what lies behind its end is zero or of no consequence.
    function _word(bytes calldata batch, uint256 place) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(batch.offset, place))
        }
    }
}
