// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Training runs, the models they yield, and bases that no run made
interface IModelRegistry {
    /// A signature by which OPEN may be taken without an approval before (EIP-2612).
    struct Permit {
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice A training run was ordered; `config` is its canonical configuration, and `escrow` what
    /// all its parts cost together, in the smallest unit of OPEN.
    event ModelCreated(
        uint64 indexed model,
        uint64 indexed developer,
        uint64 indexed datanet,
        uint128 escrow,
        bytes config
    );
    /// @notice A base was registered: a model that no run made. `config` says canonically which one.
    event BaseRegistered(uint64 indexed model, uint64 indexed developer, bytes config);
    /// @notice A model is offered. Prices are in the smallest unit of OPEN.
    event ModelPublished(
        uint64 indexed model,
        uint64 indexed server,
        bytes32 checkpoint,
        bytes32 sketchRoot,
        uint128 priceIn,
        uint128 priceOut,
        uint128 priceUse
    );

    /// @notice No such model.
    error UnknownModel(uint64 model);
    /// @notice No such Datanet.
    error UnknownDatanet(uint64 datanet);
    /// @notice No such serving account.
    error UnknownServer(uint64 server);
    /// @notice The caller is neither owner nor operator of the account.
    error NotController(uint64 account, address caller);
    /// @notice A configuration is empty or too long.
    error BadConfig(uint256 length);
    /// @notice A run is worked on for what is paid into its escrow, and nothing was.
    error NothingPaid();

    /// @notice Orders a training run; by the developer's owner or operator, who pays. What its work
    /// costs at least follows from the configuration, the data and the network's parameters, which no
    /// contract knows: an order that pays less is no run for any node, and is not paid back.
    /// @param escrow Taken from the caller, who must have approved it, into the vault: it counts as fees
    /// of the current epoch, so settlements may pay it out from then on.
    function createModel(
        uint64 developer,
        uint64 datanet,
        uint128 escrow,
        bytes calldata config
    ) external returns (uint64 model);

    /// @notice The same with a permit in place of the approval.
    function createModelWithPermit(
        uint64 developer,
        uint64 datanet,
        uint128 escrow,
        bytes calldata config,
        Permit calldata permit
    ) external returns (uint64 model);

    /// @notice Registers a base, which has an id among the models; by the developer's owner or operator.
    /// Nothing is taken for it, and nobody works on it.
    function registerBase(
        uint64 developer,
        bytes calldata config
    ) external returns (uint64 model);

    /// @notice Offers a finished model or a base; by the developer's owner or operator.
    /// @param model The training run whose checkpoint it is, or the base.
    /// @param checkpoint BLAKE3 hash of the checkpoint that is served.
    /// @param sketchRoot Merkle root of the attribution sketches.
    /// @param server The account that serves it.
    /// @param priceIn Price of 1,000 prompt tokens.
    /// @param priceOut Price of 1,000 generated tokens.
    /// @param priceUse Fixed part of the price of one use.
    function publish(
        uint64 model,
        bytes32 checkpoint,
        bytes32 sketchRoot,
        uint64 server,
        uint128 priceIn,
        uint128 priceOut,
        uint128 priceUse
    ) external;

    /// @notice The number of models; their ids are 1 to this.
    function models() external view returns (uint64);

    /// @notice Developer, Datanet (zero of a base) and current checkpoint of a model; zero when it does not
    /// exist.
    function model(
        uint64 id
    ) external view returns (uint64 developer, uint64 datanet, bytes32 checkpoint);
}
