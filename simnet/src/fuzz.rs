//! Swarm testing: the seed draws a small network with its faults and cheats, the run checks every
//! invariant, and what fails is made smaller until nothing can be left out.

use std::time::Instant;

use crate::{
    Scenario,
    adversary::{self, AdversaryKind, Coalition},
    kernel::{Purpose, Stream, Streams},
    report::Report,
    runner::{self, Failure},
    scenario::{AdversaryPlan, ChurnModel, FaultEvent, FaultKind, WARM_UP_EPOCHS},
    units::{Size, Span},
};

/// What a run broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The invariant in words, or the message of the crash. Smaller scenarios are only taken while
    /// they break the same.
    pub what: String,
    /// Where it was first seen.
    pub detail: String,
    /// Whether the network crashed.
    pub is_crash: bool,
}

/// A scenario that breaks something, as it was drawn and as small as it could be made.
#[derive(Debug, Clone)]
pub struct Found {
    /// The seed that drew it.
    pub seed: u64,
    /// The smallest scenario that still breaks it.
    pub scenario: Scenario,
    /// The invariant that it breaks.
    pub broken: Broken,
    /// Runs that making it smaller took.
    pub tries: u32,
}

/// Every so many seeds one draws a network about one way of cheating.
const FOCUSED: u64 = 4;

/// Draws a scenario. Some are calm, so that what must work there is tested; some are calm but for one way
/// of cheating; the others mix faults and cheats whose shares the seed draws too.
pub fn draw(seed: u64) -> Scenario {
    let mut scenario = if seed % FOCUSED == FOCUSED - 1 { focused(seed) } else { mixed(seed) };
    give_time_to_answer(&mut scenario);
    give_time(&mut scenario);
    possible(scenario)
}

/// A network without faults that trains, mostly serves, and in which each way of cheating is as likely as
/// any other and by more than a few: a fault that hides behind lost messages and absent auditors shows there.
fn focused(seed: u64) -> Scenario {
    let mut scenario = calm(seed, &mut Streams::new(seed).stream(0, Purpose::Fuzz));
    work(&mut scenario, &mut Streams::new(seed).stream(1, Purpose::Fuzz));
    let draws = &mut Streams::new(seed).stream(4, Purpose::Fuzz);
    scenario.population.nodes = number(8 + draws.below(17));
    scenario.holding.replicas = number(1 + draws.below(3));
    scenario.training.gpus = 1.0;
    let known = adversary::ALL.into_iter().filter(|kind| kind.needs().is_none());
    let known: Vec<_> = known.collect();
    // Who has less than it says is caught wherever none of its auditors is a friend.
    let holders = [adversary::LAZY_STORAGE, adversary::ON_DEMAND, adversary::OUTSOURCING];
    let friends = [adversary::LAZY_AUDITOR, adversary::COLLUDING_AUDITOR, adversary::SLOT_HOG];
    let epoch = scenario.epoch_span().0;
    for place in 0..=draws.below(2) {
        let kinds = if place == 0 { &known[..] } else { &holders };
        let mut plan = AdversaryPlan::new(*pick(kinds, draws), 0.1 + share(draws, 30));
        plan.strength = 0.3 + share(draws, 70);
        plan.changed = share(draws, 30);
        plan.from = Span(draws.below(2) * draws.below(3 * epoch));
        let also = *pick(&friends, draws);
        if (place > 0 || draws.below(2) == 0) && also != plan.kind {
            plan.also.push(also);
        }
        scenario.adversaries.push(plan);
    }
    scenario
}

