//! Operators count what they earn and what it costs them, quit and come back.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{AccountId, BlobRef, Epoch, settle::Line};

use super::{Event, env::Env, kpis::open, links::gib, number};
use crate::{
    kernel::{Purpose, Time, real},
    nodes::Kind,
    report::{EpochRow, Kpi},
};

/// What operators remember.
#[derive(Debug, Default)]
pub(super) struct Economy {
    /// Epochs with a loss, one after the other.
    losses: BTreeMap<u32, u32>,
    quit: BTreeSet<u32>,
    /// Everything that was earned, at the price of its time, in USD.
    income: BTreeMap<u32, f64>,
    quits: u64,
    rejoins: u64,
}

impl Economy {
    pub(super) fn has_quit(&self, node: u32) -> bool {
        self.quit.contains(&node)
    }

    /// A settlement is final: operators look at their accounts.
    pub(super) fn operate(&mut self, env: &mut Env, lines: &[Line], epoch: Epoch) {
        if env.scenario.economics.price.is_empty() && env.scenario.economics.patience == 0 {
            return;
        }
        let price = env.scenario.economics.price_at(env.now().0);
        let mut earned = BTreeMap::<AccountId, f64>::new();
        for line in lines {
            *earned.entry(line.account).or_default() += open(line.amount) * price;
        }
        for (account, usd) in &earned {
            if let Some(index) = env.population.index_of(*account) {
                *self.income.entry(number(index)).or_default() += usd;
            }
        }
        if env.scenario.economics.patience > 0 {
            self.decide(env, &earned, epoch);
        }
    }

    /// Operators of honest nodes quit that have lost too often, and some come back while others gain.
    fn decide(&mut self, env: &mut Env, earned: &BTreeMap<AccountId, f64>, epoch: Epoch) {
        let hours = hours(Time(env.scenario.epoch_span().0));
        let placement = env.view().placement(epoch);
        if placement.replicas() == 0 {
            return;
        }
        let upload = env.links.take_uploads();
        let (mut gains, mut holders) = (0.0, 0u32);
        for index in 0..env.population.len() {
            let (node, me) = (env.population.node(index), number(index));
            if node.kind != Kind::Honest || !node.is_online() {
                continue;
            }
            let bytes = BlobRef::total(placement.packs_of(node.account));
            let cost = env.scenario.economics.per_hour(gib(bytes)) * hours;
            let cost = cost + upload.get(&me).copied().unwrap_or(0.0);
            let gain = earned.get(&node.account).copied().unwrap_or(0.0) - cost;
            if bytes > 0 {
                (gains, holders) = (gains + gain, holders + 1);
            }
            if gain >= 0.0 {
                self.losses.remove(&me);
                continue;
            }
            let lost = self.losses.entry(me).or_default();
            *lost += 1;
            if *lost >= env.scenario.economics.patience {
                self.losses.remove(&me);
                self.quit.insert(me);
                self.quits += 1;
                env.leave(index);
            }
        }
        if holders > 0 && gains > 0.0 {
            self.rejoin(env, epoch);
        }
    }

    fn rejoin(&mut self, env: &mut Env, epoch: Epoch) {
        let share = env.scenario.economics.rejoin;
        let draw = |node: &u32| env.draws.share(Purpose::Economy, (*node).into(), epoch.0);
        let back: Vec<_> = self.quit.iter().copied().filter(|node| draw(node) < share).collect();
        for node in back {
            self.quit.remove(&node);
            self.rejoins += 1;
            env.schedule.push_own(env.now(), node as usize, Event::Return);
        }
    }

    /// The key figures of money.
    pub(super) fn figures(&self, env: &Env, epochs: &[EpochRow]) -> [Kpi; 4] {
        let costs = &env.scenario.economics;
        let (mut spent, mut adverse, mut members) = (0.0, 0.0, 0u32);
        let placement = env.view().placement(env.last_epoch());
        let mut proven_gib_hours = 0.0;
        let epoch_hours = hours(Time(env.scenario.epoch_span().0));
        for row in epochs {
            let mean = wide(placement.bytes()) / real(placement.replicas().max(1));
            let bytes = f64::from(row.replicas_proven) * mean;
            proven_gib_hours += bytes / real(1 << 30) * epoch_hours;
        }
        for index in 0..env.population.len() {
            let node = env.population.node(index);
            let bytes = BlobRef::total(placement.packs_of(node.account));
            // An adversary that stores nothing pays for no disk; what it does store is not told here.
            let held = if node.kind.is_adverse() { 0.0 } else { gib(bytes) };
            let upload = env.links.paid_upload(number(index));
            let cost = costs.per_hour(held) * hours_online(env, index) + upload;
            spent += cost;
            if node.kind.is_adverse() {
                let income = self.income.get(&number(index)).copied().unwrap_or(0.0);
                (adverse, members) = (adverse + income - cost, members + 1);
            }
        }
        let has_price = !costs.price.is_empty();
        let month = 730.5;
        let per_gib = (proven_gib_hours > 0.0).then(|| spent / proven_gib_hours * month);
        let profit = (has_price && members > 0).then(|| adverse / f64::from(members));
        [
            Kpi::new("cost_per_gib_month", per_gib),
            Kpi::new("attack_profit", profit),
            Kpi::new("operators_quit", Some(real(self.quits))),
            Kpi::new("operators_back", Some(real(self.rejoins))),
        ]
    }
}

/// Hours that a node was online so far.
fn hours_online(env: &Env, index: usize) -> f64 {
    let node = env.population.node(index);
    let current = if node.is_online() { env.now().0.saturating_sub(node.since.0) } else { 0 };
    hours(Time(node.online + current))
}

fn hours(time: Time) -> f64 {
    real(time.0) / 3.6e9
}

/// A sum of bytes that floats compute with.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
const fn wide(bytes: u128) -> f64 {
    bytes as f64
}
