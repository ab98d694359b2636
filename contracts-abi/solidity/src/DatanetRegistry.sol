// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {DatanetUse} from "./Types.sol";

/// @title Datanets and what is admitted to them
/// @dev Contents live off chain: the chain keeps order, owners and counters, events the rest.
contract DatanetRegistry is IDatanetRegistry, AccessControl {
    struct Datanet {
        uint64 owner;
        uint32 licence;
        Policy policy;
        uint64 shards;
        uint64 outputs;
    }

    /// @notice May count uses: Settlements.
    bytes32 public constant COUNTER_ROLE = keccak256("COUNTER_ROLE");
    /// @notice Most packs of one contribution.
    uint256 public constant MAX_PACKS = 256;
    /// @notice Longest name or domain, in bytes.
    uint256 public constant MAX_NAME = 128;
    /// @notice Who controls an account.
    IRegistry public immutable REGISTRY;
    /// @notice Stake that contributors to a Datanet of policy Staked must have.
    uint128 public immutable MIN_STAKE;

    /// @notice Longest pack, in bytes: nobody may claim to have what no node could hold or prove.
    uint64 public immutable MAX_PACK;

    /// @inheritdoc IDatanetRegistry
    uint64 public datanets;
    /// @notice The number of admitted contributions, over all Datanets.
    uint64 public contributions;
    /// @notice The number of submissions to reviewed Datanets.
    uint64 public submissions;
    mapping(uint64 id => Datanet) private _datanets;
    mapping(uint64 submission => bytes32) private _submitted;

    constructor(
        IRegistry registry,
        uint128 minStake,
        uint64 maxPack,
        address admin,
        address counter
    ) {
        REGISTRY = registry;
        MIN_STAKE = minStake;
        MAX_PACK = maxPack;
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(COUNTER_ROLE, counter);
    }

    /// @inheritdoc IDatanetRegistry
    function createDatanet(
        string calldata name,
        string calldata domain,
        uint32 licence,
        Policy policy,
        uint64 owner
    ) external returns (uint64 id) {
        _requireController(owner);
        if (bytes(name).length == 0 || bytes(name).length > MAX_NAME) {
            revert BadName(bytes(name).length);
        }
        if (bytes(domain).length > MAX_NAME) revert BadName(bytes(domain).length);
        id = ++datanets;
        Datanet storage d = _datanets[id];
        (d.owner, d.licence, d.policy) = (owner, licence, policy);
        emit DatanetCreated(id, owner, name, domain, licence, policy);
    }

    /// @inheritdoc IDatanetRegistry
    function contribute(
        uint64 id,
        uint64 account,
        bytes32 manifest,
        bytes32[] calldata packs,
        uint64[] calldata lengths,
        uint32 units
    ) external returns (uint64) {
        Datanet storage d = _existing(id);
        _requireController(account);
        _checkPacks(packs, lengths, units);
        if (d.policy == Policy.Reviewed) {
            uint64 submission = ++submissions;
            _submitted[submission] =
                keccak256(abi.encode(id, account, manifest, packs, lengths, units));
            emit ContributionSubmitted(submission, id, account, manifest);
            return submission;
        }
        if (d.policy == Policy.Staked) {
            (uint128 stake, , uint128 leaving, ) = REGISTRY.stakeOf(account);
            if (stake - leaving < MIN_STAKE) revert StakeTooLow(stake - leaving, MIN_STAKE);
        }
        uint64 contribution = ++contributions;
        emit ContributionAdmitted(contribution, id, account, manifest, packs, lengths, units);
        return contribution;
    }

    /// @inheritdoc IDatanetRegistry
    function admit(
        uint64 submission,
        uint64 id,
        uint64 account,
        bytes32 manifest,
        bytes32[] calldata packs,
        uint64[] calldata lengths,
        uint32 units
    ) external returns (uint64 contribution) {
        _requireController(_existing(id).owner);
        bytes32 offered = keccak256(abi.encode(id, account, manifest, packs, lengths, units));
        if (_submitted[submission] != offered) revert NotSubmitted(submission);
        delete _submitted[submission];
        contribution = ++contributions;
        emit ContributionAdmitted(contribution, id, account, manifest, packs, lengths, units);
    }

    /// @inheritdoc IDatanetRegistry
    function publishSnapshot(uint64 id, bytes32 root, uint64 units) external {
        _requireController(_existing(id).owner);
        emit SnapshotPublished(id, root, units);
    }

    /// @inheritdoc IDatanetRegistry
    function addUses(DatanetUse[] calldata uses) external onlyRole(COUNTER_ROLE) {
        for (uint256 i = 0; i < uses.length; ++i) {
            Datanet storage d = _datanets[uses[i].datanet];
            // A settlement that names no Datanet is wrong, yet must not be stuck for it.
            if (d.owner == 0) continue;
            d.shards += uses[i].shards;
            d.outputs += uses[i].outputs;
            emit DatanetUsed(uses[i].datanet, d.shards, d.outputs);
        }
    }

    /// @inheritdoc IDatanetRegistry
    function datanet(
        uint64 id
    )
        external
        view
        returns (uint64 owner, uint32 licence, Policy policy, uint64 shards, uint64 outputs)
    {
        Datanet storage d = _datanets[id];
        return (d.owner, d.licence, d.policy, d.shards, d.outputs);
    }

    function _existing(uint64 id) private view returns (Datanet storage d) {
        d = _datanets[id];
        if (d.owner == 0) revert UnknownDatanet(id);
    }

    function _requireController(uint64 account) private view {
        if (!REGISTRY.controls(account, msg.sender)) revert NotController(account, msg.sender);
    }

    function _checkPacks(
        bytes32[] calldata packs,
        uint64[] calldata lengths,
        uint32 units
    ) private view {
        if (packs.length == 0 || packs.length > MAX_PACKS || packs.length != lengths.length) {
            revert BadPacks(packs.length, lengths.length);
        }
        uint256 bytesOfAll = 0;
        for (uint256 i = 0; i < lengths.length; ++i) {
            if (lengths[i] == 0 || lengths[i] > MAX_PACK) revert BadPack(lengths[i], MAX_PACK);
            bytesOfAll += lengths[i];
        }
        // A unit has at least a byte.
        if (units == 0 || units > bytesOfAll) revert BadUnits(units, bytesOfAll);
    }
}
