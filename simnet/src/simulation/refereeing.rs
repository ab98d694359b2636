//! Tells the referee what really happens.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    AccountId, BlobRef, BlockNumber, Epoch, Hash,
    chain::{ChainEvent, ChainView},
    codec::Wire as _,
    draw::{self, Part, Seats},
    record::{AuditBody, Body, Finding, Verdict, VerifiedRecord, storage_subject},
    rules::attribution_auditors,
    training::RunConfig,
};

use super::{env::Env, settlements::Settled, store::Store, training::Training};
use crate::{
    Scenario,
    referee::{Claimed, Committed, Judged, Laws, Opinion, Ordered, Output, Referee, Shown},
    scenario::{ChurnModel, UnderlayKind},
};

/// Blocks that a settlement may take beyond its windows when all goes well: the proposal, the last
/// transaction, and a delay each.
const SLACK_BLOCKS: u64 = 12;

/// The scenario's numbers, as the referee needs them.
fn laws(env: &Env) -> Laws {
    let (view, scenario) = (env.view(), &env.scenario);
    let params = scenario.params();
    Laws {
        genesis: view.schedule.genesis_block.0,
        epoch_blocks: scenario.chain.epoch_blocks,
        commit_blocks: scenario.chain.commit_blocks,
        include_blocks: scenario.chain.settle_blocks,
        settle_blocks: scenario.chain.settle_blocks
            + scenario.chain.challenge_blocks
            + SLACK_BLOCKS,
        budget: env.scenario.budget(),
        storage_bps: params.economics.emission_storage_bps,
        newcomers_bps: params.economics.newcomers_bps,
        attribution_bps: params.economics.emission_attribution_bps,
        shards_bps: params.economics.emission_shards_bps,
        platform_bps: params.economics.fee_platform_bps,
        min_stake: params.economics.min_stake,
        is_calm: is_calm(scenario),
    }
}

/// Whether every honest server is there all the time, and what it sends is in a block while whoever asks for
/// its deposit back still has to wait: then nothing that it serves goes unpaid.
pub(super) fn are_servers_quick(scenario: &Scenario) -> bool {
    let there_and_back = scenario.least_settle_blocks() / 2;
    scenario.net.underlay == UnderlayKind::Uniform
        && there_and_back < 3
        && scenario.events.is_empty()
        && scenario.churn.model == ChurnModel::None
        && scenario.churn.evening <= 0.0
        && scenario.chain.reorg <= 0.0
}

/// Whether nothing goes wrong and nobody cheats: then everything has to work.
#[expect(clippy::cast_precision_loss, reason = "times of some minutes")]
fn is_calm(scenario: &Scenario) -> bool {
    let has_time = scenario.chain.commit_blocks >= 10
        && scenario.net.latency.0.saturating_mul(8) <= scenario.chain.block.0
        && scenario.net.jitter <= 1.0
        && scenario.chain.inclusion_blocks <= 0.0
        && scenario.chain.confirmations == 0
        && scenario.chain.reorg <= 0.0;
    let has_lines = scenario.net.underlay == UnderlayKind::Uniform
        && scenario.net.nat <= 0.0
        && scenario.net.spread <= 0.0
        && scenario.net.up_mbit.min(scenario.net.down_mbit) >= 10.0;
    let training = &scenario.training;
    // A shard, its replay, and both of a neighbour on a slow device have to fit into the margin.
    let slowest = training.cpu_slowdown * (3.0 * training.spread).exp();
    let work = training.shard.0 as f64 * slowest * f64::from(2 * training.models);
    let margin = scenario.params().work_margin_blocks.0 * scenario.chain.block.0;
    let is_quick = !training.is_on() || work * 4.0 <= margin as f64;
    scenario.events.is_empty()
        && is_quick
        && scenario.adversaries.is_empty()
        && scenario.churn.model == ChurnModel::None
        && scenario.churn.evening <= 0.0
        && scenario.population.offline <= 0.0
        && scenario.net.loss <= 0.02
        && has_lines
        && has_time
}

