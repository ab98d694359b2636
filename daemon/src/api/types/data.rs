//! Datanets and what is contributed to them.

use protocol::{AccountId, Amount, DatanetId, EvmAddress, Hash};
use serde::{Deserialize, Serialize};

/// A Datanet with all contributions to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DatanetInfo {
    /// Its id on chain.
    pub id: DatanetId,
    /// A name for people.
    pub name: String,
    /// The account that owns it.
    pub owner: AccountId,
    /// Contributions so far.
    pub contributions: Vec<ContributionInfo>,
}

/// A contribution to a Datanet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContributionInfo {
    /// Its number, in order of commitment.
    pub id: u64,
    /// The account that is paid for it.
    pub account: AccountId,
    /// Address of its manifest.
    pub manifest: Hash,
    /// Its packs with their lengths in bytes.
    pub packs: Vec<(Hash, u64)>,
    /// Number of its units.
    pub units: u32,
    /// The block that admitted it.
    pub block: u64,
}

/// Asks for a Datanet.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateDatanet {
    /// A name for people.
    pub name: String,
    /// What it is about.
    pub domain: String,
    /// The licence, as a number of bits.
    pub licence: u32,
}

/// One text to be published.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Its name, without a path.
    pub name: String,
    /// The text itself, UTF-8.
    pub text: String,
}

/// Publishes documents in a Datanet.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contribute {
    /// The owner of the account that is paid; the node itself if nobody is named.
    pub owner: Option<EvmAddress>,
    /// The texts that are published.
    pub documents: Vec<Document>,
}

/// What became of a contribution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AddReport {
    /// Its number, in order of commitment.
    pub contribution: u64,
    /// Address of the manifest.
    pub manifest: Hash,
    /// Number of packs.
    pub packs: usize,
    /// Number of units.
    pub units: usize,
    /// Bytes of all packs.
    pub bytes: u64,
    /// The block that admitted it.
    pub block: u64,
    /// OPEN that is locked for them.
    pub deposit: Amount,
    /// The first block in which it may be taken back.
    pub until_block: u64,
}

/// Asks for the deposit of a contribution, which goes to who paid it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeBack {
    /// The contribution's number.
    pub contribution: u64,
}

/// What a contribution locks, for what others have to store.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct DataDeposit {
    /// OPEN that is locked.
    pub deposit: Amount,
    /// For so many blocks.
    pub blocks: u64,
    /// OPEN of the node's operator, who pays it and has it back.
    pub has: Amount,
    /// The operator's address.
    pub operator: EvmAddress,
}
