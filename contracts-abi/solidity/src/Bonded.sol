// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IBonded} from "./interfaces/IBonded.sol";
import {ICoordinator} from "./interfaces/ICoordinator.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRewardVault} from "./interfaces/IRewardVault.sol";

/// @title Bonds out of stake, and who gets what of a lost one
abstract contract Bonded is IBonded {
    using SafeERC20 for IERC20;

    /// @notice Epochs, seeds and records.
    ICoordinator public immutable COORDINATOR;
    /// @notice Accounts and stake.
    IRegistry public immutable REGISTRY;
    /// @notice Where the half of a lost bond goes that is nobody's.
    IRewardVault public immutable VAULT;
    IERC20 private immutable OPEN;
    uint64 internal immutable CHALLENGE_BLOCKS;

    constructor(ICoordinator coordinator, IRewardVault vault) {
        (COORDINATOR, REGISTRY, VAULT) = (coordinator, coordinator.REGISTRY(), vault);
        CHALLENGE_BLOCKS = coordinator.epochParams().challengeBlocks;
        OPEN = vault.OPEN();
        vault.OPEN().forceApprove(address(vault), type(uint256).max);
    }

    /// Takes a lost bond: half goes to the winner, the rest to the vault, from where it is earned by all.
    /// With all of it going to the winner, who proposes and challenges with two names would lose nothing.
    function _takeBond(uint64 loser, uint128 bond, address winner) internal {
        REGISTRY.seize(loser, bond, address(this));
        _share(bond, winner);
    }

    /// Half to the winner and half to the vault, of what this contract has taken.
    function _share(uint128 taken, address winner) internal {
        uint128 reward = winner == address(this) ? 0 : taken / 2;
        if (reward > 0) OPEN.safeTransfer(winner, reward);
        if (taken > reward) VAULT.fund(taken - reward);
    }

    function _requireController(uint64 account) internal view {
        if (!REGISTRY.controls(account, msg.sender)) revert NotController(account, msg.sender);
    }
}
