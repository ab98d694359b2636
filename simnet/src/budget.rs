//! How much memory a scenario will need, said before it starts.

use std::fs;

use protocol::limits::MAX_SHARDS_PER_ROUND;

use crate::{Scenario, units::Size};

/// Contracts, program and tables that every run has.
const BASE: u64 = 40 << 20;
/// A machine with its host, its account in the view, and its state in the contracts.
const NODE: u64 = 3 << 10;
/// A record of the newest epochs, with its openings' share of the log.
const RECORD: u64 = 1_200;
/// An opening: a chunk with its paths.
const OPENING: u64 = 2_000;
/// A holder's part of a settlement's log, and an account's of the tree over its payouts.
const LOG: u64 = 4_000;
const PAYOUT: u64 = 150;
/// Settlements whose logs and trees are kept.
const KEPT_SETTLEMENTS: u64 = 8;
/// What chain and view keep of a holder's epoch for good.
const INCLUDED: u64 = 600;
/// Epochs whose records and openings are kept.
const KEPT_EPOCHS: u64 = 4;
/// Records that a node makes in an epoch: commitment, proof, and what it signs as an auditor.
const RECORDS_PER_NODE: u64 = 3;
/// A checkpoint of the real model, and the update or sketches of a worker.
const CHECKPOINT: u64 = 2 << 20;
const UPDATE: u64 = 512 << 10;
/// A delivery that is under way.
const EVENT: u64 = 48;

/// About what a run will hold at its worst, from its sizes: within a third of what was measured with
/// 10,000 nodes over 1 to 720 epochs and with a million over one; `simnet run` prints the true peak.
pub fn estimate(scenario: &Scenario) -> Size {
    let nodes = u64::from(scenario.population.nodes);
    let packs = u64::from(scenario.workload.packs);
    let all_epochs = scenario.epochs.saturating_add(crate::scenario::WARM_UP_EPOCHS);
    let made = nodes.min(packs.saturating_mul(u64::from(scenario.holding.replicas)));
    let included = made.saturating_mul(all_epochs).saturating_mul(INCLUDED);
    let settlement = made.saturating_mul(LOG).saturating_add(nodes.saturating_mul(PAYOUT));
    let settled = settlement.saturating_mul(all_epochs.min(KEPT_SETTLEMENTS));
    let epochs = all_epochs.min(KEPT_EPOCHS);
    let records = made.saturating_mul(RECORDS_PER_NODE).saturating_mul(epochs);
    let cells = scenario.workload.pack_max.bytes().div_ceil(scenario.params().holding.cell_bytes);
    let replicas = packs.saturating_mul(u64::from(scenario.holding.replicas));
    let sampled = made.saturating_mul(u64::from(scenario.holding.opened_cells));
    let opened = replicas.saturating_mul(cells).min(sampled);
    // Once as the holder showed them, and once in the log of the epoch.
    let proofs = opened.saturating_mul(2 * OPENING).saturating_mul(epochs);
    let data = packs.saturating_mul(scenario.workload.pack_max.bytes());
    let receivers = if scenario.net.deliver_all { nodes } else { 8 };
    let in_flight = (made.saturating_mul(receivers) / 4).max(nodes).saturating_mul(EVENT);
    let training = &scenario.training;
    let rounds = u64::from(training.rounds).saturating_add(1);
    let round = CHECKPOINT + nodes.min(MAX_SHARDS_PER_ROUND as u64) * UPDATE;
    let real = if training.real_compute {
        round.saturating_mul(rounds).saturating_mul(training.models.into())
    } else {
        0
    };
    let parts = [
        real,
        BASE,
        nodes.saturating_mul(NODE),
        records.saturating_mul(RECORD),
        proofs,
        included,
        settled,
        data,
        in_flight,
    ];
    Size(parts.into_iter().fold(0, u64::saturating_add))
}

/// What the system could give now (Linux).
pub fn available() -> Option<Size> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Size::kib(kib))
}

/// To whole MiB, for people.
pub const fn round(size: Size) -> Size {
    Size(size.0.div_ceil(1 << 20) << 20)
}
