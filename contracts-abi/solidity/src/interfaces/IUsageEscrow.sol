// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Receipt} from "../Types.sol";

/// @title Deposits of consumers, and the receipts that spend them
/// @notice A deposit is locked for one serving account. Receipts are cumulative, so one redemption
/// pays any number of uses. What is redeemed goes to the RewardVault, to be settled.
interface IUsageEscrow {
    /// @notice A deposit grew, and whatever request for it there was is gone.
    event Deposited(
        address indexed payer,
        uint64 indexed payee,
        uint128 amount,
        uint128 balance,
        uint128 redeemed
    );
    /// @notice Receipts were redeemed.
    event Redeemed(
        address indexed payer,
        uint64 indexed payee,
        uint64 model,
        uint128 cumulative,
        uint128 amount,
        uint64 epoch
    );
    /// @notice The payer asked for what is left, to be had in the blocks from `unlockBlock` to
    /// `expiryBlock`.
    event WithdrawalRequested(
        address indexed payer, uint64 indexed payee, uint64 unlockBlock, uint64 expiryBlock
    );
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
    /// @notice No withdrawal was requested (0), or it is not in its window of blocks.
    error NotWithdrawable(uint64 unlockBlock, uint64 expiryBlock);
    /// @notice The delay is shorter than a server needs to see the request and redeem.
    error DelayTooShort(uint64 delay, uint64 minimum);

    /// @notice Locks OPEN of the caller for a serving account. A request for the deposit is gone.
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

    /// @notice Redeems a receipt, as far as the deposit goes; anyone may. The payer signs with an
    /// ordinary key: a signature that code judges could hold when served and not when redeemed.
    function redeem(
        Receipt calldata receipt,
        bytes calldata signature
    ) external returns (uint128 amount);

    /// @notice Asks for what is left. It may be taken after WITHDRAWAL_DELAY blocks, and for as many;
    /// then the request has expired. Until it is taken, it can be redeemed against.
    function requestWithdrawal(uint64 payee) external;

    /// @notice Takes what is left, in the window of its request.
    function withdraw(uint64 payee) external;

    /// @notice The deposit, all that was ever redeemed, and from when on it can be withdrawn, for
    /// WITHDRAWAL_DELAY blocks more (0: never).
    function deposits(
        address payer,
        uint64 payee
    ) external view returns (uint128 balance, uint128 redeemed, uint64 unlockBlock);

    /// @notice Fees redeemed in an epoch.
    function feesRedeemed(uint64 epoch) external view returns (uint128);
}
