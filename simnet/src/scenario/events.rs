//! Faults at given times.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// Something that goes wrong at a time, for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultEvent {
    /// When, from the start of the run; `simnet check` says when the epochs begin.
    pub at: Span,
    /// What goes wrong.
    #[serde(rename = "do")]
    pub fault: FaultKind,
    /// For how long; zero where it has no end or none is needed.
    #[serde(default, rename = "for")]
    pub lasts: Span,
    /// Share of the nodes that it strikes; of blobs for `bit-rot`; loss for `loss`.
    #[serde(default = "whole")]
    pub share: f64,
    /// Regions that it strikes; all where none is named.
    #[serde(default)]
    pub regions: Vec<String>,
    /// A partition that lets messages out and none in.
    #[serde(default)]
    pub one_way: bool,
    /// How many times slower, for `slow-disk`.
    #[serde(default = "tenfold")]
    pub factor: f64,
}

const fn whole() -> f64 {
    1.0
}

const fn tenfold() -> f64 {
    10.0
}

impl FaultEvent {
    /// A fault that strikes everybody.
    pub const fn new(at: Span, fault: FaultKind, lasts: Span) -> Self {
        let (share, factor) = (whole(), tenfold());
        Self { at, fault, lasts, share, regions: Vec::new(), one_way: false, factor }
    }
}

/// The faults that scenarios can name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Those whom it strikes and the others do not reach each other.
    Partition,
    /// Further loss of messages.
    Loss,
    /// Disks are slower.
    SlowDisk,
    /// A share of the blobs on the disks goes bad.
    BitRot,
    /// Nodes stop, lose what was not durable yet, and start again.
    Crash,
    /// Nodes go down together and come back.
    Reboot,
    /// Nobody new finds peers.
    BootstrapOutage,
    /// Relays are down: who needs one is not reached.
    RelayOutage,
    /// Nodes neither see blocks nor send transactions.
    RpcOutage,
    /// Nodes that were offline come all at once.
    FlashCrowd,
    /// Nobody rules on objections.
    ArbiterOutage,
}

impl FaultKind {
    /// All, in the order of reports.
    pub const ALL: [Self; 11] = [
        Self::Partition,
        Self::Loss,
        Self::SlowDisk,
        Self::BitRot,
        Self::Crash,
        Self::Reboot,
        Self::BootstrapOutage,
        Self::RelayOutage,
        Self::RpcOutage,
        Self::FlashCrowd,
        Self::ArbiterOutage,
    ];

    /// The name in scenario files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Loss => "loss",
            Self::SlowDisk => "slow-disk",
            Self::BitRot => "bit-rot",
            Self::Crash => "crash",
            Self::Reboot => "reboot",
            Self::BootstrapOutage => "bootstrap-outage",
            Self::RelayOutage => "relay-outage",
            Self::RpcOutage => "rpc-outage",
            Self::FlashCrowd => "flash-crowd",
            Self::ArbiterOutage => "arbiter-outage",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