/// A small network, its data and its delays.
fn calm(seed: u64, draws: &mut Stream) -> Scenario {
    let mut scenario = Scenario { seed, adversaries: Vec::new(), ..Scenario::default() };
    scenario.name = format!("fuzz-{seed}");
    scenario.epochs = 1 + draws.below(3);
    scenario.population.nodes = number(4 + draws.below(36));
    scenario.population.offline = 0.0;
    scenario.workload.packs = number(1 + draws.below(40));
    scenario.workload.contributors = number(1 + draws.below(3)).min(scenario.workload.packs);
    scenario.workload.pack_min = Size(1 + draws.below(20_000));
    scenario.workload.pack_max =
        Size((scenario.workload.pack_min.0 + draws.below(45_000)).min(64 << 10));
    scenario.holding.replicas = number(1 + draws.below(4)).min(scenario.population.nodes);
    scenario.holding.auditors = number(1 + draws.below(5));
    scenario.holding.opened_cells = number(1 + draws.below(60));
    scenario.net.latency = Span::millis(1 + draws.below(200));
    scenario.net.jitter = share(draws, 100);
    scenario.net.loss = share(draws, 2);
    scenario
}

fn mixed(seed: u64) -> Scenario {
    let draws = &mut Streams::new(seed).stream(0, Purpose::Fuzz);
    let mut scenario = calm(seed, draws);
    let is_calm = draws.below(4) == 0;
    if !is_calm {
        trouble(&mut scenario, draws);
    }
    // From a stream of its own, so that what is stored and goes wrong is as without.
    let draws = &mut Streams::new(seed).stream(1, Purpose::Fuzz);
    if draws.below(2) == 0 {
        work(&mut scenario, draws);
    }
    more(&mut scenario, &mut Streams::new(seed).stream(2, Purpose::Fuzz));
    if !is_calm {
        last(&mut scenario, &mut Streams::new(seed).stream(3, Purpose::Fuzz));
    }
    scenario
}

/// Where somebody lies about a settlement, watchers have the time to ask for its log and to object,
/// and an epoch that for some lies to fall: without it the run ends before the last is settled.
fn give_time(scenario: &mut Scenario) {
    const ASKING_BLOCKS: u64 = 12;
    const ONE_WAYS: f64 = 4.0;
    if !scenario.adversaries.iter().any(lies_to_settle) {
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "some seconds")]
    let one_way = scenario.net.latency.0 as f64 * (1.0 + scenario.net.jitter);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some minutes")]
    let on_the_way = (ONE_WAYS * one_way / (1.0 - scenario.net.loss)) as u64;
    let chain = &mut scenario.chain;
    let window = ASKING_BLOCKS + on_the_way.div_ceil(chain.block.0);
    chain.challenge_blocks = chain.challenge_blocks.max(window);
    chain.epoch_blocks =
        chain.epoch_blocks.max(3 * (chain.challenge_blocks + chain.arbiter_blocks));
}

fn lies_to_settle(plan: &AdversaryPlan) -> bool {
    Coalition::new(plan).facts.settles_falsely
}

/// Runs that are trained, asked and cheated about; calm networks stay calm.
fn work(scenario: &mut Scenario, draws: &mut Stream) {
    let epoch = scenario.epoch_span().0;
    let is_calm = scenario.events.is_empty() && scenario.adversaries.is_empty();
    let training = &mut scenario.training;
    training.rounds = 1 + number(draws.below(3));
    training.models = 1 + number(draws.below(2));
    training.at = Span(draws.below(2 * epoch));
    training.units = 1 + number(draws.below(20));
    training.shard = Span::millis(1 + draws.below(40));
    training.cpu_slowdown = 4.0;
    training.spread = share(draws, 30);
    training.payload = Size(1 + draws.below(100_000));
    training.auditors = 1 + number(draws.below(4));
    training.min_shards = 1 + number(draws.below(4));
    training.round_blocks = 10 + draws.below(50);
    training.fallback_blocks = 2 + draws.below(8);
    if draws.below(3) > 0 {
        let inference = &mut scenario.inference;
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let per_hour = (60 + draws.below(1_500)) as f64;
        inference.per_hour = per_hour;
        inference.fee = 0.001 + share(draws, 100);
        inference.deposit = inference.fee * f64::from(number(1 + draws.below(20)));
        inference.consumers = 1 + number(draws.below(3));
        inference.servers = 0.3 + share(draws, 70);
        inference.token = Span(1 + draws.below(2_000));
        inference.steps = draws.below(2) == 0;
    }
    if !is_calm {
        if draws.below(2) == 0 {
            scenario.training.shard = Span::millis(1 + draws.below(2_000));
        }
        let workers = [
            adversary::FORGED_SHARD,
            adversary::COPIED_SHARD,
            adversary::INVENTED_BASE,
            adversary::GRINDING,
            adversary::SLOT_HOG,
        ];
        let auditors = [adversary::LAZY_AUDITOR, adversary::COLLUDING_AUDITOR];
        let dealers = [adversary::SELF_DEALING, adversary::SELF_ORDERING];
        for kinds in [&workers[..], &auditors, &dealers] {
            if draws.below(2) == 0 {
                let mut plan = AdversaryPlan::new(*pick(kinds, draws), 0.05 + share(draws, 20));
                plan.strength = share(draws, 100);
                scenario.adversaries.push(plan);
            }
        }
    }
}

