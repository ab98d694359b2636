//! What operators pay and earn in money.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{data, units::Span};

/// Costs of operators, the price of the token, and what they make of both.
///
/// Costs are those of `data/costs.toml` unless the scenario says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Economics {
    /// Price of one OPEN in USD from given times on; none before the first.
    pub price: Vec<PricePoint>,
    /// Power that a node draws beside what its host draws anyway, in W.
    pub watt: f64,
    /// USD per kWh.
    pub electricity: f64,
    /// USD per GiB sent.
    pub upload: f64,
    /// USD per GiB of disk.
    pub disk: f64,
    /// Years that a disk lasts.
    pub disk_years: f64,
    /// USD for the host's other hardware.
    pub hardware: f64,
    /// Years that it lasts.
    pub hardware_years: f64,
    /// Settled epochs with a loss, one after the other, after which an honest operator quits; 0 for
    /// never.
    pub patience: u32,
    /// Share of those who quit that come back after an epoch in which holders made a profit.
    pub rejoin: f64,
}

/// The price of the token from a time on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PricePoint {
    /// From when on, from the start of the run.
    pub at: Span,
    /// USD for one OPEN.
    pub usd: f64,
}

impl Default for Economics {
    fn default() -> Self {
        let home = |value| data::shipped("prices-home", value);
        Self {
            price: Vec::new(),
            watt: data::shipped("power-home", "idle"),
            electricity: home("electricity"),
            upload: home("upload"),
            disk: home("disk"),
            disk_years: home("disk-years"),
            hardware: home("hardware"),
            hardware_years: home("hardware-years"),
            patience: 0,
            rejoin: 0.0,
        }
    }
}

const HOURS_OF_YEAR: f64 = 8_766.0;

impl Economics {
    /// The price at a time, in USD per OPEN.
    pub(crate) fn price_at(&self, micros: u64) -> f64 {
        let past = self.price.iter().filter(|point| point.at.0 <= micros);
        past.max_by_key(|point| point.at).map_or(0.0, |point| point.usd)
    }

    /// USD for an hour of a node that is online and holds some GiB.
    pub fn per_hour(&self, gib: f64) -> f64 {
        let power = self.watt / 1_000.0 * self.electricity;
        let hardware = self.hardware / (self.hardware_years * HOURS_OF_YEAR);
        power + hardware + gib * self.disk / (self.disk_years * HOURS_OF_YEAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_costs_power_and_wear() {
        let costs = Economics {
            watt: 10.0,
            electricity: 0.20,
            hardware: 8.766,
            hardware_years: 1.0,
            disk: 87.66,
            disk_years: 1.0,
            ..Economics::default()
        };
        // 10 Wh at 0.20 per kWh, a thousandth for the hardware, a hundredth per GiB.
        assert!((costs.per_hour(3.0) - (0.002 + 0.001 + 0.03)).abs() < 1e-9);
        let price = |at, usd| PricePoint { at: Span(at), usd };
        let costs = Economics { price: vec![price(10, 2.0), price(20, 1.0)], ..costs };
        assert_eq!([9, 10, 19, 20].map(|at| costs.price_at(at)), [0.0, 2.0, 2.0, 1.0]);
    }
}
