//! What a development chain is made of: chain id, hard fork, fees, funded accounts, limits.
//!
//! Invariant: two chains with equal configurations and equal inputs have equal block hashes.

use alloy::primitives::{Address, B256, U256};
use revm::primitives::hardfork::SpecId;
use serde::{Deserialize, Serialize};

use super::keys;

/// The hard fork of every block from genesis on: the newest one that anvil 1.7.1 runs too, so that
/// one contract suite means the same on both.
pub(crate) const HARD_FORK: SpecId = SpecId::OSAKA;

/// The chain id that wallets and tools expect of a local development chain.
pub const DEFAULT_CHAIN_ID: u64 = 31_337;

/// Gas that one transaction may ask for at most (EIP-7825, part of the hard fork).
pub const TX_GAS_CAP: u64 = 16_777_216;

/// Transactions that wait in the pool at most.
pub(crate) const POOL_LIMIT: usize = 8_192;

/// Transactions of one sender that wait in the pool at most.
pub(crate) const POOL_SENDER_LIMIT: usize = 512;

/// Bytes of one encoded transaction at most; the limit that public nodes use.
pub(crate) const TX_BYTES_LIMIT: usize = 128 * 1024;

const _: () = assert!(POOL_SENDER_LIMIT < POOL_LIMIT, "one sender must not fill the pool");

/// How gas is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fees {
    /// A base fee that follows EIP-1559 from this start, in wei.
    Eip1559 {
        /// The base fee of the first block.
        initial: u64,
    },
    /// Gas costs nothing, so that no sender needs ether (simulation).
    Free,
}

/// An account that exists at genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenesisAccount {
    /// Derived from its key, if it has one.
    pub address: Address,
    /// Its balance in wei.
    pub balance: U256,
}

/// The configuration of a chain; a persistent chain stores it in its first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevConfig {
    /// Chain id that transactions must name.
    pub chain_id: u64,
    /// Timestamp of block 0 in seconds.
    pub genesis_timestamp: u64,
    /// Gas of a block.
    pub gas_limit: u64,
    /// How gas is priced.
    pub fees: Fees,
    /// Accounts that are funded at genesis.
    pub accounts: Vec<GenesisAccount>,
    /// Mixed into the genesis block, so that two chains differ in their block hashes when wanted.
    pub salt: B256,
}

impl Default for DevConfig {
    /// Chain 31337 with the ten development accounts holding 10,000 ether each.
    fn default() -> Self {
        let balance = U256::from(10_000u64) * U256::from(10u64).pow(U256::from(18u64));
        Self {
            chain_id: DEFAULT_CHAIN_ID,
            genesis_timestamp: 0,
            gas_limit: 60_000_000,
            fees: Fees::Eip1559 { initial: 1_000_000_000 },
            accounts: keys::dev_accounts()
                .iter()
                .map(|account| GenesisAccount { address: account.address(), balance })
                .collect(),
            salt: B256::ZERO,
        }
    }
}

impl DevConfig {
    /// The setting of simulations: free gas, blocks that hold any number of transactions.
    #[must_use]
    pub fn simulation(chain_id: u64) -> Self {
        Self {
            chain_id,
            gas_limit: 1_000_000_000_000,
            fees: Fees::Free,
            accounts: Vec::new(),
            ..Self::default()
        }
    }
}
