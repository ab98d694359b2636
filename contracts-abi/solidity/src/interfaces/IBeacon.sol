// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {EpochParams} from "../Types.sol";

/// @title Epochs and their seeds
interface IBeacon {
    /// @notice A seed is kept for good.
    event SeedCaptured(uint64 indexed epoch, uint8 indexed purpose, bytes32 seed);

    /// @notice There is no such purpose.
    error UnknownPurpose(uint8 purpose);
    /// @notice The block that fixes the seed is not there yet.
    error SeedNotYet(uint64 blockNumber);
    /// @notice The block that fixes the seed is too old and its seed was not captured.
    error SeedMissed(uint64 blockNumber);
    /// @notice Epochs or windows of no blocks, or a window as long as the epoch.
    error BadEpochParams();

    /// @notice How blocks make epochs.
    function epochParams() external view returns (EpochParams memory);

    /// @notice The epoch of the current block; blocks before genesis belong to epoch 0.
    function currentEpoch() external view returns (uint64);

    /// @notice The first block of an epoch.
    function epochStart(uint64 epoch) external view returns (uint64);

    /// @notice The first block in which no record of an epoch can be included any more, and in which its
    /// settlement may be proposed.
    function cutoff(uint64 epoch) external view returns (uint64);

    /// @notice The block whose hash fixes a seed.
    function seedBlock(uint64 epoch, uint8 purpose) external view returns (uint64);

    /// @notice The seed of an epoch: purpose 0 is S1 (storage chunks), 1 is S2 (storage sample),
    /// 2 is for its settlement.
    function seed(uint64 epoch, uint8 purpose) external view returns (bytes32);

    /// @notice Keeps a seed whose block hash is still to be had.
    function capture(uint64 epoch, uint8 purpose) external returns (bytes32);
}
