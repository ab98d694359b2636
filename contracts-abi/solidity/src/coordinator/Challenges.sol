// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IChallenges} from "../interfaces/IChallenges.sol";
import {Merkle} from "../libraries/Merkle.sol";
import {TypedData} from "../libraries/TypedData.sol";
import {Listed, ListedLeaf, Path, Record, Settlement, SumNode} from "../Types.sol";
import {Settlements} from "./Settlements.sol";

/// @title Proofs that a proposal is wrong
abstract contract Challenges is IChallenges, Settlements {
    using TypedData for Record;

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
        _requireChallengeable(settlement);
        if (level == 0 || uint256(left.sum) + right.sum == sum) revert Unfounded();
        bytes32 node = Merkle.sumHash(left, right);
        (bytes32 root, ) = Merkle.sumRoot(node, sum, level, index, count, siblings);
        _requireSame(settlement.payoutRoot, root);
        _defeat(settlement.epoch, msg.sender, Fault.Sum);
    }

    /// @inheritdoc IChallenges
    function challengeTotal(
        Settlement calldata settlement,
        uint64 count,
        SumNode calldata top
    ) external {
        _requireChallengeable(settlement);
        if (settlement.payoutRoot == 0) {
            if (settlement.total == 0) revert Unfounded();
        } else {
            if (top.sum == settlement.total) revert Unfounded();
            _requireSame(
                settlement.payoutRoot,
                keccak256(abi.encodePacked(uint8(2), count, top.hash, top.sum))
            );
        }
        _defeat(settlement.epoch, msg.sender, Fault.Total);
    }

    /// @inheritdoc IChallenges
    function challengeLeaf(
        Settlement calldata settlement,
        uint64 account,
        uint128 cumulative,
        uint128 sum,
        uint64 index,
        uint64 count,
        SumNode[] calldata siblings
    ) external {
        _requireChallengeable(settlement);
        if (sum == cumulative) revert Unfounded();
        bytes32 leaf = keccak256(abi.encodePacked(uint8(0), account, cumulative));
        (bytes32 root, ) = Merkle.sumRoot(leaf, sum, 0, index, count, siblings);
        _requireSame(settlement.payoutRoot, root);
        _defeat(settlement.epoch, msg.sender, Fault.Leaf);
    }

    /// @inheritdoc IChallenges
    function challengeSignature(
        Settlement calldata settlement,
        Record calldata record,
        bytes calldata signature,
        Path calldata path
    ) external {
        _requireChallengeable(settlement);
        bytes32 id = record.digest(TypedData.separator(address(this)));
        _requireListed(settlement, id, keccak256(signature), path);
        bool ofEpoch = record.epoch == settlement.epoch;
        if (ofEpoch && _isSigned(record, id, signature)) revert Unfounded();
        _defeat(settlement.epoch, msg.sender, Fault.Signature);
    }

    /// @inheritdoc IChallenges
    function challengeDoubleCount(
        Settlement calldata settlement,
        Listed calldata first,
        Listed calldata second
    ) external {
        _requireChallengeable(settlement);
        Record calldata a = first.record;
        Record calldata b = second.record;
        bool same = a.kind == b.kind && a.account == b.account && a.subject == b.subject;
        if (!same || first.path.index == second.path.index) revert Unfounded();
        bytes32 domain = TypedData.separator(address(this));
        _requireListed(settlement, a.digest(domain), first.signatureHash, first.path);
        _requireListed(settlement, b.digest(domain), second.signatureHash, second.path);
        _defeat(settlement.epoch, msg.sender, Fault.DoubleCount);
    }

    /// @inheritdoc IChallenges
    function challengeOmission(
        Settlement calldata settlement,
        Record calldata record,
        bytes calldata signature,
        Path calldata anchored,
        ListedLeaf[] calldata neighbours
    ) external {
        _requireChallengeable(settlement);
        bytes32 id = record.digest(TypedData.separator(address(this)));
        // Only what an operator signed must be listed: a root over nonsense proves nothing.
        bool ofEpoch = record.epoch == settlement.epoch;
        if (!ofEpoch || !_isSigned(record, id, signature)) revert Unfounded();
        bytes32 root = Merkle.root(keccak256(abi.encodePacked(uint8(0), id)), anchored);
        if (anchoredAt[settlement.epoch][root] == 0) revert RootMismatch(0, root);
        _requireAbsent(settlement, id, neighbours);
        _defeat(settlement.epoch, msg.sender, Fault.Omission);
    }

    /// @inheritdoc IChallenges
    function challengeOrder(
        Settlement calldata settlement,
        ListedLeaf calldata first,
        ListedLeaf calldata second
    ) external {
        _requireChallengeable(settlement);
        _requireNeighbours(first.path, second.path);
        if (first.id < second.id) revert Unfounded();
        _requireListed(settlement, first.id, first.signatureHash, first.path);
        _requireListed(settlement, second.id, second.signatureHash, second.path);
        _defeat(settlement.epoch, msg.sender, Fault.Order);
    }

    /// Whether an operator that the account had at the epoch's start or end signed the record.
    function _isSigned(
        Record calldata record,
        bytes32 id,
        bytes calldata signature
    ) internal view returns (bool) {
        if (signature.length != 65) return false;
        (address signer, ECDSA.RecoverError fault, ) = ECDSA.tryRecoverCalldata(id, signature);
        if (fault != ECDSA.RecoverError.NoError || signer == address(0)) return false;
        uint64 start = epochStart(record.epoch);
        uint64 end = epochStart(record.epoch + 1) - 1;
        return signer == REGISTRY.operatorAt(record.account, end)
            || signer == REGISTRY.operatorAt(record.account, start);
    }

    function _requireListed(
        Settlement calldata settlement,
        bytes32 id,
        bytes32 signatureHash,
        Path calldata path
    ) private pure {
        bytes32 leaf = keccak256(abi.encodePacked(uint8(0), id, signatureHash));
        _requireSame(settlement.recordsRoot, Merkle.root(leaf, path));
    }

    /// Requires that `id` lies strictly between neighbours, before the first or after the last.
    function _requireAbsent(
        Settlement calldata settlement,
        bytes32 id,
        ListedLeaf[] calldata neighbours
    ) private pure {
        if (neighbours.length == 0) {
            _requireSame(settlement.recordsRoot, 0);
            return;
        }
        ListedLeaf calldata first = neighbours[0];
        _requireListed(settlement, first.id, first.signatureHash, first.path);
        if (neighbours.length == 2) {
            ListedLeaf calldata second = neighbours[1];
            _requireListed(settlement, second.id, second.signatureHash, second.path);
            _requireNeighbours(first.path, second.path);
            if (id <= first.id || id >= second.id) revert Unfounded();
        } else if (neighbours.length == 1) {
            bool beforeFirst = first.path.index == 0 && id < first.id;
            bool afterLast = first.path.index == first.path.count - 1 && id > first.id;
            if (!beforeFirst && !afterLast) revert Unfounded();
        } else {
            revert Unfounded();
        }
    }

    function _requireNeighbours(Path calldata first, Path calldata second) private pure {
        if (uint256(first.index) + 1 != second.index) {
            revert NotNeighbours(first.index, second.index);
        }
    }

    function _requireSame(bytes32 expected, bytes32 found) internal pure {
        if (expected != found) revert RootMismatch(expected, found);
    }
}
