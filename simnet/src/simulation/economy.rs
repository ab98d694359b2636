//! Operators count what they earn and what it costs them, quit and come back.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{AccountId, BlobRef, Epoch, settle::Line};

use super::{Event, Simulation, kpis::open, number};
use crate::{
    kernel::{Purpose, Time},
    nodes::Kind,
    report::Kpi,
};

/// What operators remember.
#[derive(Debug, Default)]
pub(super) struct Economy {
    /// Epochs with a loss, one after the other.
    losses: BTreeMap<u32, u32>,
    quit: BTreeSet<u32>,
    /// Everything that was earned, at the price of its time, in USD.
    income: BTreeMap<u32, f64>,
    /// What was paid for upload, in USD: in all, and since the last settlement.
    upload: BTreeMap<u32, f64>,
    upload_lately: BTreeMap<u32, f64>,
    quits: u64,
    rejoins: u64,
}

impl Economy {
    pub(super) fn has_quit(&self, node: u32) -> bool {
        self.quit.contains(&node)
    }
}

impl Simulation {
    /// A settlement is final: operators look at their accounts.
    pub(super) fn operate(&mut self, lines: &[Line], epoch: Epoch) {
        if self.scenario.economics.price.is_empty() && self.scenario.economics.patience == 0 {
            return;
        }
        let price = self.scenario.economics.price_at(self.now.0);
        let mut earned = BTreeMap::<AccountId, f64>::new();
        for line in lines {
            *earned.entry(line.account).or_default() += open(line.amount) * price;
        }
        for (account, usd) in &earned {
            if let Some(index) = self.index_of(*account) {
                *self.economy.income.entry(number(index)).or_default() += usd;
            }
        }
        if self.scenario.economics.patience > 0 {
            self.decide(&earned, epoch);
        }
    }

    /// A node sent something to another.
    pub(super) fn spend_upload(&mut self, from: Option<u32>, bytes: u64) {
        let usd = gib(bytes) * self.scenario.economics.upload;
        if let Some(node) = from.filter(|_| usd > 0.0) {
            *self.economy.upload.entry(node).or_default() += usd;
            *self.economy.upload_lately.entry(node).or_default() += usd;
        }
    }

    fn decide(&mut self, earned: &BTreeMap<AccountId, f64>, epoch: Epoch) {
        let hours = hours(Time(self.scenario.epoch_span().0));
        let placement = self.chain.view().placement(epoch);
        if placement.replicas() == 0 {
            return;
        }
        let upload = std::mem::take(&mut self.economy.upload_lately);
        let (mut gains, mut holders) = (0.0, 0u32);
        for index in 0..self.nodes.len() {
            let (node, me) = (&self.nodes[index], number(index));
            if node.kind != Kind::Honest || !node.is_online() {
                continue;
            }
            let bytes: u64 = BlobRef::total(placement.packs_of(node.account));
            let cost = self.scenario.economics.per_hour(gib(bytes)) * hours;
            let cost = cost + upload.get(&me).copied().unwrap_or(0.0);
            let gain = earned.get(&node.account).copied().unwrap_or(0.0) - cost;
            if bytes > 0 {
                (gains, holders) = (gains + gain, holders + 1);
            }
            if gain >= 0.0 {
                self.economy.losses.remove(&me);
                continue;
            }
            let lost = self.economy.losses.entry(me).or_default();
            *lost += 1;
            if *lost >= self.scenario.economics.patience {
                self.economy.losses.remove(&me);
                self.economy.quit.insert(me);
                self.economy.quits += 1;
                self.leave(index);
            }
        }
        if holders > 0 && gains > 0.0 {
            self.rejoin(epoch);
        }
    }

    fn rejoin(&mut self, epoch: Epoch) {
        let share = self.scenario.economics.rejoin;
        let draw = |node: &u32| self.draws.share(Purpose::Economy, (*node).into(), epoch.0);
        let back: Vec<_> =
            self.economy.quit.iter().copied().filter(|node| draw(node) < share).collect();
        for node in back {
            self.economy.quit.remove(&node);
            self.economy.rejoins += 1;
            self.push_own(self.now, node as usize, Event::Return);
        }
    }

    /// Hours that a node was online so far.
    fn hours_online(&self, index: usize) -> f64 {
        let node = &self.nodes[index];
        let current = if node.is_online() { self.now.0.saturating_sub(node.since.0) } else { 0 };
        hours(Time(node.online + current))
    }

    /// The key figures of money.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn money(&self) -> Vec<Kpi> {
        let costs = &self.scenario.economics;
        let (mut spent, mut adverse, mut members) = (0.0, 0.0, 0u32);
        let placement = self.chain.view().placement(self.last_epoch());
        let mut proven_gib_hours = 0.0;
        let epoch_hours = hours(Time(self.scenario.epoch_span().0));
        for row in &self.epochs {
            let mean = placement.bytes() as f64 / placement.replicas().max(1) as f64;
            let bytes = f64::from(row.replicas_proven) * mean;
            proven_gib_hours += bytes / (1u64 << 30) as f64 * epoch_hours;
        }
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let bytes: u64 = BlobRef::total(placement.packs_of(node.account));
            // An adversary that stores nothing pays for no disk; what it does store is not told here.
            let held = if node.kind.is_adverse() { 0.0 } else { gib(bytes) };
            let upload = self.economy.upload.get(&number(index)).copied().unwrap_or(0.0);
            let cost = costs.per_hour(held) * self.hours_online(index) + upload;
            spent += cost;
            if node.kind.is_adverse() {
                let income = self.economy.income.get(&number(index)).copied().unwrap_or(0.0);
                (adverse, members) = (adverse + income - cost, members + 1);
            }
        }
        let has_price = !costs.price.is_empty();
        let month = 730.5;
        let per_gib = (proven_gib_hours > 0.0).then(|| spent / proven_gib_hours * month);
        let profit = (has_price && members > 0).then(|| adverse / f64::from(members));
        vec![
            Kpi::new("cost_per_gib_month", per_gib),
            Kpi::new("attack_profit", profit),
            Kpi::new("operators_quit", Some(self.economy.quits as f64)),
            Kpi::new("operators_back", Some(self.economy.rejoins as f64)),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "52 bits of microseconds are a century")]
fn hours(time: Time) -> f64 {
    time.0 as f64 / 3.6e9
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}
