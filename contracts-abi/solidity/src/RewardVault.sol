// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {IRewardVault} from "./interfaces/IRewardVault.sol";

/// @title The purse from which every reward is paid
/// @dev OPEN sent here by a plain transfer is not booked and can't be paid out.
contract RewardVault is IRewardVault, AccessControl {
    using SafeERC20 for IERC20;
    using Checkpoints for Checkpoints.Trace208;

    /// @notice May book fees: the UsageEscrow.
    bytes32 public constant FEES_ROLE = keccak256("FEES_ROLE");
    /// @inheritdoc IRewardVault
    IERC20 public immutable OPEN;

    /// @inheritdoc IRewardVault
    address public coordinator;
    /// What claims may still cost: released - paid. It shares a slot with the only one who may
    /// claim, and all OPEN there is fits.
    uint96 private _claimable;
    /// @inheritdoc IRewardVault
    uint128 public released;
    /// @inheritdoc IRewardVault
    uint128 public funded;
    /// @inheritdoc IRewardVault
    uint128 public budget;
    /// Cumulative fees by epoch.
    Checkpoints.Trace208 private _fees;

    constructor(IERC20 open, uint128 budgetPerEpoch, address admin) {
        OPEN = open;
        budget = budgetPerEpoch;
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        emit BudgetChanged(budgetPerEpoch);
    }

    /// @inheritdoc IRewardVault
    function fund(uint128 amount) external {
        funded += amount;
        emit Funded(msg.sender, amount);
        OPEN.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IRewardVault
    function addFees(uint64 epoch, uint128 amount) external onlyRole(FEES_ROLE) {
        if (epoch > type(uint48).max) revert EpochOrder(epoch);
        _fees.push(uint48(epoch), _fees.latest() + amount);
        emit FeesAdded(epoch, amount);
        OPEN.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IRewardVault
    function setCoordinator(address newCoordinator) external onlyRole(DEFAULT_ADMIN_ROLE) {
        coordinator = newCoordinator;
        emit CoordinatorChanged(newCoordinator);
    }

    /// @inheritdoc IRewardVault
    function release(uint128 total) external {
        if (msg.sender != coordinator) revert NotCoordinator(msg.sender);
        if (total > received()) revert Underfunded(received(), total);
        _claimable = SafeCast.toUint96(uint256(_claimable) + total - released);
        released = total;
        emit Released(total);
    }

    /// @inheritdoc IRewardVault
    function pay(address to, uint128 amount) external {
        (address payer, uint96 claimable) = (coordinator, _claimable);
        if (msg.sender != payer) revert NotCoordinator(msg.sender);
        if (amount > claimable) revert BeyondReleased(claimable, amount);
        _claimable = claimable - uint96(amount);
        OPEN.safeTransfer(to, amount);
    }

    /// @inheritdoc IRewardVault
    function setBudget(uint128 budgetPerEpoch) external onlyRole(DEFAULT_ADMIN_ROLE) {
        budget = budgetPerEpoch;
        emit BudgetChanged(budgetPerEpoch);
    }

    /// @inheritdoc IRewardVault
    function redeemed() public view returns (uint128) {
        return uint128(_fees.latest());
    }

    /// @inheritdoc IRewardVault
    function paid() public view returns (uint128) {
        return released - _claimable;
    }

    /// @inheritdoc IRewardVault
    function received() public view returns (uint256) {
        return uint256(funded) + redeemed();
    }

    /// @inheritdoc IRewardVault
    function held() external view returns (uint256) {
        return received() - paid();
    }

    /// @inheritdoc IRewardVault
    function feesUpTo(uint64 epoch) external view returns (uint128) {
        uint48 key = epoch > type(uint48).max ? type(uint48).max : uint48(epoch);
        return uint128(_fees.upperLookupRecent(key));
    }
}
