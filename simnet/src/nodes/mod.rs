//! The nodes: the protocol's machine in each, and around it what a simulated host has.

mod blobs;
mod data;
mod population;
mod records;

pub use blobs::SharedBlobs;
pub use data::{Contributor, contributors};
pub use population::{Identity, identities, kinds};
pub use records::{Pool, RecordTable};

use std::fmt;

use protocol::{AccountId, EvmAddress, eip712::EvmKey, node::Node};
use serde::Serialize;

use crate::kernel::{Stream, Time};

/// How a node behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// As the protocol says.
    Honest,
    /// Never online, or gone for good at a seeded time; honest until then.
    Offline,
    /// Cheats in the way that the name says.
    #[serde(untagged)]
    Adversary(&'static str),
}

impl Kind {
    /// Whether it cheats.
    pub const fn is_adverse(self) -> bool {
        matches!(self, Self::Adversary(_))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Honest => "honest",
            Self::Offline => "offline",
            Self::Adversary(name) => name,
        })
    }
}

/// A node and its host.
#[derive(Debug)]
pub struct SimNode {
    /// How it behaves.
    pub kind: Kind,
    /// The account it works for.
    pub account: AccountId,
    /// The key that signs its records.
    pub operator: EvmKey,
    /// The address of that key, which sends its transactions.
    pub address: EvmAddress,
    /// When it leaves; zero for one that never comes.
    pub leaves: Option<Time>,
    /// Whether it is there now.
    pub is_online: bool,
    /// The decisions.
    pub machine: Node,
    /// The records that it has.
    pub pool: Pool,
    /// Draws for what reaches it by gossip.
    pub gossip: Stream,
    /// Draws for what it asks others.
    pub request: Stream,
}
