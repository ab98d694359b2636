// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "./IRegistry.sol";

/// @title Which records an epoch has
/// @notice Whole records are call data, so that nothing counts that was not public. Which of them an
/// epoch has, in which order and signed by whom, the chain decides when they come in.
interface IInclusion {
    /// @notice Records of an epoch came in.
    /// @param epoch Their epoch.
    /// @param accepted Bit i is set where record i of the batch belongs to the epoch from now on.
    /// @param head The fold over all records of the epoch so far.
    /// @param batch The records, one after the other, as they were sent.
    event Included(uint64 indexed epoch, uint256 accepted, bytes32 head, bytes batch);

    /// @notice Records come in from one epoch before theirs until its cutoff.
    error WrongEpoch(uint64 current, uint64 given);
    /// @notice The batch ends inside a record.
    error Truncated(uint256 length);
    /// @notice More records than bits of an event.
    error TooManyRecords(uint256 most);
    /// @notice No record of the batch is signed by its account's operator for this epoch.
    error NothingIncluded();

    /// @notice Takes in signed records of one epoch; anyone may, for anyone. The first call in an epoch keeps
    /// its first seed.
    /// @dev Each is, without padding, `uint8 kind ‖ uint64 epoch ‖ uint64 account ‖ bytes32 subject ‖
    /// uint32 length ‖ body ‖ 65-byte signature`. It is taken in if it is of the epoch and signed by who
    /// is its account's operator now; others of the batch are passed over, so that nobody can spoil a
    /// batch with one of theirs. A record that comes in twice changes the fold twice, and counts once.
    /// @return accepted Bit i is set where record i was taken in.
    function include(uint64 epoch, bytes calldata batch) external returns (uint256 accepted);

    /// @notice Accounts, and who signs for them.
    function REGISTRY() external view returns (IRegistry);

    /// @notice The fold over the records of an epoch: keccak256(fold before ‖ record id), from zero.
    function recordsOf(uint64 epoch) external view returns (bytes32);
}
