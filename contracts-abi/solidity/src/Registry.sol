// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title Accounts, their keys and their stake
/// @dev Locked stake and stake that waits for withdrawal never overlap: locked + leaving <= stake.
contract Registry is IRegistry, AccessControl {
    using SafeERC20 for IERC20;
    using Checkpoints for Checkpoints.Trace160;

    struct Account {
        address owner;
        uint64 unlockBlock;
        /// The hot key now; what it was stands in _operators. Inclusion reads it for every record.
        address operator;
        address payout;
        bytes32 nodeId;
        uint128 stake;
        uint128 locked;
        uint128 leaving;
    }

    /// What the hot key has locked of its owner's stake.
    struct HotKey {
        /// Whether the owner set limits of its own.
        bool isSet;
        uint64 period;
        /// Most that is locked or lost through the hot key in a period, and in all.
        uint128 perPeriod;
        uint128 inAll;
        /// Locked or lost through it, in `period` and since the limits were set.
        uint128 usedInPeriod;
        uint128 used;
        /// Of it, what may still come back.
        uint128 locked;
    }

    /// @notice May lock, seize and slash stake: Settlements and Disputes.
    bytes32 public constant SLASHER_ROLE = keccak256("SLASHER_ROLE");
    /// @notice The token of the stake.
    IERC20 public immutable OPEN;
    /// @notice Blocks between the request for stake and its withdrawal.
    uint64 public immutable UNSTAKE_DELAY;
    /// @notice Blocks of a period of allowances.
    uint64 public immutable PERIOD;
    /// @notice What a hot key may lock or lose in a period, where its owner says nothing.
    uint128 public immutable PER_PERIOD;
    /// @notice … and in all.
    uint128 public immutable IN_ALL;
    /// @notice The least that an owner may allow: one fault, so that no lie of a hot key is free.
    uint128 public immutable LEAST_ALLOWANCE;

    /// @inheritdoc IRegistry
    uint64 public accounts;
    mapping(uint64 account => Account) private _accounts;
    mapping(uint64 account => Checkpoints.Trace160) private _operators;
    mapping(uint64 account => HotKey) private _hotKeys;

    constructor(
        IERC20 open,
        uint64 unstakeDelay,
        uint64 period,
        uint128 perPeriod,
        uint128 inAll,
        uint128 leastAllowance,
        address treasury,
        address admin,
        address[] memory slashers
    ) {
        OPEN = open;
        UNSTAKE_DELAY = unstakeDelay;
        (PERIOD, PER_PERIOD, IN_ALL) = (period, perPeriod, inAll);
        LEAST_ALLOWANCE = leastAllowance;
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        for (uint256 i = 0; i < slashers.length; ++i) _grantRole(SLASHER_ROLE, slashers[i]);
        // Here, so that nobody registers between two transactions and is paid in its place.
        _register(treasury, treasury, treasury, 0, new bytes(64));
    }

    /// @inheritdoc IRegistry
    function register(
        address owner,
        address operator,
        address payout,
        bytes32 nodeId,
        bytes calldata binding
    ) external returns (uint64 account) {
        return _register(owner, operator, payout, nodeId, binding);
    }

    /// @inheritdoc IRegistry
    function rotateOperator(uint64 account, address operator) external {
        _requireOwner(account);
        if (operator == address(0)) revert ZeroAddress();
        // Whoever signs is the operator at the begin or the end of a block, so that it can be named later:
        // a key that comes and goes within one would have signed what nobody can be asked about.
        (, uint96 last, ) = _operators[account].latestCheckpoint();
        if (last >= block.number) revert RotatedInBlock(account);
        // What is allowed is allowed to a key.
        HotKey storage h = _hotKeys[account];
        h.used = h.locked;
        _setOperator(account, operator, block.number);
    }

    /// @inheritdoc IRegistry
    function setPayout(uint64 account, address payout) external {
        Account storage a = _requireOwner(account);
        if (payout == address(0)) revert ZeroAddress();
        a.payout = payout;
        emit PayoutChanged(account, payout);
    }

    /// @inheritdoc IRegistry
    function bindNode(uint64 account, bytes32 nodeId, bytes calldata binding) external {
        Account storage a = _requireOwner(account);
        if (binding.length != 64) revert BindingLength(binding.length);
        a.nodeId = nodeId;
        emit NodeBound(account, nodeId, binding);
    }

    /// @inheritdoc IRegistry
    function setAllowance(uint64 account, uint128 perPeriod, uint128 inAll) external {
        _requireOwner(account);
        if (perPeriod < LEAST_ALLOWANCE || inAll < LEAST_ALLOWANCE) {
            revert AllowanceTooLow(LEAST_ALLOWANCE);
        }
        HotKey storage h = _hotKeys[account];
        (h.isSet, h.perPeriod, h.inAll) = (true, perPeriod, inAll);
        h.used = h.locked;
        emit AllowanceChanged(account, perPeriod, inAll);
    }

    /// @inheritdoc IRegistry
    function stakeFor(uint64 account, uint128 amount) external {
        Account storage a = _existing(account);
        if (amount == 0) revert ZeroAmount();
        a.stake += amount;
        emit StakeChanged(account, a.stake);
        OPEN.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IRegistry
    function requestUnstake(uint64 account, uint128 amount) external {
        Account storage a = _requireOwner(account);
        if (amount == 0) revert ZeroAmount();
        _requireFree(a, account, amount);
        a.leaving += amount;
        a.unlockBlock = uint64(block.number) + UNSTAKE_DELAY;
        emit UnstakeRequested(account, a.leaving, a.unlockBlock);
    }

    /// @inheritdoc IRegistry
    function withdraw(uint64 account) external {
        Account storage a = _requireOwner(account);
        uint128 amount = a.leaving;
        if (amount == 0 || block.number < a.unlockBlock) {
            revert NotWithdrawable(account, a.unlockBlock);
        }
        a.leaving = 0;
        a.stake -= amount;
        emit StakeChanged(account, a.stake);
        OPEN.safeTransfer(a.owner, amount);
    }

    /// @inheritdoc IRegistry
    function lock(
        uint64 account,
        uint128 amount,
        address by
    ) external onlyRole(SLASHER_ROLE) {
        Account storage a = _existing(account);
        _requireFree(a, account, amount);
        if (by != a.owner) {
            HotKey storage h = _hotKeys[account];
            if (amount > _room(h)) revert BeyondAllowance(account, amount);
            _use(h, amount);
            h.locked += amount;
        }
        a.locked += amount;
    }

    /// @inheritdoc IRegistry
    function unlock(uint64 account, uint128 amount) external onlyRole(SLASHER_ROLE) {
        _accounts[account].locked -= amount;
        HotKey storage h = _hotKeys[account];
        uint128 back = _take(h, amount);
        h.used -= back;
        if (h.period == block.number / PERIOD) {
            h.usedInPeriod -= back < h.usedInPeriod ? back : h.usedInPeriod;
        }
    }

    /// @inheritdoc IRegistry
    function seize(
        uint64 account,
        uint128 amount,
        address to
    ) external onlyRole(SLASHER_ROLE) {
        Account storage a = _accounts[account];
        a.locked -= amount;
        _take(_hotKeys[account], amount);
        _take(a, account, amount, to);
    }

    /// @inheritdoc IRegistry
    function slash(
        uint64 account,
        uint128 amount,
        bool byOwner,
        address to
    ) external onlyRole(SLASHER_ROLE) returns (uint128 taken) {
        Account storage a = _existing(account);
        if (!byOwner) amount = _chargeHotKey(a, account, amount);
        uint128 loose = a.stake - a.locked;
        taken = amount < loose ? amount : loose;
        uint128 kept = loose - taken;
        if (a.leaving > kept) a.leaving = kept;
        if (taken > 0) _take(a, account, taken, to);
    }

    /// @inheritdoc IRegistry
    function ownerOf(uint64 account) external view returns (address) {
        return _accounts[account].owner;
    }

    /// @inheritdoc IRegistry
    function operatorOf(uint64 account) external view returns (address) {
        return _accounts[account].operator;
    }

    /// @inheritdoc IRegistry
    function operatorAt(uint64 account, uint64 blockNumber) external view returns (address) {
        return address(_operators[account].upperLookupRecent(blockNumber));
    }

    /// @inheritdoc IRegistry
    function payoutOf(uint64 account) external view returns (address) {
        return _accounts[account].payout;
    }

    /// @inheritdoc IRegistry
    function nodeOf(uint64 account) external view returns (bytes32) {
        return _accounts[account].nodeId;
    }

    /// @inheritdoc IRegistry
    function stakeOf(
        uint64 account
    )
        external
        view
        returns (uint128 stake, uint128 locked, uint128 leaving, uint64 unlockBlock)
    {
        Account storage a = _accounts[account];
        return (a.stake, a.locked, a.leaving, a.unlockBlock);
    }

    /// @inheritdoc IRegistry
    function allowanceOf(
        uint64 account
    ) external view returns (uint128 perPeriod, uint128 inAll, uint128 used) {
        HotKey storage h = _hotKeys[account];
        (perPeriod, inAll) = _limits(h);
        used = h.used;
    }

    /// @inheritdoc IRegistry
    function controls(uint64 account, address who) external view returns (bool) {
        if (who == address(0)) return false;
        return _accounts[account].owner == who || _accounts[account].operator == who;
    }

    function _register(
        address owner,
        address operator,
        address payout,
        bytes32 nodeId,
        bytes memory binding
    ) private returns (uint64 account) {
        if (owner == address(0) || operator == address(0) || payout == address(0)) {
            revert ZeroAddress();
        }
        if (binding.length != 64) revert BindingLength(binding.length);
        account = ++accounts;
        Account storage a = _accounts[account];
        (a.owner, a.payout, a.nodeId) = (owner, payout, nodeId);
        a.operator = operator;
        _operators[account].push(uint96(block.number), uint160(operator));
        emit AccountRegistered(account, owner, operator, payout, nodeId, binding);
    }

    function _setOperator(uint64 account, address operator, uint256 since) private {
        _accounts[account].operator = operator;
        _operators[account].push(uint96(since), uint160(operator));
        emit OperatorRotated(account, operator);
    }

    /// @dev What the hot key loses for a fault: no more than its owner allowed. One that cannot pay for its
    /// faults any more is dismissed, or the next would be free; the owner names another, or it again.
    function _chargeHotKey(
        Account storage a,
        uint64 account,
        uint128 amount
    ) private returns (uint128 charged) {
        HotKey storage h = _hotKeys[account];
        uint128 room = _room(h);
        charged = amount < room ? amount : room;
        _use(h, charged);
        // At the end of this block it is still the operator, so that what it signed in it can be disputed.
        if (charged < amount && a.operator != a.owner && a.operator != address(0)) {
            _setOperator(account, address(0), block.number + 1);
        }
    }

    /// @dev Whoever has the hot key and not the owner's can lock or lose no more than this.
    function _room(HotKey storage h) private view returns (uint128) {
        (uint128 perPeriod, uint128 inAll) = _limits(h);
        uint128 inPeriod = h.period == block.number / PERIOD ? h.usedInPeriod : 0;
        uint128 left = perPeriod > inPeriod ? perPeriod - inPeriod : 0;
        uint128 ever = inAll > h.used ? inAll - h.used : 0;
        return left < ever ? left : ever;
    }

    function _use(HotKey storage h, uint128 amount) private {
        uint64 period = uint64(block.number) / PERIOD;
        if (h.period != period) (h.period, h.usedInPeriod) = (period, 0);
        h.usedInPeriod += amount;
        h.used += amount;
    }

    function _limits(HotKey storage h) private view returns (uint128 perPeriod, uint128 inAll) {
        return h.isSet ? (h.perPeriod, h.inAll) : (PER_PERIOD, IN_ALL);
    }

    /// @dev A bond comes back or is lost: first one that the hot key locked, so that nothing comes back
    /// to its allowance twice.
    function _take(HotKey storage h, uint128 amount) private returns (uint128 taken) {
        taken = amount < h.locked ? amount : h.locked;
        h.locked -= taken;
    }

    function _take(Account storage a, uint64 account, uint128 amount, address to) private {
        a.stake -= amount;
        emit Slashed(account, amount, to);
        emit StakeChanged(account, a.stake);
        OPEN.safeTransfer(to, amount);
    }

    function _existing(uint64 account) private view returns (Account storage a) {
        a = _accounts[account];
        if (a.owner == address(0)) revert UnknownAccount(account);
    }

    function _requireOwner(uint64 account) private view returns (Account storage a) {
        a = _existing(account);
        if (a.owner != msg.sender) revert NotOwner(account, msg.sender);
    }

    function _requireFree(Account storage a, uint64 account, uint128 amount) private view {
        uint256 free = uint256(a.stake) - a.locked - a.leaving;
        if (free < amount) revert InsufficientStake(account, free, amount);
    }
}
