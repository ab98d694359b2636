//! How tokens are drawn.

use protocol::ask::{Ask, USUAL_TEMPERATURE_PPM};
use serde::{Deserialize, Serialize};

/// How to choose tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// Tokens to generate.
    pub tokens: u32,
    /// Temperature in parts per million; zero takes the likeliest token each time.
    pub temperature_ppm: u32,
    /// Choose among this many likeliest tokens only; zero: among all.
    pub top: u32,
    /// Of those, choose among the likeliest that together have this much of the probability, in parts
    /// per million, after the temperature; [`Sampling::ALL`]: among all.
    pub top_p_ppm: u32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Sampling {
    /// As where nothing else is said.
    pub const fn usual(tokens: u32, seed: u64) -> Self {
        let temperature_ppm = USUAL_TEMPERATURE_PPM;
        Self { tokens, temperature_ppm, top: 0, top_p_ppm: Self::ALL, seed }
    }

    /// What was asked for, up to so many tokens.
    pub fn asked(ask: &Ask, tokens: u32) -> Self {
        let &Ask { temperature_ppm, top_k, top_p_ppm, seed, .. } = ask;
        let top_p_ppm = top_p_ppm.min(Self::ALL);
        Self { tokens, temperature_ppm, top: top_k, top_p_ppm, seed }
    }

    /// The whole probability, in parts per million.
    pub const ALL: u32 = 1_000_000;
}
