// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title The purse from which every reward is paid
/// @notice Invariants: funded + redeemed = held + paid; paid <= released <= funded + redeemed; held
/// is never more than the balance.
interface IRewardVault {
    /// @notice Emission was put in.
    event Funded(address indexed from, uint128 amount);
    /// @notice Fees were put in.
    event FeesAdded(uint64 indexed epoch, uint128 amount);
    /// @notice Each epoch may emit this much from now on.
    event BudgetChanged(uint128 budget);

    /// @notice Another Coordinator pays from now on.
    event CoordinatorChanged(address coordinator);
    /// @notice A settlement became final, so that claims may cost this much in all.
    event Released(uint128 total);

    /// @notice The vault never received that much.
    error Underfunded(uint256 received, uint256 wanted);
    /// @notice Claims may not exceed the total of the last final settlement.
    error BeyondReleased(uint256 claimable, uint256 wanted);
    /// @notice Only the Coordinator may do this.
    error NotCoordinator(address caller);
    /// @notice Fees are booked in the order of epochs.
    error EpochOrder(uint64 epoch);

    /// @notice Puts emission in.
    function fund(uint128 amount) external;

    /// @notice Takes fees from the caller and books them to an epoch; only the UsageEscrow.
    function addFees(uint64 epoch, uint128 amount) external;

    /// @notice Lets all claims together cost this much; only the Coordinator, at finality.
    function release(uint128 total) external;

    /// @notice Pays a claim; only the Coordinator.
    function pay(address to, uint128 amount) external;

    /// @notice Changes the budget; only the admin (the Timelock).
    function setBudget(uint128 budget) external;

    /// @notice Names the contract that may pay; only the admin (the Timelock).
    function setCoordinator(address coordinator) external;

    /// @notice The token that is kept and paid: OPEN.
    function OPEN() external view returns (IERC20);

    /// @notice The contract that may pay.
    function coordinator() external view returns (address);

    /// @notice What each epoch may emit.
    function budget() external view returns (uint128);

    /// @notice Emission put in so far.
    function funded() external view returns (uint128);

    /// @notice Fees put in so far.
    function redeemed() external view returns (uint128);

    /// @notice Paid out so far.
    function paid() external view returns (uint128);

    /// @notice The total of the last final settlement.
    function released() external view returns (uint128);

    /// @notice funded + redeemed: what all claims together may ever cost.
    function received() external view returns (uint256);

    /// @notice received - paid.
    function held() external view returns (uint256);

    /// @notice Fees of all epochs up to and including this one.
    function feesUpTo(uint64 epoch) external view returns (uint128);
}
