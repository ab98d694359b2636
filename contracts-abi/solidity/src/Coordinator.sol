// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Disputes} from "./coordinator/Disputes.sol";
import {Beacon} from "./coordinator/Beacon.sol";
import {Inclusion} from "./coordinator/Inclusion.sol";
import {Settlements} from "./coordinator/Settlements.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRewardVault} from "./interfaces/IRewardVault.sol";
import {IStorageVerifier} from "./interfaces/IStorageVerifier.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Bonds, EpochParams} from "./Types.sol";

/// @title From an epoch's records to payouts
/// @notice Seeds (Beacon), which records an epoch has (Inclusion), bonded proposals and claims (Settlements), proofs that a
/// proposal is wrong (Challenges), and storage disputes (Disputes).
contract Coordinator is Disputes {
    constructor(
        EpochParams memory params,
        Bonds memory bondAmounts,
        IRegistry registry,
        IDatanetRegistry datanets,
        IRewardVault vault,
        IStorageVerifier verifier,
        address admin
    )
        Beacon(params)
        Inclusion(registry)
        Settlements(datanets, vault, bondAmounts, admin)
        Disputes(verifier)
    {}

    /// @notice The EIP-712 domain separator of records and receipts on this chain.
    function domainSeparator() external view returns (bytes32) {
        return TypedData.separator(address(this));
    }
}
