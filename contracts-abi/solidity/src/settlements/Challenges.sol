// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IChallenges} from "../interfaces/IChallenges.sol";
import {Merkle} from "../libraries/Merkle.sol";
import {Leaf, Settlement, SumNode} from "../Types.sol";
import {Proposals} from "./Proposals.sol";

/// @title Proofs that a proposal is wrong
abstract contract Challenges is IChallenges, Proposals {
    /// @inheritdoc IChallenges
    function challengeSum(
        Settlement calldata settlement,
        uint256 level,
        uint64 index,
        uint64 count,
        uint128 sum,
        SumNode calldata left,
        SumNode calldata right,
        SumNode[] calldata siblings
    ) external {
        _live(settlement);
        if (level == 0 || uint256(left.sum) + right.sum == sum) revert Unfounded();
        bytes32 node = Merkle.sumHash(left, right);
        (bytes32 root, ) = Merkle.sumRoot(node, sum, level, index, count, siblings);
        _requireSame(settlement.payoutRoot, root);
        _defeat(settlement, msg.sender, Fault.Sum);
    }

    /// @inheritdoc IChallenges
    function challengeTotal(
        Settlement calldata settlement,
        uint64 count,
        SumNode calldata top
    ) external {
        _live(settlement);
        if (settlement.payoutRoot == 0) {
            if (settlement.total == 0) revert Unfounded();
        } else {
            if (top.sum == settlement.total) revert Unfounded();
            _requireSame(
                settlement.payoutRoot,
                Merkle.sumRootOf(top.hash, top.sum, count)
            );
        }
        _defeat(settlement, msg.sender, Fault.Total);
    }

    /// @inheritdoc IChallenges
    function challengeLeaf(
        Settlement calldata settlement,
        uint64 count,
        Leaf calldata leaf,
        uint128 sum
    ) external {
        _live(settlement);
        if (uint256(leaf.free) + leaf.lane == sum) revert Unfounded();
        _requireSum(settlement.payoutRoot, leaf, sum, count);
        _defeat(settlement, msg.sender, Fault.Leaf);
    }

    /// @inheritdoc IChallenges
    function challengeOrder(
        Settlement calldata settlement,
        uint64 count,
        Leaf calldata left,
        Leaf calldata right
    ) external {
        _live(settlement);
        _requireIn(settlement.payoutRoot, left, count);
        _requireIn(settlement.payoutRoot, right, count);
        bool adjacent = uint256(left.index) + 1 == right.index;
        if (!adjacent || left.account < right.account) revert Unfounded();
        _defeat(settlement, msg.sender, Fault.Order);
    }

    /// @inheritdoc IChallenges
    function challengeLoss(
        Settlement calldata settlement,
        uint64 countBefore,
        Leaf calldata before,
        uint64 count,
        Leaf[] calldata found
    ) external {
        _live(settlement);
        (bytes32 last, bytes32 lastRoot, , , ) = VAULT.last();
        // A rival of what is final by now does not build on that.
        if (settlement.parent != last) revert Unfounded();
        _requireIn(lastRoot, before, countBefore);
        for (uint256 i = 0; i < found.length; ++i) {
            _requireIn(settlement.payoutRoot, found[i], count);
        }
        if (!_isLost(settlement.payoutRoot, before, count, found)) revert Unfounded();
        _defeat(settlement, msg.sender, Fault.Loss);
    }

    /// Whether an account has less than before, or nothing any more: then its neighbours show that
    /// nothing stands where it would.
    function _isLost(
        bytes32 payoutRoot,
        Leaf calldata before,
        uint64 count,
        Leaf[] calldata found
    ) private pure returns (bool) {
        uint64 account = before.account;
        if (found.length == 0) return payoutRoot == 0;
        Leaf calldata first = found[0];
        if (found.length == 1) {
            if (first.account == account) {
                return first.free < before.free || first.lane < before.lane;
            }
            bool isBefore = first.index == 0 && account < first.account;
            bool isAfter = uint256(first.index) + 1 == count && account > first.account;
            return isBefore || isAfter;
        }
        Leaf calldata second = found[1];
        return uint256(first.index) + 1 == second.index && first.account < account
            && account < second.account;
    }

    function _requireIn(bytes32 payoutRoot, Leaf calldata leaf, uint64 count) private pure {
        _requireSum(payoutRoot, leaf, leaf.free + leaf.lane, count);
    }

    function _requireSum(
        bytes32 payoutRoot,
        Leaf calldata leaf,
        uint128 sum,
        uint64 count
    ) private pure {
        (bytes32 root, ) = Merkle.sumRoot(
            Merkle.payoutLeaf(leaf.account, leaf.free, leaf.lane),
            sum,
            0,
            leaf.index,
            count,
            leaf.siblings
        );
        _requireSame(payoutRoot, root);
    }

    function _requireSame(bytes32 expected, bytes32 found) internal pure {
        if (expected != found) revert RootMismatch(expected, found);
    }
}
