// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IBeacon} from "./IBeacon.sol";
import {IInclusion} from "./IInclusion.sol";

/// @title Epochs, their seeds and their records
interface ICoordinator is IBeacon, IInclusion {
    /// @notice The EIP-712 domain separator of records and receipts on this chain.
    function domainSeparator() external view returns (bytes32);
}
