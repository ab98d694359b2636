// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {DatanetUse, Settlement} from "../Types.sol";

/// @title Bonded proposals, side by side
/// @notice What an epoch pays follows from the chain, so all honest proposals of it are one and the same;
/// rivals differ in content, and each has a bond, a window and an objection of its own. A proposal is kept by
/// its id; whoever acts on it brings the settlement itself, which event Proposed carries.
interface ISettlements {
    /// @notice A live proposal. All zero where there is none.
    struct Proposal {
        uint64 proposer;
        /// The block in which its window began.
        uint64 openSince;
        /// Whose objection stands; zero for nobody's.
        uint64 objector;
        /// When the objection was made.
        uint64 objectedAt;
        /// What the proposer has locked.
        uint96 bond;
        /// What the objector has locked.
        uint96 objectionBond;
        /// The arbiter has looked at it and found it right; nobody can object any more.
        bool isRight;
    }

    /// @notice Why a proposal fell.
    enum Fault {
        Sum,
        Total,
        Leaf,
        Order,
        Loss,
        Objection
    }

    /// @notice A settlement was proposed.
    event Proposed(
        uint64 indexed epoch,
        uint64 indexed proposer,
        bytes32 indexed id,
        Settlement settlement
    );
    /// @notice A proposal was disproved or ruled out; half of its bond went to `winner` and the rest to the
    /// vault.
    event Defeated(
        uint64 indexed epoch,
        bytes32 indexed id,
        address indexed winner,
        Fault fault
    );
    /// @notice The arbiter did not rule in time and the same was proposed again: the bonds of the proposal
    /// and of the objection wait under `number` for what becomes final.
    event SetAside(uint64 indexed epoch, bytes32 indexed id, uint256 number);
    /// @notice A proposal that was still there when its epoch became final is gone: a live one for number
    /// zero, else one that was set aside. Whoever was wrong lost the bond.
    event Closed(uint64 indexed epoch, bytes32 indexed id, uint256 number, bool isRight);
    /// @notice A bonded objection stops one proposal until the arbiter rules.
    event Objected(
        uint64 indexed epoch,
        bytes32 indexed id,
        uint64 indexed account,
        bytes32 reason
    );
    /// @notice The arbiter ruled on an objection.
    event Ruled(uint64 indexed epoch, bytes32 indexed id, bool upheld);

    /// @notice The epoch is not over, or its records may still come in.
    error EpochNotOver(uint64 epoch);
    /// @notice The settlement is not made of the records that the chain included.
    error WrongRecords(bytes32 included, bytes32 found);
    /// @notice The same was proposed already.
    error AlreadyProposed(uint64 epoch, bytes32 id);
    /// @notice The settlement is no live proposal.
    error NotProposed(uint64 epoch, bytes32 id);
    /// @notice Nothing is final for the epoch yet.
    error NotSettled(uint64 epoch);
    /// @notice The epoch is settled: what is final decides.
    error Settled(uint64 epoch);
    /// @notice The challenge window is open until this block.
    error WindowOpen(uint64 until);
    /// @notice The challenge window closed at this block.
    error WindowClosed(uint64 closedAt);
    /// @notice An objection waits for the arbiter.
    error ObjectionPending(uint64 epoch);
    /// @notice The arbiter found the proposal right.
    error FoundRight(uint64 epoch, bytes32 id);
    /// @notice No objection of this number was set aside.
    error NotContested(uint256 number);
    /// @notice There is no objection to rule on.
    error NoObjection(uint64 epoch);
    /// @notice The arbiter had time until this block.
    error RulingClosed(uint64 until);
    /// @notice The list of uses is not the one that the settlement names.
    error WrongUses(bytes32 expected, bytes32 found);

    /// @notice Proposes a settlement of the next epoch, others beside it or not; locks the proposer's bond.
    /// The same content is refused while it is live, unless an objection to it was not ruled on in four
    /// windows, which is set aside then.
    function propose(uint64 proposer, Settlement calldata settlement) external;

    /// @notice Makes a proposal final whose window is over and to which no objection stands; anyone may.
    function finalise(Settlement calldata settlement, DatanetUse[] calldata uses) external;

    /// @notice Objects to a proposal; locks the objector's bond, which doubles with each objection to this
    /// very settlement that was set aside, up to the proposer's.
    /// @param settlement The proposal.
    /// @param account Who objects; the caller is its owner or operator.
    /// @param reason Hash of the published reason.
    function object(Settlement calldata settlement, uint64 account, bytes32 reason) external;

    /// @notice Rules whether a proposal to which somebody objects is right, within four windows after the
    /// objection; half of the loser's bond goes to the winner, the rest to the vault. Only the arbiter. It
    /// judges the settlement and not the reason, so a bad objection shields no false settlement.
    function rule(Settlement calldata settlement, bool uphold) external;

    /// @notice Ends a live proposal whose epoch is settled. Where another settlement is final its bond is
    /// lost, half of it to the objector, or to the caller where nobody objected; anyone may.
    function close(Settlement calldata settlement) external;

    /// @notice Ends a proposal that was set aside, its epoch being settled: what is final says who loses the
    /// bond, half of it to the other; anyone may.
    function closeContested(uint256 number) external;

    /// @notice A live proposal by its id.
    function proposal(bytes32 id) external view returns (Proposal memory);

    /// @notice What a proposer for an epoch locks: at least what the epoch may emit.
    function proposalBond(uint64 epoch) external view returns (uint128);
}
