// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {DatanetUse} from "../Types.sol";

/// @title Datanets and what is admitted to them
interface IDatanetRegistry {
    /// @notice How a contribution enters a Datanet.
    enum Policy {
        /// At once.
        Open,
        /// When the Datanet's owner admits it.
        Reviewed,
        /// At once, if the contributor's stake is large enough.
        Staked
    }

    /// @notice A Datanet exists.
    event DatanetCreated(
        uint64 indexed datanet,
        uint64 indexed owner,
        string name,
        string domain,
        uint32 licence,
        Policy policy
    );
    /// @notice A contribution waits for the owner of a reviewed Datanet.
    event ContributionSubmitted(
        uint64 indexed submission,
        uint64 indexed datanet,
        uint64 indexed account,
        bytes32 manifest
    );
    /// @notice A contribution belongs to the Datanet.
    event ContributionAdmitted(
        uint64 indexed contribution,
        uint64 indexed datanet,
        uint64 indexed account,
        bytes32 manifest,
        bytes32[] packs,
        uint64[] lengths,
        uint32 units
    );
    /// @notice So much is locked for a contribution, until that block.
    event DepositTaken(
        uint64 indexed contribution,
        address indexed payer,
        uint256 amount,
        uint64 until
    );
    /// @notice A deposit went back to who paid it.
    event DepositReturned(address indexed payer, uint256 amount);
    /// @notice An ordered set of admitted units on which models train.
    event SnapshotPublished(uint64 indexed datanet, bytes32 root, uint64 units);
    /// @notice The Datanet was used, as a final settlement says.
    event DatanetUsed(uint64 indexed datanet, uint64 shards, uint64 outputs);

    /// @notice No such Datanet.
    error UnknownDatanet(uint64 datanet);
    /// @notice The caller is neither owner nor operator of the account.
    error NotController(uint64 account, address caller);
    /// @notice A contribution names no pack, too many, or lists of unequal length.
    error BadPacks(uint256 packs, uint256 lengths);
    /// @notice A pack has no bytes, or more than a pack may have.
    error BadPack(uint64 length, uint64 max);
    /// @notice A contribution has no units, or more than bytes.
    error BadUnits(uint32 units, uint256 bytesOfAll);
    /// @notice The contributor's stake is below the Datanet's minimum.
    error StakeTooLow(uint256 stake, uint256 minimum);
    /// @notice The contribution differs from the one that was submitted, or was admitted before.
    error NotSubmitted(uint64 submission);
    /// @notice Nothing is locked for it, or not by the caller.
    error NoDeposit(uint64 id);
    /// @notice The deposit is locked for what others store, until that block.
    error DepositLocked(uint64 contribution, uint64 until);
    /// @notice A network would lock deposits for more blocks than can be counted.
    error BadDeposit(uint64 blocks, uint64 most);
    /// @notice A name is empty or too long.
    error BadName(uint256 length);

    /// @notice Creates a Datanet; by the owner account's owner or operator.
    function createDatanet(
        string calldata name,
        string calldata domain,
        uint32 licence,
        Policy policy,
        uint64 owner
    ) external returns (uint64 datanet);

    /// @notice Offers packs; by the contributor's owner or operator, who locks a deposit by their bytes.
    /// @return id The contribution's number, or the submission's in a reviewed Datanet.
    function contribute(
        uint64 datanet,
        uint64 account,
        bytes32 manifest,
        bytes32[] calldata packs,
        uint64[] calldata lengths,
        uint32 units
    ) external returns (uint64 id);

    /// @notice Admits a submission; by the Datanet owner's owner or operator.
    function admit(
        uint64 submission,
        uint64 datanet,
        uint64 account,
        bytes32 manifest,
        bytes32[] calldata packs,
        uint64[] calldata lengths,
        uint32 units
    ) external returns (uint64 contribution);

    /// @notice Returns a contribution's deposit to who paid it, once its time is over; anyone may.
    function takeBack(uint64 contribution) external;

    /// @notice Takes a submission back that was not admitted, with its deposit; only who paid that.
    function withdrawSubmission(uint64 submission) external;

    /// @notice Publishes the root of a snapshot; by the Datanet owner's owner or operator.
    function publishSnapshot(uint64 datanet, bytes32 root, uint64 units) external;

    /// @notice Adds to the use counters; only Settlements.
    function addUses(DatanetUse[] calldata uses) external;

    /// @notice The token of deposits.
    function OPEN() external view returns (IERC20);

    /// @notice What is locked for each byte of a contribution, for all of its replicas.
    /// @dev No pack counts as shorter than LEAST_PACK.
    function DEPOSIT_PER_BYTE() external view returns (uint128);

    /// @notice As many bytes every pack counts as at least: however short it is, every node keeps its name,
    /// draws its holders and asks them for it.
    function LEAST_PACK() external view returns (uint64);

    /// @notice Blocks from a contribution's admission on for which its deposit is locked.
    function DEPOSIT_BLOCKS() external view returns (uint64);

    /// @notice What is locked for a contribution, by whom and until when; all zero when nothing is.
    function depositOf(
        uint64 contribution
    ) external view returns (address payer, uint256 amount, uint64 until);

    /// @notice The number of Datanets; their ids are 1 to this.
    function datanets() external view returns (uint64);

    /// @notice What is known about a Datanet; all zero when it does not exist.
    function datanet(
        uint64 id
    )
        external
        view
        returns (uint64 owner, uint32 licence, Policy policy, uint64 shards, uint64 outputs);
}
