// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {ICoordinator} from "./interfaces/ICoordinator.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRewardVault} from "./interfaces/IRewardVault.sol";
import {IUsageEscrow} from "./interfaces/IUsageEscrow.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Receipt} from "./Types.sol";

/// @title Deposits of consumers, and the receipts that spend them
contract UsageEscrow is IUsageEscrow {
    using SafeERC20 for IERC20;
    using TypedData for Receipt;

    struct Deposit {
        uint128 balance;
        uint128 redeemed;
        uint64 unlockBlock;
    }

    /// @notice The token of deposits and fees: OPEN.
    IERC20 public immutable OPEN;
    /// @notice Who knows the epoch.
    ICoordinator public immutable COORDINATOR;
    /// @notice Where redeemed fees go.
    IRewardVault public immutable VAULT;
    /// @notice Blocks between the request for a deposit and its withdrawal, and in which it may then
    /// be taken: who armed one long ago has nothing in hand when it spends the deposit.
    uint64 public immutable WITHDRAWAL_DELAY;
    /// @notice Blocks in which a server sees a request and redeems, sent again if it gets lost.
    uint64 public constant REDEEM_BLOCKS = 16;
    IRegistry private immutable REGISTRY;

    /// @inheritdoc IUsageEscrow
    mapping(address payer => mapping(uint64 payee => Deposit)) public deposits;

    constructor(ICoordinator coordinator, IRewardVault vault, uint64 withdrawalDelay) {
        uint64 minimum = coordinator.epochParams().challengeBlocks;
        if (minimum < REDEEM_BLOCKS) minimum = REDEEM_BLOCKS;
        if (withdrawalDelay < minimum) revert DelayTooShort(withdrawalDelay, minimum);
        OPEN = vault.OPEN();
        COORDINATOR = coordinator;
        VAULT = vault;
        REGISTRY = coordinator.REGISTRY();
        WITHDRAWAL_DELAY = withdrawalDelay;
        vault.OPEN().forceApprove(address(vault), type(uint256).max);
    }

    /// @inheritdoc IUsageEscrow
    function deposit(uint64 payee, uint128 amount) public {
        if (amount == 0) revert ZeroAmount();
        if (REGISTRY.ownerOf(payee) == address(0)) revert UnknownAccount(payee);
        Deposit storage d = deposits[msg.sender][payee];
        d.balance += amount;
        d.unlockBlock = 0;
        emit Deposited(msg.sender, payee, amount, d.balance, d.redeemed);
        OPEN.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IUsageEscrow
    function depositWithPermit(
        uint64 payee,
        uint128 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        // A permit that somebody else sent first has done its work; the transfer will tell.
        try IERC20Permit(address(OPEN)).permit(
            msg.sender, address(this), amount, deadline, v, r, s
        ) {} catch {}
        deposit(payee, amount);
    }

    /// @inheritdoc IUsageEscrow
    function redeem(
        Receipt calldata receipt,
        bytes calldata signature
    ) external returns (uint128 amount) {
        // Its own domain, so that what another escrow has paid or owes is nothing to this one.
        bytes32 digest = receipt.digest(TypedData.separator(address(this)));
        (address signer, ECDSA.RecoverError fault, ) =
            ECDSA.tryRecoverCalldata(digest, signature);
        if (fault != ECDSA.RecoverError.NoError || signer != receipt.payer) {
            revert BadSignature();
        }
        Deposit storage d = deposits[receipt.payer][receipt.payee];
        uint128 before = d.redeemed;
        if (receipt.cumulative <= before) revert NothingToRedeem(receipt.cumulative, before);
        if (d.balance == 0) revert EmptyDeposit();
        uint256 owed = receipt.cumulative - before;
        amount = owed < d.balance ? uint128(owed) : d.balance;
        d.balance -= amount;
        d.redeemed = before + amount;
        uint64 epoch = COORDINATOR.currentEpoch();
        emit Redeemed(
            receipt.payer, receipt.payee, receipt.model, before + amount, amount, epoch
        );
        VAULT.addFees(epoch, amount);
    }

    /// @inheritdoc IUsageEscrow
    function requestWithdrawal(uint64 payee) external {
        Deposit storage d = deposits[msg.sender][payee];
        if (d.balance == 0) revert EmptyDeposit();
        uint64 unlockBlock = uint64(block.number) + WITHDRAWAL_DELAY;
        d.unlockBlock = unlockBlock;
        emit WithdrawalRequested(msg.sender, payee, unlockBlock, unlockBlock + WITHDRAWAL_DELAY);
    }

    /// @inheritdoc IUsageEscrow
    function withdraw(uint64 payee) external {
        Deposit storage d = deposits[msg.sender][payee];
        uint64 unlockBlock = d.unlockBlock;
        uint64 expiryBlock = unlockBlock == 0 ? 0 : unlockBlock + WITHDRAWAL_DELAY;
        if (unlockBlock == 0 || block.number < unlockBlock || block.number > expiryBlock) {
            revert NotWithdrawable(unlockBlock, expiryBlock);
        }
        uint128 amount = d.balance;
        d.balance = 0;
        d.unlockBlock = 0;
        emit Withdrawn(msg.sender, payee, amount);
        if (amount > 0) OPEN.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IUsageEscrow
    function feesRedeemed(uint64 epoch) external view returns (uint128) {
        uint128 upTo = VAULT.feesUpTo(epoch);
        return epoch == 0 ? upTo : upTo - VAULT.feesUpTo(epoch - 1);
    }
}
