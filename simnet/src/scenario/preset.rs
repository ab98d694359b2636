//! Populations that are known from outside, under one name.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Value;

use crate::{data, units::Span};

/// A population under a name: values for many keys, each from a data set with its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preset {
    /// Computers in homes all over the world, as of 2025: regions and the delays between them,
    /// access lines, NAT, and who is always there, in the evening only, or comes and goes.
    #[serde(rename = "home-2025")]
    Home2025,
}

/// A value that a preset gives a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The key's path in scenario files.
    pub key: &'static str,
    /// The value that the preset gives it.
    pub value: Value,
    /// The data set that it comes from.
    pub set: &'static str,
}

impl Preset {
    /// All, in the order of lists.
    pub const ALL: [Self; 1] = [Self::Home2025];

    /// The name in scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Home2025 => "home-2025",
        }
    }

    /// What it gives.
    pub fn values(self) -> Vec<Given> {
        match self {
            Self::Home2025 => home_2025(),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

fn home_2025() -> Vec<Given> {
    let number = |key, set, value| Given { key, value: data::shipped(set, value).into(), set };
    let word = |key, value: &str, set| Given { key, value: value.into(), set };
    let hours = |key, set, value| {
        let span = span_of_hours(data::shipped(set, value));
        Given { key, value: span.to_string().into(), set }
    };
    let class = |name| data::shipped("classes-home-2025", name);
    let (evening, session) = (class("evening"), class("session"));
    let of_classes = |key, value: f64| Given { key, value: value.into(), set: "classes-home-2025" };
    vec![
        word("net.underlay", "matrix", "rtt-simblock-2019"),
        word("net.data", "rtt-simblock-2019", "rtt-simblock-2019"),
        number("net.jitter", "jitter-home-2025", "share"),
        number("net.down_mbit", "access-ookla-2025", "down"),
        number("net.up_mbit", "access-ookla-2025", "up"),
        number("net.spread", "access-spread", "sigma"),
        number("net.nat", "nat-home-2025", "behind"),
        number("net.symmetric", "nat-home-2025", "symmetric"),
        number("net.punched", "nat-dcutr-2025", "punched"),
        word("churn.model", "weibull", "sessions-ipfs-2022"),
        number("churn.shape", "sessions-ipfs-2022", "shape"),
        hours("churn.session", "sessions-ipfs-2022", "scale"),
        hours("churn.pause", "pauses-home-2025", "mean"),
        of_classes("churn.share", evening + session),
        of_classes("churn.evening", evening / (evening + session)),
        hours("churn.evening_from", "evenings-home-2025", "from"),
        hours("churn.evening_until", "evenings-home-2025", "until"),
    ]
}

/// Hours of a data set, to the second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
pub(crate) fn span_of_hours(hours: f64) -> Span {
    Span::seconds((hours * 3_600.0).round() as u64)
}
