//! Who cheats.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// A share of the nodes that cheat in one way from some time on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdversaryPlan {
    /// How.
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
    /// of shards for `forged-shard` and `copied-shard`, uses per block for `self-dealing`, share of the
    /// packs for `data-copying`.
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

/// The ways of cheating that scenarios can name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AdversaryKind {
    /// Claims every assigned pack and stores none: commits made-up rows, opens garbage.
    LazyStorage,
    /// Stores nothing and fetches what a proof needs when it needs it.
    OnDemand,
    /// Stores nothing and asks one rich accomplice for rows and openings.
    Outsourcing,
    /// Identities of one operator that keep one copy among them, each with stake.
    Sybil,
    /// The same without stake.
    SybilUnstaked,
    /// Neighbours that withhold gossip and answers from their victims.
    Eclipse,
    /// Floods records that are worth nothing.
    GossipSpam,
    /// Publishes proofs as late as the rules allow.
    LateReveal,
    /// Audits nothing and says that all is well.
    LazyAuditor,
    /// Says that others' work is missing and that accomplices' work is fine.
    ColludingAuditor,
    /// Proposes settlements that pay itself.
    FalseSettlement,
    /// The same, and gives nobody the log that would show it.
    WithheldLog,
    /// Leaves the records of honest nodes out of the settlements that it proposes.
    CensoringProposer,
    /// Cheats until it is caught and comes back under a new name.
    Whitewashing,
    /// Publishes shards that it did not train.
    ForgedShard,
    /// Publishes others' shards as its own.
    CopiedShard,
    /// Sits on juries and votes without looking.
    LazyJury,
    /// Contributes others' packs once more, with some tokens changed, to be paid for attribution. Its
    /// nodes are honest.
    DataCopying,
    /// Contributes the first contributor's packs under an account each (256 at most), to be paid more
    /// for attribution. Its nodes are honest.
    DataSplitting,
    /// Uses its own model to earn fees back.
    SelfDealing,
}

impl AdversaryKind {
    /// All, in the order of reports.
    pub const ALL: [Self; 20] = [
        Self::LazyStorage,
        Self::OnDemand,
        Self::Outsourcing,
        Self::Sybil,
        Self::SybilUnstaked,
        Self::Eclipse,
        Self::GossipSpam,
        Self::LateReveal,
        Self::LazyAuditor,
        Self::ColludingAuditor,
        Self::FalseSettlement,
        Self::WithheldLog,
        Self::CensoringProposer,
        Self::Whitewashing,
        Self::ForgedShard,
        Self::CopiedShard,
        Self::LazyJury,
        Self::DataCopying,
        Self::DataSplitting,
        Self::SelfDealing,
    ];

    /// The name in scenario files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LazyStorage => "lazy-storage",
            Self::OnDemand => "on-demand",
            Self::Outsourcing => "outsourcing",
            Self::Sybil => "sybil",
            Self::SybilUnstaked => "sybil-unstaked",
            Self::Eclipse => "eclipse",
            Self::GossipSpam => "gossip-spam",
            Self::LateReveal => "late-reveal",
            Self::LazyAuditor => "lazy-auditor",
            Self::ColludingAuditor => "colluding-auditor",
            Self::FalseSettlement => "false-settlement",
            Self::WithheldLog => "withheld-log",
            Self::CensoringProposer => "censoring-proposer",
            Self::Whitewashing => "whitewashing",
            Self::ForgedShard => "forged-shard",
            Self::CopiedShard => "copied-shard",
            Self::LazyJury => "lazy-jury",
            Self::DataCopying => "data-copying",
            Self::DataSplitting => "data-splitting",
            Self::SelfDealing => "self-dealing",
        }
    }

    /// The part of the network that it needs and that is not simulated yet.
    pub const fn needs(self) -> Option<&'static str> {
        match self {
            Self::LazyJury => Some("juries"),
            _ => None,
        }
    }

    /// Whether it proposes what does not follow from the records.
    pub const fn lies_to_settle(self) -> bool {
        matches!(self, Self::FalseSettlement | Self::WithheldLog)
    }

    /// Whether it is about models, so that one has to be trained.
    pub const fn needs_model(self) -> bool {
        matches!(self, Self::ForgedShard | Self::CopiedShard | Self::SelfDealing)
            || self.is_of_data()
    }

    /// Whether it cheats with data, and not with nodes.
    pub const fn is_of_data(self) -> bool {
        matches!(self, Self::DataCopying | Self::DataSplitting)
    }
}

impl fmt::Display for AdversaryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
