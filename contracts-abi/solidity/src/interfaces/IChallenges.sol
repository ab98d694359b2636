// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Listed, ListedLeaf, Path, Record, Settlement, SumNode} from "../Types.sol";

/// @title Proofs that a proposal is wrong
/// @notice Each succeeds only against a wrong proposal, defeats it, and pays the caller its bond.
interface IChallenges {
    /// @notice What the challenger says is wrong is right.
    error Unfounded();
    /// @notice A path does not lead to the root.
    error RootMismatch(bytes32 expected, bytes32 found);
    /// @notice Two leaves are not neighbours, or not at the end they are said to be at.
    error NotNeighbours(uint64 first, uint64 second);

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

    /// @notice A leaf of the payout tree carries a sum that is not its amount.
    function challengeLeaf(
        Settlement calldata settlement,
        uint64 account,
        uint128 cumulative,
        uint128 sum,
        uint64 index,
        uint64 count,
        SumNode[] calldata siblings
    ) external;

    /// @notice A listed record is of another epoch, or its signature is not by an operator that its
    /// account had at the epoch's start or end.
    function challengeSignature(
        Settlement calldata settlement,
        Record calldata record,
        bytes calldata signature,
        Path calldata path
    ) external;

    /// @notice Two listed records have the same (kind, account, subject).
    function challengeDoubleCount(
        Settlement calldata settlement,
        Listed calldata first,
        Listed calldata second
    ) external;

    /// @notice A signed record that was anchored in the epoch is not listed.
    /// @param settlement The proposal.
    /// @param record The missing record.
    /// @param signature By its account's operator.
    /// @param anchored Its id's place under the anchored root.
    /// @param neighbours The leaves between which its id sorts: two adjacent ones, or one, the
    /// first or the last of the tree; none when the proposal lists no record.
    function challengeOmission(
        Settlement calldata settlement,
        Record calldata record,
        bytes calldata signature,
        Path calldata anchored,
        ListedLeaf[] calldata neighbours
    ) external;

    /// @notice Two adjacent leaves of the records tree are out of order.
    function challengeOrder(
        Settlement calldata settlement,
        ListedLeaf calldata first,
        ListedLeaf calldata second
    ) external;
}
