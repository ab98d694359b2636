// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Leaf, Settlement} from "../Types.sol";

/// @title The purse from which every reward is paid, and what is final
/// @notice It keeps what must outlive the contract that decides over proposals: the last final settlement,
/// all final roots, and what was paid for them. Invariants: funded + redeemed = held + paid; paid <=
/// released <= funded + redeemed; held is never more than the balance.
interface IRewardVault {
    /// @notice Emission was put in.
    event Funded(address indexed from, uint128 amount);
    /// @notice Fees were put in.
    event FeesAdded(uint64 indexed epoch, uint128 amount);
    /// @notice Each epoch from this one on may emit this much.
    event BudgetChanged(uint64 indexed fromEpoch, uint128 budget);
    /// @notice Another contract may make settlements final from now on.
    event SettlementsChanged(address settlements);
    /// @notice Another contract judges disputes about each epoch from this one on.
    event DisputesChanged(uint64 indexed fromEpoch, address indexed disputes);
    /// @notice A settlement is final: claims may cost its total in all.
    event Finalised(uint64 indexed epoch, bytes32 indexed id, Settlement settlement);
    /// @notice A claim paid so much to the payout address, and made so much the account's stake.
    event Claimed(
        uint64 indexed account,
        address indexed payout,
        uint128 amount,
        uint128 staked
    );

    /// @notice Only the contract that decides over proposals may do this.
    error NotSettlements(address caller);
    /// @notice Fees are booked in the order of epochs.
    error EpochOrder(uint64 epoch);
    /// @notice Epochs are settled one after the other.
    error NotNext(uint64 epoch, uint64 next);
    /// @notice A settlement must build on the last final one.
    error WrongParent(bytes32 expected, bytes32 found);
    /// @notice Cumulative amounts never shrink.
    error TotalShrinks(uint128 before, uint128 now_);
    /// @notice The total grows by more than budget and fees allow, or than the vault ever received.
    error TotalTooLarge(uint256 allowed, uint256 found);
    /// @notice No final settlement has this root.
    error UnknownRoot(bytes32 root);
    /// @notice Nothing is owed beyond what was paid.
    error NothingOwed(uint64 account);
    /// @notice What was earned in the newcomers' lane is held until it and the account's stake together are
    /// the least stake that counts.
    error Held(uint64 account, uint128 held, uint256 missing);
    /// @notice The account does not exist.
    error UnknownAccount(uint64 account);
    /// @notice Claims may not exceed the total of the last final settlement.
    error BeyondReleased(uint256 claimable, uint256 wanted);

    /// @notice Puts emission in.
    function fund(uint128 amount) external;

    /// @notice Takes fees from the caller and books them to an epoch; only the UsageEscrow and the
    /// ModelRegistry.
    function addFees(uint64 epoch, uint128 amount) external;

    /// @notice Makes a settlement final; only the contract that decides over proposals, and only one that
    /// may be next.
    function makeFinal(Settlement calldata settlement) external;

    /// @notice Pays an account what a final root owes it; anyone may. What is free goes to its current payout
    /// address. What it earned in the newcomers' lane becomes its stake, once that and the stake that it has,
    /// without what is leaving, are LEAST_STAKE.
    /// @param leaf What the root gives the account.
    /// @param count The number of leaves.
    function claim(Leaf calldata leaf, uint64 count) external;

    /// @notice Changes the budget from the epoch after the next one on, so that no proposal becomes too
    /// large after it was made; only the admin (the Timelock).
    function setBudget(uint128 budget) external;

    /// @notice Names the contract that decides over proposals; only the admin (the Timelock).
    function setSettlements(address settlements) external;

    /// @notice Names the contract that judges disputes about the next epoch and all after it; only the admin
    /// (the Timelock). What is open is ended where it was opened.
    function setDisputes(address disputes) external;

    /// @notice Requires that the caller decides over proposals, so that one that was replaced takes none,
    /// and that a settlement may become final next: of the next epoch, on the last final one, and within
    /// what the epoch may emit.
    function requireNext(Settlement calldata settlement) external view;

    /// @notice The token that is kept and paid: OPEN.
    function OPEN() external view returns (IERC20);

    /// @notice The contract that decides over proposals.
    function settlements() external view returns (address);

    /// @notice The contract that judges disputes about an epoch: one, so that a fault counts once.
    function disputesOf(uint64 epoch) external view returns (address);

    /// @notice The last final settlement: id, root and total; the next epoch to settle; fees not yet spent.
    function last()
        external
        view
        returns (
            bytes32 id,
            bytes32 payoutRoot,
            uint128 total,
            uint64 nextEpoch,
            uint128 carriedFees
        );

    /// @notice The id of an epoch's final settlement; zero where there is none.
    function finalOf(uint64 epoch) external view returns (bytes32);

    /// @notice Whether a payout root is final.
    function isFinal(bytes32 payoutRoot) external view returns (bool);

    /// @notice What an account was paid so far, at its payout address and as stake.
    function claimed(uint64 account) external view returns (uint128 free, uint128 lane);

    /// @notice The least stake that counts, as the parameters of the network have it.
    function LEAST_STAKE() external view returns (uint128);

    /// @notice What an epoch may emit.
    function budgetOf(uint64 epoch) external view returns (uint128);

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
