//! A small network for tests.

use contracts_abi::{Bonds, DataDeposit, GenesisConfig};
use protocol::{Amount, EvmAddress};

/// Who may ask for a change.
pub(crate) const GOVERNOR: EvmAddress = EvmAddress([0x60; 20]);
/// Who rules on objections.
pub(crate) const ARBITER: EvmAddress = EvmAddress([0xab; 20]);

/// Holders get a thousand OPEN each.
pub(crate) fn genesis(holders: &[EvmAddress]) -> GenesisConfig {
    let open = |n: u128| Amount(n * Amount::ONE_OPEN.0);
    GenesisConfig {
        holders: holders.iter().map(|holder| (*holder, open(1_000))).collect(),
        vault: open(400_000_000),
        treasury: EvmAddress([0x77; 20]),
        budget: open(100),
        epoch_blocks: 24,
        commit_blocks: 2,
        settle_blocks: 3,
        challenge_blocks: 2,
        start_after: 14,
        cell_bytes: 16 * 1024,
        max_pack: 64 * 1024,
        data_deposit: DataDeposit { per_byte: Amount(Amount::ONE_OPEN.0 >> 20), blocks: 48 },
        bonds: Bonds { proposal: open(100), objection: open(10), dispute: open(1), fault: open(5) },
        governors: vec![GOVERNOR],
        delay: 3_600,
        arbiter: ARBITER,
        min_stake: open(1),
        least_stake: open(1),
    }
}
