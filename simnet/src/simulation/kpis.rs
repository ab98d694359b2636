//! The key figures of a run, under stable names.

use std::collections::BTreeMap;

use protocol::{
    Amount, Epoch,
    hash::{keccak, leading_u64},
};

use super::{Simulation, bandwidth, env::Env, measurements::Measurements, times::Times};
use crate::{
    nodes::Kind,
    report::{EpochRow, KindRow, Kpi, NodeRow, Status},
    scenario::WARM_UP_EPOCHS,
};

/// All key figures.
pub(super) fn all(
    simulation: &Simulation,
    epochs: &[EpochRow],
    kinds: &[KindRow],
    nodes: &[NodeRow],
) -> Vec<Kpi> {
    let Simulation { env, store, work, economy, measurements, .. } = simulation;
    let totals = simulation.totals();
    let mut kpis = storage(epochs).to_vec();
    kpis.extend(detection(epochs));
    kpis.extend(detection_time(env, measurements));
    kpis.extend(pay(kinds, nodes));
    kpis.push(Kpi::new("adverse_return", adverse_return(env, nodes)));
    kpis.push(Kpi::new("settlement_delay", settlement_delay(env)));
    kpis.push(concentration(nodes));
    kpis.extend(economy.figures(env, measurements.epochs()));
    kpis.extend(emission(env, work.earnings.fees()));
    kpis.extend(retrieval(store.retrievals()));
    kpis.push(ratio("bytes_fetched_per_node", totals.fetched_bytes, nodes.len() as u64));
    kpis.push(ratio("gas_per_transaction", totals.gas, totals.transactions));
    kpis.extend(work.figures(env, store));
    let among = if env.scenario.chain.reorg > 0.0 { nodes.len() } else { 0 };
    kpis.extend(env.links.lookups().figures());
    kpis.extend(bandwidth::figures(env));
    kpis.push(ratio("reorg_stops", totals.reorg_stops, among as u64));
    let shift = (env.scenario.quantum.0 > 1).then_some(totals.quantum_shift / 1_000.0);
    kpis.push(Kpi::new("quantum_shift", shift));
    kpis
}

fn storage(epochs: &[EpochRow]) -> [Kpi; 4] {
    let sum = |of: fn(&EpochRow) -> u64| epochs.iter().map(of).sum::<u64>();
    let settled = sum(|row| u64::from(row.status == Status::Final));
    let worst = epochs.iter().filter(|row| row.packs > 0);
    let worst = worst.map(|row| quotient(row.packs_alive, row.packs)).reduce(f64::min);
    [
        Kpi::new("durability", worst),
        ratio("replicas_live", sum(|row| row.replicas_live), sum(|row| row.replicas_assigned)),
        ratio(
            "replicas_proven",
            sum(|row| u64::from(row.replicas_proven)),
            sum(|row| row.replicas_assigned),
        ),
        ratio("epochs_settled", settled, epochs.len() as u64),
    ]
}

fn detection(epochs: &[EpochRow]) -> [Kpi; 2] {
    let sum = |of: fn(&EpochRow) -> u64| epochs.iter().map(of).sum::<u64>();
    let honest = |row: &EpochRow| {
        row.honest_not_committed + row.honest_not_opened + row.honest_wrong + row.honest_no_quorum
    };
    [
        ratio("adverse_caught", sum(|row| row.adverse_caught), sum(|row| row.adverse_holders)),
        ratio(
            "honest_unpaid",
            epochs.iter().map(honest).sum(),
            sum(|row| row.holders - row.adverse_holders),
        ),
    ]
}

fn pay(kinds: &[KindRow], nodes: &[NodeRow]) -> [Kpi; 3] {
    let mean_of = |is_adverse: bool| {
        let of = kinds.iter().filter(|row| row.kind.is_adverse() == is_adverse);
        let (paid, count) =
            of.fold((0.0, 0u64), |(paid, count), row| (paid + open(row.paid), count + row.nodes));
        (count > 0).then(|| quotient_f(paid, count))
    };
    let mut paid: Vec<_> = nodes.iter().map(|node| open(node.paid)).collect();
    [
        Kpi::new("pay_honest_mean", mean_of(false)),
        Kpi::new("pay_adverse_mean", mean_of(true)),
        Kpi::new("reward_gini", gini(&mut paid)),
    ]
}

/// What adversaries earned and lost for each unit of stake that they began with, over the same of honest
/// nodes that were there all the time: above one, cheating pays more than work.
fn adverse_return(env: &Env, nodes: &[NodeRow]) -> Option<f64> {
    let whole = open(env.scenario.stake());
    let of = |is_wanted: fn(Kind) -> bool| {
        let (mut gained, mut began) = (0.0, 0.0);
        for row in nodes.iter().filter(|row| is_wanted(row.kind)) {
            let index = usize::try_from(row.node).ok()?;
            let number = env.population.node(index).coalition();
            let coalition = number.and_then(|number| env.population.coalitions().get(number));
            let begins = coalition.map_or(whole, |coalition| {
                let names = coalition.members.len();
                open(coalition.facts.stakes.of(env.scenario.stake(), names))
            });
            let accounts = env.population.accounts_of(index);
            let has = accounts.iter().filter_map(|id| env.view().account(*id));
            let has: f64 = has.map(|account| open(account.stake())).sum();
            // Whoever came back under another name was staked for again.
            let renamed = accounts.len().saturating_sub(1) as u64;
            let staked = begins + quotient(renamed, 1) * whole;
            (gained, began) = (gained + open(row.earned) + has - staked, began + staked);
        }
        (began > 0.0).then(|| gained / began)
    };
    let honest = of(|kind| kind == Kind::Honest).filter(|honest| *honest > 0.0)?;
    of(Kind::is_adverse).map(|adverse| adverse / honest)
}