/// What is drawn from a stream of its own: partitions that let messages out, cheating with data.
fn more(scenario: &mut Scenario, draws: &mut Stream) {
    for fault in scenario.events.iter_mut().filter(|event| event.fault == FaultKind::Partition) {
        fault.one_way = draws.below(2) == 0;
    }
    if scenario.inference.is_on() && !scenario.adversaries.is_empty() && draws.below(2) == 0 {
        let kinds = [adversary::DATA_COPYING, adversary::DATA_SPLITTING, adversary::EMPTY_UNITS];
        let mut plan = AdversaryPlan::new(*pick(&kinds, draws), 0.05);
        plan.strength = share(draws, 100);
        plan.changed = share(draws, 30);
        scenario.adversaries.push(plan);
    }
}

/// What is drawn last, from a stream of its own: disputes about what honest nodes hold, and cheating with
/// attributions and deposits.
fn last(scenario: &mut Scenario, draws: &mut Stream) {
    // Whoever is disputed while it is away is at fault, however honest.
    let are_there = scenario.events.is_empty()
        && scenario.churn.model == ChurnModel::None
        && scenario.population.offline <= 0.0;
    let has_uses = scenario.inference.is_on();
    let kinds = [
        (adversary::DISPUTE_GRIEFING, are_there),
        (adversary::WITHHELD_ATTRIBUTION, has_uses),
        (adversary::FALSE_ATTRIBUTION, has_uses),
        (adversary::UNPAID_WITHDRAWAL, has_uses),
    ];
    for (kind, is_possible) in kinds {
        if is_possible && draws.below(3) == 0 {
            let mut plan = AdversaryPlan::new(kind, 0.05 + share(draws, 20));
            plan.strength = share(draws, 100);
            scenario.adversaries.push(plan);
        }
    }
    // Who is silent from the start has no model finished, and later no output audited.
    let hogs = |plan: &&mut AdversaryPlan| plan.kind == adversary::SLOT_HOG;
    let epoch = scenario.epoch_span().0;
    for plan in scenario.adversaries.iter_mut().filter(hogs) {
        plan.from = Span(draws.below(2) * draws.below(3 * epoch));
        plan.share = (plan.share + share(draws, 30)).min(0.5);
    }
}

/// Where somebody disputes what honest nodes hold, these have the time to answer.
fn give_time_to_answer(scenario: &mut Scenario) {
    // In which a node reads all that it may hold in such a network.
    const READING_BLOCKS: u64 = 2;
    if scenario.adversaries.iter().all(|plan| plan.kind != adversary::DISPUTE_GRIEFING) {
        return;
    }
    let least = scenario.least_settle_blocks() + 2 * READING_BLOCKS;
    let chain = &mut scenario.chain;
    let before = chain.settle_blocks;
    chain.settle_blocks = before.max(least);
    chain.epoch_blocks += chain.settle_blocks - before;
}

