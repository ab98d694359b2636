// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IBeacon} from "./interfaces/IBeacon.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRewardVault} from "./interfaces/IRewardVault.sol";

/// @title Training runs, the models they yield, and bases that no run made
contract ModelRegistry is IModelRegistry {
    using SafeERC20 for IERC20;

    struct Model {
        uint64 developer;
        uint64 datanet;
        bytes32 checkpoint;
    }

    /// @notice Longest configuration, in bytes.
    uint256 public constant MAX_CONFIG = 4096;
    /// @notice Who controls an account.
    IRegistry public immutable REGISTRY;
    /// @notice What models train on.
    IDatanetRegistry public immutable DATANETS;
    /// @notice Who knows the epoch.
    IBeacon public immutable COORDINATOR;
    /// @notice Where orders are paid into, and parts of runs are paid from.
    IRewardVault public immutable VAULT;
    /// @notice The token of escrows: OPEN.
    IERC20 public immutable OPEN;

    /// @inheritdoc IModelRegistry
    uint64 public models;
    mapping(uint64 id => Model) private _models;

    constructor(
        IRegistry registry,
        IDatanetRegistry datanetRegistry,
        IBeacon coordinator,
        IRewardVault vault
    ) {
        (REGISTRY, DATANETS) = (registry, datanetRegistry);
        (COORDINATOR, VAULT, OPEN) = (coordinator, vault, vault.OPEN());
        OPEN.forceApprove(address(vault), type(uint256).max);
    }

    /// @inheritdoc IModelRegistry
    function createModel(
        uint64 developer,
        uint64 datanet,
        uint128 escrow,
        bytes calldata config
    ) public returns (uint64 id) {
        _requireController(developer);
        if (escrow == 0) revert NothingPaid();
        if (datanet == 0 || datanet > DATANETS.datanets()) revert UnknownDatanet(datanet);
        id = _add(developer, datanet, config);
        emit ModelCreated(id, developer, datanet, escrow, config);
        OPEN.safeTransferFrom(msg.sender, address(this), escrow);
        VAULT.addFees(COORDINATOR.currentEpoch(), escrow);
    }

    /// @inheritdoc IModelRegistry
    function createModelWithPermit(
        uint64 developer,
        uint64 datanet,
        uint128 escrow,
        bytes calldata config,
        Permit calldata permit
    ) external returns (uint64 id) {
        // A permit that somebody else sent first has done its work; the transfer will tell.
        try IERC20Permit(address(OPEN)).permit(
            msg.sender, address(this), escrow, permit.deadline, permit.v, permit.r, permit.s
        ) {} catch {}
        return createModel(developer, datanet, escrow, config);
    }

    /// @inheritdoc IModelRegistry
    function registerBase(
        uint64 developer,
        bytes calldata config
    ) external returns (uint64 id) {
        _requireController(developer);
        id = _add(developer, 0, config);
        emit BaseRegistered(id, developer, config);
    }

    /// @inheritdoc IModelRegistry
    function publish(
        uint64 id,
        bytes32 checkpoint,
        bytes32 sketchRoot,
        uint64 server,
        uint128 priceIn,
        uint128 priceOut,
        uint128 priceUse
    ) external {
        Model storage m = _models[id];
        if (m.developer == 0) revert UnknownModel(id);
        _requireController(m.developer);
        if (REGISTRY.ownerOf(server) == address(0)) revert UnknownServer(server);
        m.checkpoint = checkpoint;
        emit ModelPublished(id, server, checkpoint, sketchRoot, priceIn, priceOut, priceUse);
    }

    /// @inheritdoc IModelRegistry
    function model(
        uint64 id
    ) external view returns (uint64 developer, uint64 datanet, bytes32 checkpoint) {
        Model storage m = _models[id];
        return (m.developer, m.datanet, m.checkpoint);
    }

    function _add(
        uint64 developer,
        uint64 datanet,
        bytes calldata config
    ) private returns (uint64 id) {
        if (config.length == 0 || config.length > MAX_CONFIG) revert BadConfig(config.length);
        id = ++models;
        (_models[id].developer, _models[id].datanet) = (developer, datanet);
    }

    function _requireController(uint64 account) private view {
        if (!REGISTRY.controls(account, msg.sender)) revert NotController(account, msg.sender);
    }
}
