// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {DatanetUse, Settlement} from "../Types.sol";

/// @title Bonded proposals
/// @notice A proposal is kept as its id; whoever acts on it brings the settlement itself, which
/// event Proposed carries.
interface ISettlements {
    /// @notice Where a proposal stands.
    enum Status {
        None,
        Live,
        Defeated,
        Final
    }

    /// @notice Why a proposal fell.
    enum Fault {
        Sum,
        Total,
        Leaf,
        Order,
        Loss,
        Objection,
        Lapse
    }

    /// @notice A settlement was proposed.
    event Proposed(
        uint64 indexed epoch,
        uint64 indexed proposer,
        bytes32 indexed id,
        Settlement settlement
    );
    /// @notice A proposal was disproved, ruled out, or not made final in two windows; half of
    /// its bond went to `challenger` and the rest to the vault; of a lapsed one all of it.
    event Defeated(
        uint64 indexed epoch,
        bytes32 indexed id,
        address indexed challenger,
        Fault fault
    );
    /// @notice The arbiter did not rule in time: the proposal makes room for another, and both bonds wait
    /// for the ruling under `number`.
    event SetAside(uint64 indexed epoch, bytes32 indexed id, uint256 number);
    /// @notice The arbiter ruled after the time for it.
    event RuledLate(uint256 indexed number, bool upheld);
    /// @notice A bonded objection stops finality until the arbiter rules.
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
    /// @notice The epoch has a live proposal, which is under an objection or has not lapsed.
    error AlreadyProposed(uint64 epoch, bytes32 id);
    /// @notice Others have their turn until this block: the account's last proposal for the epoch fell.
    error DefeatedBefore(uint64 epoch, uint64 proposer, uint64 until);
    /// @notice The settlement is not the epoch's live proposal.
    error NotProposed(uint64 epoch, bytes32 id);
    /// @notice The challenge window is open until this block.
    error WindowOpen(uint64 until);
    /// @notice The challenge window closed at this block.
    error WindowClosed(uint64 closedAt);
    /// @notice An objection waits for the arbiter.
    error ObjectionPending(uint64 epoch);
    /// @notice No objection of this number waits for a late ruling.
    error NotContested(uint256 number);
    /// @notice There is no objection to rule on.
    error NoObjection(uint64 epoch);
    /// @notice The list of uses is not the one that the settlement names.
    error WrongUses(bytes32 expected, bytes32 found);

    /// @notice Proposes a settlement; locks the proposer's bond. It takes the place of a proposal that
    /// nobody made final in the window after its challenge window, or whose objection was not ruled on in
    /// four windows. Whose proposal for the epoch fell
    /// waits for one challenge window, so that it can't take the place of those that come after it.
    function propose(uint64 proposer, Settlement calldata settlement) external;

    /// @notice Makes an unchallenged proposal final; anyone may.
    function finalise(Settlement calldata settlement, DatanetUse[] calldata uses) external;

    /// @notice Objects to a proposal; locks the objector's bond.
    /// @param settlement The proposal.
    /// @param account Who objects; the caller is its owner or operator.
    /// @param reason Hash of the published reason.
    function object(Settlement calldata settlement, uint64 account, bytes32 reason) external;

    /// @notice Rules on an objection; half of the loser's bond goes to the winner, the rest to the vault. Only the arbiter.
    function rule(Settlement calldata settlement, bool uphold) external;

    /// @notice Rules on an objection after the time for it; half of the loser's bond goes to the winner, the
    /// rest to the vault. Only the arbiter.
    function ruleLate(uint256 number, bool uphold) external;

    /// @notice The current proposal of an epoch.
    function proposal(
        uint64 epoch
    )
        external
        view
        returns (bytes32 id, Status status, uint64 proposer, uint64 proposedAt, uint64 objector);
}
