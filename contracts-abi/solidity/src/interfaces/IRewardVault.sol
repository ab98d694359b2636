// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The purse from which every reward is paid
/// @notice Invariant: funded + redeemed = held + paid, where held is never more than the balance.
interface IRewardVault {
    /// @notice Emission was put in.
    event Funded(address indexed from, uint128 amount);
    /// @notice Fees were put in.
    event FeesAdded(uint64 indexed epoch, uint128 amount);
    /// @notice A claim was paid.
    event Paid(address indexed to, uint128 amount);
    /// @notice Each epoch may emit this much from now on.
    event BudgetChanged(uint128 budget);

    /// @notice The vault does not hold that much.
    error Underfunded(uint256 held, uint256 wanted);
    /// @notice Fees are booked in the order of epochs.
    error EpochOrder(uint64 epoch);

    /// @notice Puts emission in.
    function fund(uint128 amount) external;

    /// @notice Takes fees from the caller and books them to an epoch; only the UsageEscrow.
    function addFees(uint64 epoch, uint128 amount) external;

    /// @notice Pays a claim; only the Coordinator.
    /// @return Everything paid so far, this claim included.
    function pay(address to, uint128 amount) external returns (uint128);

    /// @notice Changes the budget; only the admin (the Timelock).
    function setBudget(uint128 budget) external;

    /// @notice What each epoch may emit.
    function budget() external view returns (uint128);

    /// @notice Emission put in so far.
    function funded() external view returns (uint128);

    /// @notice Fees put in so far.
    function redeemed() external view returns (uint128);

    /// @notice Paid out so far.
    function paid() external view returns (uint128);

    /// @notice funded + redeemed: what all claims together may ever cost.
    function received() external view returns (uint256);

    /// @notice received - paid.
    function held() external view returns (uint256);

    /// @notice Fees of all epochs up to and including this one.
    function feesUpTo(uint64 epoch) external view returns (uint128);
}
