//! How scenario files name a way of cheating, and what they say of those who cheat so.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{ALL, Adversary};
use crate::units::Span;

/// A way of cheating: its name, what it takes, and how its nodes behave.
#[derive(Debug)]
pub struct Profile {
    /// The name in scenario files and reports.
    pub name: &'static str,
    /// What its nodes do, in a sentence.
    pub about: &'static str,
    /// A part of the network that it needs and that is not simulated yet.
    pub needs: Option<&'static str>,
    /// Whether it cheats with models, so that a scenario has to train one.
    pub needs_model: bool,
    /// The behaviour of the nodes of a plan.
    pub build: fn(&AdversaryPlan) -> Box<dyn Adversary>,
}

impl Profile {
    /// A way of cheating that needs no model, and nothing that is not simulated.
    pub const fn new(
        name: &'static str,
        about: &'static str,
        build: fn(&AdversaryPlan) -> Box<dyn Adversary>,
    ) -> Self {
        Self { name, about, needs: None, needs_model: false, build }
    }

    /// The same, about models that are trained.
    #[must_use]
    pub const fn with_model(self) -> Self {
        Self { needs_model: true, ..self }
    }
}

/// A way of cheating that a scenario can name: one of [`ALL`], or one of one's own.
#[derive(Clone, Copy)]
pub struct AdversaryKind(pub &'static Profile);

impl AdversaryKind {
    /// The name in scenario files and reports.
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// The part of the network that it needs and that is not simulated yet.
    pub const fn needs(self) -> Option<&'static str> {
        self.0.needs
    }

    /// Whether it is about models, so that one has to be trained.
    pub const fn needs_model(self) -> bool {
        self.0.needs_model
    }
}

impl PartialEq for AdversaryKind {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for AdversaryKind {}

impl fmt::Debug for AdversaryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for AdversaryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for AdversaryKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The names of [`ALL`], for the error that lists them.
const NAMES: [&str; ALL.len()] = {
    let mut names = [""; ALL.len()];
    let mut place = 0;
    while place < names.len() {
        names[place] = ALL[place].name();
        place += 1;
    }
    names
};

impl<'de> Deserialize<'de> for AdversaryKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        let found = ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
    }
}

impl JsonSchema for AdversaryKind {
    fn schema_name() -> Cow<'static, str> {
        "AdversaryKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = |kind: AdversaryKind| json_schema!({ "description": kind.0.about, "type": "string", "const": kind.name() });
        json_schema!({
            "description": "The ways of cheating that scenarios can name.",
            "oneOf": ALL.map(one).as_slice(),
        })
    }
}

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
