// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title What locks stake as a bond
interface IBonded {
    /// @notice The caller is neither owner nor operator of the account.
    error NotController(uint64 account, address caller);
}
