//! Bindings of the checked-in artifacts. Nothing outside this crate sees them.
#![allow(missing_docs, clippy::too_many_arguments)]

use alloy::primitives::Address;
use protocol::EvmAddress;

macro_rules! contract {
    ($module:ident, $name:ident, $path:literal) => {
        mod $module {
            alloy::sol!(
                #[sol(extra_derives(Debug, PartialEq, Eq))]
                $name,
                $path
            );
        }
        pub(crate) use $module::$name;
    };
}

contract!(open, Open, "artifacts/Open.json");
contract!(registry, Registry, "artifacts/Registry.json");
contract!(datanets, DatanetRegistry, "artifacts/DatanetRegistry.json");
contract!(models, ModelRegistry, "artifacts/ModelRegistry.json");
contract!(verifier, StorageVerifier, "artifacts/StorageVerifier.json");
contract!(vault, RewardVault, "artifacts/RewardVault.json");
contract!(escrow, UsageEscrow, "artifacts/UsageEscrow.json");
contract!(coordinator, Coordinator, "artifacts/Coordinator.json");
contract!(settlements, Settlements, "artifacts/Settlements.json");
contract!(disputes, Disputes, "artifacts/Disputes.json");
contract!(timelock, Timelock, "artifacts/Timelock.json");

/// An address as the bindings name it.
pub(crate) const fn address(address: EvmAddress) -> Address {
    Address::new(address.0)
}
