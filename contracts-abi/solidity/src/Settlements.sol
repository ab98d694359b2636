// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Bonded} from "./Bonded.sol";
import {ICoordinator} from "./interfaces/ICoordinator.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {IRewardVault} from "./interfaces/IRewardVault.sol";
import {Challenges} from "./settlements/Challenges.sol";
import {Proposals} from "./settlements/Proposals.sol";

/// @title Which settlement becomes final
/// @notice It holds proposals and nothing else: what is final, and what was paid for it, the RewardVault
/// keeps, so that this contract can be replaced between two epochs.
contract Settlements is Challenges {
    constructor(
        ICoordinator coordinator,
        IDatanetRegistry datanets,
        IRewardVault vault,
        uint128 proposalBond,
        uint128 objectionBond,
        address admin,
        address arbiter
    )
        Bonded(coordinator, vault)
        Proposals(datanets, proposalBond, objectionBond, admin, arbiter)
    {}
}
