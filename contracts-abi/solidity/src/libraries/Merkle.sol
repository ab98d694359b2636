// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Path, SumNode} from "../Types.sol";

/// @title Merkle trees whose root binds the number of leaves
/// @notice Leaf keccak(0x00 ‖ payload), node keccak(0x01 ‖ left ‖ right), root
/// keccak(0x02 ‖ uint64 count ‖ top). An odd last node is promoted unchanged, and the root of no
/// leaves is zero. In a sum tree each hash is followed by its uint128 sum.
library Merkle {
    /// @notice A path whose index or number of siblings does not fit its count.
    error BadPath();
    /// @notice A sum is larger than any amount can be.
    error SumOverflow();

    /// @notice The leaf of an account in a payout tree; its sum is free + lane.
    function payoutLeaf(
        uint64 account,
        uint128 free,
        uint128 lane
    ) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint8(0), account, free, lane));
    }

    /// @notice The leaf of a pack in an inventory; its sum is its number of cells.
    function packLeaf(bytes32 pack, uint64 length) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint8(0), pack, length));
    }

    /// @notice The leaf of a row of a commitment.
    function rowLeaf(bytes32 row) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint8(0), row));
    }

    /// @notice The root of a sum tree with this top.
    function sumRootOf(bytes32 top, uint128 sum, uint64 count) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint8(2), count, top, sum));
    }

    /// @notice The root above a leaf.
    function root(bytes32 leaf, Path calldata path) internal pure returns (bytes32) {
        unchecked {
            uint256 position = path.index;
            uint256 width = path.count;
            uint256 used = 0;
            bytes32 node = leaf;
            if (position >= width) revert BadPath();
            while (width > 1) {
                if ((position ^ 1) < width) {
                    if (used == path.siblings.length) revert BadPath();
                    bytes32 sibling = path.siblings[used++];
                    (bytes32 left, bytes32 right) =
                        position & 1 == 1 ? (sibling, node) : (node, sibling);
                    node = keccak256(abi.encodePacked(uint8(1), left, right));
                }
                position >>= 1;
                width = (width + 1) >> 1;
            }
            if (used != path.siblings.length) revert BadPath();
            return keccak256(abi.encodePacked(uint8(2), path.count, node));
        }
    }

    /// @notice The root above a node `level` levels over the leaves of a sum tree.
    /// @param node The node's hash.
    /// @param sum The node's sum.
    /// @param index The node's position in its level.
    /// @param count The number of leaves.
    /// @return top The root.
    /// @return before The sum of everything to the left of the node.
    function sumRoot(
        bytes32 node,
        uint128 sum,
        uint256 level,
        uint64 index,
        uint64 count,
        SumNode[] calldata siblings
    ) internal pure returns (bytes32 top, uint256 before) {
        uint256 width = count;
        unchecked {
            for (; level > 0 && width > 1; --level) width = (width + 1) >> 1;
        }
        if (level > 0 || index >= width) revert BadPath();
        bool fits;
        uint256 total;
        (top, before, total, fits) = _climb(node, sum, index, width, siblings);
        if (!fits) revert BadPath();
        // Sums only grow on the way up, so that the last one tells whether any was too large.
        if (total > type(uint128).max) revert SumOverflow();
        assembly ("memory-safe") {
            let buffer := mload(0x40)
            mstore8(buffer, 2)
            mstore(add(buffer, 1), shl(192, count))
            mstore(add(buffer, 9), top)
            mstore(add(buffer, 41), shl(128, total))
            top := keccak256(buffer, 57)
        }
    }

    /// @notice The hash of an inner node of a sum tree.
    function sumHash(
        SumNode calldata left,
        SumNode calldata right
    ) internal pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(uint8(1), left.hash, left.sum, right.hash, right.sum)
        );
    }

    /// Folds a path into the top of a sum tree; does not fit when there are too many or too few
    /// siblings, or one carries more than a uint128. Claims pay for each of its operations.
    function _climb(
        bytes32 node,
        uint256 nodeSum,
        uint256 position,
        uint256 width,
        SumNode[] calldata siblings
    ) private pure returns (bytes32 top, uint256 before, uint256 total, bool fits) {
        (top, total) = (node, nodeSum);
        assembly ("memory-safe") {
            // 0x01 ‖ left ‖ uint128 left sum ‖ right ‖ uint128 right sum, in memory that is free.
            let buffer := mload(0x40)
            mstore8(buffer, 1)
            let cursor := siblings.offset
            let end := add(cursor, shl(6, siblings.length))
            let large := 0
            for {} gt(width, 1) {} {
                if lt(xor(position, 1), width) {
                    let sum := calldataload(add(cursor, 0x20))
                    large := or(large, sum)
                    switch and(position, 1)
                    case 0 {
                        mstore(add(buffer, 1), top)
                        mstore(add(buffer, 33), shl(128, total))
                        mstore(add(buffer, 49), calldataload(cursor))
                        mstore(add(buffer, 81), shl(128, sum))
                    }
                    default {
                        mstore(add(buffer, 1), calldataload(cursor))
                        mstore(add(buffer, 33), shl(128, sum))
                        mstore(add(buffer, 49), top)
                        mstore(add(buffer, 81), shl(128, total))
                        before := add(before, sum)
                    }
                    top := keccak256(buffer, 97)
                    total := add(total, sum)
                    cursor := add(cursor, 0x40)
                }
                position := shr(1, position)
                width := shr(1, add(width, 1))
            }
            // Reading past the end of the siblings moves the cursor past it as well.
            fits := and(eq(cursor, end), iszero(shr(128, large)))
        }
    }
}
