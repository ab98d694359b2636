// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Beacon} from "./coordinator/Beacon.sol";
import {Inclusion} from "./coordinator/Inclusion.sol";
import {ICoordinator} from "./interfaces/ICoordinator.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {EpochParams} from "./Types.sol";

/// @title Epochs, their seeds and their records
/// @notice The verifying contract of every record in the network. It has no admin and holds no money.
contract Coordinator is Inclusion, ICoordinator {
    constructor(EpochParams memory params, IRegistry registry) Beacon(params) Inclusion(registry) {}

    /// @inheritdoc ICoordinator
    function domainSeparator() external view returns (bytes32) {
        return TypedData.separator(address(this));
    }
}
