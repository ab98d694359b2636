// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Bonded} from "../Bonded.sol";
import {IDatanetRegistry} from "../interfaces/IDatanetRegistry.sol";
import {ISettlements} from "../interfaces/ISettlements.sol";
import {DatanetUse, Settlement} from "../Types.sol";

/// @title Bonded proposals, side by side
abstract contract Proposals is ISettlements, Bonded, AccessControl {
    /// A proposal and the objection to it that the arbiter was too late for. Both bonds wait for what
    /// becomes final.
    struct Contested {
        bytes32 id;
        uint64 epoch;
        Proposal proposal;
    }

    /// @notice Rules on objections, later a jury.
    bytes32 public constant ARBITER_ROLE = keccak256("ARBITER_ROLE");
    /// Windows that the arbiter has for a ruling.
    uint64 private constant RULING_WINDOWS = 4;
    /// @notice Where use counters live.
    IDatanetRegistry public immutable DATANETS;
    /// @notice What a proposer locks at least.
    uint128 public immutable PROPOSAL_BOND;
    /// @notice What the first objector to a settlement locks, if the proposer's bond is no less.
    uint128 public immutable OBJECTION_BOND;

    mapping(bytes32 id => Proposal) private _proposals;
    /// How many objections to a settlement were set aside.
    mapping(bytes32 id => uint256) private _delays;
    /// @notice How many objections were not ruled on in time; they are numbered from 1.
    uint256 public contested;
    mapping(uint256 number => Contested) private _contested;

    constructor(
        IDatanetRegistry datanets,
        uint128 proposalBond_,
        uint128 objectionBond,
        address admin,
        address arbiter
    ) {
        DATANETS = datanets;
        (PROPOSAL_BOND, OBJECTION_BOND) = (proposalBond_, objectionBond);
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(ARBITER_ROLE, arbiter);
    }

    /// @inheritdoc ISettlements
    function propose(uint64 proposer, Settlement calldata settlement) external {
        _requireController(proposer);
        uint64 epoch = settlement.epoch;
        VAULT.requireNext(settlement);
        if (block.number < COORDINATOR.cutoff(epoch)) revert EpochNotOver(epoch);
        bytes32 records = COORDINATOR.recordsOf(epoch);
        if (settlement.records != records) revert WrongRecords(records, settlement.records);

        bytes32 id = _idOf(settlement);
        if (_proposals[id].proposer != 0) _setAside(epoch, id);
        uint96 bond = SafeCast.toUint96(proposalBond(epoch));
        Proposal storage p = _proposals[id];
        (p.proposer, p.openSince, p.bond) = (proposer, uint64(block.number), bond);
        emit Proposed(epoch, proposer, id, settlement);
        REGISTRY.lock(proposer, bond, msg.sender);
    }

    /// @inheritdoc ISettlements
    function finalise(Settlement calldata settlement, DatanetUse[] calldata uses) external {
        (bytes32 id, Proposal memory p) = _live(settlement);
        if (p.objector != 0) revert ObjectionPending(settlement.epoch);
        uint64 until = p.openSince + CHALLENGE_BLOCKS;
        if (block.number <= until) revert WindowOpen(until);
        bytes32 found = _hashUses(uses);
        if (found != settlement.uses) revert WrongUses(settlement.uses, found);

        delete _proposals[id];
        REGISTRY.unlock(p.proposer, p.bond);
        VAULT.makeFinal(settlement);
        DATANETS.addUses(uses);
    }

    /// @inheritdoc ISettlements
    function object(Settlement calldata settlement, uint64 account, bytes32 reason) external {
        _requireController(account);
        (bytes32 id, Proposal memory p) = _live(settlement);
        uint64 epoch = settlement.epoch;
        _requireUnsettled(epoch);
        if (p.isRight) revert FoundRight(epoch, id);
        if (p.objector != 0) revert ObjectionPending(epoch);
        uint64 until = p.openSince + CHALLENGE_BLOCKS;
        if (block.number > until) revert WindowClosed(until);

        // Every delay costs twice what the one before did.
        uint256 delays = _delays[id];
        uint256 bond = delays < 96 ? uint256(OBJECTION_BOND) << delays : p.bond;
        uint96 locked = bond < p.bond ? uint96(bond) : p.bond;
        Proposal storage now_ = _proposals[id];
        (now_.objector, now_.objectedAt) = (account, uint64(block.number));
        now_.objectionBond = locked;
        emit Objected(epoch, id, account, reason);
        REGISTRY.lock(account, locked, msg.sender);
    }

    /// @inheritdoc ISettlements
    function rule(Settlement calldata settlement, bool uphold) external onlyRole(ARBITER_ROLE) {
        uint64 epoch = settlement.epoch;
        (bytes32 id, Proposal memory p) = _live(settlement);
        if (p.objector == 0) revert NoObjection(epoch);
        _requireUnsettled(epoch);
        uint64 until = _rulingEnds(p);
        if (block.number > until) revert RulingClosed(until);
        emit Ruled(epoch, id, uphold);
        if (uphold) {
            _defeat(settlement, REGISTRY.ownerOf(p.objector), Fault.Objection);
        } else {
            // Who objects for delay's sake gets one ruling and no more.
            (_proposals[id].objector, _proposals[id].isRight) = (0, true);
            _takeBond(p.objector, p.objectionBond, REGISTRY.ownerOf(p.proposer));
        }
    }

    /// @inheritdoc ISettlements
    function close(Settlement calldata settlement) external {
        (bytes32 id, Proposal memory p) = _live(settlement);
        delete _proposals[id];
        _close(settlement.epoch, id, 0, p);
    }

    /// @inheritdoc ISettlements
    function closeContested(uint256 number) external {
        Contested memory c = _contested[number];
        if (c.epoch == 0 && c.id == 0) revert NotContested(number);
        delete _contested[number];
        _close(c.epoch, c.id, number, c.proposal);
    }

    /// @inheritdoc ISettlements
    function proposal(bytes32 id) external view returns (Proposal memory) {
        return _proposals[id];
    }

    /// @inheritdoc ISettlements
    function proposalBond(uint64 epoch) public view returns (uint128) {
        uint128 budget = VAULT.budgetOf(epoch);
        return budget > PROPOSAL_BOND ? budget : PROPOSAL_BOND;
    }

    /// Ends a live proposal; half of the proposer's bond goes to the winner, and an objector has its own
    /// back.
    function _defeat(Settlement calldata settlement, address winner, Fault fault) internal {
        bytes32 id = _idOf(settlement);
        Proposal memory p = _proposals[id];
        delete _proposals[id];
        emit Defeated(settlement.epoch, id, winner, fault);
        if (p.objector != 0) REGISTRY.unlock(p.objector, p.objectionBond);
        _takeBond(p.proposer, p.bond, winner);
    }

    /// The live proposal of this settlement.
    function _live(
        Settlement calldata settlement
    ) internal view returns (bytes32 id, Proposal memory p) {
        id = _idOf(settlement);
        p = _proposals[id];
        if (p.proposer == 0) revert NotProposed(settlement.epoch, id);
    }

    /// What is final says who was right; nobody has to rule on it.
    function _close(uint64 epoch, bytes32 id, uint256 number, Proposal memory p) private {
        bytes32 last = VAULT.finalOf(epoch);
        if (last == 0) revert NotSettled(epoch);
        bool isRight = last == id;
        emit Closed(epoch, id, number, isRight);
        if (isRight) {
            REGISTRY.unlock(p.proposer, p.bond);
            if (p.objector == 0) return;
            _takeBond(p.objector, p.objectionBond, REGISTRY.ownerOf(p.proposer));
        } else {
            if (p.objector != 0) REGISTRY.unlock(p.objector, p.objectionBond);
            address winner = p.objector == 0 ? msg.sender : REGISTRY.ownerOf(p.objector);
            _takeBond(p.proposer, p.bond, winner);
        }
    }

    /// Makes room for the same settlement where the arbiter did not rule in time, so that nobody's absence
    /// stops an epoch. Nobody knows yet who is right, so both bonds wait.
    function _setAside(uint64 epoch, bytes32 id) private {
        Proposal memory p = _proposals[id];
        if (p.objector == 0) revert AlreadyProposed(epoch, id);
        if (block.number <= _rulingEnds(p)) revert ObjectionPending(epoch);
        delete _proposals[id];
        _contested[++contested] = Contested(id, epoch, p);
        ++_delays[id];
        emit SetAside(epoch, id, contested);
    }

    function _rulingEnds(Proposal memory p) private view returns (uint64) {
        return p.objectedAt + RULING_WINDOWS * CHALLENGE_BLOCKS;
    }

    function _requireUnsettled(uint64 epoch) private view {
        if (VAULT.finalOf(epoch) != 0) revert Settled(epoch);
    }

    function _idOf(Settlement calldata settlement) private pure returns (bytes32) {
        return keccak256(abi.encode(settlement));
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
