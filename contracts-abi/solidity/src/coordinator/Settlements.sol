// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IDatanetRegistry} from "../interfaces/IDatanetRegistry.sol";
import {IRewardVault} from "../interfaces/IRewardVault.sol";
import {ISettlements} from "../interfaces/ISettlements.sol";
import {Merkle} from "../libraries/Merkle.sol";
import {Bonds, DatanetUse, Settlement, SumNode} from "../Types.sol";
import {Inclusion} from "./Inclusion.sol";

/// @title Bonded settlements and the claims against them
abstract contract Settlements is ISettlements, Inclusion, AccessControl {
    using SafeERC20 for IERC20;

    struct Proposal {
        bytes32 id;
        uint64 proposer;
        uint64 proposedAt;
        uint64 objector;
        /// When the objection was made.
        uint64 objectedAt;
        Status status;
    }

    /// A proposal and the objection to it that the arbiter was too late for. Both bonds wait for it.
    struct Contested {
        uint64 proposer;
        uint64 objector;
    }

    struct Last {
        bytes32 id;
        bytes32 payoutRoot;
        uint128 total;
        uint64 nextEpoch;
        /// Fees that were redeemed up to its epoch and not yet spent.
        uint128 carriedFees;
        /// All fees up to its epoch.
        uint128 fees;
    }

    /// @notice Rules on objections: the Timelock, later a jury.
    bytes32 public constant ARBITER_ROLE = keccak256("ARBITER_ROLE");
    /// @notice Where use counters live.
    IDatanetRegistry public immutable DATANETS;
    /// @notice Where claims are paid from.
    IRewardVault public immutable VAULT;

    Bonds internal _bonds;
    Last internal _last;
    mapping(uint64 epoch => Proposal) private _proposals;
    /// @notice How many objections were not ruled on in time; they are numbered from 1.
    uint256 public contested;
    mapping(uint256 number => Contested) private _contested;
    /// Until which block an account may not propose for an epoch again.
    mapping(uint64 epoch => mapping(uint64 proposer => uint64)) private _barredUntil;
    /// @inheritdoc ISettlements
    mapping(bytes32 payoutRoot => bool) public isFinal;
    /// @inheritdoc ISettlements
    mapping(uint64 account => uint256) public claimed;

    constructor(
        IDatanetRegistry datanets,
        IRewardVault vault,
        Bonds memory bondAmounts,
        address admin
    ) {
        DATANETS = datanets;
        VAULT = vault;
        _bonds = bondAmounts;
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(ARBITER_ROLE, admin);
    }

    /// @notice What is locked, and lost by the loser.
    function bonds() external view returns (Bonds memory) {
        return _bonds;
    }

    /// @inheritdoc ISettlements
    function propose(uint64 proposer, Settlement calldata settlement) external {
        _requireController(proposer);
        Last storage base = _last;
        if (settlement.epoch != base.nextEpoch) {
            revert NotNext(settlement.epoch, base.nextEpoch);
        }
        if (block.number < cutoff(settlement.epoch)) revert EpochNotOver(settlement.epoch);
        bytes32 records = recordsOf[settlement.epoch];
        if (settlement.records != records) revert WrongRecords(records, settlement.records);
        if (settlement.parent != base.id) revert WrongParent(base.id, settlement.parent);
        if (settlement.total < base.total) revert TotalShrinks(base.total, settlement.total);
        (uint256 emission, uint256 fees,) = _allowance(settlement.epoch);
        uint256 allowed = Math.min(base.total + emission + fees, VAULT.received());
        if (settlement.total > allowed) revert TotalTooLarge(allowed, settlement.total);

        uint64 until = _barredUntil[settlement.epoch][proposer];
        if (block.number <= until) revert DefeatedBefore(settlement.epoch, proposer, until);
        Proposal storage p = _proposals[settlement.epoch];
        if (p.status == Status.Live) _lapse(settlement.epoch, p);
        bytes32 id = keccak256(abi.encode(settlement));
        p.id = id;
        (p.proposer, p.proposedAt, p.objector) = (proposer, uint64(block.number), 0);
        p.status = Status.Live;
        emit Proposed(settlement.epoch, proposer, id, settlement);
        REGISTRY.lock(proposer, _bonds.proposal, msg.sender);
    }

    /// @inheritdoc ISettlements
    function finalise(Settlement calldata settlement, DatanetUse[] calldata uses) external {
        Proposal storage p = _requireLive(settlement);
        if (p.objector != 0) revert ObjectionPending(settlement.epoch);
        if (block.number <= p.proposedAt + CHALLENGE_BLOCKS) {
            revert WindowOpen(p.proposedAt + CHALLENGE_BLOCKS);
        }
        bytes32 found = _hashUses(uses);
        if (found != settlement.uses) revert WrongUses(settlement.uses, found);

        Last storage base = _last;
        (uint256 emission, uint256 fees, uint128 allFees) = _allowance(settlement.epoch);
        uint256 growth = settlement.total - base.total;
        // Emission is spent first; what it does not cover comes out of the fees.
        uint256 fromFees = growth > emission ? growth - emission : 0;
        base.carriedFees = uint128(fees > fromFees ? fees - fromFees : 0);
        base.fees = allFees;
        (base.id, base.payoutRoot) = (p.id, settlement.payoutRoot);
        (base.total, base.nextEpoch) = (settlement.total, settlement.epoch + 1);
        p.status = Status.Final;
        isFinal[settlement.payoutRoot] = true;
        emit Finalised(settlement.epoch, p.id, settlement);
        REGISTRY.unlock(p.proposer, _bonds.proposal);
        VAULT.release(settlement.total);
        DATANETS.addUses(uses);
    }

    /// @inheritdoc ISettlements
    function claim(
        uint64 account,
        uint128 cumulative,
        uint64 index,
        uint64 count,
        SumNode[] calldata siblings
    ) external {
        bytes32 leaf = keccak256(abi.encodePacked(uint8(0), account, cumulative));
        (bytes32 root, ) = Merkle.sumRoot(leaf, cumulative, 0, index, count, siblings);
        if (!isFinal[root]) revert UnknownRoot(root);
        uint256 before = claimed[account];
        if (cumulative <= before) revert NothingOwed(account, before);
        uint128 amount = uint128(cumulative - before);
        claimed[account] = cumulative;
        address payout = REGISTRY.payoutOf(account);
        if (payout == address(0)) revert UnknownAccount(account);
        emit Claimed(account, payout, amount, cumulative);
        VAULT.pay(payout, amount);
    }

    /// @inheritdoc ISettlements
    function object(Settlement calldata settlement, uint64 account, bytes32 reason) external {
        _requireController(account);
        Proposal storage p = _requireChallengeable(settlement);
        if (p.objector != 0) revert ObjectionPending(settlement.epoch);
        (p.objector, p.objectedAt) = (account, uint64(block.number));
        emit Objected(settlement.epoch, p.id, account, reason);
        REGISTRY.lock(account, _bonds.objection, msg.sender);
    }

    /// @inheritdoc ISettlements
    function rule(Settlement calldata settlement, bool uphold) external onlyRole(ARBITER_ROLE) {
        Proposal storage p = _requireLive(settlement);
        uint64 objector = p.objector;
        if (objector == 0) revert NoObjection(settlement.epoch);
        emit Ruled(settlement.epoch, p.id, uphold);
        if (uphold) {
            _defeat(settlement.epoch, REGISTRY.ownerOf(objector), Fault.Objection);
        } else {
            p.objector = 0;
            // Whoever else doubts it has the whole window again.
            p.proposedAt = uint64(block.number);
            _takeBond(objector, _bonds.objection, REGISTRY.ownerOf(p.proposer));
        }
    }

    /// @inheritdoc ISettlements
    function ruleLate(uint256 number, bool uphold) external onlyRole(ARBITER_ROLE) {
        Contested memory c = _contested[number];
        if (c.objector == 0) revert NotContested(number);
        delete _contested[number];
        emit RuledLate(number, uphold);
        if (uphold) {
            REGISTRY.unlock(c.objector, _bonds.objection);
            _takeBond(c.proposer, _bonds.proposal, REGISTRY.ownerOf(c.objector));
        } else {
            REGISTRY.unlock(c.proposer, _bonds.proposal);
            _takeBond(c.objector, _bonds.objection, REGISTRY.ownerOf(c.proposer));
        }
    }

    /// @inheritdoc ISettlements
    function proposal(
        uint64 epoch
    )
        external
        view
        returns (bytes32 id, Status status, uint64 proposer, uint64 proposedAt, uint64 objector)
    {
        Proposal storage p = _proposals[epoch];
        return (p.id, p.status, p.proposer, p.proposedAt, p.objector);
    }

    /// @inheritdoc ISettlements
    function last()
        external
        view
        returns (bytes32 id, uint128 total, uint64 nextEpoch, uint128 carriedFees)
    {
        return (_last.id, _last.total, _last.nextEpoch, _last.carriedFees);
    }

    /// Ends a live proposal; half of the proposer's bond goes to the challenger.
    function _defeat(uint64 epoch, address challenger, Fault fault) internal {
        Proposal storage p = _proposals[epoch];
        p.status = Status.Defeated;
        _barredUntil[epoch][p.proposer] = uint64(block.number) + CHALLENGE_BLOCKS;
        emit Defeated(epoch, p.id, challenger, fault);
        _freeObjector(p);
        _takeBond(p.proposer, _bonds.proposal, challenger);
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
        IERC20 open = VAULT.OPEN();
        if (reward > 0) open.safeTransfer(winner, reward);
        if (taken == reward) return;
        open.forceApprove(address(VAULT), taken - reward);
        VAULT.fund(taken - reward);
    }

    function _requireController(uint64 account) internal view {
        if (!REGISTRY.controls(account, msg.sender)) revert NotController(account, msg.sender);
    }

    /// The live proposal of this settlement, inside its window or under an objection.
    function _requireChallengeable(
        Settlement calldata settlement
    ) internal view returns (Proposal storage p) {
        p = _requireLive(settlement);
        uint64 until = p.proposedAt + CHALLENGE_BLOCKS;
        if (block.number > until && p.objector == 0) revert WindowClosed(until);
    }

    function _requireLive(
        Settlement calldata settlement
    ) private view returns (Proposal storage p) {
        p = _proposals[settlement.epoch];
        bytes32 id = keccak256(abi.encode(settlement));
        if (p.status != Status.Live || p.id != id) {
            revert NotProposed(settlement.epoch, id);
        }
    }

    /// Ends a proposal that nobody made final in a second window, or on whose objection the arbiter did not
    /// rule in four, so that nobody's absence stops an epoch. The bond of the first goes to all: to whoever
    /// proposes next it would come back, if that is the same owner with another account. In the second case
    /// nobody knows yet who is right, so both bonds wait.
    function _lapse(uint64 epoch, Proposal storage p) private {
        if (p.objector == 0) {
            if (block.number <= p.proposedAt + 2 * CHALLENGE_BLOCKS) revert AlreadyProposed(epoch, p.id);
            _defeat(epoch, address(this), Fault.Lapse);
        } else {
            if (block.number <= p.objectedAt + 4 * CHALLENGE_BLOCKS) revert ObjectionPending(epoch);
            _contested[++contested] = Contested(p.proposer, p.objector);
            p.status = Status.Defeated;
            _barredUntil[epoch][p.proposer] = uint64(block.number) + CHALLENGE_BLOCKS;
            emit SetAside(epoch, p.id, contested);
        }
    }

    function _freeObjector(Proposal storage p) private {
        uint64 objector = p.objector;
        if (objector == 0) return;
        p.objector = 0;
        REGISTRY.unlock(objector, _bonds.objection);
    }

    /// Emission since the last final settlement, fees that may be spent, and all fees so far.
    function _allowance(
        uint64 epoch
    ) private view returns (uint256 emission, uint256 fees, uint128 allFees) {
        Last storage base = _last;
        emission = uint256(VAULT.budget()) * (epoch + 1 - base.nextEpoch);
        allFees = VAULT.feesUpTo(epoch);
        fees = uint256(base.carriedFees) + allFees - base.fees;
    }

    function _hashUses(DatanetUse[] calldata uses) private pure returns (bytes32) {
        bytes memory packed = new bytes(uses.length * 16);
        for (uint256 i = 0; i < uses.length; ++i) {
            DatanetUse calldata u = uses[i];
            uint256 word = uint256(u.datanet) << 192;
            word |= (uint256(u.shards) << 160) | (uint256(u.outputs) << 128);
            assembly ("memory-safe") {
                // 16 bytes each; the upper half of the last store falls into the padding below.
                let at := add(add(packed, 0x20), mul(i, 0x10))
                let kept := and(mload(at), sub(shl(128, 1), 1))
                mstore(at, or(word, kept))
            }
        }
        return keccak256(packed);
    }
}
