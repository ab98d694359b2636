// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title Training runs and the models they yield
contract ModelRegistry is IModelRegistry {
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

    /// @inheritdoc IModelRegistry
    uint64 public models;
    mapping(uint64 id => Model) private _models;

    constructor(IRegistry registry, IDatanetRegistry datanetRegistry) {
        REGISTRY = registry;
        DATANETS = datanetRegistry;
    }

    /// @inheritdoc IModelRegistry
    function createModel(
        uint64 developer,
        uint64 datanet,
        bytes calldata config
    ) external returns (uint64 id) {
        _requireController(developer);
        if (datanet == 0 || datanet > DATANETS.datanets()) revert UnknownDatanet(datanet);
        if (config.length == 0 || config.length > MAX_CONFIG) revert BadConfig(config.length);
        id = ++models;
        (_models[id].developer, _models[id].datanet) = (developer, datanet);
        emit ModelCreated(id, developer, datanet, config);
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

    function _requireController(uint64 account) private view {
        if (!REGISTRY.controls(account, msg.sender)) revert NotController(account, msg.sender);
    }
}
