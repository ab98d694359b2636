// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Leaf, Settlement, SumNode} from "../Types.sol";

/// @title Proofs that a proposal is wrong
/// @notice Each succeeds only against a wrong proposal, defeats it, and pays the caller half of its bond.
interface IChallenges {
    /// @notice What the challenger says is wrong is right.
    error Unfounded();
    /// @notice A path does not lead to the root.
    error RootMismatch(bytes32 expected, bytes32 found);

    /// @notice An inner node of the payout tree carries a sum that is not its children's.
    /// @param settlement The proposal.
    /// @param level The node's height over the leaves, at least 1.
    /// @param index The node's position in its level.
    /// @param count The number of leaves.
    /// @param sum The sum that the node carries.
    /// @param left Its left child.
    /// @param right Its right child.
    /// @param siblings From the node upwards. Of several wrong nodes on a path take the highest.
    function challengeSum(
        Settlement calldata settlement,
        uint256 level,
        uint64 index,
        uint64 count,
        uint128 sum,
        SumNode calldata left,
        SumNode calldata right,
        SumNode[] calldata siblings
    ) external;

    /// @notice The payout root carries another total than the settlement.
    function challengeTotal(
        Settlement calldata settlement,
        uint64 count,
        SumNode calldata top
    ) external;

    /// @notice A leaf of the payout tree carries a sum that is not free + lane.
    function challengeLeaf(
        Settlement calldata settlement,
        uint64 count,
        Leaf calldata leaf,
        uint128 sum
    ) external;

    /// @notice Two adjacent leaves of the payout tree are not in order of accounts.
    function challengeOrder(
        Settlement calldata settlement,
        uint64 count,
        Leaf calldata left,
        Leaf calldata right
    ) external;

    /// @notice An account has less than the final settlement before gave it, free or in the lane.
    /// @param settlement The proposal.
    /// @param countBefore The number of leaves of the final settlement before.
    /// @param before The account's leaf there.
    /// @param count The number of leaves of the proposal.
    /// @param found The account's leaf in the proposal; or, where it has none, the leaves between which
    /// it would be: two adjacent ones, or one, the first or the last; none where there is no leaf at all.
    function challengeLoss(
        Settlement calldata settlement,
        uint64 countBefore,
        Leaf calldata before,
        uint64 count,
        Leaf[] calldata found
    ) external;
}
