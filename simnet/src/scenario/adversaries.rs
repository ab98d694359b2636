//! Who cheats: a share of the nodes, and the ways in which they do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{adversary::AdversaryKind, units::Span};

/// A share of the nodes that cheat in one way from some time on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdversaryPlan {
    /// What its nodes do otherwise than honest ones.
    pub kind: AdversaryKind,
    /// Share of all nodes.
    pub share: f64,
    /// Since when; honest before.
    #[serde(default)]
    pub from: Span,
    /// What the same nodes do as well.
    #[serde(default)]
    pub also: Vec<AdversaryKind>,
    /// How hard: share of a victim's peers for `eclipse`, records per block for `gossip-spam`, share
    /// of shards for `forged-shard`, `copied-shard` and `invented-base`, uses per block for `self-dealing`
    /// and `unpaid-withdrawal`, runs per epoch for `self-ordering`, share of attributions for
    /// `withheld-attribution`, share of the packs for `data-copying`.
    #[serde(default = "hard")]
    pub strength: f64,
    /// Share of the honest nodes that `eclipse` is aimed at.
    #[serde(default = "tenth")]
    pub victims: f64,
    /// Share of the tokens that `data-copying` changes in its copies.
    #[serde(default)]
    pub changed: f64,
}

const fn hard() -> f64 {
    0.9
}

const fn tenth() -> f64 {
    0.1
}

impl AdversaryPlan {
    /// A share of nodes that cheat from the start.
    pub const fn new(kind: AdversaryKind, share: f64) -> Self {
        let (strength, victims, changed) = (hard(), tenth(), 0.0);
        Self { kind, share, from: Span::ZERO, also: Vec::new(), strength, victims, changed }
    }

    /// All that its nodes do.
    pub fn kinds(&self) -> impl Iterator<Item = AdversaryKind> {
        self.also.iter().copied().chain([self.kind])
    }
}
