// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Receipt} from "../Types.sol";

/// @title Deposits of consumers, and the receipts that spend them
/// @notice A deposit is locked for one serving account. Receipts are cumulative, so one redemption
/// pays any number of uses. What is redeemed goes to the RewardVault, to be settled.
interface IUsageEscrow {
    /// @notice A deposit grew.
    event Deposited(address indexed payer, uint64 indexed payee, uint128 amount, uint128 balance);
    /// @notice Receipts were redeemed.
    event Redeemed(
        address indexed payer,
        uint64 indexed payee,
        uint64 model,
        uint128 cumulative,
        uint128 amount,
        uint64 epoch
    );
    /// @notice The payer asked for what is left, to be had from `unlockBlock` on.
    event WithdrawalRequested(address indexed payer, uint64 indexed payee, uint64 unlockBlock);
    /// @notice The payer took what was left.
    event Withdrawn(address indexed payer, uint64 indexed payee, uint128 amount);

    /// @notice An amount is zero.
    error ZeroAmount();
    /// @notice No such account.
    error UnknownAccount(uint64 account);
    /// @notice The payer did not sign the receipt.
    error BadSignature();
    /// @notice The receipt promises nothing beyond what was redeemed.
    error NothingToRedeem(uint256 cumulative, uint128 redeemed);
    /// @notice The deposit is empty.
    error EmptyDeposit();
    /// @notice No withdrawal was requested, or its delay is not over.
    error NotWithdrawable(uint64 unlockBlock);
    /// @notice The delay is shorter than the challenge window.
    error DelayTooShort(uint64 delay, uint64 minimum);

    /// @notice Locks OPEN of the caller for a serving account.
    function deposit(uint64 payee, uint128 amount) external;

    /// @notice The same with an ERC-2612 permit for this contract, in one transaction.
    function depositWithPermit(
        uint64 payee,
        uint128 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Redeems a receipt, as far as the deposit goes; anyone may.
    function redeem(
        Receipt calldata receipt,
        bytes calldata signature
    ) external returns (uint128 amount);

    /// @notice Starts the withdrawal of what is left; it can be redeemed against until then.
    function requestWithdrawal(uint64 payee) external;

    /// @notice Ends a withdrawal whose delay is over.
    function withdraw(uint64 payee) external;

    /// @notice The deposit, what was redeemed of it, and when it can be withdrawn (0: never).
    function deposits(
        address payer,
        uint64 payee
    ) external view returns (uint128 balance, uint128 redeemed, uint64 unlockBlock);

    /// @notice Fees redeemed in an epoch.
    function feesRedeemed(uint64 epoch) external view returns (uint128);
}