/// Tight windows, long delays, losses, absences, faults and cheats: each in half of the draws.
fn trouble(scenario: &mut Scenario, draws: &mut Stream) {
    if draws.below(2) == 0 {
        scenario.chain.commit_blocks = 3 + draws.below(17);
        scenario.net.latency = Span::millis(1 + draws.below(6_000));
    }
    if draws.below(2) == 0 {
        scenario.net.loss = share(draws, 30);
    }
    if draws.below(2) == 0 {
        scenario.population.offline = share(draws, 30);
    }
    if draws.below(3) == 0 {
        let models = [ChurnModel::Exponential, ChurnModel::Weibull, ChurnModel::Pareto];
        scenario.churn.model = *pick(&models, draws);
        scenario.churn.share = share(draws, 60);
        scenario.churn.session = Span::seconds(60 + draws.below(600));
        scenario.churn.pause = Span::seconds(10 + draws.below(120));
        scenario.churn.shape = 0.4 + share(draws, 100);
    }
    let epoch = scenario.epoch_span().0;
    if draws.below(2) == 0 {
        // Faults end an epoch before the last one does, so that all has to heal.
        let last = WARM_UP_EPOCHS + scenario.epochs - 1;
        for _ in 0..=draws.below(2) {
            let kind = *pick(&FaultKind::ALL, draws);
            let at = draws.below(epoch * last);
            let lasts = 1 + draws.below(epoch);
            let mut fault = FaultEvent::new(Span(at), kind, Span(lasts.min(epoch * last - at)));
            fault.share = share(draws, if kind == FaultKind::BitRot { 20 } else { 60 });
            scenario.events.push(fault);
        }
    }
    if draws.below(2) == 0 {
        for _ in 0..=draws.below(2) {
            let known: Vec<_> = adversary::ALL.into_iter().filter(is_of_storage).collect();
            let mut plan = AdversaryPlan::new(*pick(&known, draws), 0.02 + share(draws, 25));
            plan.from = if draws.below(2) == 0 { Span::ZERO } else { Span(draws.below(3 * epoch)) };
            scenario.adversaries.push(plan);
        }
    }
}

/// What is drawn together with faults.
fn is_of_storage(kind: &AdversaryKind) -> bool {
    kind.needs().is_none() && !kind.needs_model() && *kind != adversary::DISPUTE_GRIEFING
}

fn pick<'a, T>(all: &'a [T], draws: &mut Stream) -> &'a T {
    let at = usize::try_from(draws.below(all.len() as u64)).unwrap_or(0);
    &all[at]
}

/// A share of up to so many hundredths.
fn share(draws: &mut Stream, hundredths: u32) -> f64 {
    f64::from(number(draws.below(u64::from(hundredths) + 1))) / 100.0
}

fn number(value: u64) -> u32 {
    u32::try_from(value).expect("draws are small")
}

/// Leaves out what the scenario is refused for, from the last on.
fn possible(mut scenario: Scenario) -> Scenario {
    while scenario.check().is_err() {
        if scenario.events.pop().is_none() && scenario.adversaries.pop().is_none() {
            scenario.chain = Scenario::default().chain;
            scenario.churn = Scenario::default().churn;
            scenario.population.offline = 0.0;
            break;
        }
    }
    scenario
}

/// Runs a scenario; what it broke first, if anything. `None` too when it was stopped.
pub fn judge(scenario: &Scenario, goes_on: &mut dyn FnMut() -> bool) -> Option<Broken> {
    match runner::run(scenario, &mut |_| goes_on()) {
        Ok(report) if report.is_complete => broken(&report),
        Ok(_) => None,
        Err(Failure::Setup(_)) => None,
        Err(failure) => Some(Broken {
            what: failure.to_string().split(" at ").next().unwrap_or_default().to_owned(),
            detail: failure.to_string(),
            is_crash: true,
        }),
    }
}

