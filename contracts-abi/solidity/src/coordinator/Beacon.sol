// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBeacon} from "../interfaces/IBeacon.sol";
import {EpochParams} from "../Types.sol";

/// @title Epochs and their seeds
abstract contract Beacon is IBeacon {
    /// The contract of EIP-2935, which keeps the last 8,191 block hashes.
    address private constant HISTORY = 0x0000F90827F1C53a10cb7A02335B175320002935;
    uint8 internal constant PURPOSE_S1 = 0;
    uint8 internal constant PURPOSE_S2 = 1;
    uint8 internal constant PURPOSE_SETTLE = 2;

    uint64 internal immutable GENESIS_BLOCK;
    uint64 internal immutable EPOCH_BLOCKS;
    uint64 internal immutable COMMIT_BLOCKS;
    uint64 internal immutable SETTLE_BLOCKS;
    uint64 internal immutable CHALLENGE_BLOCKS;
    uint64 internal immutable CELL_BYTES;

    mapping(uint64 epoch => mapping(uint8 purpose => bytes32)) private _seeds;

    constructor(EpochParams memory p) {
        bool windows = p.commitBlocks > 0 && p.commitBlocks < p.epochBlocks
            && p.settleBlocks > 0 && p.settleBlocks < p.epochBlocks && p.challengeBlocks > 0;
        bool cells = p.cellBytes >= 1024 && p.cellBytes % 1024 == 0;
        if (!windows || !cells) revert BadEpochParams();
        GENESIS_BLOCK = p.genesisBlock;
        EPOCH_BLOCKS = p.epochBlocks;
        COMMIT_BLOCKS = p.commitBlocks;
        SETTLE_BLOCKS = p.settleBlocks;
        CHALLENGE_BLOCKS = p.challengeBlocks;
        CELL_BYTES = p.cellBytes;
    }

    /// @inheritdoc IBeacon
    function epochParams() external view returns (EpochParams memory) {
        return EpochParams(
            GENESIS_BLOCK, EPOCH_BLOCKS, COMMIT_BLOCKS, SETTLE_BLOCKS, CHALLENGE_BLOCKS, CELL_BYTES
        );
    }

    /// @inheritdoc IBeacon
    function currentEpoch() public view returns (uint64) {
        if (block.number < GENESIS_BLOCK) return 0;
        return (uint64(block.number) - GENESIS_BLOCK) / EPOCH_BLOCKS;
    }

    /// @inheritdoc IBeacon
    function epochStart(uint64 epoch) public view returns (uint64) {
        return GENESIS_BLOCK + epoch * EPOCH_BLOCKS;
    }

    /// @inheritdoc IBeacon
    function cutoff(uint64 epoch) public view returns (uint64) {
        return epochStart(epoch + 1) + SETTLE_BLOCKS;
    }

    /// @inheritdoc IBeacon
    function seedBlock(uint64 epoch, uint8 purpose) public view returns (uint64) {
        if (purpose == PURPOSE_S1) return epochStart(epoch);
        if (purpose == PURPOSE_S2) return epochStart(epoch) + COMMIT_BLOCKS;
        if (purpose == PURPOSE_SETTLE) return epochStart(epoch + 1);
        revert UnknownPurpose(purpose);
    }

    /// @inheritdoc IBeacon
    function seed(uint64 epoch, uint8 purpose) public view returns (bytes32) {
        bytes32 captured = _seeds[epoch][purpose];
        if (captured != 0) return captured;
        uint64 number = seedBlock(epoch, purpose);
        if (number >= block.number) revert SeedNotYet(number);
        bytes32 hash = _blockHash(number);
        if (hash == 0) revert SeedMissed(number);
        return _seedOf(epoch, purpose, hash);
    }

    /// @inheritdoc IBeacon
    function capture(uint64 epoch, uint8 purpose) public returns (bytes32 value) {
        value = seed(epoch, purpose);
        if (_seeds[epoch][purpose] == 0) _keep(epoch, purpose, value);
    }

    /// Keeps an epoch's first seed, which disputes need when its block is long out of reach. Before its
    /// block, and where nobody kept it in time, nothing happens.
    function _captureFirst(uint64 epoch) internal {
        uint64 number = epochStart(epoch);
        if (number >= block.number || _seeds[epoch][PURPOSE_S1] != 0) return;
        bytes32 hash = _blockHash(number);
        if (hash != 0) _keep(epoch, PURPOSE_S1, _seedOf(epoch, PURPOSE_S1, hash));
    }

    function _keep(uint64 epoch, uint8 purpose, bytes32 value) private {
        _seeds[epoch][purpose] = value;
        emit SeedCaptured(epoch, purpose, value);
    }

    function _seedOf(uint64 epoch, uint8 purpose, bytes32 hash) private view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), epoch, purpose, hash));
    }

    /// The hash of a block before this one; zero where it is too old.
    function _blockHash(uint64 number) private view returns (bytes32 hash) {
        hash = blockhash(number);
        if (hash != 0) return hash;
        (bool found, bytes memory data) = HISTORY.staticcall(abi.encode(uint256(number)));
        if (found && data.length == 32) hash = abi.decode(data, (bytes32));
    }
}