/// Blocks from the end of an epoch until its settlement was final, of the worst one; until now where none
/// is.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn settlement_delay(env: &Env) -> Option<f64> {
    let epochs = (WARM_UP_EPOCHS..=env.last_epoch().0).map(Epoch);
    let delay = |epoch: Epoch| {
        let last = env.ledger.final_at(epoch).unwrap_or(env.view().now());
        last.0.checked_sub(env.view().schedule.start(epoch.next()).0)
    };
    epochs.filter_map(delay).max().map(|blocks| blocks as f64)
}

/// From when an adverse node first owed a proof until an honest auditor caught it.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn detection_time(env: &Env, measurements: &Measurements) -> [Kpi; 2] {
    let mut first = BTreeMap::new();
    for ((_, account), at) in measurements.caught() {
        let index = env.population.index_of(*account);
        let Some(index) = index.filter(|i| env.population.node(*i).kind.is_adverse()) else {
            continue;
        };
        let earliest = first.entry(index).or_insert(*at);
        *earliest = (*earliest).min(*at);
    }
    let schedule = env.view().schedule;
    let block = schedule.start(Epoch(WARM_UP_EPOCHS)).0;
    let start = env.scenario.chain.block.0.saturating_mul(block);
    let since = |index: usize| {
        let number = env.population.node(index).coalition();
        let coalition = number.and_then(|number| env.population.coalitions().get(number));
        coalition.map_or(start, |coalition| coalition.from.0.max(start))
    };
    let times: Vec<_> =
        first.iter().map(|(index, at)| at.0.saturating_sub(since(*index)) as f64 / 1e6).collect();
    let mean = (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64);
    let all = env.population.nodes().iter().filter(|node| node.kind.is_adverse()).count() as u64;
    [Kpi::new("detection_time_mean", mean), ratio("adverse_nodes_caught", times.len() as u64, all)]
}

/// The Herfindahl-Hirschman index of pay over operators: one for a monopoly. The nodes of a kind of
/// adversary count as one operator.
fn concentration(nodes: &[NodeRow]) -> Kpi {
    let mut by_operator = BTreeMap::<(bool, u64), f64>::new();
    for node in nodes {
        let operator = match node.kind {
            Kind::Adversary(name) => (true, leading_u64(&keccak(&[name.as_bytes()]))),
            _ => (false, node.node.into()),
        };
        *by_operator.entry(operator).or_default() += open(node.paid);
    }
    let total: f64 = by_operator.values().sum();
    let index = by_operator.values().map(|paid| (paid / total).powi(2)).sum();
    Kpi::new("pay_concentration", (total > 0.0).then_some(index))
}

/// How long nodes fetched packs.
fn retrieval(times: &Times) -> [Kpi; 2] {
    let seconds = |share| times.quantile(share).map(|millis| millis / 1_000.0);
    [Kpi::new("retrieval_p50", seconds(0.5)), Kpi::new("retrieval_p99", seconds(0.99))]
}

/// The part of the emission of the settled epochs that somebody earned, and the fees against it.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn emission(env: &Env, fees: f64) -> [Kpi; 2] {
    // Nothing is stored while the network forms, but training may earn then.
    let first = if env.scenario.training.is_on() { 0 } else { WARM_UP_EPOCHS };
    let settled = env.ledger.final_epochs().filter(|epoch| epoch.0 >= first).count();
    let budget = open(env.scenario.budget()) * settled as f64;
    let last = env.view().last_final();
    let earned = last.map_or(0.0, |state| open(state.settlement.total)) - fees;
    let has_fees = env.scenario.inference.is_on();
    [
        Kpi::new("emission_earned", (budget > 0.0).then(|| earned / budget)),
        Kpi::new("fees_to_emission", (has_fees && earned > 0.0).then(|| fees / earned)),
    ]
}

fn ratio(name: &'static str, part: u64, whole: u64) -> Kpi {
    Kpi::new(name, (whole > 0).then(|| quotient(part, whole)))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn quotient(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn quotient_f(part: f64, whole: u64) -> f64 {
    part / whole as f64
}

/// An amount in OPEN.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn open(amount: Amount) -> f64 {
    amount.0 as f64 / Amount::ONE_OPEN.0 as f64
}

/// The Gini coefficient, `Σ (2i - n - 1) x_i / (n Σ x)` over sorted values (i from 1); `None` when
/// nobody has anything.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn gini(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let total: f64 = values.iter().sum();
    let weighted: f64 =
        values.iter().enumerate().map(|(i, x)| (2.0 * (i + 1) as f64 - count - 1.0) * x).sum();
    (total > 0.0).then(|| weighted / (count * total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gini_is_zero_for_equals_and_high_for_one_who_has_all() {
        assert_eq!(gini(&mut [3.0, 3.0, 3.0]), Some(0.0));
        assert_eq!(gini(&mut [0.0, 9.0, 0.0]), Some(2.0 / 3.0));
        assert_eq!(gini(&mut [1.0, 2.0, 3.0]), Some(2.0 / 9.0));
        assert_eq!(gini(&mut [0.0, 0.0]), None);
    }
}
