// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IStorageVerifier} from "./interfaces/IStorageVerifier.sol";

/// @title BLAKE3 openings, verified in the EVM
/// @notice One hash addresses, streams, proves and disputes the data.
/// @dev The 4x4 state of a compression is four words, a row each, with its 32-bit values in 64-bit
/// lanes (column 0 in the highest lane), so that one EVM operation works on four columns. A lane
/// has room for every carry of seven rounds: sums are masked only where bits are rotated. A 32-bit
/// rotation is a multiplication by 2^32 + 1, which doubles the value inside its lane, and a shift.
/// Between compressions a chaining value is one word of eight 32-bit values, as is a half block.
contract StorageVerifier is IStorageVerifier {
    uint256 private constant MASK =
        0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
    uint256 private constant TWICE = 0x100000001;
    uint256 private constant IV =
        0x6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19;
    uint256 private constant IV_LANES =
        0x000000006a09e66700000000bb67ae85000000003c6ef37200000000a54ff53a;

    /// The round's message in lanes, a word for each half step: even and odd words of the first
    /// half for the columns, of the second half for the diagonals.
    uint256 private constant MESSAGE = 0x1000;
    /// The previous round's, from which the next is permuted.
    uint256 private constant PREVIOUS = 0x1080;
    /// Room to pad the last block of a chunk.
    uint256 private constant PADDED = 0x1100;
    uint256 private constant END = 0x1140;

    uint256 private constant CHUNK_BYTES = 1024;
    uint256 private constant CHUNK_START = 1;
    uint256 private constant CHUNK_END = 2;
    uint256 private constant PARENT = 4;
    uint256 private constant ROOT = 8;

    /// @inheritdoc IStorageVerifier
    function verify(
        bytes32 root,
        uint64 length,
        uint64 chunkIndex,
        bytes calldata chunk,
        bytes32[] calldata siblings
    ) external pure returns (bool) {
        unchecked {
            uint256 width = length == 0 ? 1 : (uint256(length) + CHUNK_BYTES - 1) / CHUNK_BYTES;
            if (chunkIndex >= width) return false;
            uint256 rest = uint256(length) - chunkIndex * CHUNK_BYTES;
            if (chunk.length != (rest < CHUNK_BYTES ? rest : CHUNK_BYTES)) return false;
            _reserve();
            uint256 node = _chunk(chunk, chunkIndex, width == 1 ? ROOT : 0);

            uint256 position = chunkIndex;
            uint256 used = 0;
            // BLAKE3's left-heavy tree is the pairwise tree whose odd last node moves up unchanged.
            while (width > 1) {
                if ((position ^ 1) < width) {
                    if (used == siblings.length) return false;
                    uint256 sibling = _swap(uint256(siblings[used++]));
                    bool right = position & 1 == 1;
                    (uint256 low, uint256 high) = right ? (sibling, node) : (node, sibling);
                    uint256 flags = width == 2 ? PARENT | ROOT : PARENT;
                    node = _compress(IV, (64 << 64) | flags, low, high);
                }
                position >>= 1;
                width = (width + 1) >> 1;
            }
            return used == siblings.length && _swap(node) == uint256(root);
        }
    }

    /// The chaining value of a chunk.
    function _chunk(
        bytes calldata chunk,
        uint256 index,
        uint256 rootFlag
    ) private pure returns (uint256 value) {
        unchecked {
            value = IV;
            uint256 left = chunk.length;
            uint256 source;
            assembly ("memory-safe") {
                source := chunk.offset
            }
            // Lanes of the last row: counter (two words), length of the block, flags.
            uint256 counter = ((index & 0xffffffff) << 192) | ((index >> 32) << 128);
            uint256 flags = CHUNK_START;
            uint256 low;
            uint256 high;
            while (left > 64) {
                assembly ("memory-safe") {
                    low := calldataload(source)
                    high := calldataload(add(source, 0x20))
                }
                value = _compress(value, counter | (64 << 64) | flags, _swap(low), _swap(high));
                flags = 0;
                source += 64;
                left -= 64;
            }
            assembly ("memory-safe") {
                calldatacopy(PADDED, source, left)
                low := mload(PADDED)
                high := mload(add(PADDED, 0x20))
            }
            flags |= CHUNK_END | rootFlag;
            value = _compress(value, counter | (left << 64) | flags, _swap(low), _swap(high));
        }
    }

    /// One compression: a chaining value, the last row of the state, and the two half blocks.
    function _compress(
        uint256 value,
        uint256 d,
        uint256 low,
        uint256 high
    ) private pure returns (uint256) {
        uint256 a = _spread(value >> 128);
        uint256 b = _spread(value & type(uint128).max);
        uint256 c = IV_LANES;
        assembly ("memory-safe") {
            mstore(MESSAGE, and(shr(32, low), MASK))
            mstore(add(MESSAGE, 0x20), and(low, MASK))
            mstore(add(MESSAGE, 0x40), and(shr(32, high), MASK))
            mstore(add(MESSAGE, 0x60), and(high, MASK))
            for { let round := 7 } 1 {} {
                // Columns.
                a := add(add(a, b), mload(MESSAGE))
                d := and(shr(16, mul(and(xor(d, a), MASK), TWICE)), MASK)
                c := add(c, d)
                b := and(shr(12, mul(and(xor(b, c), MASK), TWICE)), MASK)
                a := add(add(a, b), mload(add(MESSAGE, 0x20)))
                d := and(shr(8, mul(and(xor(d, a), MASK), TWICE)), MASK)
                c := add(c, d)
                // The rotation by 7 and the turn of the row by a lane are one pair of shifts.
                b := mul(and(xor(b, c), MASK), TWICE)
                b := and(or(shl(57, b), shr(199, b)), MASK)
                c := or(shl(128, c), shr(128, c))
                d := or(shr(64, d), shl(192, d))
                // Diagonals.
                a := add(add(a, b), mload(add(MESSAGE, 0x40)))
                d := and(shr(16, mul(and(xor(d, a), MASK), TWICE)), MASK)
                c := add(c, d)
                b := and(shr(12, mul(and(xor(b, c), MASK), TWICE)), MASK)
                a := add(add(a, b), mload(add(MESSAGE, 0x60)))
                d := and(shr(8, mul(and(xor(d, a), MASK), TWICE)), MASK)
                c := add(c, d)
                b := mul(and(xor(b, c), MASK), TWICE)
                b := and(or(shr(71, b), shl(185, b)), MASK)
                c := or(shl(128, c), shr(128, c))
                d := or(shl(64, d), shr(192, d))

                round := sub(round, 1)
                if iszero(round) { break }
                // Word i of the next round is word (2 6 3 10 7 0 4 13 1 11 12 5 9 14 15 8)[i].
                mcopy(PREVIOUS, MESSAGE, 0x80)
                mcopy(0x1004, 0x108c, 4)
                mcopy(0x1024, 0x109c, 4)
                mcopy(0x100c, 0x10ac, 4)
                mcopy(0x102c, 0x10cc, 4)
                mcopy(0x1014, 0x10bc, 4)
                mcopy(0x1034, 0x1084, 4)
                mcopy(0x101c, 0x1094, 4)
                mcopy(0x103c, 0x10f4, 4)
                mcopy(0x1044, 0x10a4, 4)
                mcopy(0x1064, 0x10ec, 4)
                mcopy(0x104c, 0x10d4, 4)
                mcopy(0x106c, 0x10b4, 4)
                mcopy(0x1054, 0x10e4, 4)
                mcopy(0x1074, 0x10dc, 4)
                mcopy(0x105c, 0x10fc, 4)
                mcopy(0x107c, 0x10c4, 4)
            }
            a := and(xor(a, c), MASK)
            b := xor(b, d)
        }
        return (_gather(a) << 128) | _gather(b);
    }

    /// Four 32-bit values, one in each 64-bit lane.
    function _spread(uint256 x) private pure returns (uint256) {
        x = (x | (x << 64)) & 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;
        return (x | (x << 32)) & MASK;
    }

    /// The inverse of `_spread`.
    function _gather(uint256 x) private pure returns (uint256) {
        x = (x | (x >> 32)) & 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;
        return (x | (x >> 64)) & type(uint128).max;
    }

    /// Reverses the bytes of each of the eight 32-bit values.
    function _swap(uint256 x) private pure returns (uint256) {
        uint256 bytesMask = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
        uint256 pairsMask = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
        x = ((x >> 8) & bytesMask) | ((x & bytesMask) << 8);
        return ((x >> 16) & pairsMask) | ((x & pairsMask) << 16);
    }

    /// Claims the scratch memory, which is still zero.
    function _reserve() private pure {
        assembly ("memory-safe") {
            if gt(mload(0x40), MESSAGE) { invalid() }
            mstore(0x40, END)
        }
    }
}
