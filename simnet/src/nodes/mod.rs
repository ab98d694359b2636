//! The nodes: the protocol's machine in each, and around it what a simulated host has.

mod blobs;
mod data;
mod population;
mod records;
mod signer;
mod text;

pub use blobs::SharedBlobs;
pub use data::{Contributor, contributors};
pub(crate) use population::identities;
pub use population::{Identity, Role, identity, kinds};
pub use records::Entry;
pub(crate) use records::RecordTable;
pub use signer::Signer;

use std::fmt;

use protocol::{AccountId, node::Node};
use serde::Serialize;

use crate::kernel::Time;

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

/// The number of no coalition: there are fewer.
const HONEST: u8 = u8::MAX;

/// A node and its host. Small: a million of them are in memory.
#[derive(Debug)]
pub struct SimNode {
    /// How it behaves.
    pub kind: Kind,
    /// The account it works for.
    pub account: AccountId,
    /// The number under which it signs and sends.
    pub identity: u32,
    /// The decisions, while it is online.
    pub machine: Option<Box<Node>>,
    /// From when it has every older record.
    pub synced: Time,
    /// When it came last.
    pub since: Time,
    /// When it went offline last.
    pub left: Time,
    /// Time that it was online in all sessions before, in microseconds.
    pub online: u64,
    /// How often it came.
    pub session: u32,
    /// How much it has asked the network, which tells its draws apart.
    pub asked: u32,
    /// The block that it has to see next; `u32::MAX` for one that stirs.
    pub wake: u32,
    /// The newest block that it was told of, or that is on its way to it.
    pub told: u32,
    /// The last window of events in which it waited for others.
    pub halted: u32,
    coalition: u8,
}

impl SimNode {
    /// A node that is not there yet.
    pub const fn new(kind: Kind, account: AccountId, identity: u32) -> Self {
        Self {
            kind,
            account,
            identity,
            machine: None,
            synced: Time(0),
            since: Time(0),
            left: Time(0),
            online: 0,
            session: 0,
            asked: 0,
            wake: 0,
            told: 0,
            halted: 0,
            coalition: HONEST,
        }
    }

    /// Whether it is there now.
    pub(crate) const fn is_online(&self) -> bool {
        self.machine.is_some()
    }

    /// The number of the coalition that it belongs to.
    pub(crate) const fn coalition(&self) -> Option<usize> {
        if self.coalition == HONEST { None } else { Some(self.coalition as usize) }
    }

    /// Makes it one of a coalition's.
    pub const fn join(&mut self, coalition: u8) {
        self.coalition = coalition;
    }

    /// The next number for a draw.
    pub const fn ask(&mut self) -> u64 {
        self.asked = self.asked.wrapping_add(1);
        self.asked as u64
    }
}
