// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {Bonded} from "../Bonded.sol";
import {IDatanetRegistry} from "../interfaces/IDatanetRegistry.sol";
import {ISettlements} from "../interfaces/ISettlements.sol";
import {DatanetUse, Settlement} from "../Types.sol";

/// @title Bonded proposals
abstract contract Proposals is ISettlements, Bonded, AccessControl {
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

    /// @notice Rules on objections, later a jury.
    bytes32 public constant ARBITER_ROLE = keccak256("ARBITER_ROLE");
    /// @notice Where use counters live.
    IDatanetRegistry public immutable DATANETS;
    /// @notice What a proposer locks.
    uint128 public immutable PROPOSAL_BOND;
    /// @notice What an objector locks.
    uint128 public immutable OBJECTION_BOND;

    mapping(uint64 epoch => Proposal) private _proposals;
    /// @notice How many objections were not ruled on in time; they are numbered from 1.
    uint256 public contested;
    mapping(uint256 number => Contested) private _contested;
    /// Until which block an account may not propose for an epoch again.
    mapping(uint64 epoch => mapping(uint64 proposer => uint64)) private _barredUntil;

    constructor(
        IDatanetRegistry datanets,
        uint128 proposalBond,
        uint128 objectionBond,
        address admin,
        address arbiter
    ) {
        DATANETS = datanets;
        (PROPOSAL_BOND, OBJECTION_BOND) = (proposalBond, objectionBond);
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(ARBITER_ROLE, arbiter);
    }

    /// @inheritdoc ISettlements
    function propose(uint64 proposer, Settlement calldata settlement) external {
        _requireController(proposer);
        VAULT.requireNext(settlement);
        if (block.number < COORDINATOR.cutoff(settlement.epoch)) {
            revert EpochNotOver(settlement.epoch);
        }
        bytes32 records = COORDINATOR.recordsOf(settlement.epoch);
        if (settlement.records != records) revert WrongRecords(records, settlement.records);

        uint64 until = _barredUntil[settlement.epoch][proposer];
        if (block.number <= until) revert DefeatedBefore(settlement.epoch, proposer, until);
        Proposal storage p = _proposals[settlement.epoch];
        if (p.status == Status.Live) _lapse(settlement.epoch, p);
        bytes32 id = keccak256(abi.encode(settlement));
        p.id = id;
        (p.proposer, p.proposedAt, p.objector) = (proposer, uint64(block.number), 0);
        p.status = Status.Live;
        emit Proposed(settlement.epoch, proposer, id, settlement);
        REGISTRY.lock(proposer, PROPOSAL_BOND, msg.sender);
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

        p.status = Status.Final;
        REGISTRY.unlock(p.proposer, PROPOSAL_BOND);
        VAULT.makeFinal(settlement);
        DATANETS.addUses(uses);
    }

    /// @inheritdoc ISettlements
    function object(Settlement calldata settlement, uint64 account, bytes32 reason) external {
        _requireController(account);
        Proposal storage p = _requireChallengeable(settlement);
        if (p.objector != 0) revert ObjectionPending(settlement.epoch);
        (p.objector, p.objectedAt) = (account, uint64(block.number));
        emit Objected(settlement.epoch, p.id, account, reason);
        REGISTRY.lock(account, OBJECTION_BOND, msg.sender);
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
            _takeBond(objector, OBJECTION_BOND, REGISTRY.ownerOf(p.proposer));
        }
    }

    /// @inheritdoc ISettlements
    function ruleLate(uint256 number, bool uphold) external onlyRole(ARBITER_ROLE) {
        Contested memory c = _contested[number];
        if (c.objector == 0) revert NotContested(number);
        delete _contested[number];
        emit RuledLate(number, uphold);
        if (uphold) {
            REGISTRY.unlock(c.objector, OBJECTION_BOND);
            _takeBond(c.proposer, PROPOSAL_BOND, REGISTRY.ownerOf(c.objector));
        } else {
            REGISTRY.unlock(c.proposer, PROPOSAL_BOND);
            _takeBond(c.objector, OBJECTION_BOND, REGISTRY.ownerOf(c.proposer));
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

    /// Ends a live proposal; half of the proposer's bond goes to the challenger.
    function _defeat(uint64 epoch, address challenger, Fault fault) internal {
        Proposal storage p = _proposals[epoch];
        p.status = Status.Defeated;
        _barredUntil[epoch][p.proposer] = uint64(block.number) + CHALLENGE_BLOCKS;
        emit Defeated(epoch, p.id, challenger, fault);
        _freeObjector(p);
        _takeBond(p.proposer, PROPOSAL_BOND, challenger);
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
        REGISTRY.unlock(objector, OBJECTION_BOND);
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
