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
    /// @param index The node's position in its level.
    /// @param count The number of leaves.
    /// @return top The root.
    /// @return before The sum of everything to the left of the node.
    /// @return total The sum of the whole tree.
    function sumRoot(
        SumNode memory node,
        uint256 level,
        uint64 index,
        uint64 count,
        SumNode[] calldata siblings
    ) internal pure returns (bytes32 top, uint256 before, uint256 total) {
        unchecked {
            uint256 position = index;
            uint256 width = count;
            if (width == 0) revert BadPath();
            for (; level > 0; --level) width = (width + 1) >> 1;
            if (position >= width) revert BadPath();
            uint256 used = 0;
            while (width > 1) {
                if ((position ^ 1) < width) {
                    if (used == siblings.length) revert BadPath();
                    SumNode calldata sibling = siblings[used++];
                    if (position & 1 == 1) {
                        before += sibling.sum;
                        node = _sumParent(sibling.hash, sibling.sum, node.hash, node.sum);
                    } else {
                        node = _sumParent(node.hash, node.sum, sibling.hash, sibling.sum);
                    }
                }
                position >>= 1;
                width = (width + 1) >> 1;
            }
            if (used != siblings.length) revert BadPath();
            total = node.sum;
            top = keccak256(abi.encodePacked(uint8(2), count, node.hash, node.sum));
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

    function _sumParent(
        bytes32 left,
        uint128 leftSum,
        bytes32 right,
        uint128 rightSum
    ) private pure returns (SumNode memory) {
        uint256 sum = uint256(leftSum) + rightSum;
        if (sum > type(uint128).max) revert SumOverflow();
        bytes32 hash = keccak256(abi.encodePacked(uint8(1), left, leftSum, right, rightSum));
        return SumNode(hash, uint128(sum));
    }
}
