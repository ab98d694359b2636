// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title BLAKE3 openings
interface IStorageVerifier {
    /// @notice Whether `chunk` is chunk `chunkIndex` of the blob whose BLAKE3 hash is `root`.
    /// @param root The blob's BLAKE3 hash.
    /// @param length The blob's length in bytes.
    /// @param chunkIndex Which of its 1,024-byte chunks.
    /// @param chunk The chunk's bytes; only the last chunk of a blob is shorter than 1,024.
    /// @param siblings Chaining values beside the path, bottom-up.
    function verify(
        bytes32 root,
        uint64 length,
        uint64 chunkIndex,
        bytes calldata chunk,
        bytes32[] calldata siblings
    ) external pure returns (bool);
}
