// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title The admin of every contract that has one
/// @notice What a governor asks for waits in public for the delay, in which any governor can call it off;
/// then anyone may execute it. The timelock governs itself, and nobody else governs it.
contract Timelock is TimelockController {
    /// @param delay Seconds that a change waits.
    /// @param governors Who may ask for one, and call one off.
    constructor(
        uint256 delay,
        address[] memory governors
    ) TimelockController(delay, governors, new address[](1), address(0)) {}
}
