// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {ICoordinator} from "./interfaces/ICoordinator.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRewardVault} from "./interfaces/IRewardVault.sol";
import {Merkle} from "./libraries/Merkle.sol";
import {Leaf, Settlement} from "./Types.sol";

/// @title The purse from which every reward is paid, and what is final
/// @dev OPEN sent here by a plain transfer is not booked and can't be paid out.
contract RewardVault is IRewardVault, AccessControl {
    using SafeERC20 for IERC20;
    using Checkpoints for Checkpoints.Trace208;

    struct Paid {
        uint128 free;
        uint128 lane;
    }

    /// @notice May book fees: the UsageEscrow, and the ModelRegistry for what is paid for runs.
    bytes32 public constant FEES_ROLE = keccak256("FEES_ROLE");
    /// @notice Who knows the epoch.
    ICoordinator public immutable COORDINATOR;
    /// @inheritdoc IRewardVault
    IERC20 public immutable OPEN;
    IRegistry private immutable REGISTRY;
    /// @inheritdoc IRewardVault
    uint128 public immutable LEAST_STAKE;

    /// @inheritdoc IRewardVault
    address public settlements;
    /// Of the last final settlement: the epoch after it.
    uint64 private _nextEpoch;
    bytes32 private _id;
    bytes32 private _payoutRoot;
    /// Fees that were redeemed up to its epoch and not yet spent.
    uint128 private _carriedFees;
    /// All fees up to its epoch.
    uint128 private _fees;
    /// @inheritdoc IRewardVault
    uint128 public released;
    /// @inheritdoc IRewardVault
    uint128 public paid;
    /// @inheritdoc IRewardVault
    uint128 public funded;
    /// @inheritdoc IRewardVault
    mapping(uint64 epoch => bytes32) public finalOf;
    /// @inheritdoc IRewardVault
    mapping(bytes32 payoutRoot => bool) public isFinal;
    /// @inheritdoc IRewardVault
    mapping(uint64 account => Paid) public claimed;
    /// Cumulative fees by epoch.
    Checkpoints.Trace208 private _feesUpTo;
    /// Budgets by the first epoch that each is for.
    Checkpoints.Trace208 private _budgets;
    /// Contracts that judge disputes, by the first epoch that each is for.
    Checkpoints.Trace208 private _disputes;

    constructor(
        IERC20 open,
        ICoordinator coordinator,
        uint128 budgetPerEpoch,
        uint128 leastStake,
        address admin,
        address firstSettlements,
        address firstDisputes,
        address[] memory sources
    ) {
        (OPEN, LEAST_STAKE) = (open, leastStake);
        (COORDINATOR, REGISTRY) = (coordinator, coordinator.REGISTRY());
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        for (uint256 i = 0; i < sources.length; ++i) _grantRole(FEES_ROLE, sources[i]);
        _setSettlements(firstSettlements);
        _setDisputes(0, firstDisputes);
        _setBudget(0, budgetPerEpoch);
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
        _feesUpTo.push(uint48(epoch), _feesUpTo.latest() + amount);
        emit FeesAdded(epoch, amount);
        OPEN.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IRewardVault
    function setSettlements(address newSettlements) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _setSettlements(newSettlements);
    }

    /// @inheritdoc IRewardVault
    function setDisputes(address newDisputes) external onlyRole(DEFAULT_ADMIN_ROLE) {
        // Of this epoch some may be open.
        _setDisputes(COORDINATOR.currentEpoch() + 1, newDisputes);
    }

    /// @inheritdoc IRewardVault
    function setBudget(uint128 budgetPerEpoch) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _setBudget(COORDINATOR.currentEpoch() + 2, budgetPerEpoch);
    }

    /// @inheritdoc IRewardVault
    function makeFinal(Settlement calldata settlement) external {
        requireNext(settlement);
        uint64 epoch = settlement.epoch;
        (uint256 emission, uint256 fees, uint128 allFees) = _allowance(epoch);
        uint256 growth = settlement.total - released;
        // Emission is spent first; what it does not cover comes out of the fees.
        uint256 fromFees = growth > emission ? growth - emission : 0;
        (_carriedFees, _fees) = (uint128(fees - fromFees), allFees);
        bytes32 id = keccak256(abi.encode(settlement));
        (_id, _payoutRoot) = (id, settlement.payoutRoot);
        (released, _nextEpoch) = (settlement.total, epoch + 1);
        finalOf[epoch] = id;
        isFinal[settlement.payoutRoot] = true;
        emit Finalised(epoch, id, settlement);
    }

    /// @inheritdoc IRewardVault
    function claim(Leaf calldata leaf, uint64 count) external {
        _requireFinal(leaf, count);
        uint64 account = leaf.account;
        (uint128 amount, uint128 staked) = _due(leaf);
        (uint128 total, uint128 spent) = (released, paid);
        uint128 sum = amount + staked;
        if (sum > total - spent) revert BeyondReleased(total - spent, sum);
        paid = spent + sum;
        address payout = REGISTRY.payoutOf(account);
        if (payout == address(0)) revert UnknownAccount(account);
        emit Claimed(account, payout, amount, staked);
        if (amount > 0) OPEN.safeTransfer(payout, amount);
        if (staked > 0) {
            OPEN.forceApprove(address(REGISTRY), staked);
            REGISTRY.stakeFor(account, staked);
        }
    }

    /// @inheritdoc IRewardVault
    function last()
        external
        view
        returns (
            bytes32 id,
            bytes32 payoutRoot,
            uint128 total,
            uint64 nextEpoch,
            uint128 carriedFees
        )
    {
        return (_id, _payoutRoot, released, _nextEpoch, _carriedFees);
    }

    /// @inheritdoc IRewardVault
    function requireNext(Settlement calldata settlement) public view {
        if (msg.sender != settlements) revert NotSettlements(msg.sender);
        if (settlement.epoch != _nextEpoch) revert NotNext(settlement.epoch, _nextEpoch);
        if (settlement.parent != _id) revert WrongParent(_id, settlement.parent);
        uint128 before = released;
        if (settlement.total < before) revert TotalShrinks(before, settlement.total);
        (uint256 emission, uint256 fees,) = _allowance(settlement.epoch);
        uint256 allowed = before + emission + fees;
        uint256 all = received();
        if (allowed > all) allowed = all;
        if (settlement.total > allowed) revert TotalTooLarge(allowed, settlement.total);
    }

    /// @inheritdoc IRewardVault
    function disputesOf(uint64 epoch) external view returns (address) {
        return address(uint160(_at(_disputes, epoch)));
    }

    /// @inheritdoc IRewardVault
    function budgetOf(uint64 epoch) public view returns (uint128) {
        return uint128(_at(_budgets, epoch));
    }

    /// @inheritdoc IRewardVault
    function redeemed() public view returns (uint128) {
        return uint128(_feesUpTo.latest());
    }

    /// @inheritdoc IRewardVault
    function received() public view returns (uint256) {
        return uint256(funded) + redeemed();
    }

    /// @inheritdoc IRewardVault
    function held() external view returns (uint256) {
        return received() - paid;
    }

    /// @inheritdoc IRewardVault
    function feesUpTo(uint64 epoch) public view returns (uint128) {
        return uint128(_at(_feesUpTo, epoch));
    }

    function _requireFinal(Leaf calldata leaf, uint64 count) private view {
        uint128 sum = leaf.free + leaf.lane;
        bytes32 hash = Merkle.payoutLeaf(leaf.account, leaf.free, leaf.lane);
        (bytes32 root, ) = Merkle.sumRoot(hash, sum, 0, leaf.index, count, leaf.siblings);
        if (!isFinal[root]) revert UnknownRoot(root);
    }

    /// What a leaf adds to what was paid, which is noted; what is still held is not among it.
    function _due(Leaf calldata leaf) private returns (uint128 amount, uint128 staked) {
        Paid storage before = claimed[leaf.account];
        (uint128 free, uint128 lane) = (before.free, before.lane);
        if (leaf.free > free) amount = leaf.free - free;
        if (leaf.lane > lane) {
            staked = leaf.lane - lane;
            uint256 missing = _missing(leaf.account, staked);
            if (missing > 0) {
                if (amount == 0) revert Held(leaf.account, staked, missing);
                staked = 0;
            }
        }
        if (amount + staked == 0) revert NothingOwed(leaf.account);
        (before.free, before.lane) = (free + amount, lane + staked);
    }

    /// The stake that an account lacks, with so much more, until it counts.
    function _missing(uint64 account, uint128 more) private view returns (uint256) {
        (uint128 stake,, uint128 leaving,) = REGISTRY.stakeOf(account);
        uint256 has = uint256(stake) - leaving + more;
        return has < LEAST_STAKE ? LEAST_STAKE - has : 0;
    }

    function _setSettlements(address newSettlements) private {
        settlements = newSettlements;
        emit SettlementsChanged(newSettlements);
    }

    function _setDisputes(uint64 fromEpoch, address newDisputes) private {
        if (fromEpoch > type(uint48).max) revert EpochOrder(fromEpoch);
        _disputes.push(uint48(fromEpoch), uint160(newDisputes));
        emit DisputesChanged(fromEpoch, newDisputes);
    }

    function _setBudget(uint64 fromEpoch, uint128 budgetPerEpoch) private {
        if (fromEpoch > type(uint48).max) revert EpochOrder(fromEpoch);
        _budgets.push(uint48(fromEpoch), budgetPerEpoch);
        emit BudgetChanged(fromEpoch, budgetPerEpoch);
    }

    /// What an epoch emits, fees that its settlement may spend, and all fees so far.
    function _allowance(
        uint64 epoch
    ) private view returns (uint256 emission, uint256 fees, uint128 allFees) {
        emission = budgetOf(epoch);
        allFees = feesUpTo(epoch);
        fees = uint256(_carriedFees) + allFees - _fees;
    }

    /// The last value at or before an epoch.
    function _at(
        Checkpoints.Trace208 storage values,
        uint64 epoch
    ) private view returns (uint208) {
        uint48 key = epoch > type(uint48).max ? type(uint48).max : uint48(epoch);
        return values.upperLookupRecent(key);
    }
}