/// Every run as it was ordered, by numbers that the chain has: of a nano model, a token of whose shards takes
/// three multiplications of each parameter, and three for each pair of values in two maps of attention.
fn runs(referee: &mut Referee, env: &Env) {
    let view = env.view();
    for (_, model) in view.models() {
        let (Ok(config), Some(slots)) =
            (RunConfig::from_bytes(&model.config), view.run_slots(model.id))
        else {
            continue;
        };
        let Some(shape) = config.model.shape() else { continue };
        let data = view.run_data(model.id);
        let (mut bytes_of, mut seen) = (BTreeMap::<AccountId, u64>::new(), BTreeSet::new());
        for (account, pack) in
            data.iter().flat_map(|c| c.packs.iter().map(|pack| (c.account, pack)))
        {
            if seen.insert(pack.hash) {
                *bytes_of.entry(account).or_default() += pack.length;
            }
        }
        referee.trained_on(model.id, bytes_of.into_iter().collect());
        let units: u64 = data.iter().map(|part| u64::from(part.units)).sum();
        let bytes: u64 = data.iter().map(|part| BlobRef::total(&part.packs)).sum();
        let [width, layers, context] = [shape.width, shape.layers, config.context].map(u128::from);
        let token = 3 * (u128::from(shape.parameters) + 2 * layers * width * context);
        let tokens = [config.batch, config.context, config.steps].map(u128::from).iter().product();
        let tokens: u128 = tokens;
        let run = Ordered {
            escrow: model.escrow,
            rounds: config.rounds,
            shard: tokens * token,
            sketch: u128::from(bytes / (4 * units.max(1)) + 1) * token,
            part: view.params().training.part_work.into(),
            units,
        };
        referee.ordered(model.id, run, slots.len() as u64);
    }
}

/// What is at stake when time starts.
pub(super) fn begin(view: &ChainView) -> Referee {
    let (mut referee, now) = (Referee::default(), view.now());
    for (account, state) in view.accounts() {
        referee.staked(account, state.staying(), now);
    }
    referee
}

/// What a block says to the referee.
pub(super) fn block(referee: &mut Referee, env: &Env, events: &[ChainEvent], block: BlockNumber) {
    for event in events {
        match event {
            ChainEvent::Included { epoch, records, .. } => {
                let domain = &env.view().domain;
                // What is under a subject that is not its own counts for nothing.
                for record in records.iter().map(|signed| &signed.record) {
                    if record.is_well_formed(domain) {
                        let (kind, account, subject) = record.key();
                        referee.included(
                            record.id(domain),
                            (*epoch, kind, account, subject),
                            block,
                        );
                    }
                }
            }
            ChainEvent::StakeChanged { account, stake } => referee.staked(*account, *stake, block),
            ChainEvent::Redeemed { payer, payee, cumulative, amount, .. } => {
                let (laws, between) = (laws(env), (*payer, *payee));
                referee.redeemed(&laws, between, (*amount, *cumulative), block);
            }
            ChainEvent::DisputeOpened { epoch, account, commit, cell, until, .. } => {
                referee.disputed((*epoch, *account, *commit, *cell), block, *until);
            }
            ChainEvent::DisputeAnswered { epoch, account, commit, cell } => {
                referee.answered((*epoch, *account, *commit, *cell), block);
            }
            ChainEvent::DisputeExpired { epoch, account, commit, cell } => {
                referee.expired((*epoch, *account, *commit, *cell), block);
            }
            _ => {}
        }
    }
}

/// A settlement is final for the first time.
pub(super) fn settlement(
    referee: &mut Referee,
    env: &Env,
    settled: &Settled,
    (epoch, block): (Epoch, BlockNumber),
) {
    let assigned = env.view().placement(epoch);
    runs(referee, env);
    referee.judge(&laws(env), &settled.outcome, &assigned, block);
}