fn broken(report: &Report) -> Option<Broken> {
    let check = report.checks.iter().find(|check| !check.holds)?;
    Some(Broken {
        what: check.name.to_owned(),
        detail: report.findings.join("; "),
        is_crash: false,
    })
}

/// Makes a scenario smaller while it breaks the same; stops at a time.
pub fn shrink(seed: u64, scenario: Scenario, broken: Broken, until: Instant) -> Found {
    let mut found = Found { seed, scenario, broken, tries: 0 };
    let mut changed = true;
    while changed {
        changed = false;
        for smaller in smaller(&found.scenario) {
            if Instant::now() >= until {
                return found;
            }
            if smaller == found.scenario || smaller.check().is_err() {
                continue;
            }
            found.tries += 1;
            let now = judge(&smaller, &mut || Instant::now() < until);
            if let Some(now) = now.filter(|now| now.what == found.broken.what) {
                (found.scenario, found.broken, changed) = (smaller, now, true);
                break;
            }
        }
    }
    found
}

/// Scenarios that are smaller in one way each, the largest steps first.
fn smaller(of: &Scenario) -> Vec<Scenario> {
    let calm = Scenario::default();
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Scenario)| {
        let mut scenario = of.clone();
        change(&mut scenario);
        all.push(scenario);
    };
    for at in 0..of.events.len() {
        with(&|s| drop(s.events.remove(at)));
    }
    for at in 0..of.adversaries.len() {
        with(&|s| drop(s.adversaries.remove(at)));
    }
    with(&|s| {
        s.training = calm.training.clone();
        s.inference = calm.inference.clone();
    });
    with(&|s| s.inference = calm.inference.clone());
    with(&|s| s.training.models = 1);
    with(&|s| s.training.rounds = s.training.rounds.min(1));
    with(&|s| s.epochs = 1);
    with(&|s| s.population.nodes = (s.population.nodes / 2).max(2));
    with(&|s| s.workload.packs = (s.workload.packs / 2).max(1));
    with(&|s| s.population.nodes = s.population.nodes.saturating_sub(1).max(2));
    with(&|s| s.workload.packs = s.workload.packs.saturating_sub(1).max(1));
    with(&|s| s.workload.contributors = 1);
    with(&|s| s.churn = calm.churn);
    with(&|s| s.population.offline = 0.0);
    with(&|s| s.net.loss = 0.0);
    with(&|s| s.net.jitter = 0.0);
    with(&|s| s.net.latency = calm.net.latency);
    with(&|s| s.chain = calm.chain.clone());
    with(&|s| s.holding = calm.holding.clone());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_draws_a_possible_scenario_and_always_the_same() {
        let mut troubled = 0;
        for seed in 0..500 {
            let scenario = draw(seed);
            assert_eq!(scenario.check(), Ok(()), "{scenario:?}");
            assert_eq!(scenario, draw(seed));
            troubled += usize::from(!scenario.adversaries.is_empty());
        }
        assert!((100..400).contains(&troubled), "{troubled}");
    }

    #[test]
    fn every_way_of_cheating_is_drawn() {
        let mut drawn: Vec<_> = (0..2_000)
            .flat_map(|seed| draw(seed).adversaries)
            .flat_map(|plan| plan.kinds().map(AdversaryKind::name).collect::<Vec<_>>())
            .collect();
        drawn.sort_unstable();
        drawn.dedup();
        let possible = adversary::ALL.into_iter().filter(|kind| kind.needs().is_none());
        let mut possible: Vec<_> = possible.map(AdversaryKind::name).collect();
        possible.sort_unstable();
        assert_eq!(drawn, possible);
    }

    #[test]
    fn each_step_of_shrinking_is_another_scenario_at_most_as_large() {
        let scenario = draw(11);
        for smaller in smaller(&scenario) {
            assert!(smaller.population.nodes <= scenario.population.nodes);
            assert!(smaller.events.len() <= scenario.events.len());
        }
    }
}