/// What a signed record says to the referee.
pub(super) fn record(
    referee: &mut Referee,
    (env, store, training): (&Env, &Store, &Training),
    index: usize,
    record: &VerifiedRecord,
) {
    let made = record.record();
    match &made.body {
        Body::StorageCommit(body) => {
            let committed = Committed { bytes: body.bytes, absent: body.absent.clone() };
            referee.committed(made.epoch, record.id(), committed);
        }
        Body::StorageProof(body) => {
            let placement = env.view().placement(made.epoch);
            let packs = placement.packs_of(made.account).iter();
            let bytes =
                packs.filter(|pack| had(env, store, index, &pack.hash)).map(|pack| pack.length);
            let block = env.ledger.read_head();
            let shown = Shown { commit: body.commit, block, had: bytes.sum() };
            referee.shown(made.epoch, made.account, shown);
        }
        Body::Audit(audit) => {
            referee.audited(made.epoch, made.account);
            opinion(referee, env, record, audit);
            if let Finding::Shard { record: shard, verdict, .. } = audit.finding {
                let is_adverse = env.population.node(index).kind.is_adverse();
                let seats = referee
                    .work()
                    .shard(&shard)
                    .map_or((0, 0), |claimed| seats(env, claimed, (audit.of, made.account)));
                let judged = Judged { auditor: made.account, is_adverse, verdict, seats };
                referee.judged(shard, judged);
            }
        }
        Body::Shard(shard) => {
            let is_computed = training.has_done(made.account, &shard.payload);
            let (epoch, subject) = (made.epoch, made.subject);
            let part = Part { model: shard.model, round: shard.round, slot: shard.slot };
            let base = shard.base;
            referee.claimed(record.id(), Claimed { epoch, subject, part, base, is_computed });
        }
        Body::Attribution(body) => {
            let receipt = &body.receipt.receipt;
            let between = (receipt.payer, receipt.payee);
            let ranges = body.ranges.of(receipt).unwrap_or_default();
            let output = Output { between, ranges, epoch: made.epoch, model: body.model };
            referee.attributed(record.id(), output);
            referee.shared(record.id(), body.shares.clone());
        }
        Body::RoundClose(close) => {
            let slots = env.view().run_slots(close.model).unwrap_or_default();
            if slots.contains(&made.account) {
                referee.named(close.model, close.round.next(), close.next);
            }
        }
    }
}

/// What an auditor says of a holder's storage, or of an output.
fn opinion(referee: &mut Referee, env: &Env, record: &VerifiedRecord, audit: &AuditBody) {
    let (view, made) = (env.view(), record.record());
    let (epoch, by, audit_id) = (made.epoch, made.account, record.id());
    let opinion = |of, verdict, drawn: &Seats| {
        let seats = (drawn.of(by), drawn.len());
        Opinion { audit: audit_id, of, verdict, seats }
    };
    match audit.finding {
        Finding::Shard { .. } => {}
        Finding::Attribution { record: output, verdict } => {
            let drawn = view.record(epoch, &output).filter(|of| audit.is_about(of.record()));
            if let Some(drawn) = drawn.and_then(|output| attribution_auditors(view, output)) {
                referee.heard_of_output(output, opinion(None, verdict, &drawn));
            }
        }
        Finding::Storage { .. } | Finding::StorageMissing => {
            if audit.work == storage_subject(epoch, audit.of) {
                let (of, verdict) = audit.finding.verdict().unzip();
                let drawn = view.storage_auditors(epoch, audit.of);
                let opinion = opinion(of, verdict.unwrap_or(Verdict::Fail), &drawn);
                referee.heard_of_storage(epoch, audit.of, opinion);
            }
        }
    }
}

/// The seats of an auditor over a worker's shard, and all that were drawn.
fn seats(
    env: &Env,
    claimed: &Claimed,
    (worker, auditor): (AccountId, AccountId),
) -> (usize, usize) {
    let (view, part) = (env.view(), claimed.part);
    let drawn = || {
        let block = view.part_fixed(claimed.epoch, worker, part)?;
        let weights = view.run_weights(&view.run_slots(part.model)?, block);
        let count = view.params().training.auditors;
        Some(draw::shard_auditors(&view.hash_after(block)?, part, worker, &weights, count))
    };
    drawn().map_or((0, 0), |drawn| (drawn.of(auditor), drawn.len()))
}

/// Whether the bytes were at hand when a node showed them. Whoever fetches them for a proof, or
/// has another prove for it, could show them: no rule sees more.
fn had(env: &Env, store: &Store, index: usize, hash: &Hash) -> bool {
    // Nor does any see more than the drawn auditors say: whose friends are most of them is paid.
    let can_borrow = env.population.node(index).kind.is_adverse()
        && env
            .population
            .coalitions()
            .facts()
            .any(|facts| facts.borrows_bytes || facts.passes_unseen);
    can_borrow || store.has(index, hash)
}
